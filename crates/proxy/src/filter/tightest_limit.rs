//! The limit with the least room left, which a response tells of (`x-ratelimit-*`).

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
        if let Some(limit) = self.limit.header() {
            headers.insert(&LIMIT, limit);
        }
        headers.insert(&REMAINING, self.remaining.into());
        headers.insert(&RESET, self.reset.into());
    }
}

impl LimitText {
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Local(limit) => Some((*limit).into()),
            Self::Global(limit, seconds) => {
                let (mut limit_digits, mut seconds_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
                let (limit, seconds) = (limit_digits.format(*limit), seconds_digits.format(*seconds));
                let mut text = BytesMut::with_capacity(2 * limit.len() + seconds.len() + 5);
                [limit, ", ", limit, ";w=", seconds].iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
                HeaderValue::from_maybe_shared(text.freeze()).ok()
            }
            Self::Service(text) => HeaderValue::try_from(text).ok(),
        }
    }
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
        let service = Tightest { limit: LimitText::Service("5, 5;w=60;name=\"a\"".into()), remaining: 1, reset: 2 };
        assert_eq!(written(&service)[0].as_deref(), Some("5, 5;w=60;name=\"a\""));
    }
}
