// Package picker has requests go where an endpoint picker says, in a cluster: our gateway asks the reference picker, which is of
// another hand, and our own; an Envoy asks ours. A picker of the test's refuses what neither of them does, and both gateways take it alike.
package picker

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pailou.dev/conformance/lab"
)

var (
	image = flag.String("image", "ghcr.io/pailou/pailou:0.1.0", "image of Pailou")
	chart = flag.String("chart", "../../../deploy/chart", "the chart that makes our pickers")
	helm  = flag.String("helm", "helm", "the program that installs it")
	envoy = flag.Bool("envoy", false, "whether the cluster can run an Envoy")
)

// namespace is that of everything here.
const namespace = "picker"

func TestPicker(t *testing.T) {
	lab.Apply(t, "testdata/engines.yaml", *image)
	lab.Apply(t, "testdata/reference.yaml", *image)
	lab.Apply(t, "testdata/own.yaml", *image)
	lab.Apply(t, "testdata/gateway.yaml", *image)
	install(t)
	lab.Kubectl(t, "rollout", "status", "-n", namespace, "deployment/engines", "deployment/mirror", "deployment/reference-epp", "--timeout=60s")
	g := &gateway{Endpoint: lab.Programmed(t, namespace, "picker"), engines: engines(t)}
	g.Await(t, chat("reference.test", "warm"), http.StatusOK)
	g.Await(t, chat("own.test", "warm"), http.StatusOK)
	t.Run("Reference", func(t *testing.T) { reference(t, g) })
	t.Run("Own", func(t *testing.T) { own(t, g) })
	serveScripted(t)
	t.Run("Refusals", func(t *testing.T) { refuses(t, g, g.Endpoint) })
	if *envoy {
		t.Run("Envoy", func(t *testing.T) { ofEnvoy(t, g) })
	}
}

// install makes our pickers by the chart, without a controller: there is one already, which the gateway is of.
func install(t *testing.T) {
	t.Helper()
	colon := strings.LastIndex(*image, ":")
	output, err := exec.Command(*helm, "upgrade", "--install", "pickers", *chart, "--namespace", namespace, "--values", "testdata/own.values.yaml",
		"--set", "image.repository="+(*image)[:colon], "--set", "image.tag="+(*image)[colon+1:], "--wait", "--timeout", "120s").CombinedOutput()
	if err != nil {
		t.Fatalf("helm: %v\n%s", err, output)
	}
}

// gateway is what requests are sent to, with the engines behind it.
type gateway struct {
	lab.Endpoint
	engines map[string]string // addresses by name
}

// names are those of the engines, in order.
func (g *gateway) names() []string { return slices.Sorted(maps.Keys(g.engines)) }

// engines are the pods that the pools select, and the only ones.
func engines(t *testing.T) map[string]string {
	t.Helper()
	list := lab.Kubectl(t, "get", "pods", "-n", namespace, "-l", "app=engine", "--field-selector=status.phase=Running", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`)
	found := map[string]string{}
	for line := range strings.Lines(list) {
		if name, address, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found[name] = address
		}
	}
	if len(found) != 3 {
		t.Fatalf("not three engines: %q", list)
	}
	return found
}

// chat asks for a completion.
func chat(host, say string) lab.Request {
	return lab.Request{Host: host, Path: "/v1/chat/completions", Body: fmt.Sprintf(`{"model":"qwen","messages":[{"role":"user","content":%q}]}`, say)}
}

// server is who answered.
func server(answer lab.Answer) string { return answer.Header.Get("x-sim-server") }

// passes sends what has to come through a picker as it is: a body of many messages, and a stream.
func passes(t *testing.T, to lab.Endpoint, host string) {
	t.Run("LongBody", func(t *testing.T) {
		long := chat(host, strings.Repeat("y", 2<<20))
		long.Header = http.Header{"X-Sim-Echo": {"1"}}
		answer := to.Send(t, long)
		answer.Wants(t, http.StatusOK)
		if got := answer.Echo(t); got.BodyLength != len(long.Body) {
			t.Errorf("%d bytes arrived of %d", got.BodyLength, len(long.Body))
		}
	})
	t.Run("Trailers", func(t *testing.T) {
		trailed := chat(host, "with trailers")
		trailed.Header = http.Header{"X-Sim-Echo": {"1"}}
		trailed.Trailer = http.Header{"X-Checksum": {"abc"}}
		answer := to.Send(t, trailed)
		answer.Wants(t, http.StatusOK)
		if got := answer.Echo(t).Body; got != trailed.Body {
			t.Errorf("not the body that was sent: %s", got)
		}
	})
	t.Run("Stream", func(t *testing.T) {
		streamed := chat(host, "tell")
		streamed.Body = strings.Replace(streamed.Body, "{", `{"stream":true,`, 1)
		answer := to.Send(t, streamed)
		answer.Wants(t, http.StatusOK)
		text := strings.TrimSpace(string(answer.Body))
		if !strings.HasSuffix(text, "data: [DONE]") || strings.Count(text, "data:") < 50 {
			t.Errorf("not a stream to its end: %s", text)
		}
	})
}
