//! Between HTTP/2 and what answers requests: a request counts as under way until its response's last byte.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};

use super::{
    ClientBody, Connection, ResponseStream, Serve,
    clock::{Busy, Clock},
    streams::Flow,
};

/// A response's body while the connection is busy with it.
pub(super) struct Counted<B> {
    body: B,
    /// It answers a HEAD: its content is not sent (RFC 9110, 9.3.2).
    is_head: bool,
    flow: Option<Arc<Flow>>,
    _busy: Busy,
}

/// A response, counted while its body lasts.
type Counting<W> = Response<Counted<<W as Serve>::Body>>;

/// The service of one connection.
pub(super) fn service<W: Serve>(
    connection: Arc<Connection<W>>,
    clock: Arc<Clock>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Counting<W>,
    Error = h2::Error,
    Future = impl Future<Output = Result<Counting<W>, h2::Error>> + Send + use<W>,
> + use<W> {
    service_fn(move |request: Request<Incoming>| {
        // A client may send it again elsewhere: nobody has seen it.
        let busy = if clock.is_drained() { Err(h2::Reason::REFUSED_STREAM) } else { Ok(clock.begin()) };
        let connection = Arc::clone(&connection);
        async move {
            let busy = busy?;
            let is_head = request.method() == Method::HEAD;
            // Boxed: the stream's task would keep the room it needs while the response streams.
            let mut response = Box::pin(W::serve(&connection, request.map(ClientBody::from))).await;
            if is_head {
                announce_length(&mut response);
            }
            let flow = Flow::current();
            if let (Some(flow), Some(upload)) = (&flow, response.body().upload()) {
                flow.beside(upload);
            }
            Ok(response.map(|body| Counted { body, is_head, flow, _busy: busy }))
        }
    })
}

/// Announces the length that the answer to a GET would have, where it is known.
fn announce_length<B: ResponseStream>(response: &mut Response<B>) {
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
}

impl<B: ResponseStream> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(context);
        while self.is_head && matches!(&frame, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            frame = Pin::new(&mut self.body).poll_frame(context);
        }
        if let Some(flow) = &self.flow {
            flow.polled(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_head { SizeHint::default() } else { self.body.size_hint() }
    }
}
