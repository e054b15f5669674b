//! An endpoint picker, or external processor, that follows a script: gRPC by hand over HTTP/2, so that its oddities can be as odd as those of real ones.

use std::{future::Future, net::SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use pailou_envoy_proto::{
    core::{HeaderValue as Header, HeaderValueOption, HttpStatus},
    ext_proc::{
        BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, HttpHeaders, ImmediateResponse,
        ProcessingMode, ProcessingRequest, ProcessingResponse, StreamedBodyResponse, body_mutation::Mutation,
        processing_request::Request as Part, processing_response::Response as Answer,
    },
};
use pailou_extproc::names::ENDPOINT;
use prost::Message;
use tokio::net::TcpListener;

/// One conversation, from the picker's side.
pub(crate) struct Talk {
    body: RecvStream,
    read: BytesMut,
    send: SendStream<Bytes>,
}

/// Serves a script; gives the port.
pub(crate) async fn picker<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(Talk) -> F + Send + Sync + Clone + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let script = script.clone();
            tokio::spawn(async move {
                let mut connection = server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (head, body) = Request::into_parts(request);
                    assert_eq!(head.uri.path(), pailou_extproc::names::METHOD_PATH);
                    let mut response = Response::new(());
                    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
                    let send = respond.send_response(response, false).unwrap();
                    tokio::spawn(script(Talk { body, read: BytesMut::new(), send }));
                }
            });
        }
    });
    address
}

impl Talk {
    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<ProcessingRequest> {
        loop {
            if self.read.len() >= 5 {
                let length = u32::from_be_bytes(self.read[1..5].try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    let message = self.read.split_to(5 + length).freeze();
                    return Some(ProcessingRequest::decode(message.slice(5..)).unwrap());
                }
            }
            let data = self.body.data().await?.ok()?;
            self.body.flow_control().release_capacity(data.len()).ok()?;
            self.read.extend_from_slice(&data);
        }
    }

    /// The request's headers.
    pub(crate) async fn headers(&mut self) -> (HttpHeaders, ProcessingRequest) {
        let message = self.next().await.unwrap();
        let Some(Part::RequestHeaders(headers)) = message.request.clone() else { panic!("{message:?}") };
        (headers, message)
    }

    /// All of the request's body, and in how many pieces it came.
    pub(crate) async fn body(&mut self) -> (Bytes, usize) {
        let (mut body, mut pieces) = (BytesMut::new(), 0);
        loop {
            let Some(Part::RequestBody(piece)) = self.next().await.unwrap().request else { panic!("no body") };
            assert!(piece.body.len() <= 62_000);
            body.extend_from_slice(&piece.body);
            pieces += 1;
            if piece.end_of_stream {
                return (body.freeze(), pieces);
            }
        }
    }

    pub(crate) fn say(&mut self, answer: Answer) {
        self.send(&ProcessingResponse { response: Some(answer), ..ProcessingResponse::default() });
    }

    /// The same with a wish for what is sent from now on.
    pub(crate) fn say_with(&mut self, answer: Answer, mode: ProcessingMode) {
        self.send(&ProcessingResponse { response: Some(answer), mode_override: Some(mode), ..ProcessingResponse::default() });
    }

    pub(crate) fn send(&mut self, message: &ProcessingResponse) {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(message.encoded_len() as u32);
        message.encode(&mut frame).unwrap();
        let _ = self.send.send_data(frame.freeze(), false);
    }

    /// Ends the conversation as gRPC does.
    pub(crate) fn close(self) {
        self.end("0");
    }

    /// Ends the conversation with a gRPC status.
    pub(crate) fn end(mut self, status: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let _ = self.send.send_trailers(trailers);
    }
}

/// Sets these headers.
pub(crate) fn setting(headers: &[(&str, &str)]) -> HeadersResponse {
    let option = |(name, value): &(&str, &str)| HeaderValueOption {
        header: Some(Header::new(*name, (*value).to_owned())),
        ..HeaderValueOption::default()
    };
    let mutation = HeaderMutation { set_headers: headers.iter().map(option).collect(), remove_headers: Vec::new() };
    HeadersResponse { response: Some(CommonResponse { header_mutation: Some(mutation), ..CommonResponse::default() }) }
}

/// Chooses these endpoints.
pub(crate) fn choosing(endpoints: &str) -> Answer {
    Answer::RequestHeaders(setting(&[(ENDPOINT, endpoints)]))
}

/// A piece of a body that is streamed back.
pub(crate) fn streamed(body: impl Into<Bytes>, end_of_stream: bool) -> BodyResponse {
    let piece = Mutation::StreamedResponse(StreamedBodyResponse { body: body.into(), end_of_stream });
    let mutation = Some(BodyMutation { mutation: Some(piece) });
    BodyResponse { response: Some(CommonResponse { body_mutation: mutation, ..CommonResponse::default() }) }
}

/// Nothing is changed.
pub(crate) fn unchanged() -> BodyResponse {
    BodyResponse { response: Some(CommonResponse::default()) }
}

/// The client is answered.
pub(crate) fn immediate(code: i32, body: &str) -> Answer {
    let status = Some(HttpStatus { code });
    Answer::ImmediateResponse(ImmediateResponse { status, body: body.to_owned().into(), ..ImmediateResponse::default() })
}
