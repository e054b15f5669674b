package picker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

// own has our gateway ask our picker, which streams bodies back, as it would any other: nothing is served without it.
func own(t *testing.T, g *gateway) {
	t.Run("Spread", func(t *testing.T) { spread(t, g.Endpoint, "own.test") })
	t.Run("Renamed", func(t *testing.T) { renamed(t, g.Endpoint, "own.test") })
	passes(t, g.Endpoint, "own.test")
	t.Run("Subset", func(t *testing.T) {
		applySubset(t, g.engines[g.names()[2]])
		subset(t, g, "/own", g.names()[2])
	})
	t.Run("TheNextOfItsList", func(t *testing.T) { nextOfItsList(t, g) })
	t.Run("EnginesAreReplaced", func(t *testing.T) {
		g.UnderLoad(t, chat("own.test", "under load"), func() {
			replace(t, "engines", "app=engine")
		})
		g.engines = engines(t)
		spread(t, g.Endpoint, "own.test")
	})
	t.Run("PickersAreReplaced", func(t *testing.T) {
		g.UnderLoad(t, chat("own.test", "under load"), func() {
			replace(t, "own-epp", "app.kubernetes.io/component=own-epp")
		})
	})
	t.Run("WithinItsRole", func(t *testing.T) {
		logs := lab.Kubectl(t, "logs", "-n", namespace, "-l", "app.kubernetes.io/name=pailou-picker", "--tail=-1")
		if !strings.Contains(logs, "InferencePool picker/own has 3 ready endpoints") || strings.Contains(logs, " WARN ") || strings.Contains(logs, " ERROR ") {
			t.Errorf("the pickers log\n%s", logs)
		}
	})
}

// spread sends prompts that have nothing in common, and wants every engine to serve some.
func spread(t *testing.T, to lab.Endpoint, host string) {
	t.Helper()
	served := map[string]int{}
	for i := range 45 {
		answer := to.Send(t, chat(host, fmt.Sprintf("%d: %s", i, strings.Repeat(string(rune('A'+i)), 100))))
		answer.Wants(t, http.StatusOK)
		served[server(answer)]++
	}
	if len(served) != 3 {
		t.Errorf("served by %v, not by three engines", served)
	}
}

// samePrompt repeats a long prompt, which one engine has in its cache from the first time on.
func samePrompt(t *testing.T, to lab.Endpoint, host string) {
	t.Helper()
	prompt := chat(host, host+" "+strings.Repeat("a prompt that is known ", 400))
	first := to.Send(t, prompt)
	first.Wants(t, http.StatusOK)
	for range 10 {
		answer := to.Send(t, prompt)
		answer.Wants(t, http.StatusOK)
		if server(answer) != server(first) {
			t.Errorf("%s has the prompt, %s has served", server(first), server(answer))
		}
	}
}

// renamed wants a model's older name to be served by the engines that know the newer.
func renamed(t *testing.T, to lab.Endpoint, host string) {
	t.Helper()
	call := chat(host, "who")
	call.Body = strings.Replace(call.Body, `"qwen"`, `"an-older-name"`, 1)
	answer := to.Send(t, call)
	answer.Wants(t, http.StatusOK)
	var said struct{ Model string }
	if err := json.Unmarshal(answer.Body, &said); err != nil || said.Model != "qwen" {
		t.Errorf("%v: answered by another model: %s", err, answer.Body)
	}
}

// nextOfItsList has one engine fail, in turn each: whoever is first in the picker's list, a request is answered by the second.
func nextOfItsList(t *testing.T, g *gateway) {
	for _, name := range g.names() {
		clear := fault(t, g.engines[name], `{"kind":"status","status":503,"path":"/v1/"}`)
		for i := range 10 {
			answer := g.Send(t, chat("own.test", fmt.Sprintf("%d: %s", i, strings.Repeat(string(rune('a'+i)), 100))))
			answer.Wants(t, http.StatusOK)
			if server(answer) == name {
				t.Errorf("%s has served, which answers nothing but 503", name)
			}
		}
		clear()
	}
}

// fault has an engine fail, until what is given back is called.
func fault(t *testing.T, address, fault string) (clear func()) {
	t.Helper()
	faults := lab.Endpoint("http://" + address + ":8000")
	faults.Send(t, lab.Request{Path: "/sim/faults", Body: fault}).Wants(t, http.StatusOK)
	return func() {
		t.Helper()
		clear, err := http.NewRequest(http.MethodDelete, string(faults)+"/sim/faults", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(clear)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
}

// replace has a Deployment's pods replaced, and waits until none of those before is left.
func replace(t *testing.T, deployment, selector string) {
	t.Helper()
	before := strings.Fields(lab.Kubectl(t, "get", "pods", "-n", namespace, "-l", selector, "-o", "name"))
	lab.Kubectl(t, "rollout", "restart", "-n", namespace, "deployment/"+deployment)
	lab.Kubectl(t, "rollout", "status", "-n", namespace, "deployment/"+deployment, "--timeout=60s")
	lab.Eventually(t, "the pods before are gone", time.Minute, func() bool {
		return lab.Kubectl(t, append([]string{"get", "-n", namespace, "--ignore-not-found", "-o", "name"}, before...)...) == ""
	})
}
