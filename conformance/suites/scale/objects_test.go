package scale

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

type object = lab.Object

// version is that of Gateway API's kinds.
const version = "gateway.networking.k8s.io/v1"

// perService is how many endpoints a Service has whose endpoints come and go.
const perService = 10

func churning() int { return max(1, *endpoints/perService) }

// install makes a server, Services that lead to it, Services whose endpoints come and go, and a Gateway; it gives the address.
func install(t *testing.T, c *lab.Cluster) string {
	t.Helper()
	c.Create(t, "/api/v1/namespaces", object{"metadata": object{"name": "scale"}})
	server := startServer(t, c, core)
	service := func(name string) object {
		return object{"metadata": object{"name": name}, "spec": object{"ports": []any{object{"port": 80, "targetPort": 8000}}}}
	}
	c.CreateAll(t, core+"services", *services, func(i int) object { return service(fmt.Sprintf("s%d", i)) })
	c.CreateAll(t, slice, *services, func(i int) object { return sliceOf(fmt.Sprintf("s%d", i), server) })
	c.CreateAll(t, core+"services", churning(), func(i int) object { return service(fmt.Sprintf("churn%d", i)) })
	c.CreateAll(t, slice, churning(), func(i int) object { return churnSlice(i, 0) })
	c.Create(t, gateway+"gateways", object{
		"apiVersion": version, "kind": "Gateway",
		"metadata": object{"name": "scale"},
		"spec": object{
			"gatewayClassName": "pailou",
			"listeners":        []any{object{"name": "http", "protocol": "HTTP", "port": port}},
			"allowedListeners": object{"namespaces": object{"from": "Same"}},
		},
	})
	c.CreateAll(t, gateway+"httproutes", churning(), func(i int) object {
		name := fmt.Sprintf("churn%d", i)
		return routeTo(object{"name": "scale"}, name, name+".example.com", name)
	})
	var address string
	lab.Eventually(t, "the Gateway is programmed", 2*time.Minute, func() bool {
		it, err := c.Call(http.MethodGet, gateway+"gateways/scale", nil)
		address, _ = lab.Field(it, "status", "addresses", 0, "value").(string)
		return err == nil && lab.Condition(lab.Field(it, "status", "conditions"), "Programmed") == "True"
	})
	return address
}

// startServer makes a pod that answers, and gives its address.
func startServer(t *testing.T, c *lab.Cluster, namespace string) (server string) {
	t.Helper()
	labels := object{"app": "server"}
	c.Create(t, namespace+"pods", object{
		"metadata": object{"name": "server", "labels": labels},
		"spec":     serverSpec(),
	})
	lab.Eventually(t, "the server is ready", time.Minute, func() bool {
		pod, err := c.Call(http.MethodGet, namespace+"pods/server", nil)
		server, _ = lab.Field(pod, "status", "podIP").(string)
		return err == nil && lab.Condition(lab.Field(pod, "status", "conditions"), "Ready") == "True"
	})
	return server
}

func serverSpec() object {
	return object{"containers": []any{object{
		"name": "server", "image": *image, "args": []any{"sim", "--listen", "0.0.0.0:8000"},
		"readinessProbe": object{"httpGet": object{"path": "/health", "port": 8000}, "periodSeconds": 1},
	}}}
}

func sliceOf(service string, addresses ...string) object {
	ready := object{"ready": true}
	var list []any
	for _, it := range addresses {
		list = append(list, object{"addresses": []any{it}, "conditions": ready})
	}
	return object{
		"metadata":    object{"name": service, "labels": object{"kubernetes.io/service-name": service}},
		"addressType": "IPv4", "endpoints": list, "ports": []any{object{"port": 8000}},
	}
}

// churnSlice has other addresses in every round. Nobody is there, and nobody is sent there.
func churnSlice(service, round int) object {
	var addresses []string
	for i := range perService {
		addresses = append(addresses, fmt.Sprintf("203.0.%d.%d", service%200, 1+(round%20)*perService+i))
	}
	return sliceOf(fmt.Sprintf("churn%d", service), addresses...)
}

func listenerSet(i int) object {
	return object{
		"apiVersion": version, "kind": "ListenerSet",
		"metadata": object{"name": fmt.Sprintf("set%d", i)},
		"spec": object{
			"parentRef": object{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "scale"},
			"listeners": []any{object{"name": "http", "protocol": "HTTP", "port": port, "hostname": fmt.Sprintf("*.set%d.example.com", i)}},
		},
	}
}

// host is the name that the i-th route is for.
func host(name string, i int) string {
	if *sets > 0 {
		return fmt.Sprintf("%s.set%d.example.com", name, i%*sets)
	}
	return name + ".example.com"
}

func route(name string, i int) object {
	parent := object{"name": "scale"}
	if *sets > 0 {
		parent = object{"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": fmt.Sprintf("set%d", i%*sets)}
	}
	return routeTo(parent, name, host(name, i), fmt.Sprintf("s%d", i%*services))
}

func routeTo(parent object, name, host, service string) object {
	return object{
		"apiVersion": version, "kind": "HTTPRoute",
		"metadata": object{"name": name},
		"spec": object{
			"parentRefs": []any{parent},
			"hostnames":  []any{host},
			"rules":      []any{object{"backendRefs": []any{object{"name": service, "port": 80}}}},
		},
	}
}
