package picker

import (
	"net/http"
	"testing"

	"pailou.dev/conformance/lab"
)

// ofEnvoy has an Envoy, of which Pailou has no part, ask our picker by its Service.
func ofEnvoy(t *testing.T, g *gateway) {
	lab.Apply(t, "testdata/envoy.yaml", *image)
	lab.Kubectl(t, "wait", "-n", namespace, "pod/envoy", "--for=condition=Ready", "--timeout=60s")
	address := lab.Kubectl(t, "get", "-n", namespace, "pod/envoy", "-o", "jsonpath={.status.podIP}")
	to := lab.Endpoint("http://" + address + ":8080")
	to.Await(t, chat("any.test", "warm"), http.StatusOK)
	t.Run("Spread", func(t *testing.T) { spread(t, to, "any.test") })
	t.Run("SamePromptSameEngine", func(t *testing.T) { samePrompt(t, to, "any.test") })
	t.Run("Renamed", func(t *testing.T) { renamed(t, to, "any.test") })
	passes(t, to, "any.test")
	t.Run("Refusals", func(t *testing.T) { refuses(t, g, to) })
}
