//! A small HTTP client: `GET /metrics` over one connection that is kept open.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, Connection, SendRequest},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use pailou_snapshot::ModelServer;
use tokio::net::TcpStream;

use super::transport::{Stream, Transport};
use crate::metrics::{Figures, Parser};

/// How long a scrape may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The largest page that is read.
const MOST_BYTES: usize = 4 << 20;

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the page is larger than 4 MiB")]
    TooLarge,
    #[error("no answer within a second")]
    Timeout,
}

/// Scrapes one endpoint.
pub(super) struct Client {
    address: SocketAddr,
    host: String,
    link: Option<Link>,
}

struct Link {
    sender: SendRequest<Empty<Bytes>>,
    connection: Connection<TokioIo<Box<dyn Stream>>, Empty<Bytes>>,
    /// Identity of the transport that it was opened by.
    transport: Option<u128>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, host: address.to_string(), link: None }
    }

    /// An engine's figures; `None` if the endpoint answers but has none. Without a transport it is read in plain TCP.
    ///
    /// # Errors
    /// It does not answer properly.
    pub(super) async fn scrape(
        &mut self,
        dialect: ModelServer,
        transport: Option<Arc<dyn Transport>>,
    ) -> Result<Option<Figures>, ScrapeError> {
        // A link that is not put back was lost on the way: it is in an unknown state.
        let wanted = transport.as_ref().map(|transport| transport.identity());
        let link = self.link.take().filter(|link| link.transport == wanted);
        let scrape = async {
            if let Some(link) = link
                && let Ok(answer) = self.exchange(link, dialect).await
            {
                return Ok(answer);
            }
            let link = self.connect(transport.as_deref()).await?;
            self.exchange(link, dialect).await
        };
        let (figures, link) = tokio::time::timeout(TIMEOUT, scrape).await.unwrap_or(Err(ScrapeError::Timeout))?;
        self.link = link;
        Ok(figures)
    }

    async fn connect(&self, transport: Option<&dyn Transport>) -> Result<Link, ScrapeError> {
        let stream = match transport {
            Some(transport) => transport.connect(self.address).await.map_err(ScrapeError::Connect)?,
            None => connect_plain(self.address).await.map_err(ScrapeError::Connect)?,
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Link { sender, connection, transport: transport.map(Transport::identity) })
    }

    /// One request; the link comes back if another can follow.
    async fn exchange(&self, mut link: Link, dialect: ModelServer) -> Result<(Option<Figures>, Option<Link>), ScrapeError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = hyper::Uri::from_static("/metrics");
        let host = hyper::header::HeaderValue::from_str(&self.host).expect("an address is a header value");
        request.headers_mut().insert(HOST, host);
        let (result, closed) = {
            let mut answer = pin!(read(&mut link.sender, request, dialect));
            tokio::select! {
                result = &mut answer => (result, false),
                // Bytes received before the connection ended can still be read.
                _ = &mut link.connection => (answer.await, true),
            }
        };
        let (figures, complete) = result?;
        Ok((figures, (complete && !closed).then_some(link)))
    }
}

/// Opens a connection in plain TCP.
pub(crate) async fn connect_plain(address: SocketAddr) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// The figures of the answer, and whether it was read to its end.
async fn read(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    dialect: ModelServer,
) -> Result<(Option<Figures>, bool), ScrapeError> {
    sender.ready().await?;
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Ok((None, false));
    }
    let mut parser = Parser::new(dialect);
    let mut bytes = 0;
    while let Some(frame) = response.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes += data.len();
        if bytes > MOST_BYTES {
            return Err(ScrapeError::TooLarge);
        }
        parser.feed(&data);
    }
    Ok((parser.finish(), true))
}
