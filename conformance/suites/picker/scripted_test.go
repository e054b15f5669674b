package picker

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	kinds "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"pailou.dev/conformance/lab"
)

// Headers that tell a scripted picker what to do.
const (
	pickHeader   = "X-Pick"
	refuseHeader = "X-Refuse" // at which of the stages below the request is answered 429
)

const (
	atRequest      = "request"
	atResponse     = "response"
	amidItsBody    = "body"
	endpointHeader = "x-gateway-destination-endpoint"
	evicted        = "evicted for a more important one"
)

// serveScripted serves a picker that does as each request says: neither the reference picker nor ours refuses what is being answered.
func serveScripted(t *testing.T) {
	t.Helper()
	lab.ServeGRPC(t, namespace, "scripted-epp", func(server *grpc.Server) { proc.RegisterExternalProcessorServer(server, script{}) })
	lab.Apply(t, "testdata/scripted.yaml", *image)
}

// refuses sends requests that a scripted picker refuses at each stage, through whatever asks it.
func refuses(t *testing.T, g *gateway, to lab.Endpoint) {
	name := g.names()[0]
	call := func(stage string) lab.Request {
		call := chat("scripted.test", "tell")
		call.Body = strings.Replace(call.Body, "{", `{"stream":true,`, 1)
		call.Header = http.Header{pickHeader: {g.engines[name] + ":8000"}, refuseHeader: {stage}}
		return call
	}
	to.Await(t, call("nowhere"), http.StatusOK)
	for _, stage := range []string{atRequest, atResponse} {
		answer := to.Send(t, call(stage))
		if answer.Wants(t, http.StatusTooManyRequests); string(answer.Body) != evicted {
			t.Errorf("at the %s: answered %q", stage, answer.Body)
		}
	}
	// The engine has more to say when it is cut off.
	clear := fault(t, g.engines[name], `{"kind":"stall","after_chunks":5,"path":"/v1/"}`)
	answer, err := to.Try(call(amidItsBody))
	clear()
	if text := string(answer.Body); err == nil || answer.Status != http.StatusOK || !strings.HasPrefix(text, "data:") || strings.Contains(text, evicted) {
		t.Errorf("%v: answered %d, %q; that has to break off", err, answer.Status, text)
	}
	to.Await(t, call("nowhere"), http.StatusOK)
}

type script struct{}

func (script) Process(stream proc.ExternalProcessor_ProcessServer) error {
	var asked http.Header
	for {
		message, err := stream.Recv()
		if err != nil {
			return nil // it has no more to ask
		}
		for _, answer := range answers(message, &asked) {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
}

// answers are those to one message of a request with these headers, which come first.
func answers(message *proc.ProcessingRequest, asked *http.Header) []*proc.ProcessingResponse {
	refusal := &proc.ProcessingResponse{Response: &proc.ProcessingResponse_ImmediateResponse{ImmediateResponse: &proc.ImmediateResponse{
		Status: &kinds.HttpStatus{Code: kinds.StatusCode_TooManyRequests}, Body: []byte(evicted),
	}}}
	stage := asked.Get(refuseHeader)
	switch part := message.Request.(type) {
	case *proc.ProcessingRequest_RequestHeaders:
		*asked = headers(part.RequestHeaders)
		if asked.Get(refuseHeader) == atRequest {
			return []*proc.ProcessingResponse{refusal}
		}
		return []*proc.ProcessingResponse{choosing(asked.Get(pickHeader))}
	case *proc.ProcessingRequest_RequestBody:
		return []*proc.ProcessingResponse{{Response: &proc.ProcessingResponse_RequestBody{RequestBody: back(part.RequestBody)}}}
	case *proc.ProcessingRequest_RequestTrailers:
		return []*proc.ProcessingResponse{{Response: &proc.ProcessingResponse_RequestTrailers{RequestTrailers: &proc.TrailersResponse{}}}}
	case *proc.ProcessingRequest_ResponseHeaders:
		if stage == atResponse {
			return []*proc.ProcessingResponse{refusal}
		}
		return []*proc.ProcessingResponse{{Response: &proc.ProcessingResponse_ResponseHeaders{ResponseHeaders: &proc.HeadersResponse{}}}}
	case *proc.ProcessingRequest_ResponseBody:
		piece := &proc.ProcessingResponse{Response: &proc.ProcessingResponse_ResponseBody{ResponseBody: back(part.ResponseBody)}}
		if stage == amidItsBody {
			return []*proc.ProcessingResponse{piece, refusal}
		}
		return []*proc.ProcessingResponse{piece}
	case *proc.ProcessingRequest_ResponseTrailers:
		return []*proc.ProcessingResponse{{Response: &proc.ProcessingResponse_ResponseTrailers{ResponseTrailers: &proc.TrailersResponse{}}}}
	}
	return nil
}

func headers(told *proc.HttpHeaders) http.Header {
	found := http.Header{}
	for _, header := range told.GetHeaders().GetHeaders() {
		found.Set(header.GetKey(), header.GetValue()+string(header.GetRawValue()))
	}
	return found
}

// choosing names an endpoint in both places that a picker has to.
func choosing(endpoint string) *proc.ProcessingResponse {
	header := &core.HeaderValueOption{Header: &core.HeaderValue{Key: endpointHeader, RawValue: []byte(endpoint)}}
	metadata, err := structpb.NewStruct(map[string]any{"envoy.lb": map[string]any{endpointHeader: endpoint}})
	if err != nil {
		panic(fmt.Sprint("an endpoint that is no text: ", err))
	}
	response := &proc.CommonResponse{ClearRouteCache: true, HeaderMutation: &proc.HeaderMutation{SetHeaders: []*core.HeaderValueOption{header}}}
	return &proc.ProcessingResponse{
		Response:        &proc.ProcessingResponse_RequestHeaders{RequestHeaders: &proc.HeadersResponse{Response: response}},
		DynamicMetadata: metadata,
	}
}

// back sends a piece of a body as it came.
func back(piece *proc.HttpBody) *proc.BodyResponse {
	streamed := &proc.StreamedBodyResponse{Body: piece.GetBody(), EndOfStream: piece.GetEndOfStream()}
	return &proc.BodyResponse{Response: &proc.CommonResponse{BodyMutation: &proc.BodyMutation{
		Mutation: &proc.BodyMutation_StreamedResponse{StreamedResponse: streamed},
	}}}
}
