//! The body of a request, held until it is whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pailou_ai::content_coding::{CodingError, Codings, Step};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

/// Unit of memory for bodies, in bytes.
const UNIT: usize = 4096;

/// Memory for the bodies of all requests together.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory(Arc<Semaphore>);

/// A body as it comes. Dropping it gives its share of the memory back.
#[derive(Debug)]
pub(crate) struct Body {
    pieces: Vec<Bytes>,
    length: usize,
    limit: usize,
    memory: BodyMemory,
    share: Option<OwnedSemaphorePermit>,
}

/// Why a body is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// It is longer than one may be.
    Body,
    /// All together are.
    Room,
}

impl BodyMemory {
    /// Memory for this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }
}

impl Body {
    /// An empty body that may grow to `limit` bytes.
    pub(crate) fn new(memory: &BodyMemory, limit: usize) -> Self {
        Self { pieces: Vec::new(), length: 0, limit, memory: memory.clone(), share: None }
    }

    /// A piece came.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Full> {
        self.length += piece.len();
        if self.length > self.limit {
            return Err(Full::Body);
        }
        // Each piece costs something of itself, so that many small ones are not for nothing.
        self.grow_to(self.length.div_ceil(UNIT) + (self.pieces.len() + 1) / 64)?;
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
        Ok(())
    }

    /// Makes the share of the memory this many units at least.
    fn grow_to(&mut self, units: usize) -> Result<(), Full> {
        let held = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if units > held {
            let more = u32::try_from(units - held).map_err(|_| Full::Room)?;
            let more = self.memory.0.clone().try_acquire_many_owned(more).map_err(|_| Full::Room)?;
            match &mut self.share {
                Some(share) => share.merge(more),
                None => self.share = Some(more),
            }
        }
        Ok(())
    }

    /// The whole body without its codings; `None` where it is not of them. It counts towards the memory too.
    ///
    /// # Errors
    /// It becomes longer than a body may be, or there is no room for it.
    pub(crate) async fn decoded(&mut self, codings: &Codings) -> Result<Option<Bytes>, Full> {
        let mut decoding = codings.decoding(&self.whole(), self.limit as u64);
        loop {
            let step = match decoding.step() {
                Ok(step) => step,
                Err(CodingError::Malformed(_)) => return Ok(None),
                Err(CodingError::TooLong(_)) => return Err(Full::Body),
            };
            let held = usize::try_from(decoding.held()).map_err(|_| Full::Room)?;
            self.grow_to(held.div_ceil(UNIT))?;
            if let Step::Whole(body) = step {
                return Ok(Some(body));
            }
            yield_now().await;
        }
    }

    /// Bytes that have come.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The whole body. Copies it only if it came in several pieces.
    pub(crate) fn whole(&mut self) -> Bytes {
        if self.pieces.len() > 1 {
            let mut whole = BytesMut::with_capacity(self.length);
            self.pieces.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
            self.pieces.push(whole.freeze());
        }
        self.pieces.first().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    #[test]
    fn a_body_is_whole_whatever_its_pieces() {
        let mut body = Body::new(&BodyMemory::new(1 << 20), 100);
        assert!(body.whole().is_empty());
        for text in ["one", "", "two"] {
            body.push(Bytes::from_static(text.as_bytes())).unwrap();
        }
        assert_eq!(body.whole(), "onetwo");
        assert_eq!(body.push(piece(100)), Err(Full::Body));
    }

    #[tokio::test]
    async fn a_decoded_body_takes_room_too() {
        let zeros = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3];
        let gzip = Codings::of([&b"gzip"[..]]).unwrap();
        let mut body = Body::new(&BodyMemory::new(1 << 20), 100);
        body.push(Bytes::copy_from_slice(&zeros)).unwrap();
        assert_eq!(body.decoded(&gzip).await, Ok(None), "it breaks off");
        let plain = Codings::default();
        assert_eq!(body.decoded(&plain).await.unwrap().unwrap(), &zeros[..]);
    }

    #[test]
    fn room_is_shared_and_given_back() {
        let memory = BodyMemory::new(4 * UNIT as u64);
        let mut first = Body::new(&memory, 1 << 20);
        first.push(piece(3 * UNIT)).unwrap();
        let mut second = Body::new(&memory, 1 << 20);
        assert_eq!(second.push(piece(UNIT + 1)), Err(Full::Room));
        drop(first);
        let mut third = Body::new(&memory, 1 << 20);
        third.push(piece(UNIT + 1)).unwrap();
    }
}
