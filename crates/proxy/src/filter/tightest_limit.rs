//! The limit with the least room left, which a response tells of (`x-ratelimit-*`).

use std::cell::RefCell;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use pailou_limits::Rate;

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Figures of the tightest limit, for headers.
pub(super) struct Tightest {
    /// Limit, and the policies that the header tells.
    pub(super) limit: LimitText,
    pub(super) remaining: u64,
    /// Seconds.
    pub(super) reset: u64,
}

pub(super) enum LimitText {
    /// A local limit: without the policy.
    Local(u64),
    /// A limit, and its window in seconds.
    Global(u64, u64),
    /// The whole text, by a rate limit service's answer.
    Service(String),
}

impl Tightest {
    pub(super) fn of(rate: Rate, is_local: bool) -> Self {
        let Rate { limit, seconds, remaining, reset } = rate;
        let limit = if is_local { LimitText::Local(limit) } else { LimitText::Global(limit, seconds) };
        Self { limit, remaining, reset }
    }

    /// Notes it, if it is tighter than what is known.
    pub(super) fn note(self, known: &mut Option<Self>) {
        if known.as_ref().is_none_or(|known| self.remaining < known.remaining) {
            *known = Some(self);
        }
    }

    /// Writes it into a response's headers.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        match &self.limit {
            LimitText::Local(limit) => set(headers, &LIMIT, known((*limit, 0))),
            LimitText::Global(limit, seconds) => set(headers, &LIMIT, known((*limit, *seconds))),
            LimitText::Service(text) => set(headers, &LIMIT, HeaderValue::try_from(text).ok()),
        }
        headers.insert(&REMAINING, self.remaining.into());
        set(headers, &RESET, known((self.reset, 0)));
    }
}

fn set(headers: &mut HeaderMap, name: &'static HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// A limit and the seconds of its window, 0 for a limit without the window.
type Figures = (u64, u64);

thread_local! {
    /// Texts of late, each at a place of its own: limits are few, and seconds to the end of a window are the same for many requests.
    static TEXTS: RefCell<[Option<(Figures, HeaderValue)>; TEXTS_KEPT]> = const { RefCell::new([const { None }; TEXTS_KEPT]) };
}

const TEXTS_KEPT: usize = 16;

/// The text of figures: kept, until others take its place.
fn known(figures: Figures) -> Option<HeaderValue> {
    TEXTS.with_borrow_mut(|texts| {
        let place = &mut texts[figures.0.wrapping_add(figures.1) as usize % TEXTS_KEPT];
        if let Some((_, text)) = place.as_ref().filter(|(known, _)| *known == figures) {
            return Some(text.clone());
        }
        let text = text(figures)?;
        *place = Some((figures, text.clone()));
        Some(text)
    })
}

fn text((limit, seconds): Figures) -> Option<HeaderValue> {
    if seconds == 0 {
        return Some(limit.into());
    }
    let (mut limit_digits, mut seconds_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (limit, seconds) = (limit_digits.format(limit), seconds_digits.format(seconds));
    let mut text = BytesMut::with_capacity(2 * limit.len() + seconds.len() + 5);
    [limit, ", ", limit, ";w=", seconds].iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_limit_its_window_and_what_is_left() {
        let rate = Rate { limit: 3, seconds: 3600, remaining: 0, reset: 59 };
        let written = |tightest: &Tightest| {
            let mut headers = HeaderMap::new();
            tightest.write(&mut headers);
            [&LIMIT, &REMAINING, &RESET].map(|name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
        };
        assert_eq!(written(&Tightest::of(rate, false)), ["3, 3;w=3600", "0", "59"].map(|text| Some(text.to_owned())));
        assert_eq!(written(&Tightest::of(rate, true)), ["3", "0", "59"].map(|text| Some(text.to_owned())));
        // Others at the same place.
        let other = Rate { limit: 3 + TEXTS_KEPT as u64, ..rate };
        assert_eq!(written(&Tightest::of(other, false))[0].as_deref(), Some("19, 19;w=3600"));
        assert_eq!(written(&Tightest::of(rate, false))[0].as_deref(), Some("3, 3;w=3600"));
        let service = Tightest { limit: LimitText::Service("5, 5;w=60;name=\"a\"".into()), remaining: 1, reset: 2 };
        assert_eq!(written(&service)[0].as_deref(), Some("5, 5;w=60;name=\"a\""));
    }
}
