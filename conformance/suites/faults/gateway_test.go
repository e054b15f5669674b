package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

const (
	controller  = "pailou.dev/gateway-controller"
	gateways    = "/apis/gateway.networking.k8s.io/v1/namespaces/faults/gateways/"
	routes      = "/apis/gateway.networking.k8s.io/v1/namespaces/faults/httproutes/"
	controllers = "/apis/apps/v1/namespaces/pailou-system/deployments/pailou-controller"
)

// gateway is where the Gateway of the tests listens, and what serves it.
type gateway struct{ address, deployment string }

// install makes a server, a Service whose endpoint does not depend on the node's health, and a Gateway with a route.
func install(t *testing.T, c *lab.Cluster) *gateway {
	t.Helper()
	const core = "/api/v1/namespaces/faults/"
	c.Create(t, "/api/v1/namespaces", lab.Object{"metadata": lab.Object{"name": "faults"}})
	c.Create(t, core+"pods", lab.Object{
		"metadata": lab.Object{"name": "server"},
		"spec": lab.Object{"containers": []any{lab.Object{
			"name": "server", "image": *image, "args": []any{"sim", "--listen", "0.0.0.0:8000", "--output-tokens", "600", "600"},
		}}},
	})
	var server string
	lab.Eventually(t, "the server runs", time.Minute, func() bool {
		server, _ = lab.Field(c.Get(core+"pods/server"), "status", "podIP").(string)
		return server != ""
	})
	port := lab.Object{"port": 80, "targetPort": 8000}
	c.Create(t, core+"services", lab.Object{"metadata": lab.Object{"name": "server"}, "spec": lab.Object{"ports": []any{port}}})
	c.Create(t, "/apis/discovery.k8s.io/v1/namespaces/faults/endpointslices", lab.Object{
		"metadata":    lab.Object{"name": "server", "labels": lab.Object{"kubernetes.io/service-name": "server"}},
		"addressType": "IPv4", "ports": []any{lab.Object{"port": 8000}},
		"endpoints": []any{lab.Object{"addresses": []any{server}, "conditions": lab.Object{"ready": true}}},
	})
	c.Create(t, gateways, lab.Object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": lab.Object{"name": "faults"},
		"spec": lab.Object{"gatewayClassName": "pailou", "listeners": []any{lab.Object{"name": "http", "protocol": "HTTP", "port": 8080}}},
	})
	c.Create(t, routes, route("r", "server"))
	g := &gateway{}
	lab.Eventually(t, "the Gateway is programmed", 2*time.Minute, func() bool {
		status := lab.Field(c.Get(gateways+"faults"), "status")
		g.address, _ = lab.Field(status, "addresses", 0, "value").(string)
		return lab.Condition(lab.Field(status, "conditions"), "Programmed") == "True"
	})
	const deployments = "/apis/apps/v1/namespaces/faults/deployments"
	g.deployment = deployments + "/" + lab.Field(c.Get(deployments), "items", 0, "metadata", "name").(string)
	g.await(t, "r.example.com", http.StatusOK)
	return g
}

func route(name, service string) lab.Object {
	return lab.Object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": lab.Object{"name": name},
		"spec": lab.Object{
			"parentRefs": []any{lab.Object{"name": "faults"}},
			"hostnames":  []any{name + ".example.com"},
			"rules":      []any{lab.Object{"backendRefs": []any{lab.Object{"name": service, "port": 80}}}},
		},
	}
}

func replicas(count int) lab.Object { return lab.Object{"spec": lab.Object{"replicas": count}} }

func pods(c *lab.Cluster, namespace string) []any {
	items, _ := lab.Field(c.Get("/api/v1/namespaces/"+namespace+"/pods"), "items").([]any)
	return items
}

// pods are the data plane's, the newest last.
func (g *gateway) pods(c *lab.Cluster) (all []any) {
	for _, pod := range pods(c, "faults") {
		if lab.Field(pod, "metadata", "labels", "gateway.networking.k8s.io/gateway-name") == "faults" {
			all = append(all, pod)
		}
	}
	for i := range all {
		for j := range i {
			if fmt.Sprint(lab.Field(all[i], "metadata", "creationTimestamp")) < fmt.Sprint(lab.Field(all[j], "metadata", "creationTimestamp")) {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return all
}

// restart replaces a Deployment's pods, and waits until no old one is left.
func restart(t *testing.T, c *lab.Cluster, path string) {
	t.Helper()
	stamp := lab.Object{"pailou.dev/restarted": time.Now().Format(time.RFC3339Nano)}
	c.Patch(t, path, lab.Object{"spec": lab.Object{"template": lab.Object{"metadata": lab.Object{"annotations": stamp}}}})
	lab.Eventually(t, path+" is rolled out", 3*time.Minute, func() bool {
		it := c.Get(path)
		status := func(name string) any { return lab.Field(it, "status", name) }
		wanted := lab.Field(it, "spec", "replicas")
		return status("observedGeneration") == lab.Field(it, "metadata", "generation") && status("updatedReplicas") == wanted &&
			status("replicas") == wanted && status("availableReplicas") == wanted && (status("terminatingReplicas") == nil || status("terminatingReplicas") == 0.0)
	})
}

func (g *gateway) call(host string) (int, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+g.address+":8080/v1/models", nil)
	if err != nil {
		return 0, err
	}
	request.Host = host
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func (g *gateway) get(host string) int {
	code, _ := g.call(host)
	return code
}

// await waits until a host is answered so, three times in a row.
func (g *gateway) await(t *testing.T, host string, code int) {
	t.Helper()
	inARow := 0
	lab.Eventually(t, fmt.Sprintf("%s answers %d", host, code), time.Minute, func() bool {
		if inARow++; g.get(host) != code {
			inARow = 0
		}
		return inARow >= 3
	})
}

// load is requests that are sent all the time, by connections that are kept and by new ones.
type load struct {
	cancel   context.CancelFunc
	workers  sync.WaitGroup
	lock     sync.Mutex
	sent     int
	failures []string
}

func (g *gateway) load(t *testing.T) *load {
	kept := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	fresh := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(client *http.Client) func() error {
		return func() error {
			request, err := http.NewRequest(http.MethodGet, "http://"+g.address+":8080/v1/models", nil)
			if err != nil {
				return err
			}
			request.Host = "r.example.com"
			answer, err := client.Do(request)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if _, err = io.Copy(io.Discard, answer.Body); err == nil && answer.StatusCode != http.StatusOK {
				err = fmt.Errorf("answered %d", answer.StatusCode)
			}
			return err
		}
	}
	return begin(t, send(kept), send(fresh))
}

// begin calls each of these again and again until the load is stopped.
func begin(t *testing.T, calls ...func() error) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	for _, call := range calls {
		for range 2 {
			l.workers.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					err := call()
					l.lock.Lock()
					if l.sent++; err != nil {
						l.failures = append(l.failures, fmt.Sprintf("%s (%v): %v", began.Format("15:04:05.000"), time.Since(began), err))
					}
					l.lock.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	return l
}

// stop ends the load, and wants every request to have been answered 200.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.workers.Wait()
	t.Logf("%d requests, %d failed", l.sent, len(l.failures))
	if len(l.failures) > 0 {
		t.Errorf("%d of %d requests failed, first %s", len(l.failures), l.sent, strings.Join(l.failures[:min(5, len(l.failures))], "\n"))
	}
}

// stream begins a long answer. What it gives back waits for the answer's end, and says what was wrong with it.
func (g *gateway) stream(t *testing.T) func() error {
	t.Helper()
	body := `{"model":"qwen","stream":true,"max_tokens":600,"messages":[{"role":"user","content":"Tell me a long story."}]}`
	request, err := http.NewRequest(http.MethodPost, "http://"+g.address+":8080/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "r.example.com"
	request.Header.Set("content-type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	began, result := time.Now(), make(chan error, 1)
	go func() {
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err == nil && !strings.HasSuffix(strings.TrimSpace(string(text)), "data: [DONE]") {
			err = errors.New("it ends before its end")
		}
		if err != nil {
			err = fmt.Errorf("status %d, %d bytes, %v: %w", answer.StatusCode, len(text), time.Since(began), err)
		}
		result <- err
	}()
	return func() error { return <-result }
}
