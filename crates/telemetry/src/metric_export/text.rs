//! Reader of the registry's own text: OpenMetrics, as the library writes it.

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bounds.
    Histogram,
}

/// A metric with all its series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family<'t> {
    pub(super) name: &'t str,
    pub(super) help: &'t str,
    pub(super) kind: Kind,
    pub(super) series: Vec<Series<'t>>,
}

/// Values of one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series<'t> {
    /// As they are written, without `le`.
    pub(super) labels: &'t str,
    /// The value; of a histogram the sum, the count, and the count of each bucket with those below it.
    pub(super) values: Vec<f64>,
    /// Upper bounds of a histogram's buckets, without the infinite one.
    pub(super) bounds: Vec<f64>,
}

/// The metrics of a text. Of other kinds than those three, and lines that cannot be read, there are none.
pub(super) fn families(text: &str) -> impl Iterator<Item = Family<'_>> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        loop {
            let line = lines.next()?;
            let Some((name, help)) = line.strip_prefix("# HELP ").map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) else {
                continue;
            };
            let mut family = Family { name, help: help.trim_end_matches('.'), kind: Kind::Gauge, series: Vec::new() };
            let mut is_known = false;
            while let Some(line) = lines.next_if(|line| !line.starts_with("# HELP ") && *line != "# EOF") {
                if let Some(kind) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')).map(|(_, kind)| kind) {
                    let known = [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("histogram", Kind::Histogram)];
                    let found = known.into_iter().find(|(name, _)| *name == kind);
                    is_known = found.is_some();
                    family.kind = found.map_or(Kind::Gauge, |(_, kind)| kind);
                } else if !line.starts_with('#') {
                    family.sample(line);
                }
            }
            if is_known && !family.series.is_empty() {
                return Some(family);
            }
        }
    })
}

impl<'t> Family<'t> {
    /// Takes a line: `name_suffix{labels} value # exemplar`.
    fn sample(&mut self, line: &'t str) -> Option<()> {
        let rest = line.strip_prefix(self.name)?;
        let (suffix, labels, value) = match rest.find(['{', ' ']).map(|at| (at, rest.as_bytes()[at])) {
            Some((at, b'{')) => {
                let end = at + 1 + end_of_labels(&rest[at + 1..])?;
                (&rest[..at], &rest[at + 1..end], &rest[end + 1..])
            }
            Some((at, _)) => (&rest[..at], "", &rest[at..]),
            None => return None,
        };
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        if self.kind != Kind::Histogram {
            self.series.push(Series { labels, values: vec![value], bounds: Vec::new() });
            return Some(());
        }
        match suffix {
            "_sum" => self.series.push(Series { labels, values: vec![value, 0.0], bounds: Vec::new() }),
            "_count" => *self.series.last_mut()?.values.get_mut(1)? = value,
            "_bucket" => {
                let series = self.series.last_mut()?;
                series.values.push(value);
                let bound = labels.strip_prefix("le=\"").and_then(|rest| rest.split_once('"'))?.0;
                if let Ok(bound) = bound.parse::<f64>()
                    && bound.is_finite()
                {
                    series.bounds.push(bound);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// Labels by name, their values as they were meant.
pub(super) fn labels(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, after) = rest.trim_start_matches(',').split_once("=\"")?;
        let end = end_of_value(after)?;
        let value = unescaped(&after[..end]);
        rest = &after[end + 1..];
        Some((name, value))
    })
}

/// Place of the brace that ends labels.
fn end_of_labels(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.as_bytes().get(at)? {
            b'}' => return Some(at),
            b'"' => at += 2 + end_of_value(&text[at + 1..])?,
            _ => at += 1,
        }
    }
}

/// Place of the quote that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            letter => out.push(letter),
        }
    }
    out
}
