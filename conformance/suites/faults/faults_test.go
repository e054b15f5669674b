// Package faults kills, stops and replaces parts of a cluster while requests are sent, and wants nothing lost, nothing wrong served,
// and all of it well again without a restart.
package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

var (
	image = flag.String("image", "ghcr.io/pailou/pailou:0.1.0", "image of the simulated server")
	away  = flag.Duration("away", time.Minute, "how long the API server is away")
	kills = flag.Int("kills", 12, "how often a controller is killed")
)

func TestFaults(t *testing.T) {
	c := lab.Connect(t)
	g := install(t, c)
	t.Run("ControllerKilled", func(t *testing.T) { controllerKilled(t, c, g) })
	t.Run("ConflictStorm", func(t *testing.T) { conflictStorm(t, c, g) })
	t.Run("SecretRotated", func(t *testing.T) { secretRotated(t, c, g) })
	t.Run("DefinitionDeleted", func(t *testing.T) { definitionDeleted(t, c, g) })
	t.Run("RollingUpgrade", func(t *testing.T) { rollingUpgrade(t, c, g) })
	t.Run("NoController", func(t *testing.T) { noController(t, c, g) })
	t.Run("APIServerAway", func(t *testing.T) { apiServerAway(t, c, g) })
}

// controllerKilled kills a controller again and again, the leader or the other, while routes come, change and go.
func controllerKilled(t *testing.T, c *lab.Cluster, g *gateway) {
	const names = 20
	load := g.load(t)
	for round := range *kills {
		for i := range names {
			name, path := fmt.Sprintf("k%d", i), fmt.Sprintf("%sk%d", routes, i)
			switch (i + round) % 4 {
			case 0:
				_, _ = c.Call(http.MethodDelete, path, nil)
			default:
				if c.Get(path) == nil {
					c.Create(t, routes, route(name, "server"))
				}
				c.Patch(t, path, lab.Object{"spec": lab.Object{"hostnames": []any{fmt.Sprintf("%s-%d.example.com", name, round)}}})
			}
			if i == rand.IntN(names) {
				kill(t)
			}
		}
		kill(t)
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
	}
	last := *kills - 1
	for i := range names {
		name, path := fmt.Sprintf("k%d", i), fmt.Sprintf("%sk%d", routes, i)
		if c.Get(path) == nil {
			g.await(t, fmt.Sprintf("%s-%d.example.com", name, last-1), http.StatusNotFound)
			continue
		}
		lab.Eventually(t, name+" is served as it is now, and says so", time.Minute, func() bool {
			it := c.Get(path)
			generation := lab.Field(it, "metadata", "generation")
			accepted := accepted(lab.Field(it, "status", "parents"))
			return len(accepted) == 1 && accepted[0] == generation && g.get(fmt.Sprintf("%s-%d.example.com", name, last)) == http.StatusOK
		})
		g.await(t, fmt.Sprintf("%s-%d.example.com", name, last-1), http.StatusNotFound)
	}
	load.stop(t)
	deployments := lab.Field(c.Get("/apis/apps/v1/namespaces/faults/deployments"), "items").([]any)
	if len(deployments) != 1 {
		t.Errorf("there are %d data planes for one Gateway", len(deployments))
	}
}

// kill kills one of the controllers that run at the moment.
func kill(t *testing.T) {
	t.Helper()
	if controllers := lab.Processes(t, "controller"); len(controllers) > 0 {
		_ = syscall.Kill(controllers[rand.IntN(len(controllers))].PID, syscall.SIGKILL)
	}
}

// accepted is the generation that each of our parents accepted.
func accepted(parents any) (generations []any) {
	items, _ := parents.([]any)
	for _, parent := range items {
		conditions, _ := lab.Field(parent, "conditions").([]any)
		for _, it := range conditions {
			if lab.Field(parent, "controllerName") == controller && lab.Field(it, "type") == "Accepted" && lab.Field(it, "status") == "True" {
				generations = append(generations, lab.Field(it, "observedGeneration"))
			}
		}
	}
	return generations
}

// noController starts a proxy while nobody tells it anything: it waits, another goes on serving, and both hear of what comes later.
func noController(t *testing.T, c *lab.Cluster, g *gateway) {
	load := g.load(t)
	c.Patch(t, controllers, replicas(0))
	lab.Eventually(t, "the controllers are gone", time.Minute, func() bool { return len(pods(c, "pailou-system")) == 0 })
	before := g.pods(c)
	c.Patch(t, g.deployment, replicas(2))
	lab.Eventually(t, "a second proxy runs", time.Minute, func() bool {
		all := g.pods(c)
		return len(all) == len(before)+1 && lab.Field(all[len(all)-1], "status", "phase") == "Running"
	})
	time.Sleep(5 * time.Second)
	ready := 0
	for _, pod := range g.pods(c) {
		if lab.Condition(lab.Field(pod, "status", "conditions"), "Ready") == "True" {
			ready++
		}
	}
	if ready != len(before) {
		t.Errorf("%d proxies are ready, of which %d have been told anything", ready, len(before))
	}
	c.Create(t, routes, route("meanwhile", "server"))
	c.Patch(t, controllers, replicas(2))
	g.await(t, "meanwhile.example.com", http.StatusOK)
	load.stop(t)
}

// apiServerAway takes the API server away. Requests go straight to the pod: with the node's own heart gone, its proxy is no witness.
func apiServerAway(t *testing.T, c *lab.Cluster, g *gateway) {
	lab.Eventually(t, "one data plane's pod is left", time.Minute, func() bool { return len(g.pods(c)) == 1 })
	pod := &gateway{address: lab.Field(g.pods(c)[0], "status", "podIP").(string), deployment: g.deployment}
	pod.await(t, "r.example.com", http.StatusOK)
	before := lab.Processes(t, "controller")
	load := pod.load(t)
	run(t, "stop", "kube-apiserver")
	time.Sleep(*away)
	run(t, "start", "kube-apiserver")
	lab.Eventually(t, "the API server is back", 2*time.Minute, func() bool { return c.Get(routes+"r") != nil })
	c.Create(t, routes, route("back", "server"))
	pod.await(t, "back.example.com", http.StatusOK)
	lab.Eventually(t, "its status is written", time.Minute, func() bool {
		return len(accepted(lab.Field(c.Get(routes+"back"), "status", "parents"))) == 1
	})
	load.stop(t)
	if after := lab.Processes(t, "controller"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the controllers %v are %v now", before, after)
	}
}

func run(t *testing.T, arguments ...string) {
	t.Helper()
	if output, err := exec.Command("kubelab", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("kubelab %v: %v\n%s", arguments, err, output)
	}
}
