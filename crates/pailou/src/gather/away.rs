//! Proxies that did not answer of late. All questions share this: one that hangs costs its time once, not once for each question.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pailou_snapshot::Name;

use super::{ProxyTarget, ask::Answer};

/// A proxy that is away is asked again after this time.
pub(super) const AWAY_INTERVAL: Duration = Duration::from_secs(5);
/// Proxies that are away and asked in one look: those that answer are not to wait for them all.
pub(super) const MAX_AWAY_ASKED: usize = 16;

/// Questions to ask, and proxies that are not asked with the reason.
type Sorted<Q> = (Vec<(ProxyTarget, Q)>, Vec<(ProxyTarget, String)>);

/// Reason that each of them is away, and the time of its last question. At most as many as are listed.
#[derive(Default)]
pub(super) struct Away(BTreeMap<Name, (String, Instant)>);

impl Away {
    /// Whether a proxy did not answer when it was asked last.
    pub(super) fn has(&self, proxy: &Name) -> bool {
        self.0.contains_key(proxy)
    }

    /// Forgets those that are listed no longer.
    pub(super) fn retain(&mut self, listed: &[ProxyTarget]) {
        self.0.retain(|name, _| listed.iter().any(|proxy| proxy.name == *name));
    }

    /// Sorts questions to proxies into those to ask, and the others with the reason. One that is away is asked again after a while, by
    /// one question at a time.
    pub(super) fn sort<Q>(&mut self, questions: impl IntoIterator<Item = (ProxyTarget, Q)>, now: Instant) -> Sorted<Q> {
        let (mut wanted, mut due, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (proxy, question) in questions {
            match self.0.get(&proxy.name) {
                None => wanted.push((proxy, question)),
                Some((_, asked)) if now.saturating_duration_since(*asked) >= AWAY_INTERVAL => due.push((*asked, proxy, question)),
                Some((why, _)) => others.push((proxy, why.clone())),
            }
        }
        due.sort_by_key(|(asked, ..)| *asked);
        for (at, (_, proxy, question)) in due.into_iter().enumerate() {
            let Some((why, asked)) = self.0.get_mut(&proxy.name) else { continue };
            if at < MAX_AWAY_ASKED {
                *asked = now;
                wanted.push((proxy, question));
            } else {
                others.push((proxy, why.clone()));
            }
        }
        (wanted, others)
    }

    /// Takes in whether a proxy answered.
    pub(super) fn take(&mut self, proxy: &Name, answer: &Answer, now: Instant) {
        match answer {
            Err(failure) if failure.is_away => self.0.insert(proxy.clone(), (failure.why.clone(), now)),
            _ => self.0.remove(proxy),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::ask::Failure;

    fn target(name: &str) -> ProxyTarget {
        ProxyTarget { gateway: Name::new("default", "g"), name: Name::new("default", name), admin: None }
    }

    fn failure(is_away: bool) -> Answer {
        Err(Failure { why: "why".to_owned(), is_away })
    }

    fn asked(away: &mut Away, proxies: &[ProxyTarget], now: Instant) -> Vec<ProxyTarget> {
        let (wanted, others) = away.sort(proxies.iter().map(|proxy| (proxy.clone(), ())), now);
        assert_eq!(wanted.len() + others.len(), proxies.len());
        assert!(others.iter().all(|(_, why)| why == "why"));
        wanted.into_iter().map(|(proxy, ())| proxy).collect()
    }

    #[test]
    fn one_that_is_away_is_asked_again_after_a_while_by_one_question() {
        let (mut away, now, a) = (Away::default(), Instant::now(), target("a"));
        let list = std::slice::from_ref(&a);
        away.take(&a.name, &failure(false), now);
        assert_eq!(asked(&mut away, list, now), list, "it refuses, so it is there");
        away.take(&a.name, &failure(true), now);
        assert!(asked(&mut away, list, now).is_empty());
        assert_eq!(asked(&mut away, list, now + AWAY_INTERVAL), list);
        assert!(asked(&mut away, list, now + AWAY_INTERVAL).is_empty(), "another question asks it already");
        away.take(&a.name, &Ok(Default::default()), now + AWAY_INTERVAL);
        assert_eq!(asked(&mut away, list, now + AWAY_INTERVAL), list);
        away.take(&a.name, &failure(true), now);
        away.retain(&[]);
        assert!(!away.has(&a.name));
    }

    #[test]
    fn those_that_answer_do_not_wait_for_all_that_are_away() {
        let (mut away, now) = (Away::default(), Instant::now());
        let all: Vec<_> = (0..50).map(|at| target(&format!("p{at:02}"))).collect();
        for proxy in &all {
            away.take(&proxy.name, &failure(true), now);
        }
        let later = now + AWAY_INTERVAL;
        assert_eq!(asked(&mut away, &all, later), all[..MAX_AWAY_ASKED]);
        assert_eq!(asked(&mut away, &all, later), all[MAX_AWAY_ASKED..2 * MAX_AWAY_ASKED], "the others in turn");
    }
}
