//! The feed's client: a proxy's source of objects.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use pailou_api::{
    NamespaceName, ObjectKey,
    parse::{ParseError, parse_object},
    undecodable::Undecodable,
};
use pailou_compile::store::{Entry, Store};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, sync::mpsc, time};
use tokio_rustls::TlsConnector;

use super::{
    PATH, PULSE_INTERVAL,
    wire::{Line, MAX_LINE},
};
use crate::backoff::Backoff;

/// How long it may take to reach the controller, and then to be answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A feed that is silent for this long is broken.
const IDLE_TIMEOUT: Duration = PULSE_INTERVAL.saturating_mul(3);
/// Longest refusal that is shown, in bytes.
const MAX_REFUSAL: usize = 1024;
/// Most changes of one batch. A batch is held in memory until it is whole.
const MAX_BATCH: usize = 1 << 20;

/// Address of the feed, and the proxy's credentials.
#[derive(Clone, Debug)]
pub struct Options {
    /// An `https` URL of the controller.
    pub url: Uri,
    /// The authorities that its certificate may be signed by, in PEM. Read anew for every connection, as is the token.
    pub authorities: PathBuf,
    /// The pod's service-account token.
    pub token: PathBuf,
}

/// Changes that hold together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Whether these are all the objects that there are.
    pub is_whole: bool,
    /// Objects as they are now.
    pub upserts: Vec<Entry>,
    /// Deleted objects.
    pub deletions: Vec<ObjectKey>,
}

impl Batch {
    /// Brings a store up to date.
    pub fn apply(self, store: &mut Store) {
        if self.is_whole {
            *store = Store::new();
        }
        for key in &self.deletions {
            store.delete(key);
        }
        for entry in self.upserts {
            if let Err(error) = store.upsert(entry) {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Why a feed ended. None of these holds the token.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} is not an https URL of a host")]
    Url(Uri),
    #[error("cannot read {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} holds no usable certificate", path = .0.display())]
    Authorities(PathBuf),
    #[error("cannot reach the controller: {0}")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Host(#[from] InvalidDnsNameError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the controller refuses: {0}: {1}")]
    Refused(StatusCode, String),
    #[error("unknown message from the controller: {0}")]
    Line(#[from] serde_json::Error),
    #[error("a line is longer than {MAX_LINE} bytes, or a batch than {MAX_BATCH} changes")]
    TooLong,
    #[error("no message for too long")]
    Silence(#[from] time::error::Elapsed),
    #[error("the controller closed the connection")]
    Ended,
}

/// Follows the feed for ever, and hands its batches on. While the controller is away it tries again and again; what was handed on
/// goes on holding.
pub async fn follow(options: Options, batches: mpsc::Sender<Batch>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut refusals = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    let mut last_error = LastError::default();
    loop {
        let mut session = Session { batches: &batches, batch: Batch { is_whole: true, ..Batch::default() }, batches_sent: 0 };
        let result = session.run(&options).await;
        if batches.is_closed() {
            return;
        }
        if session.batches_sent > 0 {
            backoff.reset();
            refusals.reset();
            last_error = LastError::default();
        }
        // A refusal may hold for as long as this proxy lives: its Gateway is being deleted, or is not watched any more.
        let is_refusal = matches!(result, Err(Error::Refused(..)));
        let delay = if is_refusal { refusals.failed() } else { backoff.failed() };
        if let Err(error) = result {
            let words = error.to_string();
            if last_error.is_new(&words) {
                tracing::warn!("feed: {words}; retrying, serving the last configuration");
            } else {
                tracing::debug!("feed: {words}; retrying in {:.1} s", delay.as_secs_f64());
            }
        }
        time::sleep(delay).await;
    }
}

/// The last error logged: the client logs the same one once.
#[derive(Debug, Default)]
struct LastError(String);

impl LastError {
    fn is_new(&mut self, words: &str) -> bool {
        let is_new = self.0 != words;
        words.clone_into(&mut self.0);
        is_new
    }
}

struct Session<'a> {
    batches: &'a mpsc::Sender<Batch>,
    batch: Batch,
    batches_sent: u64,
}

impl Session<'_> {
    async fn run(&mut self, options: &Options) -> Result<(), Error> {
        let mut body = time::timeout(CONNECT_TIMEOUT, open(options)).await??;
        let namespace = NamespaceName::try_from("default").expect("a name");
        let mut buffer = BytesMut::new();
        loop {
            let Some(frame) = time::timeout(IDLE_TIMEOUT, body.frame()).await? else { return Err(Error::Ended) };
            let Ok(data) = frame?.into_data() else { continue };
            let mut searched = buffer.len();
            buffer.extend_from_slice(&data);
            while let Some(end) = memchr::memchr(b'\n', &buffer[searched..]) {
                let line = buffer.split_to(searched + end + 1).freeze();
                searched = 0;
                self.take(&line, &namespace).await?;
            }
            if buffer.len() > MAX_LINE || self.batch.upserts.len() + self.batch.deletions.len() > MAX_BATCH {
                return Err(Error::TooLong);
            }
        }
    }

    async fn take(&mut self, line: &Bytes, namespace: &NamespaceName) -> Result<(), Error> {
        match serde_json::from_slice(line)? {
            Line::Upsert { object } => match parse_object(object, "feed", namespace) {
                Ok(decoded) => self.batch.upserts.push(Entry::new(decoded, "feed".into())),
                // A controller of another version may know fields that this proxy does not.
                Err(errors) => {
                    errors.iter().for_each(|error| tracing::warn!("{error}"));
                    self.batch.upserts.extend(closing_policy(line, namespace, &errors));
                }
            },
            Line::Delete { key } => self.batch.deletions.push(key.into()),
            Line::Synced {} => {
                self.batches_sent += 1;
                // The receiver has ended: the next check of `is_closed` ends this task too.
                let _ = self.batches.send(std::mem::take(&mut self.batch)).await;
            }
            Line::Pulse {} => {}
        }
        Ok(())
    }
}

/// The policy that closes the targets of one that guards and does not decode.
fn closing_policy(line: &[u8], namespace: &NamespaceName, errors: &[ParseError]) -> Option<Entry> {
    let Ok(Line::Upsert { object }) = serde_json::from_slice(line) else { return None };
    Entry::closing_policy(&Undecodable::new(&object, namespace, errors)?, "feed".into())
}

async fn open(options: &Options) -> Result<Incoming, Error> {
    let url = &options.url;
    let host = url.host().filter(|_| url.scheme_str() == Some("https")).ok_or_else(|| Error::Url(url.clone()))?;
    let token =
        std::fs::read_to_string(&options.token).map_err(|error| Error::File { path: options.token.clone(), source: error })?;
    let connector = TlsConnector::from(Arc::new(trust(&options.authorities)?));
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(ServerName::try_from(host.to_owned())?, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its end shows on the body.
        let _ = connection.await;
    });
    let request = Request::get(PATH).header(header::HOST, host).header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| Error::Url(url.clone()))?;
    let answer = sender.send_request(request).await?;
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        let text = Limited::new(answer.into_body(), MAX_REFUSAL).collect().await.map(|text| text.to_bytes()).unwrap_or_default();
        return Err(Error::Refused(status, String::from_utf8_lossy(&text).trim().to_owned()));
    }
    Ok(answer.into_body())
}

fn trust(authorities: &PathBuf) -> Result<ClientConfig, Error> {
    let unusable = || Error::Authorities(authorities.clone());
    let pem = std::fs::read(authorities).map_err(|error| Error::File { path: authorities.clone(), source: error })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|_| unusable())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once() {
        let mut last_error = LastError::default();
        let all = ["refused", "refused", "away", "refused"].map(|words| last_error.is_new(words));
        assert_eq!(all, [true, false, true, true]);
    }

    #[test]
    fn a_policy_that_this_proxy_does_not_understand_closes_its_targets() {
        let line = |kind: &str, spec: &str| {
            format!(
                "{{\"type\":\"UPSERT\",\"object\":{{\"apiVersion\":\"gateway.envoyproxy.io/v1alpha1\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"p\",\"namespace\":\"a\"}},\
                 \"spec\":{{\"targetRefs\":[{{\"group\":\"gateway.networking.k8s.io\",\"kind\":\"Gateway\",\"name\":\"g\"}}],{spec}}}}}}}"
            )
            .into_bytes()
        };
        let namespace = NamespaceName::try_from("default").unwrap();
        let closes = |line: &[u8]| {
            let Ok(Line::Upsert { object }) = serde_json::from_slice(line) else { panic!("no object") };
            let errors = parse_object(object, "feed", &namespace).unwrap_err();
            closing_policy(line, &namespace, &errors).is_some_and(|entry| entry.object.is_closing_policy())
        };
        assert!(closes(&line("SecurityPolicy", "\"authorization\":{\"defaultAction\":\"Ask\"}")));
        assert!(closes(&line("BackendTrafficPolicy", "\"rateLimit\":{\"type\":\"Regional\"}")));
        assert!(!closes(&line("BackendTrafficPolicy", "\"loadBalancer\":{\"type\":7}")));
    }
}
