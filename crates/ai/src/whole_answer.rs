//! Reads a JSON answer that is there whole from its ends: between them lies the text, which may be long.

use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};

use crate::{
    response_key::Key,
    usage::{Counts, Facts},
    walk::{Value, Walker},
};

/// The member with token counts.
static USAGE: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"usage\""));
/// The member of a choice that comes after its text.
static FINISH_REASON: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"finish_reason\""));
/// The member that has the text.
static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"choices\""));

/// The counts of the outermost object's last `usage`, without reading the bytes before it. `None` if that is not certain.
pub(crate) fn counts_at_end(body: &[u8]) -> Option<Counts> {
    let mut facts = Facts::default();
    let value = last_value(body, &USAGE, b"\"usage\"")?;
    reads_to_end(Walker::in_members(&[Key::Usage]), value, &mut facts).then_some(facts.counts)
}

/// Counts, model and the last reason to finish of a chat completion, without reading its choices but for the end of the last one. `None`
/// if one of them is not found so.
pub(crate) fn facts_around_answer(body: &[u8]) -> Option<Facts> {
    let mut facts = Facts::default();
    let choices = CHOICES.find(body)?;
    let mut walker = Walker::new();
    walker.feed(&body[..choices], &mut |path, value| facts.read(path, value));
    if !walker.is_before_outermost_name() {
        return None;
    }
    let after = &body[choices + CHOICES.needle().len()..];
    let reason = last_value(after, &FINISH_REASON, b"\"finish_reason\"")?;
    if !may_be_of_choices(after, FINISH_REASON.rfind(after)?) {
        return None;
    }
    let choice = Walker::in_members(&[Key::Choices, Key::Item, Key::FinishReason]);
    let is_whole = reads_to_end(choice, reason, &mut facts);
    (is_whole && facts.finish_reason.is_some() && facts.model.is_some() && facts.counts.usage().is_some()).then_some(facts)
}

/// Whether a list of objects begins after its name, and none ends before another member until `end`. Within a text no quote is without an
/// escape; one that ends so has the body read in order.
fn may_be_of_choices(after: &[u8], end: usize) -> bool {
    let rest = |bytes: &'_ [u8], byte: &[u8]| bytes.trim_ascii_start().strip_prefix(byte).map(<[u8]>::len);
    let begins = |bytes: &[u8], signs: &[&[u8]]| {
        let whole = bytes.len();
        signs.iter().try_fold(whole, |left, sign| rest(&bytes[whole - left..], sign)).is_some()
    };
    let between = &after[..end];
    let ends = |at: usize| between[..at].trim_ascii_end().ends_with(b"}") && begins(&between[at..], &[b"]", b",", b"\""]);
    begins(after, &[b":", b"[", b"{"]) && !memchr::memchr_iter(b']', between).any(ends)
}

/// Bytes from the value of the last member of this name on, without the outermost object's brace.
fn last_value<'b>(body: &'b [u8], finder: &FinderRev<'_>, name: &[u8]) -> Option<&'b [u8]> {
    let (b'}', inside) = body.trim_ascii_end().split_last()? else { return None };
    // A quote within a text is escaped: this is a name, if a colon follows.
    let at = finder.rfind(inside)?;
    let value = inside[at + name.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    matches!(inside[..at].trim_ascii_end().last()?, b',' | b'{').then_some(value)
}

/// Reads on from a member, and says whether the outermost object ends with the brace after these bytes: the member is where the walker
/// began then.
fn reads_to_end(mut walker: Walker, bytes: &[u8], facts: &mut Facts) -> bool {
    let mut sink = |path: &[Key], value: Value<'_>| facts.read(path, value);
    walker.feed(bytes, &mut sink);
    let ended_before = walker.is_done();
    walker.feed(b"}", &mut sink);
    !ended_before && walker.is_done()
}
