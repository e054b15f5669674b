//! gRPC by its media types: gRPC, and the form for browsers, gRPC-Web, whose types begin alike.

use http::{HeaderMap, HeaderValue, header};

const GRPC: &[u8] = b"application/grpc";
const GRPC_WEB: &[u8] = b"application/grpc-web";
const GRPC_WEB_TEXT: &[u8] = b"application/grpc-web-text";

/// Whether a media type is gRPC's.
pub(crate) fn is_grpc(media_type: &HeaderValue) -> bool {
    is(media_type, GRPC)
}

/// Whether a media type is gRPC-Web's, in bytes or in Base64.
pub(crate) fn is_grpc_web(media_type: &HeaderValue) -> bool {
    is(media_type, GRPC_WEB) || is(media_type, GRPC_WEB_TEXT)
}

/// Whether a client of gRPC-Web wants its responses in Base64.
pub(crate) fn accepts_grpc_web_text(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accepted| is(accepted, GRPC_WEB_TEXT))
}

/// Whether a media type is this one, with any message format and parameters.
fn is(media_type: &HeaderValue, name: &[u8]) -> bool {
    let Some((begin, rest)) = media_type.as_bytes().split_at_checked(name.len()) else { return false };
    begin.eq_ignore_ascii_case(name) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_web_is_no_grpc() {
        let of = |media_type| HeaderValue::from_static(media_type);
        for grpc in ["application/grpc", "Application/gRPC+proto", "application/grpc; charset=utf-8"] {
            assert!(is_grpc(&of(grpc)) && !is_grpc_web(&of(grpc)), "{grpc}");
        }
        for web in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text+proto"] {
            assert!(is_grpc_web(&of(web)) && !is_grpc(&of(web)), "{web}");
        }
        for other in ["application/grpcx", "application/grpc-web-json", "application/json", "application"] {
            assert!(!is_grpc(&of(other)) && !is_grpc_web(&of(other)), "{other}");
        }
    }
}
