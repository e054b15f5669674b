//! Lengths of chunks and a response: however it is cut, the same is read in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_ai::ResponseReader;

fuzz_target!(|input: (bool, Vec<u8>, Vec<u8>)| {
    let (events, lengths, body) = input;
    let reader = || if events { ResponseReader::events() } else { ResponseReader::json() };
    let (mut whole, mut cut) = (reader(), reader());
    whole.feed(&body);
    let mut rest = &body[..];
    for length in lengths.into_iter().map(usize::from).chain([usize::MAX]) {
        let (chunk, tail) = rest.split_at(length.min(rest.len()));
        cut.feed(chunk);
        rest = tail;
    }
    assert_eq!(cut.progress(), whole.progress());
    assert_eq!(cut.usage(), whole.usage());
    assert_eq!((cut.model(), cut.finish_reason()), (whole.model(), whole.finish_reason()));
});
