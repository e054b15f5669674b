//! Replies of a picker.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_envoy_proto::{
    core::{HeaderAppendAction, HeaderValue, HeaderValueOption, HttpStatus},
    ext_proc::{
        BodyMutation, BodyResponse, CommonResponse, GrpcStatus, HeaderMutation, HeadersResponse, ImmediateResponse,
        ProcessingResponse, StreamedBodyResponse, TrailersResponse, body_mutation::Mutation, processing_response::Response,
    },
    structs::{Struct, Value, string, structure},
};
use prost_types::value::Kind;

use crate::{
    Direction,
    chunks::chunks,
    names::{ENDPOINT, ENDPOINT_NAMESPACE, PREFILLER, SIDECAR_HEADERS},
};

/// Headers of a request that change beside the choice, for the most part with its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyChange {
    /// The body's length in bytes, where its header has to say it anew.
    pub length: Option<usize>,
    /// The body comes back without its content codings.
    pub is_decoded: bool,
    /// The endpoint that prefills, for llm-d's sidecar; a client names none.
    pub prefiller: Option<SocketAddr>,
}

/// A choice with the answer to the request's headers. `endpoints` is `ip:port[,ip:port…]`, to be tried in order.
pub fn chosen(endpoints: &str, change: BodyChange) -> ProcessingResponse {
    let response = CommonResponse { header_mutation: Some(choice(endpoints, change)), ..CommonResponse::default() };
    let answer = Response::RequestHeaders(HeadersResponse { response: Some(response) });
    ProcessingResponse { dynamic_metadata: Some(metadata(endpoints)), ..saying(answer) }
}

/// A choice with the answer to a body that came as one. `body` takes its place, and its length that of `change`; `None` leaves it.
pub fn chosen_by_body(endpoints: &str, body: Option<Bytes>, change: BodyChange) -> ProcessingResponse {
    let change = BodyChange { length: body.as_ref().map(Bytes::len), ..change };
    let response = CommonResponse {
        header_mutation: Some(choice(endpoints, change)),
        body_mutation: body.map(|body| BodyMutation { mutation: Some(Mutation::Body(body)) }),
        ..CommonResponse::default()
    };
    let answer = Response::RequestBody(BodyResponse { response: Some(response) });
    ProcessingResponse { dynamic_metadata: Some(metadata(endpoints)), ..saying(answer) }
}

/// Headers that go on as they are.
pub fn headers(direction: Direction) -> ProcessingResponse {
    let answer = HeadersResponse { response: Some(CommonResponse::default()) };
    saying(match direction {
        Direction::Request => Response::RequestHeaders(answer),
        Direction::Response => Response::ResponseHeaders(answer),
    })
}

/// Headers of a response whose body will change, and with it the length.
pub fn headers_without_length() -> ProcessingResponse {
    let mutation = HeaderMutation { remove_headers: vec!["content-length".to_owned()], ..HeaderMutation::default() };
    let response = CommonResponse { header_mutation: Some(mutation), ..CommonResponse::default() };
    saying(Response::ResponseHeaders(HeadersResponse { response: Some(response) }))
}

/// A piece of a body that goes on as it is.
pub fn unchanged(direction: Direction) -> ProcessingResponse {
    body(direction, None)
}

/// A piece of a response's body, with another in its place.
pub fn replaced(piece: Bytes) -> ProcessingResponse {
    body(Direction::Response, Some(BodyMutation { mutation: Some(Mutation::Body(piece)) }))
}

/// A stream of pieces back, each as long as a message may be. A body that is only ended is one empty piece.
pub fn streamed(direction: Direction, pieces: &[Bytes], end_of_stream: bool) -> Vec<ProcessingResponse> {
    let mut pieces: Vec<Bytes> = pieces.iter().flat_map(chunks).collect();
    if pieces.is_empty() && end_of_stream {
        pieces.push(Bytes::new());
    }
    let last = pieces.len().saturating_sub(1);
    let piece = |(place, piece)| {
        let piece = StreamedBodyResponse { body: piece, end_of_stream: end_of_stream && place == last };
        body(direction, Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(piece)) }))
    };
    pieces.into_iter().enumerate().map(piece).collect()
}

/// Trailers that go on as they are.
pub fn trailers(direction: Direction) -> ProcessingResponse {
    saying(match direction {
        Direction::Request => Response::RequestTrailers(TrailersResponse::default()),
        Direction::Response => Response::ResponseTrailers(TrailersResponse::default()),
    })
}

/// The proxy answers the client; a gRPC client gets `grpc_status`, or the proxy's translation of `status`. `details` goes into
/// the proxy's log.
pub fn immediate(
    status: u16,
    grpc_status: Option<u32>,
    headers: &[(&str, &str)],
    body: Bytes,
    details: &str,
) -> ProcessingResponse {
    let set_headers = headers.iter().map(|(name, value)| set(name, (*value).to_owned())).collect();
    saying(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code: status.into() }),
        headers: Some(HeaderMutation { set_headers, remove_headers: Vec::new() }),
        body,
        grpc_status: grpc_status.map(|status| GrpcStatus { status }),
        details: details.to_owned(),
    }))
}

fn saying(answer: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(answer), ..ProcessingResponse::default() }
}

fn body(direction: Direction, body_mutation: Option<BodyMutation>) -> ProcessingResponse {
    let answer = BodyResponse { response: Some(CommonResponse { body_mutation, ..CommonResponse::default() }) };
    saying(match direction {
        Direction::Request => Response::RequestBody(answer),
        Direction::Response => Response::ResponseBody(answer),
    })
}

fn choice(endpoints: &str, change: BodyChange) -> HeaderMutation {
    let length = change.length.map(|length| set("content-length", length.to_string()));
    let prefiller = change.prefiller.map(|address| set(PREFILLER, address.to_string()));
    let others = SIDECAR_HEADERS.into_iter().filter(|name| prefiller.is_none() || *name != PREFILLER).map(str::to_owned);
    let remove_headers = change.is_decoded.then(|| "content-encoding".to_owned()).into_iter().chain(others).collect();
    let set_headers = [set(ENDPOINT, endpoints.to_owned())].into_iter().chain(length).chain(prefiller).collect();
    HeaderMutation { set_headers, remove_headers }
}

/// A client's own header of the name gives way.
fn set(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue::new(name, value)),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}

fn metadata(endpoints: &str) -> Struct {
    let fields = structure(ENDPOINT, string(endpoints));
    structure(ENDPOINT_NAMESPACE, Value { kind: Some(Kind::StructValue(fields)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::MAX_CHUNK;

    fn pieces(bodies: &[Bytes], end: bool) -> Vec<(usize, bool)> {
        let piece = |reply: ProcessingResponse| {
            let Some(Response::RequestBody(answer)) = reply.response else { panic!("a piece") };
            let Some(Mutation::StreamedResponse(piece)) = answer.response.unwrap().body_mutation.unwrap().mutation else {
                panic!("a streamed one")
            };
            (piece.body.len(), piece.end_of_stream)
        };
        streamed(Direction::Request, bodies, end).into_iter().map(piece).collect()
    }

    #[test]
    fn the_last_piece_ends_the_stream_and_no_other() {
        let long = Bytes::from(vec![0; MAX_CHUNK + 1]);
        assert_eq!(pieces(&[long.clone(), Bytes::from_static(b"ab")], true), [(MAX_CHUNK, false), (1, false), (2, true)]);
        assert_eq!(pieces(&[long, Bytes::new()], true), [(MAX_CHUNK, false), (1, true)]);
        assert_eq!(pieces(&[Bytes::from_static(b"ab")], false), [(2, false)]);
        assert_eq!(pieces(&[], true), [(0, true)]);
        assert_eq!(pieces(&[], false), []);
    }

    #[test]
    fn a_choice_is_in_header_and_metadata_alike() {
        let reply =
            chosen("10.0.0.1:8000,10.0.0.2:8000", BodyChange { length: Some(7), is_decoded: true, ..BodyChange::default() });
        let Some(Kind::StructValue(fields)) = &reply.dynamic_metadata.as_ref().unwrap().fields[ENDPOINT_NAMESPACE].kind else {
            panic!("a structure")
        };
        assert_eq!(pailou_envoy_proto::structs::strings(&fields.fields[ENDPOINT]).unwrap(), ["10.0.0.1:8000,10.0.0.2:8000"]);
        let Some(Response::RequestHeaders(answer)) = reply.response else { panic!("an answer to headers") };
        let mutation = answer.response.unwrap().header_mutation.unwrap();
        assert_eq!(mutation.remove_headers[0], "content-encoding");
        let set: Vec<_> = mutation
            .set_headers
            .iter()
            .map(|option| option.header.as_ref().unwrap())
            .map(|it| (it.key.as_str(), it.bytes()))
            .collect();
        assert_eq!(set, [(ENDPOINT, &b"10.0.0.1:8000,10.0.0.2:8000"[..]), ("content-length", &b"7"[..])]);
    }

    #[test]
    fn a_client_tells_a_sidecar_of_no_hosts() {
        let change = |prefiller| choice("10.0.0.1:8000", BodyChange { prefiller, ..BodyChange::default() });
        let at = change(Some(SocketAddr::from(([10, 0, 0, 2], 8000))));
        let header = at.set_headers[1].header.as_ref().unwrap();
        assert_eq!((header.key.as_str(), header.bytes()), (PREFILLER, &b"10.0.0.2:8000"[..]));
        assert_eq!(at.remove_headers, SIDECAR_HEADERS[1..]);
        assert_eq!(change(None).remove_headers, SIDECAR_HEADERS);
    }
}
