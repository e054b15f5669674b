//! A receipt's texts in one allocation.

use pailou_telemetry::receipt::MAX_TEXT;

/// Texts of a receipt, in their order there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// The request's id, whole: it is looked for by that.
    Id,
    Host,
    Path,
    /// The model that the client asked for.
    Model,
    /// The model that the backend got, where that is another.
    SentModel,
    Detail,
}

const COUNT: usize = Text::Detail as usize + 1;

/// The texts; all but the id are cut at [`MAX_TEXT`].
#[derive(Debug)]
pub(crate) struct Texts {
    all: Box<str>,
    /// End of each.
    ends: [u32; COUNT],
    /// Whether each is there, a bit each.
    present: u8,
    /// Whether one was cut.
    pub(crate) is_cut: bool,
}

impl Texts {
    /// Copies texts, in the order of [`Text`].
    pub(crate) fn new(texts: [Option<&str>; COUNT]) -> Self {
        let (mut ends, mut present, mut is_cut) = ([0; COUNT], 0, false);
        let mut all = String::with_capacity(texts.iter().flatten().map(|text| text.len()).sum());
        for (at, text) in texts.into_iter().enumerate() {
            if let Some(text) = text {
                let kept = if at == Text::Id as usize { text } else { &text[..text.floor_char_boundary(MAX_TEXT)] };
                is_cut |= kept.len() < text.len();
                present |= 1 << at;
                all.push_str(kept);
            }
            // Heads, and what is told of errors, are far shorter.
            ends[at] = u32::try_from(all.len()).unwrap_or(u32::MAX);
        }
        Self { all: all.into(), ends, present, is_cut }
    }

    /// A text, if it is there.
    pub(crate) fn get(&self, text: Text) -> Option<&str> {
        let at = text as usize;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let is_there = self.present >> at & 1 == 1;
        is_there.then(|| self.all.get(begin as usize..self.ends[at] as usize).unwrap_or_default())
    }

    /// Length of all, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_reads_as_it_was_and_is_cut_where_it_is_long() {
        let long = "ü".repeat(MAX_TEXT);
        let texts = Texts::new([Some(&long), Some(""), None, Some("qwen"), None, Some(&long)]);
        assert_eq!((texts.get(Text::Id), texts.get(Text::Host), texts.get(Text::Path)), (Some(&*long), Some(""), None));
        assert_eq!((texts.get(Text::Model), texts.get(Text::SentModel)), (Some("qwen"), None));
        assert_eq!((texts.get(Text::Detail).map(str::len), texts.is_cut), (Some(MAX_TEXT), true));
        assert!(!Texts::new([Some("a"); COUNT]).is_cut);
    }
}
