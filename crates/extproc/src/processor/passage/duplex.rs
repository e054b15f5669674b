//! A body that goes to a server while another comes back (`FullDuplexStreamed`).

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use pailou_envoy_proto::ext_proc::{CommonResponse, body_mutation::Mutation};
use tokio::sync::oneshot;

use super::{PassageError, Settings, Stop, next};
use crate::{
    chunks::chunks_to_end,
    processor::{Answer, Ending, Lane, Reply, Sink, change, message},
};

/// Sends a body to a server, and passes on the body that the server sends back. The server may hold its answer to the headers, which goes
/// to `headers`, until it has as much of the body as it wants. There is no clock. A server that leaves takes the body along.
///
/// # Errors
/// The body breaks off, or the request goes no further.
pub async fn full_duplex<B>(
    lane: Lane,
    source: B,
    sink: Sink,
    settings: Settings,
    headers: oneshot::Sender<Reply>,
) -> Result<(), PassageError<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    lane.session().bind(true);
    let mut duplex = Duplex { lane, source, sink, settings, headers: Some(headers), trailers: None, is_sent: false };
    let ended = duplex.run().await;
    duplex.lane.session().bind(false);
    match ended {
        Ok(()) | Err(Stop::Unread) => Ok(()),
        Err(Stop::Ended(Ending::Refused(refusal))) => Err(PassageError::Refused(refusal)),
        // The server had left before it was bound: all of the body is here.
        Err(Stop::Ended(Ending::LetGo)) => {
            // A task that waits for the answer to the headers waits no more.
            duplex.headers = None;
            duplex.pass_on().await
        }
        Err(Stop::Source(error)) => Err(PassageError::Source(error)),
    }
}

struct Duplex<B> {
    lane: Lane,
    source: B,
    sink: Sink,
    settings: Settings,
    /// Until the server has answered the headers.
    headers: Option<oneshot::Sender<Reply>>,
    trailers: Option<HeaderMap>,
    /// All of the body was sent.
    is_sent: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Duplex<B> {
    async fn run(&mut self) -> Result<(), Stop<B::Error>> {
        loop {
            let Self { lane, source, is_sent, .. } = self;
            // An answer and room for more are awaited on the same stream.
            let session = std::sync::Arc::clone(lane.session());
            let more = async {
                session.has_room().await;
                next(source).await
            };
            tokio::select! {
                biased;
                reply = lane.reply(None) => {
                    if self.answered(reply?).await? {
                        return Ok(());
                    }
                }
                frame = more, if !*is_sent => self.send(frame)?,
            }
        }
    }

    fn send(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>) -> Result<(), Stop<B::Error>> {
        let (direction, metadata) = (self.lane.direction(), self.settings.metadata.as_ref());
        match frame.transpose().map_err(Stop::Source)?.map(Frame::into_data) {
            Some(Ok(data)) => {
                let is_last = self.source.is_end_stream();
                for (piece, last) in chunks_to_end(&data, is_last) {
                    self.lane.send(message::body(direction, &piece, last, metadata));
                    self.is_sent |= last;
                }
            }
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                match self.settings.trailers {
                    true => self.lane.send([message::trailers(direction, &trailers, metadata)]),
                    false => self.lane.send(message::body(direction, &Bytes::new(), true, metadata)),
                }
                (self.trailers, self.is_sent) = (Some(trailers), true);
            }
            None => {
                self.lane.send(message::body(direction, &Bytes::new(), true, metadata));
                self.is_sent = true;
            }
        }
        Ok(())
    }

    /// Takes an answer; whether it was the last.
    async fn answered(&mut self, reply: Reply) -> Result<bool, Stop<B::Error>> {
        match reply.answer {
            Answer::Headers(_) if self.headers.is_some() => {
                if let Some(headers) = self.headers.take() {
                    let _ = headers.send(reply);
                }
                Ok(false)
            }
            Answer::Body(answer) if self.headers.is_none() => self.came_back(answer).await,
            Answer::Trailers(mutation) if self.headers.is_none() && self.trailers.is_some() && self.settings.trailers => {
                let mut trailers = self.trailers.take().unwrap_or_default();
                change::headers(&mutation, &mut trailers).map_err(|error| self.lane.fail(error))?;
                self.put(Frame::trailers(trailers)).await?;
                Ok(true)
            }
            _ => Err(self.lane.fail("it answered something that it was not sent").into()),
        }
    }

    async fn came_back(&mut self, answer: CommonResponse) -> Result<bool, Stop<B::Error>> {
        let Some(Mutation::StreamedResponse(piece)) = answer.body_mutation.and_then(|mutation| mutation.mutation) else {
            return Err(self.lane.fail("its answer is no streamed response").into());
        };
        if !piece.body.is_empty() {
            self.put(Frame::data(piece.body)).await?;
        }
        if piece.end_of_stream
            && let Some(trailers) = self.trailers.take()
        {
            self.put(Frame::trailers(trailers)).await?;
        }
        Ok(piece.end_of_stream)
    }

    async fn pass_on(mut self) -> Result<(), PassageError<B::Error>> {
        while let Some(frame) = next(&mut self.source).await {
            if self.sink.send(frame.map_err(PassageError::Source)?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Stop<B::Error>> {
        self.sink.send(frame).await.map_err(|_| Stop::Unread)
    }
}
