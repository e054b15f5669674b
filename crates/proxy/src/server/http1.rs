//! HTTP/1.1 towards clients: one request after the other, on the connection's own task.
//!
//! The request's body is read by whoever wants it, from the same connection; the response is written from here. While a request is
//! served the connection is listened to, so that a client's leaving ends what is done for it.

mod body;
mod line;
mod response;
mod upgraded;

pub(crate) use body::LineBody;
pub(crate) use upgraded::OnUpgrade;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body;
use http_body_util::Full;
use pailou_http1::{
    Framing,
    request::{Head, Heads, Refusal, Wishes},
};
use parking_lot::Mutex;
use tokio::{io::AsyncWrite as _, sync::oneshot};

use self::{
    line::{Line, SharedLine},
    response::{ResponseContext, Sending},
    upgraded::Upgraded,
};
use super::{ClientBody, Connection, Serve, Violation, clock::Clock, connection::Closing, io::ClientIo};

/// Serves a connection to its end, of which `closing` tells, provided that this is polled again.
///
/// # Errors
/// The connection broke, or a response could not be sent as a whole.
pub(super) async fn serve<W: Serve>(
    io: ClientIo,
    ahead: BytesMut,
    connection: &Arc<Connection<W>>,
    clock: &Arc<Clock>,
    closing: &Closing,
) -> io::Result<()> {
    let line = Arc::new(Mutex::new(Line::new(io, ahead)));
    let mut heads = Heads::default();
    loop {
        let head = match poll_fn(|context| poll_head(&mut line.lock(), &mut heads, closing, context)).await? {
            Next::Request(head) => head,
            Next::Refused(refusal) => {
                W::violated(connection, &Violation::refused(refusal.status, refusal));
                return Box::pin(refuse(&line, refusal)).await;
            }
            Next::Nothing => return close(&line, false).await,
        };
        let busy = clock.begin();
        if clock.is_spent() {
            closing.after_this();
        }
        let context = ResponseContext::new(&head.parts.method, head.parts.version, head.wishes);
        let (request, switch) = request(&line, head);
        let response = {
            // Boxed: the room it needs is of no use while the response streams, nor while the connection waits.
            let mut served = Box::pin(W::serve(connection, request));
            poll_fn(|context| match served.as_mut().poll(context) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => line.lock().poll_gone(context).map(|()| None),
            })
            .await
        };
        let Some(response) = response else { return Ok(()) };
        let switches = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        let keeps_alive = send(&line, response, &context, closing).await?;
        drop(busy);
        if switches {
            if let Some(switch) = switch {
                // Closes it if nobody waits for it.
                drop(switch.send(Upgraded::new(line)));
            }
            return Ok(());
        }
        let settled = poll_fn(|context| line.lock().poll_settled(context)).await;
        if !settled || !keeps_alive {
            return close(&line, !settled).await;
        }
        line.lock().wire.release();
    }
}

/// Next event on a connection.
#[expect(clippy::large_enum_variant, reason = "it is nearly always the large one")]
enum Next {
    Request(Head),
    Refused(Refusal),
    Nothing,
}

fn poll_head(line: &mut Line, heads: &mut Heads, closing: &Closing, context: &mut Context<'_>) -> Poll<io::Result<Next>> {
    let wire = &mut line.wire;
    loop {
        match heads.take(&mut wire.read) {
            Ok(Some(head)) => return Poll::Ready(Ok(Next::Request(head))),
            Ok(None) => {}
            Err(refusal) => return Poll::Ready(Ok(Next::Refused(refusal))),
        }
        if closing.is_now() && wire.read.is_empty() {
            return Poll::Ready(Ok(Next::Nothing));
        }
        if wire.read.is_empty() {
            ready!(wire.io.poll_readable(context));
        }
        if !ready!(wire.poll_fill(context))? {
            return Poll::Ready(Ok(Next::Nothing));
        }
    }
}

/// The request for whoever serves it, and where its connection is to go if it changes its protocol.
fn request(line: &SharedLine, head: Head) -> (Request<ClientBody>, Option<oneshot::Sender<Upgraded>>) {
    let Head { parts, framing, wishes } = head;
    if wishes.upgrades {
        let (switch, switched) = oneshot::channel();
        return (Request::from_parts(parts, ClientBody::upgrade(OnUpgrade(switched))), Some(switch));
    }
    (Request::from_parts(parts, body(line, framing, wishes)), None)
}

fn body(line: &SharedLine, mut framing: Framing, wishes: Wishes) -> ClientBody {
    if framing.is_over() {
        return ClientBody::whole(Bytes::new());
    }
    let mut locked = line.lock();
    if let Framing::Length(length) = framing
        && locked.wire.read.len() as u64 >= length
        && let Ok(Some(frame)) = framing.take(&mut locked.wire.read)
    {
        return ClientBody::whole(frame.into_data().unwrap_or_default());
    }
    locked.begin(framing, wishes.asks);
    ClientBody::http1(LineBody::new(Arc::clone(line)))
}

/// Sends a response; whether the connection may be kept.
async fn send<B>(line: &SharedLine, response: Response<B>, context: &ResponseContext, closing: &Closing) -> io::Result<bool>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    let mut sending = Sending::new(response, context, !closing.is_soon());
    let sent = poll_fn(|context| {
        loop {
            let has_more = sending.gather(context);
            let mut line = line.lock();
            match sending.poll_write(&mut line, context) {
                Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) if has_more => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                _ => return line.poll_gone(context).map(|()| Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
    })
    .await;
    match sent {
        Ok(()) => Ok(sending.keeps_alive),
        Err(error) => {
            if sending.until_close {
                // Its end would look like the body's.
                line.lock().wire.io.reset();
            }
            Err(error)
        }
    }
}

/// Says what is wrong with bytes that are no request.
async fn refuse(line: &SharedLine, refusal: Refusal) -> io::Result<()> {
    let mut response = Response::new(Full::<Bytes>::from(format!("{refusal}\n")));
    *response.status_mut() = refusal.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let wishes = Wishes { keeps_alive: false, asks: false, upgrades: false, trailers: false };
    let context = ResponseContext { is_head: false, version: Version::HTTP_11, wishes };
    send(line, response, &context, &Closing::default()).await?;
    close(line, true).await
}

/// Closes a connection; lingering where the client may still be sending.
async fn close(line: &SharedLine, lingers: bool) -> io::Result<()> {
    poll_fn(|context| {
        let io = &mut line.lock().wire.io;
        io.lingers |= lingers;
        Pin::new(io).poll_shutdown(context)
    })
    .await
}
