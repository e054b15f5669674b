package scale

import (
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

var (
	gateways = flag.Int("gateways", 0, "Gateways that are created one after the other, and timed; their proxies stay")
	class    = flag.String("class", "pailou", "their class; one of another implementation's needs the next two as well")
	proxy    = flag.String("proxy", "pailou --gateway=first/", "a proxy's program, and how one of its arguments begins")
	manager  = flag.String("controller", "pailou controller", "the same of a controller")
)

// TestGateway measures how long a Gateway takes from its creation to the first answer of its own proxy, beside what the cluster takes
// for a server of which nobody has to make anything, and what a proxy that has little to do comes to.
func TestGateway(t *testing.T) {
	if *gateways == 0 {
		t.Skip("-gateways says how many")
	}
	c := lab.Connect(t)
	const namespace = "/api/v1/namespaces/first/"
	const kinds = "/apis/gateway.networking.k8s.io/v1/namespaces/first/"
	c.Create(t, "/api/v1/namespaces", object{"metadata": object{"name": "first"}})
	startServer(t, c, namespace)
	c.Create(t, namespace+"services", object{
		"metadata": object{"name": "server"},
		"spec":     object{"selector": object{"app": "server"}, "ports": []any{object{"port": 80, "targetPort": 8000}}},
	})
	var alone, programmed, answered []time.Duration
	for i := range *gateways {
		anyTime(2 * i)
		alone = append(alone, serverAlone(t, c, fmt.Sprintf("alone%d", i)))
		name := fmt.Sprintf("g%d", i)
		c.Create(t, kinds+"httproutes", routeTo(object{"name": name}, name, name+".example.com", "server"))
		anyTime(2*i + 1)
		began := time.Now()
		c.Create(t, kinds+"gateways", object{
			"apiVersion": version, "kind": "Gateway",
			"metadata": object{"name": name},
			"spec":     object{"gatewayClassName": *class, "listeners": []any{object{"name": "http", "protocol": "HTTP", "port": port}}},
		})
		var address string
		for ready := false; !ready; time.Sleep(5 * time.Millisecond) {
			it, err := c.Call(http.MethodGet, kinds+"gateways/"+name, nil)
			address, _ = lab.Field(it, "status", "addresses", 0, "value").(string)
			ready = err == nil && address != "" && lab.Condition(lab.Field(it, "status", "conditions"), "Programmed") == "True"
			if time.Since(began) > time.Minute {
				t.Fatalf("Gateway %s is not programmed within a minute", name)
			}
		}
		programmed = append(programmed, time.Since(began))
		for !answers(address, name+".example.com") {
			if time.Since(began) > time.Minute {
				t.Fatalf("Gateway %s does not answer within a minute", name)
			}
			time.Sleep(5 * time.Millisecond)
		}
		answered = append(answered, time.Since(began))
	}
	proxies, controllers := processes(t, *proxy), processes(t, *manager)
	fmt.Printf("| %d Gateways, one after the other | |\n|---|---|\n", *gateways)
	fmt.Printf("| a Deployment of a server with a Service, from their creation until the first 200 | %s |\n", quantiles(alone))
	fmt.Printf("| from its creation until it is Programmed | %s |\n", quantiles(programmed))
	fmt.Printf("| until its first 200 | %s |\n", quantiles(answered))
	for _, each := range []struct {
		what string
		of   []lab.Process
	}{{"proxies", proxies}, {"controllers", controllers}} {
		used, threads := lab.Sum(each.of), 0
		for _, it := range each.of {
			threads = max(threads, it.Threads())
		}
		fmt.Printf("| %d %s: memory, threads, at most | %.1f MB, %d |\n", len(each.of), each.what, float64(used.RSS)/1024, threads)
	}
}

// anyTime waits for some of a second, another part each time and evenly spread: the kubelet looks at its containers once a second, and what is
// created when something else has just been answered has just missed that.
func anyTime(turn int) {
	_, part := math.Modf(float64(turn) * math.Phi)
	time.Sleep(time.Duration(part * float64(time.Second)))
}

// serverAlone makes a Deployment of a server and a Service of type LoadBalancer, as a Gateway has them, and gives back how long it took
// until it answered.
func serverAlone(t *testing.T, c *lab.Cluster, name string) time.Duration {
	t.Helper()
	const namespace = "namespaces/first/"
	labels := object{"app": name}
	began := time.Now()
	c.Create(t, "/apis/apps/v1/"+namespace+"deployments", object{
		"metadata": object{"name": name},
		"spec": object{
			"selector": object{"matchLabels": labels},
			"template": object{"metadata": object{"labels": labels}, "spec": serverSpec()},
		},
	})
	c.Create(t, "/api/v1/"+namespace+"services", object{
		"metadata": object{"name": name},
		"spec":     object{"type": "LoadBalancer", "selector": labels, "ports": []any{object{"port": port, "targetPort": 8000}}},
	})
	for {
		it, err := c.Call(http.MethodGet, "/api/v1/"+namespace+"services/"+name, nil)
		address, _ := lab.Field(it, "status", "loadBalancer", "ingress", 0, "ip").(string)
		if err == nil && address != "" && answers(address, name) {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("Deployment %s does not answer within a minute", name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func processes(t *testing.T, called string) []lab.Process {
	program, argument, _ := strings.Cut(called, " ")
	return lab.ProcessesOf(t, program, argument)
}

// answers says whether a connection of its own is answered at once. What is dropped on the way would be sent again only after seconds.
func answers(address, host string) bool {
	dial := (&net.Dialer{Timeout: 50 * time.Millisecond}).DialContext
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	call, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s:%d/v1/models", address, port), nil)
	if err != nil {
		return false
	}
	call.Host = host
	response, err := client.Do(call)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
