//! Values that tell the counters of a rule apart.

use std::{borrow::Cow, fmt};

use ring::digest;
use smallvec::SmallVec;

/// Longest value that is kept as it is, in bytes.
const MAX_VALUE: usize = 256;
/// Bytes that a descriptor has room for without an allocation.
const IN_PLACE: usize = 32;

/// The values of one request for a rule's `Distinct` selectors. Empty for a rule with a single counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Values, each with its length before it, so that two lists never read alike. Names of clients are short, and kept in place.
    bytes: SmallVec<[u8; IN_PLACE]>,
}

impl Descriptor {
    /// Adds a value. A credential, or a value too long to keep, is kept as its digest.
    pub(crate) fn push(&mut self, value: &[u8], is_secret: bool) {
        self.add(&kept(value, is_secret));
    }

    fn add(&mut self, value: &[u8]) {
        // At most MAX_VALUE.
        let length = (value.len() as u16).to_be_bytes();
        let (mut place, end) = ([0; IN_PLACE], length.len() + value.len());
        if self.bytes.is_empty() && end <= IN_PLACE {
            // Most have one short value: it is put in place at once.
            place[..length.len()].copy_from_slice(&length);
            place[length.len()..end].copy_from_slice(value);
            self.bytes = SmallVec::from_buf_and_len(place, end);
            return;
        }
        self.bytes.reserve(end);
        self.bytes.extend_from_slice(&length);
        self.bytes.extend_from_slice(value);
    }

    /// Values that were kept by [`Self::as_bytes`].
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: SmallVec::from_slice(bytes) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Shows values that were kept by [`Self::as_bytes`].
    pub(crate) fn show(mut bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).unwrap_or((rest, &[]));
            write!(f, "{separator}{}", value.escape_ascii())?;
            (separator, bytes) = (", ", rest);
        }
        Ok(())
    }
}

/// A value as it is kept, or sent to a rate limit service: a credential, or a value that is too long, as its digest.
pub(crate) fn kept(value: &[u8], is_secret: bool) -> Cow<'_, [u8]> {
    if !is_secret && value.len() <= MAX_VALUE {
        return Cow::Borrowed(value);
    }
    let digest = digest::digest(&digest::SHA256, value);
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Cow::Owned(format!("sha256:{hex}").into_bytes())
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::show(&self.bytes, f)
    }
}
