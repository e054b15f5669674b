//! Server-Sent Events out of a byte stream cut anywhere, as the HTML standard's event stream interpretation has it.
//!
//! Lines end with LF, CR or CRLF; a byte order mark at the start is passed over; an event without data is none, and one
//! that the stream's end cuts off is none either. `id` and `retry` are of no use to a gateway and are passed over.

/// The most an event may measure, in bytes of its lines without their ends: larger ones are passed over.
pub const MAX_EVENT: usize = 1 << 20;
/// Largest buffer to keep after an event, in bytes; the reader frees larger ones.
const KEPT_CAPACITY: usize = 1 << 16;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of `event`; empty where there is none, which means `message`.
    pub name: &'a [u8],
    /// The values of all `data` lines, joined by LF.
    pub data: &'a [u8],
}

/// Reads events. An event that lies in one chunk, with one line of data, is handed on without a copy.
#[derive(Debug)]
pub struct SseReader {
    limit: usize,
    /// The beginning of a line, when a chunk ended within it.
    line: Vec<u8>,
    /// The line has grown past the rest of the limit, and the reader has dropped its bytes.
    line_cut: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Bytes of the event's lines so far.
    size: usize,
    /// The last byte was a CR: an LF right after belongs to it.
    after_cr: bool,
    /// How much of a byte order mark has been seen; `None` past the start.
    bom: Option<usize>,
    passed_over: u64,
}

/// The event being read, as far as it lies in the current chunk.
#[derive(Default)]
struct Here<'a> {
    name: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

impl Default for SseReader {
    fn default() -> Self {
        Self::new(MAX_EVENT)
    }
}

impl SseReader {
    /// A reader that passes over events larger than `limit` bytes, and never keeps more than about twice that.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            line_cut: false,
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            size: 0,
            after_cr: false,
            bom: Some(0),
            passed_over: 0,
        }
    }

    /// How many events were passed over because of their size.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Line ends that end the event which the stream stands in; empty between events.
    pub fn event_end(&self) -> &'static str {
        match self.line.is_empty() && !self.line_cut {
            true if self.size == 0 => "",
            // After a CR the first LF still belongs to the line.
            true if !self.after_cr => "\n",
            _ => "\n\n",
        }
    }

    /// Reads on, and gives `on_event` each event that `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        if let Some(data) = self.alone(chunk) {
            return on_event(Event { name: b"", data });
        }
        let mut rest = self.without_bom(chunk);
        let mut here = Here::default();
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.carry(rest);
                break;
            };
            self.after_cr = rest[end] == b'\r';
            self.line(&rest[..end], &mut here, &mut on_event);
            rest = &rest[end + 1..];
        }
        // An unfinished line must outlive this chunk.
        if let Some(name) = here.name {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        if let Some(data) = here.data {
            self.data.extend_from_slice(data);
        }
    }

    /// The data of a chunk that is one event, with one line of it, as most engines write them: there is nothing else to be found in it.
    fn alone<'a>(&self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        let between = self.bom.is_none() && !self.after_cr && self.size == 0 && self.line.is_empty() && !self.line_cut;
        let data = chunk.strip_prefix(b"data: ").filter(|_| between)?.strip_suffix(b"\n\n")?;
        let fits = chunk.len() - b"\n\n".len() <= self.limit;
        (fits && memchr::memchr2(b'\n', b'\r', data).is_none()).then_some(data)
    }

    /// Takes a byte order mark, or what there is of one, off the stream's start.
    fn without_bom<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let Some(seen) = self.bom else {
            return chunk;
        };
        let matching = chunk.iter().zip(&BOM[seen..]).take_while(|(byte, mark)| byte == mark).count();
        if seen + matching == BOM.len() {
            self.bom = None;
        } else if matching == chunk.len() {
            self.bom = Some(seen + matching);
        } else {
            // It only looked like one: what was held back belongs to the first line.
            self.bom = None;
            self.carry(&BOM[..seen]);
            return chunk;
        }
        &chunk[matching..]
    }

    /// Keeps the beginning of a line for the next chunk.
    fn carry(&mut self, part: &[u8]) {
        if self.line_cut || self.line.len() + part.len() > self.limit.saturating_sub(self.size) {
            self.line_cut = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn line<'a>(&mut self, tail: &'a [u8], here: &mut Here<'a>, on_event: &mut impl FnMut(Event<'_>)) {
        if self.line.is_empty() && !self.line_cut {
            return self.whole_line(tail, here, on_event);
        }
        self.carry(tail);
        if std::mem::take(&mut self.line_cut) {
            self.size = usize::MAX;
            return;
        }
        let line = std::mem::take(&mut self.line);
        // The line is not part of the chunk, so whatever it says is copied.
        let mut apart = Here { name: None, data: None };
        self.whole_line(&line, &mut apart, on_event);
        if let Some(name) = apart.name {
            here.name = None;
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        if let Some(data) = apart.data {
            self.data.extend_from_slice(data);
        }
        self.line = line;
        self.line.clear();
        self.line.shrink_to(KEPT_CAPACITY);
    }

    fn whole_line<'a>(&mut self, line: &'a [u8], here: &mut Here<'a>, on_event: &mut impl FnMut(Event<'_>)) {
        if line.is_empty() {
            return self.dispatch(here, on_event);
        }
        self.size = self.size.saturating_add(line.len());
        if self.size > self.limit {
            return;
        }
        let colon = memchr::memchr(b':', line);
        let (field, value) = colon.map_or((line, &[][..]), |at| (&line[..at], &line[at + 1..]));
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => here.name = Some(value),
            b"data" if !self.has_data => {
                self.has_data = true;
                here.data = Some(value);
            }
            b"data" => {
                if let Some(first) = here.data.take() {
                    self.data.extend_from_slice(first);
                }
                self.data.push(b'\n');
                self.data.extend_from_slice(value);
            }
            _ => {}
        }
    }

    /// A blank line: the event is complete.
    fn dispatch(&mut self, here: &mut Here<'_>, on_event: &mut impl FnMut(Event<'_>)) {
        if self.size > self.limit {
            self.passed_over += 1;
        } else if self.has_data {
            on_event(Event { name: here.name.unwrap_or(&self.name), data: here.data.unwrap_or(&self.data) });
        }
        *here = Here::default();
        self.name.clear();
        self.data.clear();
        self.data.shrink_to(KEPT_CAPACITY);
        self.has_data = false;
        self.size = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, Vec<u8>);

    fn read(stream: &[u8], cuts: &[usize], limit: usize) -> (Vec<Owned>, u64) {
        let (mut events, mut reader, mut from) = (Vec::new(), SseReader::new(limit), 0);
        for &to in cuts.iter().chain([&stream.len()]) {
            reader.feed(&stream[from..to], |event| events.push((event.name.to_vec(), event.data.to_vec())));
            assert!(reader.line.len() <= limit && reader.data.len() <= limit);
            from = to;
        }
        (events, reader.passed_over())
    }

    /// The same over the whole stream at once, told plainly.
    fn reference(stream: &[u8], limit: usize) -> (Vec<Owned>, u64) {
        let stream = String::from_utf8_lossy(stream.strip_prefix(BOM).unwrap_or(stream)).into_owned();
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut passed_over) = (Vec::new(), 0);
        let mut lines: Vec<&str> = stream.split('\n').collect();
        lines.pop();
        for block in lines.split_inclusive(|line| line.is_empty()) {
            let Some(("", block)) = block.split_last().map(|(last, block)| (*last, block)) else { continue };
            if block.iter().map(|line| line.len()).sum::<usize>() > limit {
                passed_over += 1;
                continue;
            }
            let values = |field: &str| -> Vec<&str> {
                let of = |line: &&str| {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    (name == field).then(|| value.strip_prefix(' ').unwrap_or(value).len())
                };
                block.iter().filter_map(|line| of(line).map(|len| &line[line.len() - len..])).collect()
            };
            if !values("data").is_empty() {
                let name = values("event").pop().unwrap_or_default();
                events.push((name.into(), values("data").join("\n").into()));
            }
        }
        (events, passed_over)
    }

    #[test]
    fn what_ends_the_event_under_way_is_known_wherever_the_stream_stands() {
        for (stream, end) in [
            ("", ""),
            ("data: a\n\n", ""),
            (": ping\r\n\r\n", ""),
            ("data: a\n\ndata: {\"b", "\n\n"),
            ("data: a\n\nevent", "\n\n"),
            ("data: a\n", "\n"),
            ("event: x\r\n", "\n"),
            ("data: a\r", "\n\n"),
            ("data: a\r\r", ""),
        ] {
            for at in 0..=stream.len() {
                let mut reader = SseReader::default();
                reader.feed(&stream.as_bytes()[..at], |_| {});
                reader.feed(&stream.as_bytes()[at..], |_| {});
                assert_eq!(reader.event_end(), end, "{stream:?}");
                let mut events = Vec::new();
                let end = reader.event_end();
                reader.feed(format!("{end}data: last\n\n").as_bytes(), |event| events.push(event.data.to_vec()));
                assert_eq!(events.last().map(Vec::as_slice), Some(&b"last"[..]), "{stream:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_chunking_gives_the_same_events(
            stream in "\u{feff}?(\n|\n|\r|\r\n|\r\n|data: |data:|data|event: |event:x|:|: ping|id: 1|[a-z]{1,9}| |\u{feff}){0,40}\n?\n?",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            limit in 0..60usize,
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(read(stream.as_bytes(), &cuts, limit), reference(stream.as_bytes(), limit));
        }
    }

    #[test]
    fn events_come_out_as_the_standard_has_them() {
        let stream = b"\xEF\xBB\xBF: hello\r\n\r\nevent: add\rdata: 1\rdata:  2\r\rdata\n\nid: 7\n\ndata:x";
        let events = [("add", "1\n 2"), ("", "")].map(|(name, data)| (name.into(), data.into()));
        assert_eq!(read(stream, &[], MAX_EVENT), (events.to_vec(), 0));
    }

    #[test]
    fn an_event_over_the_limit_is_passed_over_and_never_kept() {
        let mut reader = SseReader::new(1000);
        let mut events = 0;
        reader.feed(b"data: ", |_| events += 1);
        for _ in 0..100 {
            reader.feed(&[b'x'; 4096], |_| events += 1);
            assert!(reader.line.capacity() <= 2000);
        }
        reader.feed(b"\n\ndata: small\n\n", |event| {
            assert_eq!(event.data, b"small");
            events += 1;
        });
        assert_eq!((events, reader.passed_over()), (1, 1));
    }

    #[test]
    fn an_event_in_one_chunk_is_not_copied() {
        let chunk = b"event: a\ndata: hello\n\n";
        SseReader::default().feed(chunk, |event| assert_eq!(event.data.as_ptr(), chunk[15..].as_ptr()));
    }
}
