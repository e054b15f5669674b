package mission

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pailou.dev/conformance/lab"
)

// dumped are the kinds that `pailou check` is given as the cluster has them.
const dumped = "gatewayclasses.gateway.networking.k8s.io,gateways.gateway.networking.k8s.io,httproutes.gateway.networking.k8s.io," +
	"backendtlspolicies.gateway.networking.k8s.io,inferencepools.inference.networking.x-k8s.io,inferencemodels.inference.networking.x-k8s.io," +
	"backends.gateway.envoyproxy.io,httproutefilters.gateway.envoyproxy.io,clienttrafficpolicies.gateway.envoyproxy.io," +
	"backendtrafficpolicies.gateway.envoyproxy.io,services,secrets,pods,endpointslices"

// checkAgrees holds `pailou check`, given the cluster's objects, to the conditions that the controller wrote on them.
func checkAgrees(t *testing.T) {
	objects := lab.Kubectl(t, "get", dumped, "-n", "default", "-o", "json")
	file := filepath.Join(t.TempDir(), "objects.json")
	if err := os.WriteFile(file, []byte(objects), 0o600); err != nil {
		t.Fatal(err)
	}
	var cluster struct{ Items []object }
	if err := json.Unmarshal([]byte(objects), &cluster); err != nil {
		t.Fatal(err)
	}
	// Without a cluster two Gateways on one port need an address each.
	command := exec.Command(*binary, "check", "-o", "json", "--address", "default/bailian-gateway=127.0.0.2", "-f", file)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("pailou check: %v\n%s", err, output)
	}
	var checked struct{ Objects []object }
	if err := json.Unmarshal(output, &checked); err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, object := range cluster.Items {
		object.Namespace, object.Name = object.Metadata.Namespace, object.Metadata.Name
		object.flatten(written)
	}
	compared := map[string]string{}
	for _, object := range checked.Objects {
		object.flatten(compared)
	}
	if len(compared) < 20 {
		t.Errorf("only %d conditions to compare", len(compared))
	}
	for condition, verdict := range compared {
		if written[condition] != verdict {
			t.Errorf("%s\n  check:   %s\n  cluster: %s", condition, verdict, written[condition])
		}
	}
}

type object struct {
	Kind, Namespace, Name string
	Metadata              struct{ Namespace, Name string }
	Status                map[string]any
}

// flatten puts what is said of an object into a map: where and which condition, to status, reason and message.
func (o object) flatten(into map[string]string) {
	key := fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
	conditions(key, o.Status, into)
	for _, list := range []string{"listeners", "parents", "parent", "ancestors"} {
		entries, _ := o.Status[list].([]any)
		for _, entry := range entries {
			entry := entry.(map[string]any)
			place, _ := json.Marshal([]any{entry["name"], entry["parentRef"], entry["ancestorRef"], entry["controllerName"]})
			conditions(fmt.Sprintf("%s %s %s", key, list, place), entry, into)
		}
	}
}

func conditions(place string, status map[string]any, into map[string]string) {
	list, _ := status["conditions"].([]any)
	for _, condition := range list {
		c := condition.(map[string]any)
		into[fmt.Sprintf("%s %s", place, c["type"])] = fmt.Sprintf("%s %s %q", c["status"], c["reason"], c["message"])
	}
}
