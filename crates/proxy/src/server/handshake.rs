//! TLS handshakes of clients that come to nothing: what is said of them to whoever counts and logs.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use rustls::{CertificateError, Error};

/// A client's TLS handshake that failed. The client got an alert, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that it came in at, as the snapshot has it.
    pub local: SocketAddr,
    /// The server name asked for, in lower case.
    pub sni: Option<Arc<str>>,
    /// The cause.
    pub cause: HandshakeError,
}

/// The cause of a client's failed TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HandshakeError {
    /// The kind.
    pub reason: HandshakeReason,
    /// The same in words. Holds nothing that the client sent.
    pub detail: String,
}

/// Kinds of failures; labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeReason {
    /// The client names no server, and no listener takes those.
    NoServerName,
    /// No listener has the name.
    UnknownServerName,
    /// The bytes are no TLS.
    NotTls,
    /// The client's certificate is missing or not accepted.
    ClientCertificate,
    /// No version, cipher suite, key exchange or protocol in common.
    Incompatible,
    /// The client ended it, because of the gateway's certificate most often.
    Refused,
    /// It took too long.
    Timeout,
    /// The client left.
    Closed,
    /// The listener has no certificate that can be used.
    Unusable,
    /// The client broke the protocol.
    Protocol,
}

impl HandshakeReason {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoServerName => "no_server_name",
            Self::UnknownServerName => "unknown_server_name",
            Self::NotTls => "not_tls",
            Self::ClientCertificate => "client_certificate",
            Self::Incompatible => "incompatible",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Unusable => "unusable",
            Self::Protocol => "protocol",
        }
    }
}

/// HTTP where a ClientHello should be.
#[derive(Debug, thiserror::Error)]
#[error("HTTP without TLS")]
pub(super) struct PlainHttp;

impl HandshakeError {
    pub(super) fn new(reason: HandshakeReason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: detail.to_string() }
    }

    /// No listener takes the name, or the lack of one.
    pub(super) fn name(sni: Option<&str>) -> Self {
        match sni {
            Some(_) => Self::new(HandshakeReason::UnknownServerName, "no listener has this server name"),
            None => Self::new(HandshakeReason::NoServerName, "the client names no server (SNI), and every listener has a hostname"),
        }
    }

    /// The cause of a failed handshake, by the library's account.
    pub(crate) fn of(error: &io::Error) -> Self {
        use HandshakeReason::{ClientCertificate, Closed, Incompatible, NotTls, Protocol, Refused, Timeout};
        let cause = error.get_ref();
        if cause.is_some_and(|cause| cause.is::<PlainHttp>()) {
            return Self::new(NotTls, "HTTP without TLS, at a port for TLS");
        }
        let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::TimedOut => Self::new(Timeout, "the handshake took too long"),
                io::ErrorKind::InvalidData => Self::new(Protocol, error),
                _ => Self::new(Closed, "the client closed the connection during the handshake"),
            };
        };
        match cause {
            Error::NoCertificatesPresented => Self::new(ClientCertificate, "the client showed no certificate"),
            Error::InvalidCertificate(error) => Self::new(ClientCertificate, certificate(error)),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::new(Incompatible, cause),
            Error::AlertReceived(alert) => Self::new(Refused, format_args!("the client refused to go on: {alert:?}")),
            Error::InvalidMessage(_) => Self::new(NotTls, "these bytes are no TLS"),
            error => Self::new(Protocol, error),
        }
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the client's certificate is not one for clients: its extended key usage lacks clientAuth".to_owned()
        }
        // Of an authority with the name of a trusted one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the client's certificate is not from a trusted authority".to_owned()
        }
        error => format!("the client's certificate is not valid: {error}"),
    }
}
