//! Bytes both ways between two connections, each direction to its own end.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use crate::session_record::Moved;

/// Read at once. It lies on the stack: a connection on which nothing moves holds no buffer.
const SCRATCH: usize = 16 << 10;
/// Reads before others get to run.
const BURST: usize = 16;

/// Why a relay ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both sides said that they are through.
    Finished,
    /// Nothing moved for too long.
    Idle,
    /// The client's connection broke.
    Client(io::Error),
    /// The backend's connection broke.
    Backend(io::Error),
}

/// Relays until both directions have ended, either connection breaks, or nothing moved for `idle`. The end of one direction is
/// handed on and leaves the other as it is. What one side does not take is not read from the other.
pub(super) async fn relay<C, B>(client: &mut C, backend: &mut B, ahead: &[u8], idle: Option<Duration>, moved: &mut Moved) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Direction::new(ahead), Direction::new(&[]));
    let mut last = Instant::now();
    loop {
        let silence_ends = idle.and_then(|idle| last.checked_add(idle));
        let relayed = poll_fn(|context| {
            let before = up.moved + down.moved;
            let up = up.poll(context, client, backend);
            let down = down.poll(context, backend, client);
            let (sent, received) = (up.1, down.1);
            *moved = Moved { sent, received };
            if sent + received > before {
                last = Instant::now();
            }
            match (up.0, down.0) {
                (Poll::Ready(Err(broken)), _) => Poll::Ready(broken.end(End::Client, End::Backend)),
                (_, Poll::Ready(Err(broken))) => Poll::Ready(broken.end(End::Backend, End::Client)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Finished),
                _ => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            end = relayed => return end,
            () = sleep_until(silence_ends.unwrap_or_else(Instant::now)), if silence_ends.is_some() => {}
        }
        // Bytes may have moved since the clock was set.
        if idle.is_some_and(|idle| last.elapsed() >= idle) {
            return End::Idle;
        }
    }
}

/// One direction.
struct Direction {
    /// Read and not yet taken.
    waiting: Vec<u8>,
    taken: usize,
    moved: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Something was written that may not have gone out yet.
    Unflushed,
    Flushed,
    /// The reader is at its end, which the writer is being told.
    Ending,
    Ended,
}

/// The end of a direction that broke.
enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl Broken {
    fn end(self, reader: fn(io::Error) -> End, writer: fn(io::Error) -> End) -> End {
        match self {
            Self::Reader(error) => reader(error),
            Self::Writer(error) => writer(error),
        }
    }
}

impl Direction {
    fn new(ahead: &[u8]) -> Self {
        Self { waiting: ahead.to_vec(), taken: 0, moved: 0, state: State::Flushed }
    }

    /// Moves what can be moved; says how much was moved in all.
    fn poll<R, W>(&mut self, context: &mut Context<'_>, reader: &mut R, writer: &mut W) -> (Poll<Result<(), Broken>>, u64)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let polled = self.poll_move(context, reader, writer);
        (polled, self.moved)
    }

    fn poll_move<R, W>(&mut self, context: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..BURST {
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(writer).poll_shutdown(context)).map_err(Broken::Writer)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Unflushed | State::Flushed => {}
            }
            ready!(self.poll_drain(context, writer)).map_err(Broken::Writer)?;
            let mut scratch = [MaybeUninit::uninit(); SCRATCH];
            let mut read = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *reader).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.state = State::Ending,
                Poll::Ready(Ok(())) => {
                    if let Poll::Ready(written) = self.poll_write(context, read.filled(), writer) {
                        written.map_err(Broken::Writer)?;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Reader(error))),
                Poll::Pending => {
                    if self.state == State::Unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(context)).map_err(Broken::Writer)?;
                        self.state = State::Flushed;
                    }
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes fresh bytes, and keeps what the writer does not take.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        let written = match Pin::new(writer).poll_write(context, bytes) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        self.wrote(written);
        self.waiting.extend_from_slice(&bytes[written..]);
        Poll::Ready(Ok(()))
    }

    /// Writes what waits.
    fn poll_drain<W: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        while self.taken < self.waiting.len() {
            let written = ready!(Pin::new(&mut *writer).poll_write(context, &self.waiting[self.taken..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
            self.wrote(written);
        }
        if self.taken > 0 {
            // Lets go of its allocation.
            (self.waiting, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, bytes: usize) {
        if bytes > 0 {
            self.moved += bytes as u64;
            self.state = State::Unflushed;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::sleep,
    };

    use super::*;

    #[tokio::test]
    async fn each_direction_ends_by_itself_and_every_byte_arrives() {
        let ((mut near, mut client), (mut backend, mut far)) = (duplex(1000), duplex(700));
        let relayed = tokio::spawn(async move {
            let mut moved = Moved::default();
            let end = relay(&mut client, &mut backend, b"ahead ", None, &mut moved).await;
            (end, moved)
        });
        let request: Vec<u8> = (0..200_000u32).map(|it| it as u8).collect();
        let answer: Vec<u8> = request.iter().rev().copied().collect();
        let asking = tokio::spawn({
            let request = request.clone();
            async move {
                near.write_all(&request).await.unwrap();
                near.shutdown().await.unwrap();
                let mut read = Vec::new();
                near.read_to_end(&mut read).await.unwrap();
                read
            }
        });
        let mut read = Vec::new();
        // To its end, which comes while the answer is still to be given.
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read[..6], b"ahead "[..]);
        assert_eq!(read[6..], request);
        far.write_all(&answer).await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(asking.await.unwrap(), answer);
        let (end, moved) = relayed.await.unwrap();
        assert!(matches!(end, End::Finished), "{end:?}");
        assert_eq!(moved, Moved { sent: 200_006, received: 200_000 });
    }

    #[tokio::test]
    async fn silence_ends_it_and_a_word_in_time_does_not() {
        let ((mut near, mut client), (mut backend, mut far)) = (duplex(64), duplex(64));
        let relayed = tokio::spawn(async move {
            let mut moved = Moved::default();
            let end = relay(&mut client, &mut backend, &[], Some(Duration::from_millis(1000)), &mut moved).await;
            (end, moved)
        });
        for _ in 0..3 {
            sleep(Duration::from_millis(600)).await;
            near.write_all(b"x").await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), b'x');
            assert!(!relayed.is_finished());
        }
        let silent = Instant::now();
        let (end, moved) = relayed.await.unwrap();
        assert!(matches!(end, End::Idle), "{end:?}");
        assert!(silent.elapsed() >= Duration::from_millis(900), "{:?}", silent.elapsed());
        assert_eq!(moved, Moved { sent: 3, received: 0 });
    }

    #[tokio::test]
    async fn what_one_side_does_not_take_is_not_read_from_the_other() {
        let ((mut near, mut client), (mut backend, far)) = (duplex(100), duplex(100));
        let mut moved = Moved::default();
        let writing = async {
            let mut written = 0;
            loop {
                match tokio::time::timeout(Duration::from_millis(100), near.write(&[7; 100])).await {
                    Ok(count) => written += count.unwrap(),
                    Err(_) => return written,
                }
            }
        };
        let written = tokio::select! {
            written = writing => written,
            end = relay(&mut client, &mut backend, &[], None, &mut moved) => panic!("{end:?}"),
        };
        // Both pipes are full, and one read waits between them.
        assert!(written <= 100 + 100 + SCRATCH, "{written}");
        drop(far);
    }

    #[tokio::test]
    async fn a_backend_that_breaks_off_is_told_from_a_client_that_does() {
        let ((_near, mut client), (mut backend, far)) = (duplex(64), duplex(64));
        drop(far);
        let mut moved = Moved::default();
        let end = relay(&mut client, &mut backend, b"bytes", None, &mut moved).await;
        assert!(matches!(end, End::Backend(_)), "{end:?}");
    }
}
