//! A body that a future makes.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// The place where a future puts a body's frames. It waits until each is taken.
pub type Sink = mpsc::Sender<Frame<Bytes>>;

/// A future that fills a body.
type Work<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// A body whose frames a future makes, which advances while the body is read, and ends with it.
pub struct DrivenBody<E> {
    frames: mpsc::Receiver<Frame<Bytes>>,
    /// Until it is through. Never locked: the mutex lets a reference to the body be shared.
    work: Option<Mutex<Work<E>>>,
    failure: Option<E>,
}

impl<E> DrivenBody<E> {
    /// A body that `work` fills.
    pub fn new<F>(work: impl FnOnce(Sink) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let (sink, frames) = mpsc::channel(1);
        Self { frames, work: Some(Mutex::new(Box::pin(work(sink)))), failure: None }
    }

    /// Advances the future, as long as nothing that it made waits to be read. Ready where it is through.
    pub fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        let done = work.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(context);
        done.map(|result| {
            self.work = None;
            self.failure = result.err();
        })
    }
}

impl<E: Unpin> Body for DrivenBody<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        loop {
            match self.frames.poll_recv(context) {
                Poll::Ready(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(None) if self.work.is_none() => return Poll::Ready(self.failure.take().map(Err)),
                // The future may let go of the sink before it ends.
                Poll::Ready(None) => {}
                // Tokio's budget for this poll of the task is spent, though there may be a frame: it has the task polled again at once.
                Poll::Pending if self.work.is_none() || !self.frames.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
            let is_through = self.poll_work(context).is_ready();
            if !is_through && self.frames.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.work.is_none() && self.failure.is_none() && self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn};

    use tokio::sync::Semaphore;

    use super::*;

    async fn next<E: Unpin>(body: &mut DrivenBody<E>) -> Option<Result<Bytes, E>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn frames_come_in_order_and_the_failure_after_them() {
        let mut body = DrivenBody::new(|sink| async move {
            for piece in ["one", "two"] {
                sink.send(Frame::data(Bytes::from_static(piece.as_bytes()))).await.unwrap();
            }
            Err("broken")
        });
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from("one"))));
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from("two"))));
        assert_eq!(next(&mut body).await, Some(Err("broken")));
        assert_eq!(next(&mut body).await, None);
    }

    /// Tokio gives a task 128 steps a poll. Three go by for a frame here, so that the last one puts in a frame that cannot be taken.
    #[tokio::test]
    async fn a_reader_that_spends_the_tasks_budget_gets_the_rest_later() {
        let mut body = DrivenBody::new(|sink| async move {
            let step = Semaphore::new(1);
            for _ in 0..1000 {
                drop(step.acquire().await);
                let _ = sink.send(Frame::data(Bytes::from_static(b"piece"))).await;
            }
            Ok::<_, Infallible>(())
        });
        let (mut frames, mut polls) = (0, 0);
        poll_fn(|context| {
            polls += 1;
            loop {
                match Pin::new(&mut body).poll_frame(context) {
                    Poll::Ready(Some(_)) => frames += 1,
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        assert_eq!(frames, 1000);
        assert!(polls > 1, "the budget was not spent");
    }

    #[tokio::test]
    async fn a_body_that_ends_says_so() {
        let mut body = DrivenBody::new(|sink| async move {
            let _ = sink.send(Frame::data(Bytes::from_static(b"all"))).await;
            Ok::<_, Infallible>(())
        });
        assert!(!body.is_end_stream());
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from("all"))));
        assert_eq!(next(&mut body).await, None);
        assert!(body.is_end_stream());
    }
}
