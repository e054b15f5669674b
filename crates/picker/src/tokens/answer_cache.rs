//! Answers of tokenizers, as many as a bound of tokens allows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Most tokens kept: 32 MiB.
const MAX_TOKENS: usize = 8 << 20;
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

    pub(super) fn insert(&mut self, question: u128, tokens: Arc<[u32]>) {
        let cost = tokens.len() + OVERHEAD;
        if cost > MAX_TOKENS || self.answers.contains_key(&question) {
            return;
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
                Some(_) => self.take(oldest),
                None => {}
            }
        }
        self.cost += cost;
        self.answers.insert(question, Answer { tokens, was_used: false });
        self.order.push_back(question);
    }

    pub(super) fn remove(&mut self, question: u128) {
        self.take(question);
        self.order.retain(|other| *other != question);
    }

    /// Tokens kept.
    pub(super) fn tokens(&self) -> usize {
        self.cost - self.answers.len() * OVERHEAD
    }

    fn take(&mut self, question: u128) {
        if let Some(answer) = self.answers.remove(&question) {
            self.cost -= answer.tokens.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = AnswerCache::default();
        let quarter: Arc<[u32]> = vec![7; MAX_TOKENS / 4 - OVERHEAD].into();
        (1..=4).for_each(|question| cache.insert(question, Arc::clone(&quarter)));
        assert!(cache.find(1).is_some());
        cache.insert(5, Arc::clone(&quarter));
        let kept: Vec<bool> = (1..=5).map(|question| cache.answers.contains_key(&question)).collect();
        assert_eq!((kept, cache.cost), (vec![true, false, true, true, true], MAX_TOKENS));
        assert_eq!(cache.tokens(), MAX_TOKENS - 4 * OVERHEAD);
        cache.insert(6, vec![7; MAX_TOKENS].into());
        assert!(cache.find(6).is_none());
        cache.remove(1);
        assert_eq!((cache.find(1), cache.order.len()), (None, 3));
    }

    #[test]
    fn a_new_answer_looks_at_few_others() {
        let mut cache = AnswerCache::default();
        let part: Arc<[u32]> = vec![7; MAX_TOKENS / 64 - OVERHEAD].into();
        for question in 0..64 {
            cache.insert(question, Arc::clone(&part));
            cache.find(question);
        }
        cache.insert(64, part);
        let still_used = cache.answers.values().filter(|answer| answer.was_used).count();
        assert_eq!((cache.answers.len(), still_used), (64, 64 - 1 - MAX_SECOND_CHANCES as usize));
    }
}
