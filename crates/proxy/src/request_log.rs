//! Data of one request for log, metrics and settlement: once, on every way out.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode, Version};
use pailou_ai::usage::Usage;
use pailou_snapshot::{ListenerName, Rule};

use crate::{
    cluster::ClusterState,
    context::Context,
    error::{Error, Flag},
};

/// One request, from its head to the last byte of its response. Settled by `RequestLog::settle`, or by being dropped when the
/// client goes away before that.
pub struct RequestLog {
    context: Arc<Context>,
    settled: bool,
    /// When the head had been read.
    pub started: Instant,
    /// The same by the wall clock.
    pub time: SystemTime,
    /// The client's connection.
    pub peer: SocketAddr,
    /// The method.
    pub method: Method,
    /// The path without its query, which may hold secrets.
    pub path: Box<str>,
    /// The host asked for.
    pub host: Box<str>,
    /// The HTTP version the client speaks.
    pub version: Version,
    /// `X-Request-Id`, the client's or one that the gateway made.
    pub request_id: Box<str>,
    /// The listener that answered.
    pub listener: Option<ListenerName>,
    /// The rule that answered.
    pub rule: Option<Arc<Rule>>,
    /// The cluster that was chosen.
    pub cluster: Option<Arc<ClusterState>>,
    /// The endpoint that answered last.
    pub endpoint: Option<Arc<str>>,
    /// The model that the client asked for.
    pub model: Option<Box<str>>,
    /// The name that the engine was given instead.
    pub target_model: Option<Arc<str>>,
    /// Attempts made.
    pub attempts: u32,
    /// Bytes of the request's body, where it was read; else as announced.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// The response's status.
    pub status: Option<StatusCode>,
    /// Why the response is not what the backend said.
    pub flag: Option<Flag>,
    /// More about why, for the operator.
    pub detail: Option<String>,
    /// From `started` to the response's head.
    pub head_after: Option<Duration>,
    /// From `started` to the first content of the response: the time to first token.
    pub content_after: Option<Duration>,
    /// Tokens, as the backend counted them.
    pub usage: Option<Usage>,
}

impl RequestLog {
    /// A record of a request that has just come.
    pub(crate) fn new(context: Arc<Context>, peer: SocketAddr, method: Method, version: Version) -> Self {
        context.metrics.active.inc();
        Self {
            context,
            settled: false,
            started: Instant::now(),
            time: SystemTime::now(),
            peer,
            method,
            path: Box::default(),
            host: Box::default(),
            version,
            request_id: Box::default(),
            listener: None,
            rule: None,
            cluster: None,
            endpoint: None,
            model: None,
            target_model: None,
            attempts: 0,
            request_bytes: 0,
            response_bytes: 0,
            status: None,
            flag: None,
            detail: None,
            head_after: None,
            content_after: None,
            usage: None,
        }
    }

    /// Notes why the gateway answers by itself.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.flag = Some(error.flag);
        self.status = Some(error.status);
        self.detail = Some(error.detail.clone().unwrap_or_else(|| error.message.clone()));
    }

    /// Notes that the response's head is known.
    pub(crate) fn head(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.head_after = Some(self.started.elapsed());
    }

    /// Counts and logs the request. Only the first call does.
    pub(crate) fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let duration = self.started.elapsed();
        self.context.metrics.settle(self, duration);
        self.context.log.write(self, duration);
    }
}

impl Drop for RequestLog {
    /// The net for requests whose client went away while a backend was waited for.
    fn drop(&mut self) {
        if !self.settled {
            self.flag.get_or_insert(Flag::ClientGone);
            self.settle();
        }
    }
}
