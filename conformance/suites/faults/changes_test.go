package faults

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

// conflictStorm has somebody else write to the same statuses all the time.
func conflictStorm(t *testing.T, c *lab.Cluster, g *gateway) {
	c.Create(t, routes, route("storm", "server"))
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var written atomic.Int64
	for _, path := range []string{routes + "storm/status", gateways + "faults/status"} {
		writers.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				it := c.Get(path)
				if it == nil {
					continue
				}
				status, _ := it["status"].(lab.Object)
				if status == nil {
					status = lab.Object{}
				}
				status["conditions"], status["parents"] = theirs(status["conditions"], round), theirEntry(status["parents"], round)
				if path == routes+"storm/status" {
					delete(status, "conditions")
				} else {
					delete(status, "parents")
				}
				it["status"] = status
				if _, err := c.Call(http.MethodPut, path, it); err == nil {
					written.Add(1)
				}
			}
		})
	}
	for round := range 20 {
		hosts := []any{"storm.example.com", fmt.Sprintf("storm-%d.example.com", round)}
		c.Patch(t, routes+"storm", lab.Object{"spec": lab.Object{"hostnames": hosts}})
		time.Sleep(300 * time.Millisecond)
	}
	lab.Eventually(t, "our entry is right amid the storm", time.Minute, func() bool {
		it := c.Get(routes + "storm")
		mine := accepted(lab.Field(it, "status", "parents"))
		return len(mine) == 1 && mine[0] == lab.Field(it, "metadata", "generation")
	})
	g.await(t, "storm-19.example.com", http.StatusOK)
	stop()
	writers.Wait()
	if written.Load() < 50 {
		t.Errorf("no storm: the other writer wrote %d times", written.Load())
	}
	it := c.Get(routes + "storm")
	if parents, _ := lab.Field(it, "status", "parents").([]any); len(parents) != 2 {
		t.Errorf("both entries should be there: %v", parents)
	}
	if lab.Condition(lab.Field(c.Get(gateways+"faults"), "status", "conditions"), "example.com/Seen") != "True" {
		t.Error("the other writer's condition of the Gateway is lost")
	}
}

func theirCondition(round int) lab.Object {
	return lab.Object{
		"type": "example.com/Seen", "status": "True", "reason": "Seen", "message": fmt.Sprint(round),
		"lastTransitionTime": "2026-01-01T00:00:00Z",
	}
}

func theirs(conditions any, round int) []any {
	items, _ := conditions.([]any)
	all := []any{theirCondition(round)}
	for _, it := range items {
		if lab.Field(it, "type") != "example.com/Seen" {
			all = append(all, it)
		}
	}
	return all
}

func theirEntry(parents any, round int) []any {
	items, _ := parents.([]any)
	all := []any{lab.Object{
		"parentRef": lab.Object{"name": "faults"}, "controllerName": "example.com/other", "conditions": []any{theirCondition(round)},
	}}
	for _, it := range items {
		if lab.Field(it, "controllerName") != "example.com/other" {
			all = append(all, it)
		}
	}
	return all
}

// secretRotated replaces a listener's certificate while clients connect anew for each request.
func secretRotated(t *testing.T, c *lab.Cluster, g *gateway) {
	roots := x509.NewCertPool()
	secret := func() lab.Object {
		certificate, key, parsed := selfSigned(t, "tls.example.com")
		roots.AddCert(parsed)
		encode := base64.StdEncoding.EncodeToString
		return lab.Object{
			"metadata": lab.Object{"name": "tls"}, "type": "kubernetes.io/tls",
			"data": lab.Object{"tls.crt": encode(certificate), "tls.key": encode(key)},
		}
	}
	first, second := secret(), secret()
	c.Create(t, "/api/v1/namespaces/faults/secrets", first)
	listeners := c.Get(gateways + "faults")["spec"].(lab.Object)["listeners"].([]any)
	https := lab.Object{
		"name": "https", "protocol": "HTTPS", "port": 8443,
		"tls": lab.Object{"certificateRefs": []any{lab.Object{"name": "tls"}}},
	}
	c.Patch(t, gateways+"faults", lab.Object{"spec": lab.Object{"listeners": append(listeners, https)}})
	var last atomic.Value
	call := func() error {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "tls.example.com"}, DisableKeepAlives: true}
		request, err := http.NewRequest(http.MethodGet, "https://"+g.address+":8443/v1/models", nil)
		if err != nil {
			return err
		}
		request.Host = "r.example.com"
		answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
		if err != nil {
			return err
		}
		answer.Body.Close()
		last.Store(answer.TLS.PeerCertificates[0].SerialNumber.String())
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %d", answer.StatusCode)
		}
		return nil
	}
	lab.Eventually(t, "the listener serves", time.Minute, func() bool { return call() == nil })
	before := last.Load()
	load := begin(t, call)
	if _, err := c.Call(http.MethodPut, "/api/v1/namespaces/faults/secrets/tls", second); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the new certificate is shown", time.Minute, func() bool { return last.Load() != before })
	time.Sleep(time.Second)
	load.stop(t)
}

func selfSigned(t *testing.T, name string) (certificate, key []byte, parsed *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	block := func(kind string, bytes []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8), parsed
}

// definitionDeleted takes away the definition of a kind that is in use, first of one that others do not need, then of the routes.
func definitionDeleted(t *testing.T, c *lab.Cluster, g *gateway) {
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
	const policies = "/apis/gateway.envoyproxy.io/v1alpha1/namespaces/faults/backendtrafficpolicies/"
	again := func(name string) (create func()) {
		definition := c.Get(definitions + name)
		if definition == nil {
			t.Fatalf("there is no %s", name)
		}
		definition["metadata"] = lab.Object{"name": name, "annotations": lab.Field(definition, "metadata", "annotations")}
		delete(definition, "status")
		if _, err := c.Call(http.MethodDelete, definitions+name, nil); err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, name+" is gone", time.Minute, func() bool { return c.Get(definitions+name) == nil })
		return func() {
			c.Create(t, definitions, definition)
			lab.Eventually(t, name+" is served again", time.Minute, func() bool {
				return lab.Condition(lab.Field(c.Get(definitions+name), "status", "conditions"), "Established") == "True"
			})
		}
	}
	policy := func(name string) lab.Object {
		target := lab.Object{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}
		return lab.Object{
			"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "BackendTrafficPolicy", "metadata": lab.Object{"name": name},
			"spec": lab.Object{"targetRefs": []any{target}, "timeout": lab.Object{"http": lab.Object{"requestTimeout": "20s"}}},
		}
	}
	said := func(name string) func() bool {
		return func() bool { return lab.Field(c.Get(policies+name), "status", "ancestors", 0) != nil }
	}
	load := g.load(t)
	c.Create(t, policies, policy("first"))
	lab.Eventually(t, "the policy is applied", time.Minute, said("first"))
	create := again("backendtrafficpolicies.gateway.envoyproxy.io")
	time.Sleep(2 * time.Second)
	create()
	lab.Eventually(t, "a policy can be made", time.Minute, func() bool {
		_, err := c.Call(http.MethodPost, policies, policy("second"))
		return err == nil
	})
	lab.Eventually(t, "the policy is applied", time.Minute, said("second"))
	load.stop(t)

	create = again("httproutes.gateway.networking.k8s.io")
	g.await(t, "r.example.com", http.StatusNotFound)
	create()
	lab.Eventually(t, "a route can be made", time.Minute, func() bool {
		_, err := c.Call(http.MethodPost, routes, route("r", "server"))
		return err == nil
	})
	g.await(t, "r.example.com", http.StatusOK)
}

// rollingUpgrade replaces the controllers and then the data plane, while short requests and a long stream are under way.
func rollingUpgrade(t *testing.T, c *lab.Cluster, g *gateway) {
	load := g.load(t)
	stream := g.stream(t)
	restart(t, c, controllers)
	restart(t, c, g.deployment)
	time.Sleep(2 * time.Second)
	load.stop(t)
	if err := stream(); err != nil {
		t.Errorf("the stream that was under way: %v", err)
	}
	c.Create(t, routes, route("upgraded", "server"))
	g.await(t, "upgraded.example.com", http.StatusOK)
}
