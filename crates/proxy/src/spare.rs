//! Memory that a long body was in, kept for the next one: what is given back to the system comes as a fault for every page.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

/// Shorter bodies are in memory that the allocator keeps by itself.
const SHORTEST: usize = 128 << 10;
/// Nothing longer is kept: so much a thread at most.
const LONGEST: usize = 2 << 20;

thread_local! {
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// Makes room for `more` behind what there is; in memory that is kept, where that is worth it and there is some.
pub(crate) fn reserve(read: &mut BytesMut, more: usize) {
    let needed = read.len() + more;
    if needed > read.capacity() && (SHORTEST..=LONGEST).contains(&needed) {
        match SPARE.take() {
            Some(mut spare) if spare.capacity() >= needed => {
                spare.extend_from_slice(read);
                *read = spare;
                return;
            }
            spare => SPARE.set(spare),
        }
    }
    read.reserve(more);
}

/// Keeps the memory of a body that is done with, where nobody else has it.
pub(crate) fn keep(body: Bytes) {
    if body.len() < SHORTEST || body.len() > LONGEST {
        return;
    }
    let Ok(mut spare) = body.try_into_mut() else { return };
    spare.clear();
    if (SHORTEST..=LONGEST).contains(&spare.capacity()) {
        SPARE.set(Some(spare));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_long_body_is_used_again_unless_somebody_has_it() {
        let room = |length: usize| {
            let mut read = BytesMut::from(&b"begun"[..]);
            reserve(&mut read, length);
            assert_eq!(read, "begun");
            assert!(read.capacity() >= length + 5);
            read
        };
        let body = |mut read: BytesMut| {
            read.resize(LONGEST / 2, b'x');
            let body = read.split_to(LONGEST / 2).freeze();
            (body, read)
        };
        let (first, rest) = body(room(LONGEST / 2));
        let place = first.as_ptr();
        drop(rest);
        keep(first);
        let (second, rest) = body(room(LONGEST / 2));
        assert_eq!(second.as_ptr(), place);

        keep(second);
        assert_ne!(room(LONGEST / 2).as_ptr(), place, "the connection still has it");
        drop(rest);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        keep(Bytes::from(vec![0; LONGEST + 1]));
        keep(Bytes::from(vec![0; SHORTEST - 1]));
        assert!(SPARE.take().is_none());
        let mut short = BytesMut::with_capacity(4 * LONGEST);
        short.resize(SHORTEST, 0);
        keep(short.freeze());
        assert!(SPARE.take().is_none(), "its memory is longer than the body");
    }
}
