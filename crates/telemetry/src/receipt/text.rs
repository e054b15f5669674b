//! The text of a receipt, kept short.

use super::{BeatenRule, MAX_ATTEMPTS, MAX_BEATEN, MAX_CANDIDATES, MAX_RECEIPT, MAX_TEXT, Receipt};

impl Receipt<'_> {
    /// The receipt as one line of JSON, at most [`MAX_RECEIPT`] bytes long but for escapes. What is left out for that shows as
    /// `truncated`.
    pub fn to_json(mut self) -> String {
        self.shorten();
        let text = self.text();
        if text.len() <= MAX_RECEIPT {
            return text;
        }
        self.truncated = true;
        self.rule.beaten.clear();
        self.detail = None;
        if let Some(pick) = &mut self.pick {
            pick.candidates.truncate(MAX_CANDIDATES / 4);
        }
        self.text()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Cuts texts and lists to their bounds.
    fn shorten(&mut self) {
        let mut cut = false;
        for text in [&mut self.request_id, &mut self.method, &mut self.host, &mut self.path, &mut self.listener, &mut self.rule.by]
        {
            cut |= shorten(text);
        }
        for text in [&mut self.detail, &mut self.model.asked, &mut self.model.sent].into_iter().flatten() {
            cut |= shorten(text);
        }
        cut |= self.rule.beaten.len() > MAX_BEATEN;
        self.rule.beaten.truncate(MAX_BEATEN);
        for BeatenRule { rule, by, why } in &mut self.rule.beaten {
            for text in [rule, by, why] {
                let end = boundary(text, MAX_TEXT);
                cut |= end < text.len();
                text.truncate(end);
            }
        }
        if let Some(pick) = &mut self.pick {
            cut |= pick.judged > pick.candidates.len() && !pick.candidates.is_empty();
            pick.candidates.truncate(MAX_CANDIDATES);
        }
        if self.attempts.len() > MAX_ATTEMPTS {
            cut = true;
            // The last one is the one that counts.
            let surplus = self.attempts.len() - MAX_ATTEMPTS;
            self.attempts.drain(MAX_ATTEMPTS - 1..MAX_ATTEMPTS - 1 + surplus);
        }
        self.truncated |= cut;
    }
}

/// A text as long as receipts have it, at most [`MAX_TEXT`].
pub fn cut(text: &str) -> &str {
    &text[..boundary(text, MAX_TEXT)]
}

/// Cuts a text at [`MAX_TEXT`]; whether it was longer.
fn shorten(text: &mut &str) -> bool {
    let shorter = cut(text);
    let is_longer = shorter.len() < text.len();
    *text = shorter;
    is_longer
}

/// The last boundary of characters that is not beyond this many bytes.
fn boundary(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::{Attempt, Candidate, Pick, SCHEMA};
    use super::*;

    #[test]
    fn a_long_receipt_is_cut_and_says_so() {
        let long = "ü".repeat(2000);
        let beaten = || BeatenRule { rule: long.clone(), by: long.clone(), why: "path".to_owned() };
        let candidates = vec![Candidate { endpoint: "pod-with-a-rather-long-name-0", ..Candidate::default() }; 40];
        let mut receipt = Receipt { schema: SCHEMA, path: &long, detail: Some(&long), ..Receipt::default() };
        receipt.rule.beaten = (0..20).map(|_| beaten()).collect();
        receipt.pick = Some(Pick { candidates, judged: 40, ..Pick::default() });
        receipt.attempts = (0..20).map(|at| Attempt { start: f64::from(at), ..Attempt::default() }).collect();
        let text = receipt.to_json();
        assert!(text.len() <= MAX_RECEIPT, "{} bytes", text.len());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["truncated"], &value["attempts"][MAX_ATTEMPTS - 1]["start"]), (&true.into(), &19.0.into()));
        assert_eq!(value["path"].as_str().unwrap().len(), MAX_TEXT);
    }

    #[test]
    fn a_short_receipt_is_whole() {
        let text = Receipt { schema: SCHEMA, request_id: "a", ..Receipt::default() }.to_json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["schema"], &value["truncated"]), (&SCHEMA.into(), &false.into()));
    }
}
