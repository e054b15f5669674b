//! A strict reader of what `/metrics` answers: Prometheus drops all of an answer that it cannot read, and all but one of samples that
//! have the same name and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::client::Call;

/// Formats of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0: families are named without their samples' suffix, and `# EOF` is the end.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name, with the suffix.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
    /// Trace and value of its exemplar.
    pub exemplar: Option<(String, f64)>,
}

/// The metrics of an admin endpoint, which keep to every rule.
pub async fn of(admin: SocketAddr) -> String {
    let text = Call::get("/metrics").host("localhost").send(admin).await.text();
    if let Err(error) = parse(Format::OpenMetrics, &text) {
        panic!("metrics that cannot be read: {error}\n{text}");
    }
    text
}

/// A metric's sum over the series whose labels contain all of `labels`; 0 where there is none.
pub async fn sum(admin: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let text = of(admin).await;
    let of_name = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let wanted = of_name.filter(|line| labels.iter().all(|label| line.contains(label)));
    wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Reads an exposition.
///
/// # Errors
/// Says which line breaks which rule.
pub fn parse(format: Format, text: &str) -> Result<Vec<Sample>, String> {
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n").ok_or("no `# EOF` at the end")?,
        Format::Prometheus => text,
    };
    if !body.is_empty() && !body.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut reader = Reader { format, families: BTreeMap::new(), current: None, seen: BTreeSet::new(), samples: Vec::new() };
    for (number, line) in (1..).zip(body.lines()) {
        reader.line(line).map_err(|error| format!("line {number}: {error}: {line}"))?;
    }
    check_histograms(&reader.families, &reader.samples)?;
    Ok(reader.samples)
}

struct Reader {
    format: Format,
    /// Types of families by name.
    families: BTreeMap<String, String>,
    current: Option<String>,
    seen: BTreeSet<(String, BTreeMap<String, String>)>,
    samples: Vec<Sample>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let Some(comment) = line.strip_prefix("# ") else { return self.sample(line) };
        let mut words = comment.splitn(3, ' ');
        let (Some(keyword), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return Err("no keyword, name and text".to_owned());
        };
        let is_new = self.current.as_deref() != Some(name);
        match keyword {
            "HELP" | "UNIT" if is_new && self.families.contains_key(name) => return Err("a family in two places".to_owned()),
            "HELP" | "UNIT" => {}
            "TYPE" if !["counter", "gauge", "histogram", "unknown", "info"].contains(&rest) => return Err("no type".to_owned()),
            "TYPE" => {
                if self.families.insert(name.to_owned(), rest.to_owned()).is_some() {
                    return Err("a family twice".to_owned());
                }
            }
            _ => return Err("no keyword".to_owned()),
        }
        self.current = Some(name.to_owned());
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let sample = parse_sample(line)?;
        let family = self.current.clone().ok_or("a sample of no family")?;
        let kind = self.families.get(&family).ok_or("a sample without a type")?;
        let suffix = sample.name.strip_prefix(&family).ok_or("a sample of another family")?;
        let fits = match (kind.as_str(), self.format) {
            ("counter", Format::OpenMetrics) => suffix == "_total",
            ("histogram", _) => ["_bucket", "_count", "_sum"].contains(&suffix),
            _ => suffix.is_empty(),
        };
        if !fits {
            return Err(format!("the suffix {suffix:?} is none of a {kind}"));
        }
        if kind == "counter" && !sample.value.is_finite() {
            return Err("no count".to_owned());
        }
        if !self.seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err("these labels came before".to_owned());
        }
        self.samples.push(sample);
        Ok(())
    }
}

fn parse_sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return Err("no name".to_owned());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let rest = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let (value, exemplar) = match rest.split_once(" # {") {
        Some((value, exemplar)) => (value, Some(parse_exemplar(name, exemplar)?)),
        None => (rest, None),
    };
    let value = match value {
        "+Inf" => f64::INFINITY,
        number => number.parse().map_err(|_| "no number")?,
    };
    Ok(Sample { name: name.to_owned(), labels, value, exemplar })
}

/// The exemplar of a bucket: its trace and its value.
fn parse_exemplar(name: &str, text: &str) -> Result<(String, f64), String> {
    if !name.ends_with("_bucket") {
        return Err("an exemplar, and no bucket".to_owned());
    }
    let (labels, rest) = parse_labels(text)?;
    let mut numbers = rest.strip_prefix(' ').ok_or("no space before an exemplar's value")?.split(' ').map(str::parse::<f64>);
    let (Some(Ok(value)), Some(Ok(_)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err("an exemplar is no value and time".to_owned());
    };
    Ok((labels.get("trace_id").ok_or("an exemplar without a trace")?.clone(), value))
}

/// Labels up to the closing brace, and what follows.
fn parse_labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("no label")?;
        if !is_name(name) || name.contains(':') {
            return Err(format!("{name:?} is no label's name"));
        }
        let (value, after) = parse_value(value)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("label {name} twice"));
        }
        match after.split_at_checked(1) {
            Some((",", after)) => rest = after,
            Some(("}", after)) => return Ok((labels, after)),
            _ => return Err("labels do not end".to_owned()),
        }
    }
}

/// A label's value up to the closing quote, and what follows.
fn parse_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("no escape".to_owned()),
            },
            other => value.push(other),
        }
    }
    Err("a value does not end".to_owned())
}

fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    name.bytes().all(is_inner) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// A histogram's buckets never fall, and the last one is its count.
fn check_histograms(families: &BTreeMap<String, String>, samples: &[Sample]) -> Result<(), String> {
    for family in families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let mut last: BTreeMap<BTreeMap<String, String>, (f64, f64)> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.name == format!("{family}_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").ok_or_else(|| format!("a bucket of {family} without a bound"))?;
            let bound: f64 = bound.parse().map_err(|_| format!("{family}: {bound} is no bound"))?;
            let before = last.insert(labels, (bound, sample.value)).unwrap_or((f64::NEG_INFINITY, 0.0));
            if bound <= before.0 || sample.value < before.1 {
                return Err(format!("the buckets of {family} do not rise"));
            }
        }
        for count in samples.iter().filter(|sample| sample.name == format!("{family}_count")) {
            if last.remove(&count.labels) != Some((f64::INFINITY, count.value)) {
                return Err(format!("the last bucket of {family} is not its count"));
            }
        }
        if !last.is_empty() {
            return Err(format!("buckets of {family} without a count"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        parse(Format::OpenMetrics, text).expect_err("it breaks a rule")
    }

    #[test]
    fn labels_and_values_are_read() {
        let text = "# HELP a A b.\n# TYPE a counter\na_total{x=\"1\\\"\\n\",y=\"\"} 2\n# TYPE b gauge\nb 0.5\n# EOF\n";
        let samples = parse(Format::OpenMetrics, text).expect("it keeps to the rules");
        assert_eq!((samples[0].labels["x"].as_str(), samples[0].value), ("1\"\n", 2.0));
        assert_eq!((samples[1].name.as_str(), samples[1].value), ("b", 0.5));
    }

    #[test]
    fn samples_that_repeat_others_are_errors() {
        let twice = "# TYPE a gauge\na{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n# EOF\n";
        assert!(errors(twice).contains("line 3: these labels came before"));
        assert!(errors("# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n").contains("a family twice"));
    }

    #[test]
    fn whatever_breaks_the_format_is_an_error() {
        let head = "# TYPE a gauge\n";
        for (text, error) in [
            ("a 1\n# EOF\n".to_owned(), "no family"),
            (format!("{head}a 1\n"), "# EOF"),
            (format!("{head}a x\n# EOF\n"), "no number"),
            (format!("{head}a_total 1\n# EOF\n"), "suffix"),
            (format!("{head}a{{x=\"1\",x=\"1\"}} 1\n# EOF\n"), "twice"),
            (format!("{head}a{{x=\"\\t\"}} 1\n# EOF\n"), "escape"),
            ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\n# EOF\n".to_owned(), "is not its count"),
        ] {
            assert!(errors(&text).contains(error), "{text}: {}", errors(&text));
        }
    }
}
