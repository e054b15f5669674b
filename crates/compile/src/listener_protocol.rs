//! Protocols of listeners that the gateway can serve.

use pailou_api::listener::{Listener, Protocol, TlsMode};
use pailou_snapshot::{RouteKind, Transport};

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    Http,
    Https,
    /// TLS that ends here, whatever is within.
    TlsTerminate,
    /// TLS between client and backend.
    TlsPassthrough,
    Tcp,
    Udp,
}

impl ListenerProtocol {
    /// The protocol that a listener asks for; `None` if the gateway cannot serve it.
    pub(crate) fn of(spec: &Listener) -> Option<Self> {
        match spec.protocol {
            Protocol::Http => Some(Self::Http),
            Protocol::Https => Some(Self::Https),
            Protocol::Tls => Some(match spec.tls.as_ref().map(|tls| tls.mode).unwrap_or_default() {
                TlsMode::Terminate => Self::TlsTerminate,
                TlsMode::Passthrough => Self::TlsPassthrough,
            }),
            Protocol::Tcp => Some(Self::Tcp),
            Protocol::Udp => Some(Self::Udp),
            Protocol::Other(_) => None,
        }
    }

    /// Whether clients' TLS ends at the listener, which needs certificates for that.
    pub(crate) fn terminates_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate)
    }

    /// Whether what is within are requests.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// The kinds of routes that fit it.
    pub(crate) fn kinds(self) -> &'static [RouteKind] {
        match self {
            Self::Http | Self::Https => &[RouteKind::Http, RouteKind::Grpc],
            // A terminated session carries a connection like any other.
            Self::TlsTerminate => &[RouteKind::Tls, RouteKind::Tcp],
            Self::TlsPassthrough => &[RouteKind::Tls],
            Self::Tcp => &[RouteKind::Tcp],
            Self::Udp => &[RouteKind::Udp],
        }
    }

    /// Its transport.
    pub(crate) fn transport(self) -> Transport {
        if self == Self::Udp { Transport::Udp } else { Transport::Tcp }
    }
}
