use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream::poll_fn};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    one_pool,
    store::{Entry, Store},
};
use pailou_envoy_proto::{
    core,
    ext_proc::{
        BodySendMode, CommonResponse, HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse,
        ProtocolConfiguration, body_mutation::Mutation, processing_request::Request as Part,
        processing_response::Response as Answer,
    },
};
use pailou_extproc::names::SIDECAR_HEADERS;
use pailou_picker::MetricNames;
use prost::Message;
use tokio::{runtime::Handle, sync::mpsc};

use super::{Calls, Limits};
use crate::{EndpointPicker, conversation::Context};

const POOL: &str = "\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: p}
spec: {selector: {matchLabels: {app: e}}, targetPorts: [{number: 8000}]}
";
const ENGINE: &str = "\
---
apiVersion: v1
kind: Pod
metadata: {name: e, labels: {app: e}}
status: {podIP: 127.0.0.9, conditions: [{type: Ready, status: 'True'}]}
";

fn calls(objects: &str) -> Calls {
    let mut store = Store::new();
    for decoded in parse(objects.as_bytes(), "-", &NamespaceName::try_from("default").unwrap()).objects {
        store.upsert(Entry::new(decoded, "-".into())).unwrap();
    }
    let picker = Arc::new(EndpointPicker::new(&Handle::current(), MetricNames::default()));
    picker.update(one_pool(&store, None, ("default", "p"), None), None);
    Calls::new(picker, &Limits { max_body: 1 << 20, body_memory: 1 << 24, max_endpoints: 1 })
}

/// A proxy's side of a call.
struct Proxy {
    sender: Option<mpsc::UnboundedSender<Bytes>>,
    replies: http_body_util::BodyDataStream<tonic::body::Body>,
    buffer: BytesMut,
}

impl Proxy {
    async fn call(calls: &Calls) -> Self {
        let (sender, mut received) = mpsc::unbounded_channel();
        let body = StreamBody::new(
            poll_fn(move |context| received.poll_recv(context)).map(|piece| Ok::<_, Infallible>(Frame::data(piece))),
        );
        let request = Request::post("/").header("content-type", "application/grpc").body(body).unwrap();
        let response = calls.clone().answer(request).await;
        Self { sender: Some(sender), replies: response.into_body().into_data_stream(), buffer: BytesMut::new() }
    }

    fn send_message(&self, part: Part) {
        let config = ProtocolConfiguration {
            request_body_mode: BodySendMode::FullDuplexStreamed as i32,
            response_body_mode: BodySendMode::FullDuplexStreamed as i32,
            ..ProtocolConfiguration::default()
        };
        let message = ProcessingRequest { request: Some(part), protocol_config: Some(config), ..ProcessingRequest::default() };
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut frame).unwrap();
        self.sender.as_ref().unwrap().send(frame.freeze()).unwrap();
    }

    /// The next reply; `None` once the call has ended.
    async fn next(&mut self) -> Option<Answer> {
        loop {
            if let Some(mut rest) = self.buffer.get(1..).filter(|rest| rest.len() >= 4) {
                let length = usize::try_from(bytes::Buf::get_u32(&mut rest)).unwrap();
                if rest.len() >= length {
                    let message = self.buffer.split_to(5 + length).split_off(5).freeze();
                    return ProcessingResponse::decode(message).unwrap().response;
                }
            }
            self.buffer.extend_from_slice(&self.replies.next().await?.unwrap());
        }
    }
}

fn head(content_type: &str) -> Part {
    head_with(&[("content-type", content_type)])
}

fn head_with(more: &[(&'static str, &str)]) -> Part {
    let pairs = [(":path", "/v1/chat/completions")].into_iter().chain(more.iter().copied());
    let headers = pairs.map(|(name, value)| core::HeaderValue::new(name, value.to_owned())).collect();
    Part::RequestHeaders(HttpHeaders { headers: Some(core::HeaderMap { headers }), end_of_stream: false })
}

fn piece(body: &'static str, end_of_stream: bool) -> HttpBody {
    HttpBody { body: Bytes::from_static(body.as_bytes()), end_of_stream }
}

fn streamed(answer: Option<CommonResponse>) -> (Bytes, bool) {
    let Some(Mutation::StreamedResponse(piece)) = answer.unwrap().body_mutation.unwrap().mutation else { panic!("a piece") };
    (piece.body, piece.end_of_stream)
}

#[tokio::test]
async fn trailers_of_either_half_end_it_and_the_body_before_them_does_not() {
    let calls = calls(&format!("{POOL}{ENGINE}"));
    let mut proxy = Proxy::call(&calls).await;
    proxy.send_message(head("application/json"));
    proxy.send_message(Part::RequestBody(piece(r#"{"model":"m"}"#, false)));
    proxy.send_message(Part::RequestTrailers(HttpTrailers::default()));
    let Some(Answer::RequestHeaders(_)) = proxy.next().await else { panic!("the choice") };
    let Some(Answer::RequestBody(body)) = proxy.next().await else { panic!("the body") };
    assert_eq!(streamed(body.response), (r#"{"model":"m"}"#.into(), false));
    let Some(Answer::RequestTrailers(_)) = proxy.next().await else { panic!("the trailers") };
    proxy.send_message(Part::ResponseHeaders(HttpHeaders::default()));
    proxy.send_message(Part::ResponseBody(piece("answer", false)));
    proxy.send_message(Part::ResponseTrailers(HttpTrailers::default()));
    let Some(Answer::ResponseHeaders(_)) = proxy.next().await else { panic!("the response's headers") };
    let Some(Answer::ResponseBody(body)) = proxy.next().await else { panic!("the response's body") };
    assert_eq!(streamed(body.response), ("answer".into(), false));
    let Some(Answer::ResponseTrailers(_)) = proxy.next().await else { panic!("the response's trailers") };
    proxy.sender = None;
    assert_eq!(proxy.next().await, None);
}

/// `{"model":"m"}` by `gzip -n`.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV\xca\xcdOI\xcdQ\xb2R\xcaU\xaa\x05\0\x9bl\xba\xaa\x0d\0\0\0";
const REWRITE: &str = "\
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec:
  poolRef: {group: inference.networking.k8s.io, kind: InferencePool, name: p}
  rules: [{matches: [{model: {value: m}}], targets: [{modelRewrite: engine-m, weight: 1}]}]
";

/// The body that comes back for this compressed one, and the headers that the proxy removes, beside those that no client sets.
async fn sent_back(calls: &Calls, coding: &str, body: &'static [u8]) -> (Bytes, Vec<String>) {
    let mut proxy = Proxy::call(calls).await;
    proxy.send_message(head_with(&[("content-type", "application/json"), ("content-encoding", coding)]));
    proxy.send_message(Part::RequestBody(HttpBody { body: Bytes::from_static(body), end_of_stream: true }));
    let choice = match proxy.next().await {
        Some(Answer::RequestHeaders(choice)) => choice.response.unwrap().header_mutation.unwrap(),
        other => panic!("a choice, and no {other:?}"),
    };
    let mut whole = BytesMut::new();
    loop {
        let Some(Answer::RequestBody(body)) = proxy.next().await else { panic!("the body") };
        let (piece, is_last) = streamed(body.response);
        whole.extend_from_slice(&piece);
        if is_last {
            let mut removed = choice.remove_headers;
            removed.retain(|name| !SIDECAR_HEADERS.contains(&name.as_str()));
            return (whole.freeze(), removed);
        }
    }
}

#[tokio::test]
async fn a_compressed_body_names_its_model() {
    let renaming = calls(&format!("{POOL}{ENGINE}{REWRITE}"));
    let (body, removed) = sent_back(&renaming, "gzip", GZIP).await;
    assert_eq!((&*body, removed), (&br#"{"model":"engine-m"}"#[..], vec!["content-encoding".to_owned()]));
    let plain = calls(&format!("{POOL}{ENGINE}"));
    assert_eq!(sent_back(&plain, "gzip", GZIP).await, (Bytes::from_static(GZIP), Vec::new()), "it goes on as it came");
    for (coding, body) in [("lzma", GZIP), ("gzip", &GZIP[..12]), ("br", b"{}")] {
        let unread = sent_back(&renaming, coding, body).await;
        assert_eq!(unread, (Bytes::from_static(body), Vec::new()), "{coding} says nothing, and is its engine's to judge");
    }
}

#[tokio::test]
async fn a_compressed_body_is_bounded_as_any_other() {
    /// 2,000 blanks by `gzip -n`.
    const BLANKS: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x53\x50\x18\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x50\x07\x00\x2a\xca\x16\x55\xd0\x07\x00\x00";
    let calls = calls(&format!("{POOL}{ENGINE}"));
    let calls = Calls(Context { max_body: 1_000, ..calls.0.clone() });
    let mut proxy = Proxy::call(&calls).await;
    proxy.send_message(head_with(&[("content-type", "application/json"), ("content-encoding", "gzip")]));
    proxy.send_message(Part::RequestBody(HttpBody { body: Bytes::from_static(BLANKS), end_of_stream: true }));
    let Some(Answer::ImmediateResponse(refusal)) = proxy.next().await else { panic!("a refusal") };
    assert_eq!(refusal.status.unwrap().code, 413);
}

#[tokio::test]
async fn a_request_that_does_not_go_on_is_given_up() {
    let patient = calls(POOL);
    let impatient = Calls(Context { request_timeout: Duration::from_millis(50), ..patient.0.clone() });
    let (mut proxy, mut other) = (Proxy::call(&impatient).await, Proxy::call(&patient).await);
    for proxy in [&proxy, &other] {
        proxy.send_message(head("application/json"));
        proxy.send_message(Part::RequestBody(piece("{", false)));
    }
    assert_eq!(proxy.next().await, None, "its call has ended, though the proxy would send more");
    other.send_message(Part::RequestBody(piece("}", true)));
    let Some(Answer::ImmediateResponse(_)) = other.next().await else { panic!("one that does is answered") };
}

#[tokio::test]
async fn a_grpc_client_is_refused_in_codes_of_its_own() {
    let calls = calls(POOL);
    for (content_type, code, body) in
        [("application/grpc", Some(14), "no backend is ready to serve this request"), ("text/plain", None, "{")]
    {
        let mut proxy = Proxy::call(&calls).await;
        proxy.send_message(head(content_type));
        proxy.send_message(Part::RequestBody(piece("", true)));
        let Some(Answer::ImmediateResponse(refusal)) = proxy.next().await else { panic!("a refusal") };
        assert_eq!((refusal.status.unwrap().code, refusal.grpc_status.map(|it| it.status)), (503, code));
        assert!(refusal.body.starts_with(body.as_bytes()), "{refusal:?}");
    }
}
