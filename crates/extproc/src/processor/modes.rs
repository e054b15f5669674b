//! Parts of a message that a server gets.

use pailou_envoy_proto::ext_proc::{BodySendMode, HeaderSendMode, ProcessingMode, ProtocolConfiguration};

/// How a server gets a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// Not at all.
    #[default]
    None,
    /// In pieces, each of which it answers.
    Streamed,
    /// As one.
    Buffered,
    /// As one, up to a length; the rest goes on without it.
    BufferedPartial,
    /// In pieces, while a body of the server's own comes back.
    FullDuplexStreamed,
}

/// The parts of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionModes {
    /// Whether the server gets the headers.
    pub headers: bool,
    /// How it gets the body.
    pub body: BodyMode,
    /// Whether it gets the trailers.
    pub trailers: bool,
}

/// The parts of a request and of its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// The request.
    pub request: DirectionModes,
    /// The response.
    pub response: DirectionModes,
}

impl Modes {
    /// The modes as a server's `mode_override` has them: headers are sent unless skipped, trailers are skipped unless sent.
    pub fn overridden(mode: &ProcessingMode) -> Self {
        Self {
            request: DirectionModes {
                headers: mode.request_header_mode() != HeaderSendMode::Skip,
                body: body_mode(mode.request_body_mode()),
                trailers: mode.request_trailer_mode() == HeaderSendMode::Send,
            },
            response: DirectionModes {
                headers: mode.response_header_mode() != HeaderSendMode::Skip,
                body: body_mode(mode.response_body_mode()),
                trailers: mode.response_trailer_mode() == HeaderSendMode::Send,
            },
        }
    }

    /// The modes as the first message of a stream tells them.
    pub(super) fn configuration(&self) -> ProtocolConfiguration {
        ProtocolConfiguration {
            request_body_mode: send_mode(self.request.body) as i32,
            response_body_mode: send_mode(self.response.body) as i32,
            send_body_without_waiting_for_header_response: false,
        }
    }
}

fn body_mode(mode: BodySendMode) -> BodyMode {
    match mode {
        BodySendMode::None => BodyMode::None,
        BodySendMode::Streamed => BodyMode::Streamed,
        BodySendMode::Buffered => BodyMode::Buffered,
        BodySendMode::BufferedPartial => BodyMode::BufferedPartial,
        BodySendMode::FullDuplexStreamed => BodyMode::FullDuplexStreamed,
    }
}

fn send_mode(mode: BodyMode) -> BodySendMode {
    match mode {
        BodyMode::None => BodySendMode::None,
        BodyMode::Streamed => BodySendMode::Streamed,
        BodyMode::Buffered => BodySendMode::Buffered,
        BodyMode::BufferedPartial => BodySendMode::BufferedPartial,
        BodyMode::FullDuplexStreamed => BodySendMode::FullDuplexStreamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_sends_headers_by_default_and_trailers_only_if_it_says_so() {
        let mode = ProcessingMode { response_body_mode: BodySendMode::Buffered as i32, ..ProcessingMode::default() };
        let modes = Modes::overridden(&mode);
        assert_eq!(modes.request, DirectionModes { headers: true, body: BodyMode::None, trailers: false });
        assert_eq!(modes.response, DirectionModes { headers: true, body: BodyMode::Buffered, trailers: false });
        let mode = ProcessingMode {
            response_header_mode: HeaderSendMode::Skip as i32,
            response_trailer_mode: HeaderSendMode::Send as i32,
            ..ProcessingMode::default()
        };
        assert_eq!(Modes::overridden(&mode).response, DirectionModes { headers: false, body: BodyMode::None, trailers: true });
    }
}
