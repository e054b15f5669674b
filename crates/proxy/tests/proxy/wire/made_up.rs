//! Messages that nobody would send, put together from lines and pieces that have a meaning.

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// How many of them a test looks at.
pub(crate) const CASES: u32 = 3000;

/// Up to `most` of the known pieces, and now and then bytes of any kind.
pub(crate) fn pieces(known: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let known = select(known).prop_map(|piece| piece.as_bytes().to_vec());
    let piece = prop_oneof![49 => known, 1 => prop::collection::vec(any::<u8>(), 1..4)];
    prop::collection::vec(piece, 0..=most).prop_map(|pieces| pieces.concat())
}

/// Most begin as messages do, and have an end of their head: what follows is of more interest.
pub(crate) fn mostly(piece: &'static [u8]) -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![9 => Just(piece), 1 => Just(&b""[..])]
}

/// The same ones each time: what is found by chance is found by whoever looks for it, not by somebody else's change.
pub(crate) fn runner() -> TestRunner {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}
