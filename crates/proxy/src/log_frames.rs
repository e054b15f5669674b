//! Messages of a stream of access log entries, as the body of the request that is the stream.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use pailou_ai::Pieces;
use pailou_envoy_proto::frame;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// The body, for as many connections as are tried: one that cannot be made takes none of the messages along. After one that has
/// [begun](Self::has_begun) another would go on in the middle. It ends when its sender does.
#[derive(Clone)]
pub(crate) struct LogFrames(Arc<Mutex<Frames>>);

struct Frames {
    messages: mpsc::Receiver<Message>,
    /// The rest of a message, and where to report that the connection has taken it.
    pieces: VecDeque<Bytes>,
    taken: Option<oneshot::Sender<()>>,
    has_begun: bool,
}

struct Message {
    pieces: Pieces,
    taken: oneshot::Sender<()>,
}

/// The writing end of [`LogFrames`]: one message at a time.
pub(crate) struct LogFrameSender(mpsc::Sender<Message>);

/// A body without messages so far.
pub(crate) fn log_frames() -> (LogFrameSender, LogFrames) {
    let (sender, messages) = mpsc::channel(1);
    (
        LogFrameSender(sender),
        LogFrames(Arc::new(Mutex::new(Frames { messages, pieces: VecDeque::new(), taken: None, has_begun: false }))),
    )
}

impl LogFrameSender {
    /// Sends a message once the one before is taken. The receiver hears when the connection has taken it and has room for more;
    /// it hears of its sender's end where the connection ends first.
    pub(crate) fn send(&self, pieces: Pieces) -> oneshot::Receiver<()> {
        let (taken, is_taken) = oneshot::channel();
        // Without room, or without a body, `taken` is dropped.
        let _ = self.0.try_send(Message { pieces, taken });
        is_taken
    }
}

impl LogFrames {
    /// The next piece of a message; `None` at the end.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.lock().poll_next(context)
    }

    /// Whether a connection has got a piece.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.lock().has_begun
    }
}

impl Frames {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(piece));
        }
        if let Some(taken) = self.taken.take() {
            let _ = taken.send(());
        }
        let Some(Message { pieces, taken }) = ready!(self.messages.poll_recv(context)) else { return Poll::Ready(None) };
        let mut prefix = BytesMut::with_capacity(frame::PREFIX_LENGTH);
        frame::put_prefix(&mut prefix, false, pieces.len());
        self.has_begun = true;
        self.pieces.extend(pieces);
        // HTTP/2 asks for more once a piece has begun to fit into the stream's window: one of a byte then does, and all before it.
        if let Some(last) = self.pieces.back_mut().filter(|last| last.len() > 1) {
            let end = last.split_off(last.len() - 1);
            self.pieces.push_back(end);
        }
        self.taken = Some(taken);
        Poll::Ready(Some(prefix.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Request;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;
    use crate::request_body::RequestBody;

    #[tokio::test]
    async fn a_message_is_taken_once_more_is_asked_for() {
        let (sender, frames) = log_frames();
        assert!(!frames.has_begun());
        let mut is_taken = sender.send(Pieces::from_iter([Bytes::from_static(b"he"), Bytes::from_static(b"ad")]));
        let mut body = Vec::new();
        for _ in 0..4 {
            body.extend(poll_fn(|context| frames.poll_next(context)).await.unwrap());
            assert!(frames.has_begun());
        }
        assert_eq!(body, b"\0\0\0\0\x04head");
        assert!(is_taken.try_recv().is_err());
        assert!(sender.send(Pieces::from(Bytes::from_static(b"next"))).try_recv().is_err());
        assert_eq!(poll_fn(|context| frames.poll_next(context)).await.unwrap(), &b"\0\0\0\0\x04"[..]);
        assert!(is_taken.try_recv().is_ok());
        drop(sender);
        assert_eq!(poll_fn(|context| frames.poll_next(context)).await.unwrap(), "nex");
        assert_eq!(poll_fn(|context| frames.poll_next(context)).await.unwrap(), "t");
        assert_eq!(poll_fn(|context| frames.poll_next(context)).await, None);
    }

    /// A stream's window is 65,535 bytes as long as the collector says nothing else.
    #[tokio::test]
    async fn a_message_is_taken_once_all_of_it_fits_into_the_collectors_window() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (sender, frames) = log_frames();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let mut server = h2::server::handshake(server).await.unwrap();
        let request = Request::post("http://collector/").body(RequestBody::logs(frames)).unwrap();
        let _answer = tokio::spawn(client.send_request(request));
        let (request, _answers) = server.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        const LENGTH: usize = 200 << 10;
        let mut is_taken = sender.send(Pieces::from(Bytes::from(vec![0; LENGTH])));
        let (mut body, mut got) = (request.into_body(), 0);
        while got < 65_535 {
            got += body.data().await.unwrap().unwrap().len();
        }
        assert!(is_taken.try_recv().is_err());
        body.flow_control().release_capacity(got).unwrap();
        while got < frame::PREFIX_LENGTH + LENGTH {
            let length = body.data().await.unwrap().unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
            got += length;
        }
        is_taken.await.unwrap();
    }
}
