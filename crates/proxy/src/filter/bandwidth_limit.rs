//! Limits of bandwidth (BackendTrafficPolicy `bandwidthLimit`): bodies pass no faster than they may.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use pailou_snapshot::BandwidthLimit;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Stage;
use crate::{
    bandwidth::{Buckets, Delays, Gate},
    error::{Error, Flag},
    request_input::{ReadBody, RequestInput},
    response_body::{DelayTrailers, ResponseBody, Throttled},
    server::{ClientBody, ClientBodyError},
};

/// A request that has met a limit, for its response.
pub(super) struct BandwidthState {
    buckets: Arc<Buckets>,
    /// Delays of the request, as far as its body has passed.
    request: Arc<Mutex<Delays>>,
    /// When all of the response must be through.
    deadline: Option<Instant>,
}

impl BandwidthState {
    /// Delays of the request's body.
    pub(super) fn request_delays(&self) -> Arc<Mutex<Delays>> {
        Arc::clone(&self.request)
    }
}

/// Slows a request's body down. One that was read before waits here for as long as it would take to pass, but not beyond the request's
/// deadline: no endpoint is to blame for that.
///
/// # Errors
/// [`Flag::Timeout`] at the deadline, [`Flag::Budget`] where bodies that wait take too much room.
pub(super) async fn request(
    limit: &BandwidthLimit,
    stage: &Stage<'_>,
    mut input: RequestInput,
) -> Result<(RequestInput, Option<BandwidthState>), Error> {
    let Some(route) = stage.route() else { return Ok((input, None)) };
    let buckets = stage.connection.worker.context.bandwidth.of(route);
    let state = BandwidthState { buckets: Arc::clone(&buckets), request: Arc::default(), deadline: stage.deadline };
    let Some(rate) = limit.request else { return Ok((input, Some(state))) };
    let mut gate = Gate::new(buckets, |buckets| &buckets.request, rate);
    match &mut input {
        RequestInput::Absent => {}
        RequestInput::Unread(unread) => {
            let inner = std::mem::take(&mut unread.rest.body);
            let delays = Arc::clone(&state.request);
            unread.rest.body = ClientBody::filtered(ThrottledRequest { inner, gate, held: Bytes::new(), delays });
        }
        RequestInput::Read(read) => {
            let wait = pass(&mut gate, read);
            match stage.deadline {
                None => wait.await?,
                Some(deadline) => timeout_at(deadline, wait).await.unwrap_or_else(|_| Err(late()))?,
            }
            *state.request.lock() = gate.delays();
        }
    }
    Ok((input, Some(state)))
}

/// Waits until a body that was read may have passed.
async fn pass(gate: &mut Gate, read: &ReadBody) -> Result<(), Error> {
    let mut held = read.bytes.clone();
    poll_fn(|context| gate.poll_pass(&mut held, context)).await;
    if held.is_empty() {
        return Ok(());
    }
    let _waiting = read.share.begin_wait()?;
    while !held.is_empty() {
        poll_fn(|context| gate.poll_pass(&mut held, context)).await;
    }
    Ok(())
}

fn late() -> Error {
    Error::new(Flag::Timeout, "the request's body could not pass in time: the route limits the bandwidth")
}

/// Slows a response's body down.
pub(super) fn response(
    limit: &BandwidthLimit,
    state: &BandwidthState,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let Some(rate) = limit.response.filter(|_| !response.body().is_end_stream()) else { return response };
    let delays = limit.trailers.clone().map(|names| DelayTrailers { names, request: Arc::clone(&state.request) });
    if let Some(DelayTrailers { names, .. }) = &delays {
        // Over HTTP/1.1 only what is announced may follow.
        let names = [&names.request_delay, &names.response_delay, &names.request_filter_delay, &names.response_filter_delay];
        let names = names.map(|name| name.as_str()).join(", ");
        if let Ok(names) = HeaderValue::try_from(names) {
            response.headers_mut().append(header::TRAILER, names);
        }
    }
    let gate = Gate::new(Arc::clone(&state.buckets), |buckets| &buckets.response, rate);
    response.map(|inner| ResponseBody::throttled(Throttled::new(inner, gate, delays, state.deadline)))
}

/// A request's body of which as much passes as the limit allows.
struct ThrottledRequest {
    inner: ClientBody,
    gate: Gate,
    held: Bytes,
    delays: Arc<Mutex<Delays>>,
}

impl Body for ThrottledRequest {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let this = &mut *self;
        loop {
            if !this.held.is_empty() {
                let passed = ready!(this.gate.poll_pass(&mut this.held, context));
                *this.delays.lock() = this.gate.delays();
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(context)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => this.held = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.inner.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + self.held.len() as u64),
            None => SizeHint::default(),
        }
    }
}
