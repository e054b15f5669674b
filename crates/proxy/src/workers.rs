//! Threads that serve: each with a runtime, connections to backends and clients of its own.

use std::{future::Future, io, sync::Arc, thread, time::Instant};

use http::{Request, Response};
use pailou_auth::TokenCache;
use tokio::{runtime::Builder, sync::watch};

use crate::{
    context::Context,
    dns::Dns,
    forward, gateway_log, request,
    response_body::ResponseBody,
    server::{Client, ClientBody, Datagrams, HandshakeFailure, Serve, Violation, WorkerHandle},
    upstream::Upstreams,
    worker::{Connection, Worker},
};

impl Serve for Worker {
    type Body = ResponseBody;

    fn serve(connection: &Arc<Connection>, request: Request<ClientBody>) -> impl Future<Output = Response<ResponseBody>> + Send {
        request::handle(connection, request)
    }

    fn forward(
        connection: &Arc<Connection>,
        client: Client,
        stop: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = ()> + Send {
        forward::handle(connection, client, stop)
    }

    fn violated(connection: &Connection, violation: &Violation) {
        let context = &connection.worker.context;
        context.metrics.violated(violation);
        gateway_log::write_violation(connection, violation);
    }

    fn connection_refused(worker: &Arc<Self>) {
        worker.context.metrics.refused_connections.inc();
    }

    fn handshake_failed(worker: &Arc<Self>, failure: &HandshakeFailure) {
        worker.context.metrics.handshake_failed(failure.cause.reason, true);
        gateway_log::write_handshake(&worker.context, failure);
    }

    fn closed(connection: &Connection, opened: Instant) {
        gateway_log::write_connection(connection, opened);
    }

    fn datagrams(worker: &Arc<Self>, socket: Arc<Datagrams>) -> impl Future<Output = ()> + Send {
        forward::datagrams::serve(worker, socket)
    }
}

/// Serving threads. They end, with every connection they have, when this is dropped.
pub(crate) struct Workers {
    handles: Vec<WorkerHandle<Worker>>,
    _running: watch::Sender<()>,
}

impl Workers {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// The system gives no thread, or no event queue for one.
    pub(crate) fn start(count: usize, dns: &Dns, context: &Arc<Context>) -> io::Result<Self> {
        let (running, ended) = watch::channel(());
        let handles = (0..count.max(1))
            .map(|index| {
                let worker = Worker {
                    index,
                    upstreams: Upstreams::new(dns.clone()),
                    tokens: TokenCache::default(),
                    context: Arc::clone(context),
                };
                spawn(index, Arc::new(worker), ended.clone())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { handles, _running: running })
    }

    /// Handles by which [`crate::server::Server`] hands over connections.
    pub(crate) fn handles(&self) -> Vec<WorkerHandle<Worker>> {
        self.handles.clone()
    }

    /// The workers, for what has to be told to each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.handles.iter().map(|handle| &handle.worker)
    }
}

fn spawn(index: usize, worker: Arc<Worker>, mut ended: watch::Receiver<()>) -> io::Result<WorkerHandle<Worker>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = WorkerHandle::new(runtime.handle().clone(), worker);
    thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        // An error is the sender's end.
        runtime.block_on(async { while ended.changed().await.is_ok() {} });
    })?;
    Ok(handle)
}
