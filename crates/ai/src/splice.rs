//! A body with some spans replaced, every other byte as it came, and no copy of either.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::json;
use crate::scan::{Encoding, Scan};

/// A replacement: the bytes in `span` give way to `with`. An empty span inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// In bytes of the original body.
    pub span: Range<usize>,
    /// Replacement.
    pub with: Bytes,
}

/// A body as a list of pieces, none of them empty. At most two for each edit, and one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Mostly one: a body as it came.
    pieces: SmallVec<[Bytes; 1]>,
    len: usize,
}

impl Pieces {
    /// The length of the whole in bytes, for `Content-Length`.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Bytes> {
        self.pieces.iter()
    }

    /// The whole as one buffer: a copy, unless there is but one piece.
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces.as_slice() {
            [] => Bytes::new(),
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        }
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(body: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(body);
        pieces
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut all = Self::default();
        pieces.into_iter().for_each(|piece| all.push(piece));
        all
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = smallvec::IntoIter<[Bytes; 1]>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

/// Applies `edits`, in any order, to `body`. An edit that overlaps one before it, or reaches past the end, is left out:
/// edits made from a scan of this very body do neither.
pub fn splice(body: &Bytes, mut edits: Vec<Edit>) -> Pieces {
    edits.sort_by_key(|edit| edit.span.start);
    let mut pieces = Pieces::default();
    let mut done = 0;
    for Edit { span, with } in edits {
        if span.start < done || span.end < span.start || span.end > body.len() {
            continue;
        }
        pieces.push(body.slice(done..span.start));
        pieces.push(with);
        done = span.end;
    }
    pieces.push(body.slice(done..));
    pieces
}

/// `body` with its model called `new`. `scan` must be of this body; where it found no member `model`, nothing changes.
pub fn splice_model(body: &Bytes, scan: &Scan, new: &str) -> Pieces {
    splice(body, scan.model_edits(new))
}

impl Scan {
    /// The edits that call the model `new`: one for every top-level `model`, so that whichever of several an engine reads is
    /// right. In a form the name goes in as it is, and must hold no line break.
    pub fn model_edits(&self, new: &str) -> Vec<Edit> {
        let with = match self.encoding {
            Encoding::Form => Bytes::copy_from_slice(new.as_bytes()),
            Encoding::Json => {
                let mut quoted = Vec::with_capacity(new.len() + 2);
                json::push_string(&mut quoted, new);
                quoted.into()
            }
        };
        self.models.iter().map(|span| Edit { span, with: with.clone() }).collect()
    }
}
