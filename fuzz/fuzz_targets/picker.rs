//! A proxy's call of the endpoint picker, in messages of any order and content or in bytes that are none: it ends when the proxy has
//! said all, what comes back of a body is what was sent, and nothing is kept of it that the next call would lack.
#![no_main]

use std::{
    collections::VecDeque, convert::Infallible, pin::Pin, sync::Arc, sync::LazyLock, task::Context, task::Poll, time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use pailou_api::{parse::parse, NamespaceName};
use pailou_compile::{one_pool, store::{Entry, Store}};
use pailou_epp::{Calls, EndpointPicker, Limits};
use pailou_envoy_proto::{
    core::{HeaderMap, HeaderValue},
    ext_proc::{
        HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse, ProtocolConfiguration, body_mutation::Mutation,
        processing_request::Request as Part, processing_response::Response as Answer,
    },
};
use prost::Message;
use tokio::{runtime, runtime::Runtime, time::timeout};

const OBJECTS: &str = "\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: p}
spec: {selector: {matchLabels: {app: e}}, targetPorts: [{number: 8000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: e, labels: {app: e}}
status: {podIP: 127.0.0.9, conditions: [{type: Ready, status: 'True'}]}
";
const MAX_BODY: usize = 8192;
/// `FULL_DUPLEX_STREAMED`.
const DUPLEX: i32 = 4;

#[derive(Arbitrary, Debug)]
struct Input {
    request_mode: u8,
    response_mode: u8,
    says_modes: bool,
    observes: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    RequestHeaders(Vec<(String, Vec<u8>)>, bool),
    RequestBody(Vec<u8>, bool),
    RequestTrailers,
    ResponseHeaders(Vec<(String, Vec<u8>)>, bool),
    ResponseBody(Vec<u8>, bool),
    ResponseTrailers,
    /// A frame whose message is anything.
    Message(Vec<u8>),
    /// Bytes that are no frame, perhaps.
    Bytes(Vec<u8>),
}

struct World {
    runtime: Runtime,
    picker: Arc<EndpointPicker>,
    calls: Calls,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut store = Store::new();
    for decoded in parse(OBJECTS.as_bytes(), "-", &NamespaceName::try_from("default").expect("a name")).objects {
        store.upsert(Entry::new(decoded, "-".into())).expect("room");
    }
    let picker = Arc::new(EndpointPicker::new(runtime.handle(), Default::default()));
    picker.update(one_pool(&store, None, ("default", "p"), None), None);
    let limits = Limits { max_body: MAX_BODY, body_memory: 4 * MAX_BODY as u64, max_endpoints: 4 };
    let calls = Calls::new(picker.clone(), &limits);
    World { runtime, picker, calls }
});

fuzz_target!(|input: Input| {
    let world = &*WORLD;
    let frames = input.steps.iter().map(|step| frame(&input, step)).collect();
    let answers = call(world, frames);
    if let Some(sent) = sent(&input) {
        returned(&answers, &sent);
    }
    let head = Part::RequestHeaders(HttpHeaders::default());
    let body = Part::RequestBody(HttpBody { body: vec![b'x'; MAX_BODY].into(), end_of_stream: true });
    let again =
        call(world, [head, body].map(|part| framed(&ProcessingRequest { request: Some(part), ..Default::default() })).into());
    match again.first() {
        Some(Answer::RequestHeaders(_)) => {}
        Some(Answer::ImmediateResponse(refusal)) => assert_eq!(refusal.details, "the pool has no ready endpoint"),
        other => panic!("the next call is answered {other:?}"),
    }
});

/// Makes a call that says all this, and gives what is answered.
fn call(world: &World, frames: VecDeque<Bytes>) -> Vec<Answer> {
    world.runtime.block_on(async {
        let request = Request::post("/").header("content-type", "application/grpc").body(Said(frames)).expect("a request");
        let response = world.calls.clone().answer(request).await;
        let ended = timeout(Duration::from_secs(10), response.into_body().collect()).await.expect("the call ends");
        let mut bytes = ended.map(|all| all.to_bytes()).unwrap_or_default();
        let mut answers = Vec::new();
        while bytes.has_remaining() {
            assert_eq!(bytes.get_u8(), 0, "nothing is compressed");
            let length = bytes.get_u32() as usize;
            answers.extend(ProcessingResponse::decode(bytes.split_to(length)).expect("a message").response);
        }
        settled(world).await;
        answers
    })
}

/// Waits until the call has left nothing behind.
async fn settled(world: &World) {
    for _ in 0..1000 {
        let mut text = String::new();
        world.picker.encode_metrics(&mut text);
        if text.contains("pailou_picker_conversations 0") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("a conversation goes on without its call");
}

/// A body of frames that are all there.
struct Said(VecDeque<Bytes>);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn frame(input: &Input, step: &Step) -> Bytes {
    let body = |body: &[u8], end_of_stream| HttpBody { body: Bytes::copy_from_slice(body), end_of_stream };
    let part = match step {
        Step::RequestHeaders(fields, end) => Part::RequestHeaders(headers(fields, *end)),
        Step::RequestBody(piece, end) => Part::RequestBody(body(piece, *end)),
        Step::RequestTrailers => Part::RequestTrailers(HttpTrailers::default()),
        Step::ResponseHeaders(fields, end) => Part::ResponseHeaders(headers(fields, *end)),
        Step::ResponseBody(piece, end) => Part::ResponseBody(body(piece, *end)),
        Step::ResponseTrailers => Part::ResponseTrailers(HttpTrailers::default()),
        Step::Message(bytes) => return prefixed(bytes),
        Step::Bytes(bytes) => return Bytes::copy_from_slice(bytes),
    };
    let modes = ProtocolConfiguration {
        request_body_mode: i32::from(input.request_mode % 6),
        response_body_mode: i32::from(input.response_mode % 6),
        ..ProtocolConfiguration::default()
    };
    framed(&ProcessingRequest {
        request: Some(part),
        observability_mode: input.observes,
        protocol_config: input.says_modes.then_some(modes),
        ..ProcessingRequest::default()
    })
}

fn headers(fields: &[(String, Vec<u8>)], end_of_stream: bool) -> HttpHeaders {
    let headers = fields.iter().map(|(name, value)| HeaderValue::new(name, Bytes::copy_from_slice(value))).collect();
    HttpHeaders { headers: Some(HeaderMap { headers }), end_of_stream }
}

fn framed(message: &ProcessingRequest) -> Bytes {
    prefixed(&message.encode_to_vec())
}

fn prefixed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// The body of a request that was told whole and in order, by a proxy that wants it back.
fn sent(input: &Input) -> Option<Vec<u8>> {
    let is_duplex = !input.says_modes || i32::from(input.request_mode % 6) == DUPLEX;
    let (Step::RequestHeaders(_, false), rest) = input.steps.split_first()? else { return None };
    let mut sent = Vec::new();
    for step in rest {
        match step {
            Step::RequestBody(piece, end) => {
                sent.extend(piece);
                if *end {
                    return (is_duplex && !input.observes).then_some(sent);
                }
            }
            Step::RequestTrailers => return (is_duplex && !input.observes).then_some(sent),
            _ => return None,
        }
    }
    None
}

/// Wants the body back as it was sent, unless the request was refused.
fn returned(answers: &[Answer], sent: &[u8]) {
    if !matches!(answers.first(), Some(Answer::RequestHeaders(_))) {
        assert!(matches!(answers, [Answer::ImmediateResponse(_)]), "answered {answers:?}");
        return;
    }
    let (mut back, mut ends) = (Vec::new(), 0);
    for answer in answers {
        let Answer::RequestBody(answer) = answer else { continue };
        let mutation = answer.response.as_ref().and_then(|response| response.body_mutation.as_ref());
        if let Some(Mutation::StreamedResponse(piece)) = mutation.and_then(|mutation| mutation.mutation.as_ref()) {
            back.extend_from_slice(&piece.body);
            ends += usize::from(piece.end_of_stream);
        }
    }
    assert_eq!(back, sent);
    assert!(ends <= 1, "it ends {ends} times");
}
