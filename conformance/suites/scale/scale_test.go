// Package scale measures a cluster with many routes: how long a new one takes to be served, what it costs, and whether requests
// fail while it happens. It prints a table in Markdown. A figure is worth as much as the machine was idle.
package scale

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

var (
	image     = flag.String("image", "ghcr.io/pailou/pailou:0.1.0", "image of the simulated server")
	routes    = flag.Int("routes", 5000, "HTTPRoutes")
	sets      = flag.Int("sets", 0, "ListenerSets, among which the routes are spread; without any they are on the Gateway")
	services  = flag.Int("services", 500, "Services that the routes lead to")
	endpoints = flag.Int("endpoints", 1000, "endpoints that come and go meanwhile")
	changes   = flag.Int("changes", 10, "how often a second endpoints do")
	samples   = flag.Int("samples", 200, "routes that are created one by one, and timed")
	idle      = flag.Duration("pause", 50*time.Millisecond, "pause between two of them")
)

const (
	core    = "/api/v1/namespaces/scale/"
	gateway = "/apis/gateway.networking.k8s.io/v1/namespaces/scale/"
	slice   = "/apis/discovery.k8s.io/v1/namespaces/scale/endpointslices"
	port    = 8080
)

func TestScale(t *testing.T) {
	c := lab.Connect(t)
	address := install(t, c)
	began := time.Now()
	if *sets > 0 {
		c.CreateAll(t, gateway+"listenersets", *sets, listenerSet)
	}
	c.CreateAll(t, gateway+"httproutes", *routes, func(i int) object { return route(fmt.Sprintf("r%d", i), i) })
	created := time.Since(began)
	last := host(fmt.Sprintf("r%d", *routes-1), *routes-1)
	lab.Eventually(t, "the last route is served", 15*time.Minute, func() bool { return get(address, last) == http.StatusOK })
	served := time.Since(began)
	settle(t, c)
	settled := time.Since(began)
	creation, creationOthers := c.StatusWrites(t)

	controllers, proxies := lab.Processes(t, "controller"), lab.Processes(t, "--gateway=scale/scale")
	ctx, stop := context.WithCancel(t.Context())
	var background sync.WaitGroup
	load := load{address: address, host: host("r0", 0)}
	for range 2 {
		background.Go(func() { load.run(ctx) })
	}
	churned := 0
	background.Go(func() { churned = churn(ctx, t, c) })
	controllerBefore, proxyBefore, start := lab.Sum(controllers), lab.Sum(proxies), time.Now()
	afterPost, afterWatch := measure(t, c, address)
	took := time.Since(start)
	controllerAfter, proxyAfter := lab.Sum(controllers), lab.Sum(proxies)
	settle(t, c)
	stop()
	background.Wait()
	writes, others := c.StatusWrites(t)

	fmt.Printf("| %d HTTPRoutes, %d ListenerSets, %d Services, %d endpoints | |\n|---|---|\n", *routes, *sets, *services, *endpoints)
	row := func(what, format string, values ...any) {
		fmt.Printf("| %s | "+format+" |\n", append([]any{what}, values...)...)
	}
	row("all created in", "%.1f s", created.Seconds())
	row("the last one of them served after", "%.1f s", served.Seconds())
	row("all statuses written after", "%.1f s", settled.Seconds())
	row("writes of statuses for that", "%d (%d more failed or were refused)", creation, creationOthers)
	row(fmt.Sprintf("a new route's first 200 after its creation was answered (%d)", *samples), "%s", quantiles(afterPost))
	row("the same after another watch heard of it", "%s", quantiles(afterWatch))
	row("writes of statuses meanwhile", "%d (%d more failed or were refused)", writes-creation, others-creationOthers)
	row("endpoints changed meanwhile", "%d times", churned)
	row("requests meanwhile", "%d, %d failed", load.sent.Load(), load.failed.Load())
	row("controller: CPU meanwhile, all replicas", "%.1f s of %.1f s", (controllerAfter.CPU - controllerBefore.CPU).Seconds(), took.Seconds())
	row("controller: memory, at most", "%.1f MB", float64(controllerAfter.Peak)/1024)
	row("proxy: CPU meanwhile", "%.1f s of %.1f s", (proxyAfter.CPU - proxyBefore.CPU).Seconds(), took.Seconds())
	row("proxy: memory now, at most", "%.1f MB, %.1f MB", float64(proxyAfter.RSS)/1024, float64(proxyAfter.Peak)/1024)
	if failed := load.failed.Load(); failed > 0 {
		t.Errorf("%d requests failed: %v", failed, load.why.Load())
	}
}

// measure creates routes one by one, and gives how long each took from the answer, and from when a watch heard of it, to its first 200.
func measure(t *testing.T, c *lab.Cluster, address string) (afterPost, afterWatch []time.Duration) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	seen := c.Watch(ctx, t, gateway+"httproutes")
	for i := range *samples {
		name := fmt.Sprintf("new%d", i)
		c.Create(t, gateway+"httproutes", route(name, i))
		posted := time.Now()
		for get(address, host(name, i)) != http.StatusOK {
			if time.Since(posted) > time.Minute {
				t.Fatalf("%s is not served within a minute", name)
			}
			time.Sleep(500 * time.Microsecond)
		}
		now := time.Now()
		afterPost = append(afterPost, now.Sub(posted))
		afterWatch = append(afterWatch, max(0, now.Sub(seen.At(t, name))))
		time.Sleep(*idle)
	}
	return afterPost, afterWatch
}

func quantiles(times []time.Duration) string {
	slices.Sort(times)
	at := func(q float64) float64 { return float64(times[int(q*float64(len(times)-1))].Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms", at(0.5), at(0.9), at(0.99), at(1))
}

// settle waits until no statuses have been written for two seconds.
func settle(t *testing.T, c *lab.Cluster) {
	before, since := -1, time.Now()
	lab.Eventually(t, "statuses come to rest", 20*time.Minute, func() bool {
		done, others := c.StatusWrites(t)
		if now := done + others; now != before {
			before, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// load sends requests to one route for as long as it lasts.
type load struct {
	address, host string
	sent, failed  atomic.Int64
	why           atomic.Value
}

func (l *load) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.sent.Add(1)
		if code, err := request(l.address, l.host); code != http.StatusOK {
			l.failed.Add(1)
			l.why.Store(fmt.Sprint(code, err))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// churn changes one Service's endpoints after another, and says how often.
func churn(ctx context.Context, t *testing.T, c *lab.Cluster) (count int) {
	for ; ctx.Err() == nil; count++ {
		name := count % churning()
		body := churnSlice(name, count/churning()+1)
		if _, err := c.Call(http.MethodPut, slice+"/"+fmt.Sprintf("churn%d", name), body); err != nil {
			t.Error(err)
			return count
		}
		time.Sleep(time.Second / time.Duration(max(1, *changes)))
	}
	return count
}

var client = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 16},
}

func request(address, host string) (int, error) {
	call, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s:%d/v1/models", address, port), nil)
	if err != nil {
		return 0, err
	}
	call.Host = host
	response, err := client.Do(call)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func get(address, host string) int {
	code, _ := request(address, host)
	return code
}
