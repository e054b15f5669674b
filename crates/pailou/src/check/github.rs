//! Workflow commands of GitHub Actions: a line for each annotation.
//!
//! Source: GitHub's documentation of workflow commands.

use std::io::{self, Write};

use pailou_compile::status::Severity;

use super::annotation::Annotation;
use crate::printable::Printable;

/// Writes a command for each annotation.
pub(super) fn write(out: &mut impl Write, annotations: &[Annotation]) -> io::Result<()> {
    for Annotation { severity, rule, file, line, message } in annotations {
        let command = match severity {
            Severity::Fine => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut properties = Vec::new();
        if !file.is_empty() {
            properties.push(format!("file={}", property(file)));
        }
        properties.extend(line.map(|line| format!("line={line}")));
        properties.push(format!("title={}", property(rule)));
        writeln!(out, "::{command} {}::{}", properties.join(","), data(message))?;
    }
    Ok(())
}

fn data(text: &str) -> String {
    Printable(text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")).to_string()
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_command_or_property_is_escaped() {
        let annotation = Annotation {
            severity: Severity::Error,
            rule: "Accepted/Invalid".to_owned(),
            file: "a,b:c.yaml".to_owned(),
            line: Some(3),
            message: "100% wrong\nhere".to_owned(),
        };
        let mut out = Vec::new();
        write(&mut out, &[annotation]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "::error file=a%2Cb%3Ac.yaml,line=3,title=Accepted/Invalid::100%25 wrong%0Ahere\n");
    }
}
