//! A gateway before a backend, whose one rule has an external processor, and what such a processor says.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_envoy_proto::ext_proc::{
    BodyMutation, BodyResponse, CommonResponse, HeadersResponse, HttpHeaders, ProcessingRequest, ResponseStatus,
    body_mutation::Mutation, processing_request::Request as Part,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{
    objects::{Gateway, backend, route},
    picker::Talk,
};

const TO_MAIN: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";

/// A gateway with these processors at these addresses, each with these fields.
pub(crate) fn gateway(main: SocketAddr, processors: &[(SocketAddr, &str)]) -> Gateway {
    gateway_with(main, processors, "")
}

/// The same with more objects.
pub(crate) fn gateway_with(main: SocketAddr, processors: &[(SocketAddr, &str)], more: &str) -> Gateway {
    gateway_for(&[&route(TO_MAIN), more].concat(), main, processors)
}

/// A gateway with these objects, among which is the route that the processors are for.
pub(crate) fn gateway_for(objects: &str, main: SocketAddr, processors: &[(SocketAddr, &str)]) -> Gateway {
    Gateway::serve(&objects_for(objects, main, processors))
}

/// The objects of such a gateway, but for the Gateway itself.
pub(crate) fn objects_for(objects: &str, main: SocketAddr, processors: &[(SocketAddr, &str)]) -> String {
    let mut objects = [objects, &backend("main", main, "")].concat();
    let mut list = String::new();
    for (place, (address, fields)) in processors.iter().enumerate() {
        objects += &backend(&format!("processor-{place}"), *address, "");
        list += &format!(
            "  - {{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: processor-{place}, port: 9002}}], {fields}}}\n"
        );
    }
    objects += &format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  extProc:\n{list}"
    );
    objects
}

/// A backend that tells what it was sent, head and body, and answers with these bytes.
pub(crate) async fn main_backend(response: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, response, told.clone()));
        }
    });
    (address, calls)
}

async fn answer(mut stream: TcpStream, response: &'static str, told: mpsc::UnboundedSender<String>) {
    let mut read = Vec::new();
    let mut end = None;
    while !end.is_some_and(|end: BodyEnd| end.is_reached(&read)) {
        if !stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            return;
        }
        end = end.or_else(|| BodyEnd::of(&read));
    }
    let _ = told.send(String::from_utf8_lossy(&read).into_owned());
    let _ = stream.write_all(response.as_bytes()).await;
}

/// The end of a request's body. Large bodies come in thousands of reads: what has been read is not looked through at each.
#[derive(Clone, Copy)]
enum BodyEnd {
    Length(usize),
    LastChunk,
}

impl BodyEnd {
    /// That of the request that begins with these bytes, once its head is there.
    fn of(read: &[u8]) -> Option<Self> {
        let head = read.windows(4).position(|window| window == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
        if text.contains("transfer-encoding: chunked") {
            return Some(Self::LastChunk);
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        Some(Self::Length(head + 4 + length.unwrap_or(0)))
    }

    fn is_reached(self, read: &[u8]) -> bool {
        match self {
            Self::Length(length) => read.len() >= length,
            Self::LastChunk => read.ends_with(b"0\r\n\r\n"),
        }
    }
}

/// The bytes of a body in chunks.
pub(crate) fn unchunked(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&more[..length]);
        rest = &more[length + 2..];
    }
    whole
}

/// The value of a header in a message.
pub(crate) fn header(headers: &HttpHeaders, name: &str) -> Option<String> {
    let all = &headers.headers.as_ref().unwrap().headers;
    all.iter().find(|it| it.key == name).map(|it| String::from_utf8_lossy(it.bytes()).into_owned())
}

/// The headers of a response.
pub(crate) async fn response_headers(talk: &mut Talk) -> (HttpHeaders, ProcessingRequest) {
    let message = talk.next().await.unwrap();
    let Some(Part::ResponseHeaders(headers)) = message.request.clone() else { panic!("{message:?}") };
    (headers, message)
}

/// A piece of a body, of either direction.
pub(crate) async fn piece(talk: &mut Talk) -> (Bytes, bool) {
    match talk.next().await.unwrap().request {
        Some(Part::RequestBody(body) | Part::ResponseBody(body)) => (body.body, body.end_of_stream),
        other => panic!("{other:?}"),
    }
}

/// Headers go on as they are.
pub(crate) fn go_on() -> HeadersResponse {
    HeadersResponse { response: Some(CommonResponse::default()) }
}

/// The message's body is replaced together with its headers.
pub(crate) fn replaced(body: &'static str) -> HeadersResponse {
    let response = CommonResponse { status: ResponseStatus::ContinueAndReplace as i32, ..with_body(body) };
    HeadersResponse { response: Some(response) }
}

/// A piece is replaced.
pub(crate) fn changed(body: &'static str) -> BodyResponse {
    BodyResponse { response: Some(with_body(body)) }
}

fn with_body(body: &'static str) -> CommonResponse {
    let mutation = BodyMutation { mutation: Some(Mutation::Body(Bytes::from_static(body.as_bytes()))) };
    CommonResponse { body_mutation: Some(mutation), ..CommonResponse::default() }
}
