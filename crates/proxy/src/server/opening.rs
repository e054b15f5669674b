//! Beginning of a client's connection: a load balancer's word of the client, TLS, and what is spoken.

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::BytesMut;
use pailou_snapshot::{ClientCertificates, ClientProxyProtocol, HostMap, PortService, ServerTls, TlsListener};
use rustls::server::ServerConnection;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::StartHandshake;

use super::{
    TlsInfo,
    client::Opening,
    handshake::{HandshakeError, HandshakeReason},
    hello,
    port::Settings,
};
use crate::{
    proxy_protocol::{self, Beginning, Ends, ProxyProtocolError},
    tls::{MaybeTls, PresentedCertificate},
};

/// Bound on a PROXY protocol header.
const PROXY_PROTOCOL_TIMEOUT: Duration = Duration::from_secs(10);
/// Preface of an HTTP/2 client (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at first, to tell the protocols apart.
const FIRST_READ: usize = 2 << 10;

/// A connection of which it is known what is spoken on it.
pub(super) struct Opened {
    pub(super) spoken: Spoken,
    pub(super) tls: Option<TlsInfo>,
}

pub(super) enum Spoken {
    Http(Http),
    /// An unknown protocol, which a backend may understand.
    Unknown(Opening),
}

pub(super) struct Http {
    pub(super) stream: MaybeTls<TcpStream>,
    pub(super) ahead: BytesMut,
    pub(super) is_http2: bool,
}

/// Causes for which a connection cannot be served.
pub(super) enum OpenError {
    Io(io::Error),
    Handshake { sni: Option<Arc<str>>, cause: HandshakeError },
    ProxyProtocol(ProxyProtocolError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Finds out who speaks, and what; `None` where nothing is to be said. `ends` are the connection's own, and then those that a load balancer
/// names.
pub(super) async fn open(mut stream: TcpStream, settings: &Settings, ends: &mut Ends) -> Result<Option<Opened>, OpenError> {
    let ahead = match settings.client.proxy_protocol {
        None => BytesMut::new(),
        Some(wanted) => {
            let read = within(Some(PROXY_PROTOCOL_TIMEOUT), forwarded(&mut stream, wanted, ends)).await;
            match read.unwrap_or(Err(ProxyProtocolError::Incomplete)).map_err(OpenError::ProxyProtocol)? {
                Some(ahead) => ahead,
                None => return Ok(None),
            }
        }
    };
    match &settings.service {
        PortService::Http(_) => {
            let head_timeout = settings.client.timeouts.request_head.or(settings.client.timeouts.idle);
            let ahead = within(head_timeout, first_bytes(&mut stream, ahead)).await??;
            let is_http2 = ahead.starts_with(PREFACE);
            let http = Http { stream: MaybeTls::Clear(stream), ahead, is_http2 };
            Ok((!http.ahead.is_empty()).then_some(Opened { spoken: Spoken::Http(http), tls: None }))
        }
        // Boxed: the handshake needs far more room than what follows.
        PortService::Tls(listeners) => {
            let mut sni = None;
            let opening = Box::pin(open_tls(stream, ahead, settings, listeners, &mut sni));
            let opened = within(settings.client.timeouts.tls_handshake, opening).await;
            opened.unwrap_or_else(|error| Err(HandshakeError::of(&error))).map_err(|cause| OpenError::Handshake { sni, cause })
        }
        // It may be the backend that speaks first.
        PortService::Tcp(_) => {
            let spoken = Spoken::Unknown(Opening::Forwarded { stream, ahead: ahead.freeze() });
            Ok(Some(Opened { spoken, tls: None }))
        }
        PortService::Udp(_) => Ok(None),
    }
}

async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> io::Result<T> {
    match limit {
        Some(limit) => timeout(limit, future).await.map_err(|_| io::ErrorKind::TimedOut.into()),
        None => Ok(future.await),
    }
}

/// Reads a load balancer's word of the client; the bytes after it. `None` where the peer left without a byte.
async fn forwarded(
    stream: &mut TcpStream,
    wanted: ClientProxyProtocol,
    ends: &mut Ends,
) -> Result<Option<BytesMut>, ProxyProtocolError> {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    loop {
        let is_open = stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0);
        match proxy_protocol::parse(&bytes)? {
            _ if bytes.is_empty() => return Ok(None),
            Beginning::Header(length, named) => {
                drop(bytes.split_to(length));
                *ends = named.unwrap_or(*ends);
                return Ok(Some(bytes));
            }
            Beginning::Incomplete if is_open => bytes.reserve(FIRST_READ),
            Beginning::Absent | Beginning::Incomplete if wanted == ClientProxyProtocol::Optional => return Ok(Some(bytes)),
            Beginning::Absent => return Err(ProxyProtocolError::Absent),
            Beginning::Incomplete => return Err(ProxyProtocolError::Incomplete),
        }
    }
}

/// Reads until it is clear whether the HTTP/2 preface is what comes; empty where the client left.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin), mut bytes: BytesMut) -> io::Result<BytesMut> {
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) {
        bytes.reserve(FIRST_READ);
        if stream.read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// Goes by the server name, and through with the handshake where HTTP is what is within. A name that no listener answers for is
/// met with silence: an alert would tell what there is.
async fn open_tls(
    mut stream: TcpStream,
    ahead: BytesMut,
    settings: &Settings,
    listeners: &HostMap<TlsListener>,
    sni: &mut Option<Arc<str>>,
) -> Result<Option<Opened>, HandshakeError> {
    let hello = hello::read(&mut stream, ahead.freeze()).await.map_err(|error| HandshakeError::of(&error))?;
    let Some(hello) = hello else { return Ok(None) };
    sni.clone_from(&hello.sni);
    let listener = listeners.get(sni.as_deref().unwrap_or("")).next().ok_or_else(|| HandshakeError::name(sni.as_deref()))?;
    let config = settings.tls(listener.get());
    let client_certificates = config.and_then(|(settings, _)| settings.client_certificates.clone());
    let mut tls = TlsInfo { sni: hello.sni, client_certificates, presented: None };
    let spoken = match (listener, config) {
        (TlsListener::Http(_), Some((own, config))) => {
            let handshake = StartHandshake::from_parts(hello.accepted, stream).into_stream(Arc::clone(config));
            let stream = handshake.await.map_err(|error| HandshakeError::of(&error))?;
            let session = stream.get_ref().1;
            tls.presented = presented(own, &tls, session).map(Arc::new);
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            Spoken::Http(Http { stream: MaybeTls::Tls(Box::new(stream.into())), ahead: BytesMut::new(), is_http2 })
        }
        (TlsListener::Connections(_), Some((_, config))) => {
            Spoken::Unknown(Opening::Handshake { stream, accepted: Box::new(hello.accepted), config: Arc::clone(config) })
        }
        (TlsListener::Connections(listener), None) if listener.tls.is_none() => {
            Spoken::Unknown(Opening::Forwarded { stream, ahead: hello.bytes })
        }
        (_, None) => {
            return Err(HandshakeError::new(HandshakeReason::Unusable, "the listener has no certificate that can be used"));
        }
    };
    Ok(Some(Opened { spoken, tls: Some(tls) }))
}

/// The client's certificate. Nothing is made of one that need not be valid.
fn presented(own: &ServerTls, tls: &TlsInfo, session: &ServerConnection) -> Option<PresentedCertificate> {
    match own.client_certificates.as_ref()? {
        ClientCertificates::Valid(_) | ClientCertificates::ValidOrNone(_) => {}
        ClientCertificates::Any => return None,
    }
    let chain = session.peer_certificates().filter(|chain| !chain.is_empty())?;
    Some(PresentedCertificate::new(chain, &own.certificates, tls.sni.clone()))
}
