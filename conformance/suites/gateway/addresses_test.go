package gateway

import (
	"flag"
	"net/http"
	"slices"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

// What the official suite has no tests of: GatewayAddressRoutability and GatewayAddressRoutabilityCluster.
func TestAddressRoutability(t *testing.T) {
	cluster := lab.Connect(t)
	if !claims(t, cluster, "GatewayAddressRoutabilityCluster") {
		t.Skip("the class does not claim it")
	}
	const namespace = "/api/v1/namespaces/routability"
	cluster.Create(t, "/api/v1/namespaces", lab.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": lab.Object{"name": "routability"}})
	defer cluster.Call(http.MethodDelete, namespace, nil)

	t.Run("WithinTheCluster", func(t *testing.T) {
		status := ask(t, cluster, "within", "True", lab.Object{"routability": "Cluster"})
		found := addresses(t, status)
		service := serviceOf(t, cluster, "within")
		if len(found) != 1 || found[0].routability != "Cluster" || found[0].value != lab.Field(service, "spec", "clusterIP") {
			t.Errorf("%v, and not the ClusterIP %v alone", found, lab.Field(service, "spec", "clusterIP"))
		}
		if kind := lab.Field(service, "spec", "type"); kind != "ClusterIP" {
			t.Errorf("its Service is a %v, which others can reach too", kind)
		}
		answers(t, found)
	})
	t.Run("WithinAndWithout", func(t *testing.T) {
		status := ask(t, cluster, "both", "True", lab.Object{"type": "IPAddress"}, lab.Object{"routability": "Cluster"})
		found := addresses(t, status)
		scopes := []string{}
		for _, address := range found {
			scopes = append(scopes, address.routability)
		}
		if !slices.Equal(scopes, []string{"", "Cluster"}) || found[0].value == found[1].value {
			t.Errorf("%v, and not one of each", found)
		}
		answers(t, found)
	})
	t.Run("OneOfTwo", func(t *testing.T) {
		status := ask(t, cluster, "one", "False", lab.Object{"routability": "Cluster"}, lab.Object{"routability": "example.com/Wan"})
		found := addresses(t, status)
		if len(found) != 1 || reason(status, "AddressesAssigned") != "PartiallyAssigned" {
			t.Errorf("%v, %v", found, status)
		}
		answers(t, found)
	})
	t.Run("NotAsAsked", func(t *testing.T) {
		status := ask(t, cluster, "unknown", "False", lab.Object{"routability": "testing.x-k8s.io/other"})
		if found := addresses(t, status); len(found) != 0 {
			t.Errorf("%v are there in place of what was asked for", found)
		}
		if reason(status, "AddressesAssigned") != "NotAssigned" || reason(status, "Programmed") != "AddressNotAssigned" {
			t.Errorf("its conditions are %v", lab.Field(status, "conditions"))
		}
	})
	t.Run("ForTestsAlone", func(t *testing.T) {
		status := ask(t, cluster, "sentinel", "True", lab.Object{"routability": "testing.x-k8s.io/sentinel"})
		if found := addresses(t, status); len(found) != 1 || found[0].routability != "testing.x-k8s.io/sentinel" {
			t.Errorf("%v", found)
		}
	})
	t.Run("NotAsked", func(t *testing.T) {
		found := addresses(t, ask(t, cluster, "any", "True"))
		if len(found) == 0 {
			t.Error("it has no address")
		}
		answers(t, found)
	})
}

// class is the one that the official suite is told of.
func class() string { return flag.Lookup("gateway-class").Value.String() }

// claims says whether the class lists a feature, once it has been looked at.
func claims(t *testing.T, cluster *lab.Cluster, feature string) bool {
	t.Helper()
	var found any
	lab.Eventually(t, "the class is accepted", time.Minute, func() bool {
		found = cluster.Get("/apis/gateway.networking.k8s.io/v1/gatewayclasses/" + class())
		return lab.Condition(lab.Field(found, "status", "conditions"), "Accepted") == "True"
	})
	features, _ := lab.Field(found, "status", "supportedFeatures").([]any)
	return slices.ContainsFunc(features, func(it any) bool { return lab.Field(it, "name") == feature })
}

// ask makes a Gateway that asks for addresses, and waits until its status says whether it has them all.
func ask(t *testing.T, cluster *lab.Cluster, name, assigned string, wanted ...lab.Object) (status any) {
	t.Helper()
	const gateways = "/apis/gateway.networking.k8s.io/v1/namespaces/routability/gateways"
	listener := lab.Object{"name": "http", "protocol": "HTTP", "port": 8080}
	cluster.Create(t, gateways, lab.Object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": lab.Object{"name": name},
		"spec": lab.Object{"gatewayClassName": class(), "addresses": wanted, "listeners": []any{listener}},
	})
	lab.Eventually(t, "AddressesAssigned of "+name+" is "+assigned, time.Minute, func() bool {
		status = lab.Field(cluster.Get(gateways+"/"+name), "status")
		return lab.Condition(lab.Field(status, "conditions"), "AddressesAssigned") == assigned &&
			// A load balancer takes its time.
			(len(wanted) < 2 || lab.Field(status, "addresses", 0) != nil)
	})
	return status
}

type address struct{ value, routability string }

// addresses are those of a status; each has to say from where it is reached.
func addresses(t *testing.T, status any) (found []address) {
	t.Helper()
	all, _ := lab.Field(status, "addresses").([]any)
	for _, it := range all {
		value, _ := lab.Field(it, "value").(string)
		routability, said := lab.Field(it, "routability").(string)
		if !said {
			t.Errorf("%v does not say from where it is reached", it)
		}
		found = append(found, address{value, routability})
	}
	return found
}

func reason(status any, kind string) any {
	conditions, _ := lab.Field(status, "conditions").([]any)
	for _, it := range conditions {
		if lab.Field(it, "type") == kind {
			return lab.Field(it, "reason")
		}
	}
	return nil
}

func serviceOf(t *testing.T, cluster *lab.Cluster, gateway string) any {
	t.Helper()
	list := cluster.Get("/api/v1/namespaces/routability/services?labelSelector=gateway.networking.k8s.io/gateway-name%3D" + gateway)
	items, _ := list["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("%d Services of Gateway %s", len(items), gateway)
	}
	return items[0]
}

// answers wants a proxy behind each address: one that has no route.
func answers(t *testing.T, found []address) {
	t.Helper()
	for _, it := range found {
		lab.Endpoint("http://"+it.value+":8080").Await(t, lab.Request{Host: "any.test", Path: "/"}, http.StatusNotFound)
	}
}
