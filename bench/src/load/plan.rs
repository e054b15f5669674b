//! Requests of a load, and their destination.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    request::Request,
    template::HOST,
    workload::{CHUNKS, Kind, Setup, Shape},
};

/// Distance between two requests that follow each other, in a list of many: none is near the one before. Prime.
const STRIDE: usize = 1009;

/// How requests are sent.
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) setup: Setup,
    /// Requests at a time.
    pub(crate) connections: u32,
    /// Time over which the connections' first requests are spread: streams that all began at once would go on doing so.
    pub(crate) spread: Duration,
    requests: Vec<Request>,
    bytes: Vec<Rc<[u8]>>,
    next: Cell<usize>,
    connector: TlsConnector,
}

impl Plan {
    /// The plan for a workload; there must be a request.
    pub(crate) fn new(target: SocketAddr, shape: &Shape, requests: Vec<Request>, connector: TlsConnector) -> Self {
        let spread = if let Kind::Streams(cadence) = shape.kind { cadence * CHUNKS } else { Duration::ZERO };
        let bytes = requests.iter().map(|request| request.bytes().into()).collect();
        Self { target, setup: shape.setup, connections: shape.connections, spread, requests, bytes, next: Cell::new(0), connector }
    }

    /// The request of that place in the list.
    pub(super) fn request(&self, place: usize) -> &Request {
        &self.requests[place]
    }

    /// All requests.
    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The next request for any connection: all in turn.
    pub(super) fn next_bytes(&self) -> Rc<[u8]> {
        self.bytes[self.next_place()].clone()
    }

    /// The place of the next request.
    pub(super) fn next_place(&self) -> usize {
        let place = self.next.get();
        self.next.set((place + STRIDE) % self.requests.len());
        place
    }

    /// TLS over a new connection.
    pub(super) async fn tls(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::workload::Workload;

    #[test]
    fn every_request_is_sent_before_one_is_sent_again() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let connector = Arc::new(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()).into();
        let shape = Workload::ManyRoutes.shape();
        let plan = Plan::new(([127, 0, 0, 1], 1).into(), &shape, Request::of(&shape, &[], &[]), connector);
        let places: BTreeSet<usize> = (0..plan.requests().len()).map(|_| plan.next_place()).collect();
        assert_eq!(places.len(), 5000);
    }
}
