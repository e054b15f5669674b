//! Session persistence: a client's requests stay at the endpoint that answered the first, for as long as that is healthy. A session is
//! the endpoint's name, which the client keeps; the gateway keeps nothing, so every replica of it knows every session.

use http::{HeaderMap, HeaderValue, header::SET_COOKIE};
use pailou_snapshot::{SessionCarrier, SessionPersistence};

use crate::{
    cluster::{ClusterState, EndpointState, EndpointToken, cookie},
    wall_clock::unix_seconds,
};

/// The session of one request, as its rule wants it.
pub(super) struct Session<'a> {
    settings: &'a SessionPersistence,
    /// The token that the client brought, unless it has expired.
    token: Option<Token>,
}

#[derive(Clone, Copy)]
struct Token {
    endpoint: EndpointToken,
    /// Its beginning, in seconds after the epoch; 0 where it has no timeout.
    since: u64,
}

impl<'a> Session<'a> {
    /// Reads the session that a request bears.
    pub(super) fn read(settings: &'a SessionPersistence, headers: &HeaderMap) -> Self {
        let text = match &settings.carrier {
            SessionCarrier::Cookie { name, .. } => cookie(headers, name),
            SessionCarrier::Header(name) => headers.get(name).map(HeaderValue::as_bytes),
        };
        let token = text.and_then(Token::parse).filter(|token| token.is_valid(settings, unix_seconds()));
        Self { settings, token }
    }

    /// The endpoint that the request stays at.
    pub(super) fn endpoint(&self) -> Option<EndpointToken> {
        self.token.map(|token| token.endpoint)
    }

    /// Gives the client a session at the endpoint that answered, unless it has that one already.
    pub(super) fn stamp(&self, cluster: &ClusterState, endpoint: &EndpointState, headers: &mut HeaderMap) {
        let name = EndpointToken::new(&cluster.key().endpoints, &endpoint.endpoint().address);
        if self.endpoint() == Some(name) {
            return;
        }
        let token = Token { endpoint: name, since: self.settings.absolute_timeout.map_or(0, |_| unix_seconds()) };
        match &self.settings.carrier {
            SessionCarrier::Header(name) => {
                if let Ok(value) = HeaderValue::try_from(token.text()) {
                    headers.insert(name, value);
                }
            }
            SessionCarrier::Cookie { name, path, is_permanent } => {
                let mut line = format!("{name}={}; Path={path}; HttpOnly", token.text());
                if let Some(timeout) = self.settings.absolute_timeout.filter(|_| *is_permanent) {
                    line.push_str(&format!("; Max-Age={}", timeout.as_secs()));
                }
                if let Ok(value) = HeaderValue::try_from(line) {
                    headers.append(SET_COOKIE, value);
                }
            }
        }
    }
}

impl Token {
    fn text(self) -> String {
        format!("{:016x}{:x}", self.endpoint.0, self.since)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (endpoint, since) = str::from_utf8(text).ok()?.split_at_checked(16)?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { endpoint: EndpointToken(number(endpoint)?), since: number(since)? })
    }

    fn is_valid(self, settings: &SessionPersistence, now: u64) -> bool {
        settings.absolute_timeout.is_none_or(|timeout| self.since <= now && now - self.since < timeout.as_secs().max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(absolute_timeout: Option<Duration>) -> SessionPersistence {
        let name = http::HeaderName::from_static("x-session");
        SessionPersistence { carrier: SessionCarrier::Header(name), absolute_timeout }
    }

    #[test]
    fn a_token_reads_as_it_was_written() {
        let token = Token { endpoint: EndpointToken(7), since: 0x1234 };
        assert_eq!(token.text(), "00000000000000071234");
        let read = Token::parse(token.text().as_bytes()).unwrap();
        assert_eq!((read.endpoint, read.since), (token.endpoint, token.since));
        for text in ["", "7", "0000000000000007", "000000000000000g0", "00000000000000070x", "\u{e9}00000000000000"] {
            assert!(Token::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_session_ends_with_its_absolute_timeout() {
        let token = Token { endpoint: EndpointToken(7), since: 1_000 };
        let minute = settings(Some(Duration::from_secs(60)));
        assert!(token.is_valid(&minute, 1_000) && token.is_valid(&minute, 1_059));
        assert!(!token.is_valid(&minute, 1_060) && !token.is_valid(&minute, 999), "over, or not begun");
        assert!(token.is_valid(&settings(None), u64::MAX));
    }
}
