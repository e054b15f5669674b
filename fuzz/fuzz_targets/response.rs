//! Lengths of chunks and a response: however it is cut, the same is read in it, and the filter of usage-only chunks lets the
//! same bytes pass.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_ai::{ResponseReader, UsageFilter};

fuzz_target!(|input: (bool, Vec<u8>, Vec<u8>)| {
    let (events, lengths, body) = input;
    let reader = || if events { ResponseReader::events() } else { ResponseReader::json() };
    let (mut whole, mut cut) = (reader(), reader());
    whole.feed(&body);
    let (mut whole_filter, mut cut_filter, mut passed) = (UsageFilter::default(), UsageFilter::default(), Vec::new());
    let mut rest = &body[..];
    for length in lengths.into_iter().map(usize::from).chain([usize::MAX]) {
        let (chunk, tail) = rest.split_at(length.min(rest.len()));
        cut.feed(chunk);
        passed.extend(cut_filter.feed(chunk.to_vec().into()).to_bytes());
        rest = tail;
    }
    passed.extend(cut_filter.finish());
    assert_eq!(cut.progress(), whole.progress());
    assert_eq!(cut.usage(), whole.usage());
    assert_eq!((cut.model(), cut.finish_reason()), (whole.model(), whole.finish_reason()));
    let mut expected = whole_filter.feed(body.into()).to_bytes().to_vec();
    expected.extend(whole_filter.finish());
    assert_eq!(passed, expected);
});
