// Package lab is what the suites of our own have in common: a cluster, its objects and its processes.
package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Object is a Kubernetes object, or a part of one.
type Object = map[string]any

// Cluster speaks to the API server without any limit of its own on the rate.
type Cluster struct {
	host   string
	client *http.Client
}

// Connect reads KUBECONFIG.
func Connect(t *testing.T) *Cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{config.Host, client}
}

// Call sends an object to the API server, or none, and gives its answer; a refusal is an error.
func (c *Cluster) Call(method, path string, body Object) (Object, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(method, c.host+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("content-type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("content-type", "application/merge-patch+json")
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, text)
	}
	var answer Object
	return answer, json.Unmarshal(text, &answer)
}

// Patch merges something into an object.
func (c *Cluster) Patch(t *testing.T, path string, body Object) {
	t.Helper()
	if _, err := c.Call(http.MethodPatch, path, body); err != nil {
		t.Fatal(err)
	}
}

// Get gives an object; nil where there is none.
func (c *Cluster) Get(path string) Object {
	it, err := c.Call(http.MethodGet, path, nil)
	if err != nil {
		return nil
	}
	return it
}

// Create creates an object that has to be taken.
func (c *Cluster) Create(t *testing.T, path string, body Object) {
	t.Helper()
	if _, err := c.Call(http.MethodPost, path, body); err != nil {
		t.Fatal(err)
	}
}

// CreateAll creates many objects, a few at the same time.
func (c *Cluster) CreateAll(t *testing.T, path string, count int, make func(int) Object) {
	t.Helper()
	var done sync.WaitGroup
	next := counter()
	for range 16 {
		done.Go(func() {
			for i := next(); i < count; i = next() {
				if _, err := c.Call(http.MethodPost, path, make(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// counter gives 0, 1, 2 and so on, to whoever asks.
func counter() func() int {
	var lock sync.Mutex
	count := -1
	return func() int {
		lock.Lock()
		defer lock.Unlock()
		count++
		return count
	}
}

// Seen notes when a watch of our own hears of objects: what the API server takes for itself.
type Seen struct {
	lock  sync.Mutex
	times map[string]time.Time
}

// Watch begins to note the objects of a collection that are added from now on.
func (c *Cluster) Watch(ctx context.Context, t *testing.T, path string) *Seen {
	t.Helper()
	list, err := c.Call(http.MethodGet, path+"?limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	version := list["metadata"].(Object)["resourceVersion"].(string)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+path+"?watch=true&resourceVersion="+version, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	s := &Seen{times: map[string]time.Time{}}
	go func() {
		defer response.Body.Close()
		var event struct {
			Type   string
			Object struct{ Metadata struct{ Name string } }
		}
		for decoder := json.NewDecoder(response.Body); decoder.Decode(&event) == nil; {
			if event.Type == "ADDED" {
				s.lock.Lock()
				s.times[event.Object.Metadata.Name] = time.Now()
				s.lock.Unlock()
			}
		}
	}()
	return s
}

// At waits until the watch has heard of an object, and says when that was.
func (s *Seen) At(t *testing.T, name string) time.Time {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.lock.Lock()
		at, ok := s.times[name]
		s.lock.Unlock()
		if ok {
			return at
		}
	}
	t.Fatalf("the API server does not tell of %s", name)
	return time.Time{}
}

// Field follows names and indexes into an object; nil where it ends.
func Field(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, _ := value.(Object)
			value = fields[step]
		case int:
			items, _ := value.([]any)
			if step >= len(items) {
				return nil
			}
			value = items[step]
		}
	}
	return value
}

// Condition is the status of one of an object's conditions.
func Condition(conditions any, kind string) string {
	items, _ := conditions.([]any)
	for _, it := range items {
		if Field(it, "type") == kind {
			return fmt.Sprint(Field(it, "status"))
		}
	}
	return ""
}

// Eventually waits until something holds.
func Eventually(t *testing.T, what string, patience time.Duration, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// StatusWrites adds up what the controller's replicas have written.
func (c *Cluster) StatusWrites(t *testing.T) (done, others int) {
	t.Helper()
	pods, err := c.Call(http.MethodGet, "/api/v1/namespaces/pailou-system/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	items, _ := pods["items"].([]any)
	for _, pod := range items {
		response, err := http.Get(fmt.Sprintf("http://%v:15000/metrics", Field(pod, "status", "podIP")))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var count int
			if labels, ok := strings.CutPrefix(line, "pailou_controller_status_writes_total"); ok {
				name, value, _ := strings.Cut(labels, " ")
				fmt.Sscan(value, &count)
				if strings.Contains(name, `"done"`) {
					done += count
				} else {
					others += count
				}
			}
		}
	}
	return done, others
}
