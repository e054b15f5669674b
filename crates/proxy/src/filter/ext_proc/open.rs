//! The stream to a processor.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use pailou_extproc::{
    client::SharedOutbox,
    names::METHOD_PATH,
    processor::{Lane, Limits, Session},
};
use pailou_snapshot::Timeouts;

use super::{Open, Processor, Stream};
use crate::{
    cluster::ClusterState,
    request_body::RequestBody,
    request_input::Bounds,
    runtime::Runtime,
    subrequest::{self, SubrequestError},
    upstream::UpstreamBody,
    worker::Connection,
};

/// A processor's answer may be longer than a body by this many bytes.
const MAX_GROWTH: usize = 1 << 20;

impl Processor {
    /// Begins the stream with a message. Gives the request's lane; the other waits for the response.
    pub(super) fn open(&mut self, first: Bytes, runtime: &Runtime, connection: &Arc<Connection>, bounds: &Bounds) -> Lane {
        let max_body = usize::try_from(bounds.bytes).unwrap_or(usize::MAX);
        let limits = Limits {
            fail_open: self.settings.fail_open,
            is_observer: self.settings.shadow_mode,
            max_message: max_body.saturating_add(MAX_GROWTH),
        };
        let cluster = subrequest::choose(&self.settings.backends).and_then(|key| runtime.find(key)).cloned();
        let (connection, authority) = (Arc::clone(connection), self.settings.authority.clone());
        let call = |outbox: SharedOutbox| async move {
            let response = send(cluster, &connection, outbox, authority).await;
            response.map_err(|error| error.to_string())
        };
        let (session, [request, response]) = Session::start(first, limits, call);
        self.stream = Stream::Open(Open { session, response: Some(response), has_request_body: false });
        request
    }
}

async fn send(
    cluster: Option<Arc<ClusterState>>,
    connection: &Connection,
    outbox: SharedOutbox,
    authority: HeaderValue,
) -> Result<Response<UpstreamBody>, SubrequestError> {
    let cluster = cluster.ok_or(SubrequestError::NoEndpoint)?;
    let request = |_: &_| {
        let mut request = Request::new(RequestBody::processed(outbox.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(METHOD_PATH);
        let headers = request.headers_mut();
        headers.insert(header::HOST, authority.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("pailou"));
        (request, ())
    };
    let (upstreams, may_repeat) = (&connection.worker.upstreams, || !outbox.has_begun());
    let (exchange, ()) = subrequest::send_over(&cluster, upstreams, &Timeouts::default(), request, may_repeat).await?;
    Ok(exchange.response)
}
