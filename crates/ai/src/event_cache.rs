//! The last event of a stream: the next one mostly differs in its text alone, and then has nothing new for the reader.

/// The longest event that is kept, in bytes.
const MAX_EVENT: usize = 1024;
/// After so many events in a row that were not alike, none is expected to be.
const MAX_MISSES: u8 = 8;

/// The event that was read last, and where its text is.
#[derive(Default)]
pub(crate) struct EventCache {
    /// Empty where it was not one to compare with; none that is read is.
    event: Vec<u8>,
    /// Position in an unread text at which it first differed from the one before, and that text's end, before its quote.
    text: Option<(usize, usize)>,
    misses: u8,
}

impl EventCache {
    /// Whether a reader of JSON learns nothing from an event that it did not learn from the last: it is the same, or the same but for the
    /// text, and has some.
    pub(crate) fn matches(&self, event: &[u8]) -> bool {
        let Some((from, to)) = self.text else { return event == self.event };
        let (before, after) = (&self.event[..from], &self.event[to..]);
        event.len() > before.len() + after.len()
            && event.starts_with(before)
            && event.ends_with(after)
            && memchr::memchr2(b'"', b'\\', &event[from..event.len() - after.len()]).is_none()
    }

    /// How many bytes an event has in common with the last, from the start.
    pub(crate) fn common(&self, event: &[u8]) -> usize {
        self.event.iter().zip(event).take_while(|(before, now)| before == now).count()
    }

    /// Keeps an event that is not like the last. `is_complete`: nothing beside its data, as the event's name, says anything of it. `text_at`
    /// is a place in a text of it, past the quote, that a reader passes over.
    pub(crate) fn keep(&mut self, event: &[u8], is_complete: bool, text_at: Option<usize>) {
        self.misses = self.misses.saturating_add(1);
        self.event.clear();
        self.text = None;
        if !is_complete || self.misses > MAX_MISSES || event.len() > MAX_EVENT {
            return;
        }
        self.event.extend_from_slice(event);
        self.text = text_at.and_then(|from| {
            let end = from + memchr::memchr2(b'"', b'\\', &event[from..])?;
            (end > from && event[end] == b'"').then_some((from, end))
        });
        if self.text.is_some() {
            self.misses = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_text_makes_no_difference_and_anything_else_does() {
        let event = |text: &str, more: &str| format!(r#"{{"content":"{text}","finish_reason":null{more}}}"#).into_bytes();
        let mut last = EventCache::default();
        last.keep(&event("one", ""), true, None);
        assert!(last.matches(&event("one", "")));
        assert!(!last.matches(&event("two", "")), "where its text is, one event does not tell");
        let two = event("two", "");
        let from = last.common(&two);
        last.keep(&two, true, Some(from));
        assert!(last.matches(&event("three, longer", "")));
        assert!(last.matches(&two));
        for other in [event("", ""), event("four", ",\"usage\":null"), event(r"a\nb", ""), event(r#"a","b":"c"#, "")] {
            assert!(!last.matches(&other), "{}", String::from_utf8_lossy(&other));
        }
        last.keep(&two, false, Some(from));
        assert!(!last.matches(&two), "its name may say another thing");
    }

    #[test]
    fn no_more_than_a_short_event_is_kept_and_none_for_ever() {
        let mut last = EventCache::default();
        last.keep(&[b'a'; MAX_EVENT + 1], true, None);
        assert_eq!(last.event, b"");
        for _ in 0..=MAX_MISSES {
            last.keep(b"a", true, None);
        }
        assert_eq!(last.event, b"", "events of this stream are not alike");
    }
}
