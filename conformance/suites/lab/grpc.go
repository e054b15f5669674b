package lab

import (
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
)

// ServeGRPC serves gRPC in the clear, from this process, as a Service with port 9000 until the test ends.
func ServeGRPC(t *testing.T, namespace, service string, register func(*grpc.Server)) {
	t.Helper()
	cluster := Connect(t)
	socket, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	go func() {
		if err := server.Serve(socket); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}()
	t.Cleanup(server.Stop)
	node := Field(cluster.Get("/api/v1/nodes"), "items", 0, "status", "addresses", 0, "address")
	port := Object{"name": "grpc", "port": 9000, "appProtocol": "kubernetes.io/h2c"}
	cluster.Create(t, "/api/v1/namespaces/"+namespace+"/services", Object{
		"apiVersion": "v1", "kind": "Service", "metadata": Object{"name": service}, "spec": Object{"ports": []any{port}},
	})
	cluster.Create(t, "/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices", Object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  Object{"name": service, "labels": Object{"kubernetes.io/service-name": service}},
		"ports":     []any{Object{"name": "grpc", "port": socket.Addr().(*net.TCPAddr).Port}},
		"endpoints": []any{Object{"addresses": []any{node}, "conditions": Object{"ready": true}}},
	})
}
