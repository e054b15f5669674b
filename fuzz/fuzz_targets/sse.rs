//! A limit, lengths of chunks, and a stream: however it is cut, a plain reader of the whole stream finds the same events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_ai::sse::SseReader;

type Event = (Vec<u8>, Vec<u8>);

fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| {
    let (limit, lengths, stream) = input;
    let limit = usize::from(limit);
    let (mut events, mut reader, mut rest) = (Vec::<Event>::new(), SseReader::new(limit), &stream[..]);
    for length in lengths.into_iter().map(usize::from) {
        let (chunk, tail) = rest.split_at(length.min(rest.len()));
        reader.feed(chunk, |event| events.push((event.name.to_vec(), event.data.to_vec())));
        rest = tail;
    }
    reader.feed(rest, |event| events.push((event.name.to_vec(), event.data.to_vec())));
    assert_eq!((events, reader.passed_over()), reference(&stream, limit));
});

fn reference(stream: &[u8], limit: usize) -> (Vec<Event>, u64) {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut events, mut passed_over) = (Vec::new(), 0);
    let (mut name, mut data, mut size) = (Vec::new(), Vec::new(), 0);
    for line in lines(stream) {
        if !line.is_empty() {
            size += line.len();
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"event" => name = value.to_vec(),
                b"data" => data.extend([value, b"\n"].concat()),
                _ => {}
            }
            continue;
        }
        if size > limit {
            passed_over += 1;
        } else if data.pop().is_some() {
            events.push((name, data));
        }
        (name, data, size) = (Vec::new(), Vec::new(), 0);
    }
    (events, passed_over)
}

/// The lines that end.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut pos) = (Vec::new(), 0, 0);
    while pos < stream.len() {
        let end = pos;
        pos += match &stream[pos..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => {
                pos += 1;
                continue;
            }
        };
        lines.push(&stream[start..end]);
        start = pos;
    }
    lines
}
