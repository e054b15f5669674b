//! Logins whose code has been exchanged. A `state` counts once, however often somebody sends it: the provider hears of it no second time.

use std::collections::{BTreeSet, HashMap};

use pailou_auth::LoginId;
use parking_lot::Mutex;

/// Most logins that are remembered. Beyond that the gateway forgets those that end first, and the provider refuses their codes.
const MAX_LOGINS: usize = 32 << 10;
/// Most exchanges of one login: one that the provider does not answer may be repeated.
const MAX_EXCHANGES: u8 = 3;

/// Logins whose code has been exchanged, or is being exchanged.
#[derive(Default)]
pub(super) struct UsedLogins(Mutex<State>);

#[derive(Default)]
struct State {
    logins: HashMap<LoginId, UsedLogin>,
    /// The logins by their end, in seconds since 1970.
    by_end: BTreeSet<(i64, LoginId)>,
}

#[derive(Default)]
struct UsedLogin {
    exchanges: u8,
    /// Another exchange may begin.
    is_open: bool,
}

/// Outcome of an exchange that brought no answer of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The provider was not asked.
    NotAsked,
    /// The provider gave no answer.
    Asked,
}

impl UsedLogins {
    /// Begins the exchange of a login that ends at `end`, in seconds since 1970 as `now` is. Gives back whether it may begin.
    pub(super) fn begin(&self, id: LoginId, end: i64, now: i64) -> bool {
        let mut state = self.0.lock();
        while let Some((first, id)) = state.by_end.first().copied()
            && (first < now || state.by_end.len() >= MAX_LOGINS)
        {
            state.by_end.remove(&(first, id));
            state.logins.remove(&id);
        }
        let login = state.logins.entry(id).or_insert(UsedLogin { exchanges: 0, is_open: true });
        if !std::mem::take(&mut login.is_open) {
            return false;
        }
        login.exchanges += 1;
        state.by_end.insert((end, id));
        true
    }

    /// Lets an exchange be repeated that came to nothing through no fault of the client.
    pub(super) fn reopen(&self, id: LoginId, outcome: Unanswered) {
        if let Some(login) = self.0.lock().logins.get_mut(&id) {
            login.exchanges -= u8::from(outcome == Unanswered::NotAsked);
            login.is_open = login.exchanges < MAX_EXCHANGES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> LoginId {
        LoginId((number as u128).to_be_bytes())
    }

    #[test]
    fn a_login_is_exchanged_once_and_a_few_times_if_the_provider_is_silent() {
        let logins = UsedLogins::default();
        assert!(logins.begin(id(1), 600, 0) && !logins.begin(id(1), 600, 0) && logins.begin(id(2), 600, 0));
        logins.reopen(id(1), Unanswered::NotAsked);
        for _ in 0..MAX_EXCHANGES {
            assert!(logins.begin(id(1), 600, 1) && !logins.begin(id(1), 600, 1));
            logins.reopen(id(1), Unanswered::Asked);
        }
        assert!(!logins.begin(id(1), 600, 600));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let logins = UsedLogins::default();
        (0..MAX_LOGINS + 10).for_each(|number| assert!(logins.begin(id(number), 600 + number as i64, 0)));
        {
            let state = logins.0.lock();
            assert_eq!((state.logins.len(), state.by_end.len()), (MAX_LOGINS, MAX_LOGINS));
            assert!(!state.logins.contains_key(&id(0)));
        }
        assert!(logins.begin(id(usize::MAX), i64::MAX, i64::MAX));
        assert_eq!(logins.0.lock().logins.len(), 1);
    }
}
