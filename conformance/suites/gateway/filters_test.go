package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kinds "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"pailou.dev/conformance/lab"
)

const filtered = "filters" // the namespace

// What the official suite has no tests of: GatewayListenerFilters. Authorization servers are real ones of ext_authz, in this process;
// what was routed is seen by redirects.
func TestListenerFilters(t *testing.T) {
	cluster := lab.Connect(t)
	if !claims(t, cluster, "GatewayListenerFilters") {
		t.Skip("the class does not claim it")
	}
	cluster.Create(t, "/api/v1/namespaces", lab.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": lab.Object{"name": filtered}})
	defer cluster.Call(http.MethodDelete, "/api/v1/namespaces/"+filtered, nil)
	var denied, counted atomic.Int32
	serve(t, "tenant", func(*auth.CheckRequest) *auth.CheckResponse { return allowing("x-tenant", "one", "host", "evil.test") })
	serve(t, "again", func(asked *auth.CheckRequest) *auth.CheckResponse {
		return allowing("x-tenant", asked.GetAttributes().GetRequest().GetHttp().GetHeaders()["x-tenant"]+"-again")
	})
	serve(t, "deny", func(*auth.CheckRequest) *auth.CheckResponse {
		denied.Add(1)
		return denying(kinds.StatusCode_Unauthorized, "who are you?")
	})
	serve(t, "count", func(*auth.CheckRequest) *auth.CheckResponse {
		counted.Add(1)
		return allowing()
	})

	t.Run("RoutesByWhatTheFilterSays", func(t *testing.T) {
		routed := gatewayWith(t, "one", asking("tenant"))
		routed(t, "/", "x-tenant", "other").wants(t, http.StatusFound, "one.test")
	})
	t.Run("InTheirOrder", func(t *testing.T) {
		gatewayWith(t, "ordered", asking("tenant"), asking("again"))(t, "/").wants(t, http.StatusFound, "one-again.test")
		gatewayWith(t, "reversed", asking("again"), asking("tenant"))(t, "/").wants(t, http.StatusFound, "one.test")
	})
	t.Run("ARefusalEndsIt", func(t *testing.T) {
		answer := gatewayWith(t, "refused", asking("deny"), asking("count"))(t, "/")
		answer.wants(t, http.StatusUnauthorized, "")
		if !strings.Contains(answer.body, "who are you?") || denied.Load() == 0 || counted.Load() != 0 {
			t.Errorf("%q; asked %d times, and %d times after that", answer.body, denied.Load(), counted.Load())
		}
	})
	t.Run("AReferenceToNothing", func(t *testing.T) {
		create(t, "absent", "HTTP", asking("nobody"))
		lab.Eventually(t, "ResolvedRefs says that it leads nowhere", time.Minute, func() bool {
			return listener(cluster, "absent", "ResolvedRefs") == "False/InvalidListenerFilterRef" && strings.HasPrefix(listener(cluster, "absent", "Programmed"), "False/")
		})
		serve(t, "nobody", func(*auth.CheckRequest) *auth.CheckResponse { return allowing() })
		lab.Eventually(t, "it leads somewhere", time.Minute, func() bool { return listener(cluster, "absent", "Programmed") == "True/Programmed" })
	})
	t.Run("AReferenceToAnotherNamespace", func(t *testing.T) {
		foreign := asking("tenant")
		foreign["externalAuth"].(lab.Object)["backendRef"].(lab.Object)["namespace"] = "default"
		create(t, "foreign", "HTTP", foreign)
		lab.Eventually(t, "it is not permitted", time.Minute, func() bool { return listener(cluster, "foreign", "ResolvedRefs") == "False/RefNotPermitted" })
	})
	t.Run("AFilterThatIsNotSupported", func(t *testing.T) {
		create(t, "unsupported", "HTTP", lab.Object{"type": "ExtensionRef", "extensionRef": lab.Object{"group": "example.com", "kind": "Own", "name": "own"}})
		lab.Eventually(t, "the listener is refused", time.Minute, func() bool { return listener(cluster, "unsupported", "Accepted") == "False/UnsupportedValue" })
	})
	t.Run("AProtocolWithoutRequests", func(t *testing.T) {
		if _, err := cluster.Call(http.MethodPost, gateways, object("tcp", "TCP", asking("tenant"))); err == nil {
			t.Error("a TCP listener with filters is let in")
		}
	})
}

const gateways = "/apis/gateway.networking.k8s.io/v1/namespaces/" + filtered + "/gateways"

func asking(service string) lab.Object {
	backend := lab.Object{"name": service, "port": 9000}
	return lab.Object{"type": "ExternalAuth", "externalAuth": lab.Object{"protocol": "GRPC", "grpc": lab.Object{}, "backendRef": backend}}
}

func object(name, protocol string, filters ...lab.Object) lab.Object {
	listener := lab.Object{"name": "http", "protocol": protocol, "port": 8080, "filters": lab.Object{"requests": filters}}
	return lab.Object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": lab.Object{"name": name},
		"spec": lab.Object{"gatewayClassName": class(), "listeners": []any{listener}},
	}
}

func create(t *testing.T, name, protocol string, filters ...lab.Object) {
	t.Helper()
	lab.Connect(t).Create(t, gateways, object(name, protocol, filters...))
}

// gatewayWith makes a Gateway with filters, whose routes redirect by X-Tenant, and gives who asks it.
func gatewayWith(t *testing.T, name string, filters ...lab.Object) func(t *testing.T, path string, header ...string) answer {
	t.Helper()
	cluster := lab.Connect(t)
	create(t, name, "HTTP", filters...)
	rules := []any{}
	for _, tenant := range []string{"one", "one-again", "other"} {
		redirect := lab.Object{"type": "RequestRedirect", "requestRedirect": lab.Object{"hostname": tenant + ".test"}}
		matches := []any{lab.Object{"headers": []any{lab.Object{"name": "x-tenant", "value": tenant}}}}
		rules = append(rules, lab.Object{"matches": matches, "filters": []any{redirect}})
	}
	cluster.Create(t, "/apis/gateway.networking.k8s.io/v1/namespaces/"+filtered+"/httproutes", lab.Object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": lab.Object{"name": name},
		"spec": lab.Object{"parentRefs": []any{lab.Object{"name": name}}, "hostnames": []any{"own.test"}, "rules": rules},
	})
	at := lab.Programmed(t, filtered, name)
	return func(t *testing.T, path string, header ...string) answer {
		t.Helper()
		var found answer
		// The route may come after the listener, and the server's endpoint after both.
		lab.Eventually(t, "it is answered", time.Minute, func() bool {
			var err error
			found, err = askOnce(at, path, header...)
			return err == nil && found.status != http.StatusNotFound && found.status != http.StatusServiceUnavailable
		})
		return found
	}
}

type answer struct {
	status         int
	location, body string
}

func (a answer) wants(t *testing.T, status int, host string) {
	t.Helper()
	if a.status != status || (host != "" && !strings.Contains(a.location, "//"+host+":8080/")) {
		t.Errorf("answered %d to %q: %s", a.status, a.location, a.body)
	}
}

func askOnce(at lab.Endpoint, path string, header ...string) (answer, error) {
	call, err := http.NewRequest(http.MethodGet, string(at)+path, nil)
	if err != nil {
		return answer{}, err
	}
	call.Host = "own.test"
	for i := 0; i+1 < len(header); i += 2 {
		call.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(call)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header.Get("location"), string(body)}, err
}

func listener(cluster *lab.Cluster, gateway, kind string) string {
	status := lab.Field(cluster.Get(gateways+"/"+gateway), "status", "listeners", 0)
	return fmt.Sprintf("%s/%v", lab.Condition(lab.Field(status, "conditions"), kind), reason(status, kind))
}

// check is an authorization server.
type check func(*auth.CheckRequest) *auth.CheckResponse

func (c check) Check(_ context.Context, asked *auth.CheckRequest) (*auth.CheckResponse, error) {
	return c(asked), nil
}

// serve serves an authorization server as a Service.
func serve(t *testing.T, service string, decide check) {
	t.Helper()
	lab.ServeGRPC(t, filtered, service, func(server *grpc.Server) { auth.RegisterAuthorizationServer(server, decide) })
}

// allowing consents, and sets headers.
func allowing(headers ...string) *auth.CheckResponse {
	changes := &auth.OkHttpResponse{}
	for i := 0; i+1 < len(headers); i += 2 {
		header := &core.HeaderValue{Key: headers[i], Value: headers[i+1]}
		changes.Headers = append(changes.Headers, &core.HeaderValueOption{Header: header})
	}
	return &auth.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: changes}}
}

func denying(code kinds.StatusCode, body string) *auth.CheckResponse {
	denied := &auth.DeniedHttpResponse{Status: &kinds.HttpStatus{Code: code}, Body: body}
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(codes.Unauthenticated)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
}
