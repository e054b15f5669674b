//! `httpUpgrade`: protocols that connections may be upgraded to.

use serde::Deserialize;

/// A protocol that connections may be upgraded to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProtocolUpgrade {
    /// Its name, such as `websocket`, in any case; or `CONNECT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Treatment of CONNECT, and of that type alone.
    #[serde(default)]
    pub connect: Option<ConnectUpgrade>,
}

/// Treatment of CONNECT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ConnectUpgrade {
    /// Whether its payload goes to the backend as a plain connection.
    #[serde(default)]
    pub terminate: Option<bool>,
}

impl ProtocolUpgrade {
    /// Whether it is CONNECT, which is no upgrade of HTTP/1.1.
    pub fn is_connect(&self) -> bool {
        self.kind.eq_ignore_ascii_case("CONNECT")
    }
}
