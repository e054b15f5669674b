//! Answers of tokenizers, as many as a bound of tokens allows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Most tokens kept: 32 MiB.
const MAX_TOKENS: usize = 8 << 20;
/// Most tokens of an answer, so that one does not take the place of all others.
const MAX_ANSWER_TOKENS: usize = MAX_TOKENS / 16;
/// Tokens that an answer counts as beside its own, for its entry.
const OVERHEAD: usize = 32;

/// Most answers that stay in the cache because they were used, for each new one: the lock is held meanwhile.
const MAX_SECOND_CHANCES: u32 = 16;

/// Answers by question. The oldest goes first, unless it was used since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct AnswerCache {
    answers: HashMap<u128, Answer>,
    order: VecDeque<u128>,
    /// Tokens kept, with what each answer costs beside.
    cost: usize,
}

#[derive(Debug)]
struct Answer {
    tokens: Arc<[u32]>,
    was_used: bool,
}

impl AnswerCache {
    pub(super) fn find(&mut self, question: u128) -> Option<Arc<[u32]>> {
        let answer = self.answers.get_mut(&question)?;
        answer.was_used = true;
        Some(Arc::clone(&answer.tokens))
    }

    /// Keeps an answer, unless it is too long. Gives those that leave for it, to be dropped without a lock.
    #[must_use]
    pub(super) fn insert(&mut self, question: u128, tokens: Arc<[u32]>) -> Vec<Arc<[u32]>> {
        let cost = tokens.len() + OVERHEAD;
        let mut gone = Vec::new();
        if cost > MAX_ANSWER_TOKENS || self.answers.contains_key(&question) {
            return gone;
        }
        let mut chances = 0;
        while self.cost + cost > MAX_TOKENS {
            let Some(oldest) = self.order.pop_front() else { break };
            match self.answers.get_mut(&oldest) {
                Some(answer) if answer.was_used && chances < MAX_SECOND_CHANCES => {
                    chances += 1;
                    answer.was_used = false;
                    self.order.push_back(oldest);
                }
                Some(_) => gone.extend(self.take(oldest)),
                None => {}
            }
        }
        self.cost += cost;
        self.answers.insert(question, Answer { tokens, was_used: false });
        self.order.push_back(question);
        gone
    }

    pub(super) fn remove(&mut self, question: u128) {
        _ = self.take(question);
        self.order.retain(|other| *other != question);
    }

    /// Tokens kept.
    pub(super) fn tokens(&self) -> usize {
        self.cost - self.answers.len() * OVERHEAD
    }

    fn take(&mut self, question: u128) -> Option<Arc<[u32]>> {
        let tokens = self.answers.remove(&question)?.tokens;
        self.cost -= tokens.len() + OVERHEAD;
        Some(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = AnswerCache::default();
        let longest: Arc<[u32]> = vec![7; MAX_ANSWER_TOKENS - OVERHEAD].into();
        assert!((1..=16).all(|question| cache.insert(question, Arc::clone(&longest)).is_empty()));
        assert!(cache.find(1).is_some());
        assert_eq!(cache.insert(17, Arc::clone(&longest)), [Arc::clone(&longest)], "for the caller to drop");
        let gone: Vec<u128> = (1..=17).filter(|question| !cache.answers.contains_key(question)).collect();
        assert_eq!((gone, cache.cost), (vec![2], MAX_TOKENS));
        assert_eq!(cache.tokens(), MAX_TOKENS - 16 * OVERHEAD);
        let longer = cache.insert(18, vec![7; MAX_ANSWER_TOKENS - OVERHEAD + 1].into());
        assert!(longer.is_empty() && cache.find(18).is_none());
        cache.remove(1);
        assert_eq!((cache.find(1), cache.order.len()), (None, 15));
    }

    #[test]
    fn a_new_answer_looks_at_few_others() {
        let mut cache = AnswerCache::default();
        let part: Arc<[u32]> = vec![7; MAX_TOKENS / 64 - OVERHEAD].into();
        for question in 0..64 {
            assert!(cache.insert(question, Arc::clone(&part)).is_empty());
            cache.find(question);
        }
        assert_eq!(cache.insert(64, part).len(), 1);
        let still_used = cache.answers.values().filter(|answer| answer.was_used).count();
        assert_eq!((cache.answers.len(), still_used), (64, 64 - 1 - MAX_SECOND_CHANCES as usize));
    }
}
