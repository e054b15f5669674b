package picker

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

// Names of the reference picker's: it is told by a header what to pick, and tells what it heard.
const (
	chosenHeader = "Test-Epp-Endpoint-Selection"
	servedHeader = "X-Conformance-Test-Served-Endpoint"
)

// reference has our gateway ask the reference picker. That one answers a body without sending it back.
func reference(t *testing.T, g *gateway) {
	t.Run("WhereItSays", func(t *testing.T) {
		for range 3 {
			for _, name := range g.names() {
				call := chat("reference.test", "who")
				call.Header = http.Header{chosenHeader: {g.engines[name]}}
				answer := g.Send(t, call)
				answer.Wants(t, http.StatusOK)
				if server(answer) != name {
					t.Errorf("%s was picked, %s has served", name, server(answer))
				}
				if heard := answer.Header.Get(servedHeader); heard != g.engines[name]+":8000" {
					t.Errorf("the picker hears that %q has served, not %s", heard, g.engines[name])
				}
			}
		}
	})
	passes(t, g.Endpoint, "reference.test")
	t.Run("Subset", func(t *testing.T) {
		applySubset(t, g.engines[g.names()[1]])
		subset(t, g, "/reference", g.names()[1])
	})
	t.Run("ThatCannotPick", func(t *testing.T) {
		// It has no such endpoint, and ends the call with an error once it has the body.
		nowhere := func(host string) lab.Request {
			call := chat(host, "nowhere")
			call.Header = http.Header{chosenHeader: {"203.0.113.1"}}
			return call
		}
		g.Send(t, nowhere("reference.test")).Wants(t, http.StatusServiceUnavailable)
		g.Send(t, nowhere("open.test")).Wants(t, http.StatusOK)
	})
	t.Run("Mirror", func(t *testing.T) { mirrors(t, g) })
	t.Run("ThatIsSilent", func(t *testing.T) {
		pickers := lab.ProcessesOf(t, "lwepp", "reference")
		if len(pickers) != 1 {
			t.Fatalf("%d reference pickers run", len(pickers))
		}
		g.Await(t, chat("hurried.test", "in time"), http.StatusOK)
		if err := syscall.Kill(pickers[0].PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		// As long as its Service has it, the request's time runs out; then there is no picker.
		answer := g.Send(t, chat("hurried.test", "too late"))
		if answer.Status != http.StatusGatewayTimeout && answer.Status != http.StatusServiceUnavailable {
			t.Errorf("answered %d: %s", answer.Status, answer.Body)
		}
		if err := syscall.Kill(pickers[0].PID, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		g.Await(t, chat("hurried.test", "in time again"), http.StatusOK)
	})
	t.Run("ThatIsGone", func(t *testing.T) {
		lab.Kubectl(t, "scale", "-n", namespace, "deployment/reference-epp", "--replicas=0")
		g.Await(t, chat("reference.test", "closed"), http.StatusServiceUnavailable)
		for range 5 {
			open := chat("open.test", "open")
			open.Header = http.Header{"X-Sim-Echo": {"1"}}
			answer := g.Send(t, open)
			answer.Wants(t, http.StatusOK)
			if got := answer.Echo(t).Body; got != open.Body {
				t.Errorf("not the body that was sent: %s", got)
			}
		}
		lab.Kubectl(t, "scale", "-n", namespace, "deployment/reference-epp", "--replicas=1")
		g.Await(t, chat("reference.test", "back"), http.StatusOK)
	})
}

// mirrors sends a long prompt, and wants the mirror to have read as much of it as the engine that served.
func mirrors(t *testing.T, g *gateway) {
	t.Helper()
	g.Await(t, chat("mirrored.test", "warm"), http.StatusOK)
	address := lab.Kubectl(t, "get", "pods", "-n", namespace, "-l", "app=mirror", "-o", "jsonpath={.items[0].status.podIP}")
	read := func(address string) int { return promptTokens(t, "http://"+address+":8000") }
	engines := func() (all int) {
		for _, address := range g.engines {
			all += read(address)
		}
		return all
	}
	// What was sent before may still be on its way.
	quiet := read(address)
	lab.Eventually(t, "the mirror is idle", time.Minute, func() bool {
		before := quiet
		time.Sleep(500 * time.Millisecond)
		quiet = read(address)
		return quiet == before
	})
	mirror, served := quiet, engines()
	g.Send(t, chat("mirrored.test", strings.Repeat("a prompt that is known ", 4_000))).Wants(t, http.StatusOK)
	lab.Eventually(t, "the mirror has read it all", time.Minute, func() bool {
		return read(address)-mirror == engines()-served && read(address)-mirror > 10_000
	})
}

// promptTokens are those that a simulated engine has read.
func promptTokens(t *testing.T, engine string) (tokens int) {
	t.Helper()
	response, err := http.Get(engine + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "vllm:prefix_cache_queries_total") {
			var some float64
			fmt.Sscan(value, &some)
			tokens += int(some)
		}
	}
	return tokens
}

// applySubset makes routes whose requests may go to one engine alone.
func applySubset(t *testing.T, address string) {
	t.Helper()
	manifest, err := os.ReadFile("testdata/subset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lab.KubectlInput(t, strings.ReplaceAll(string(manifest), "ENDPOINT", address+":8000"), "apply", "-f", "-")
}

// subset sends requests under a path of these routes, and wants this engine to serve them all.
func subset(t *testing.T, g *gateway, path, name string) {
	t.Helper()
	call := func(say string) lab.Request {
		call := chat("subset.test", say)
		call.Path = path + call.Path
		return call
	}
	g.Await(t, call("first"), http.StatusOK)
	for _, say := range strings.Split("abcdefghij", "") {
		answer := g.Send(t, call(strings.Repeat(say, 200)))
		answer.Wants(t, http.StatusOK)
		if server(answer) != name {
			t.Errorf("%s is all that there is, %s has served", name, server(answer))
		}
	}
}
