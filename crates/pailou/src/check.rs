//! `pailou check`: what would become of the files, without serving them.

mod annotation;
mod assume;
mod github;
mod judged;
mod placeholder;
mod sarif;

use std::io::{self, BufWriter, IsTerminal, Write};

use pailou_api::ObjectKey;
use pailou_compile::{
    status::{ConditionStatus, Severity, Statuses},
    store::Store,
};
use serde::Serialize;

use crate::{
    cli::{CheckArgs, OutputFormat},
    document::Document,
    exit::{Error, ExitOutcome},
    printable::{self, Printable},
    source::{Problem, Strictness},
    table::Table,
};
use judged::Judged;

/// Prints every object's conditions, and what is wrong with the files.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitOutcome, Error> {
    let judged = Judged::new(args)?;
    let strictness = Strictness { is_foreign_refused: args.strict, is_unknown_field_refused: !args.allow_unknown_fields };
    let document = Document::new(&judged.statuses, &judged.problems, strictness);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        OutputFormat::Table => write_table(&mut out, &judged, &args.config.namespace, strictness)?,
        OutputFormat::Json => write_json(&mut out, &document)?,
        OutputFormat::Yaml => {
            let text = serde_saphyr::to_string(&document).map_err(io::Error::other)?;
            writeln!(out, "{}", text.trim_end())?;
        }
        OutputFormat::Github => github::write(&mut out, &annotation::all(&judged, strictness))?,
        OutputFormat::Sarif => write_json(&mut out, &sarif::document(&annotation::all(&judged, strictness)))?,
    }
    out.flush()?;
    summarise(&document, &judged.problems, strictness);
    if judged.is_unreadable() {
        return Err(Error::Unreadable);
    }
    Ok(if document.accepted { ExitOutcome::Done } else { ExitOutcome::NotAccepted })
}

fn write_json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(document).map_err(io::Error::from)?;
    writeln!(out, "{}", printable::json(&text))
}

fn write_table(out: &mut impl Write, judged: &Judged, namespace: &str, strictness: Strictness) -> io::Result<()> {
    let has_objects = judged.objects.keys().next().is_some();
    if has_objects {
        conditions(&judged.objects, &judged.statuses, namespace).write(out, terminal_width())?;
        if !judged.problems.is_empty() {
            writeln!(out)?;
        }
    }
    for problem in &judged.problems {
        writeln!(out, "{}: {}", problem.level.severity(strictness).name(), Printable(problem))?;
    }
    Ok(())
}

/// The terminal's width; nothing for a pipe, whose reader wants whole lines.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// A row for each condition; objects that have none get one too, so that every object is seen to be there.
fn conditions(objects: &Store, statuses: &Statuses, namespace: &str) -> Table<6> {
    let mut table = Table::new(["OBJECT", "PARENT", "CONDITION", "STATUS", "REASON", "MESSAGE"]);
    for key in objects.keys() {
        let object = short(key, namespace);
        let mut rows = 0;
        let status = statuses.get(key);
        for (part, conditions) in status.iter().flat_map(|status| status.conditions()) {
            for condition in conditions {
                let holds = match condition.status {
                    ConditionStatus::True => "True",
                    ConditionStatus::False => "False",
                    ConditionStatus::Unknown => "Unknown",
                };
                let part = short_part(&part, namespace);
                let message = if condition.severity() == Severity::Fine { String::new() } else { condition.message.clone() };
                table.push([object.clone(), part, condition.kind.into(), holds.into(), condition.reason.into(), message]);
                rows += 1;
            }
        }
        for note in status.into_iter().flat_map(|status| &status.notes) {
            let severity = note.severity.name();
            table.push([object.clone(), String::new(), "-".into(), "-".into(), severity.into(), note.message.clone()]);
            rows += 1;
        }
        if rows == 0 {
            table.push([object, String::new(), "-".into(), "-".into(), "-".into(), String::new()]);
        }
    }
    table
}

/// `Kind/name`, with the namespace where it is not the default one.
fn short(key: &ObjectKey, namespace: &str) -> String {
    if key.namespace.is_empty() || key.namespace == namespace {
        format!("{}/{}", key.kind, key.name)
    } else {
        format!("{}/{}/{}", key.kind, key.namespace, key.name)
    }
}

/// A parent as its name where it is a Gateway of the default namespace, which nearly all are.
fn short_part(part: &str, namespace: &str) -> String {
    let part = part.replace(&format!(" {namespace}/"), " ").replace(" section ", "/");
    part.strip_prefix("Gateway ").map_or(part.clone(), ToOwned::to_owned)
}

fn summarise(document: &Document<'_>, problems: &[Problem], strictness: Strictness) {
    let (objects, accepted) = document.counts();
    let wrong = problems.iter().filter(|problem| problem.level.severity(strictness) == Severity::Error).count();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut line = format!("{objects} object{}, {accepted} accepted", plural(objects));
    if objects == 0 && problems.is_empty() {
        line.push_str(
            ": nothing was found (directories are read for *.yaml, *.yml and *.json, with subdirectories where -R is given)",
        );
    }
    if wrong > 0 {
        line.push_str(&format!("; {wrong} error{} in the files", plural(wrong)));
    }
    eprintln!("{line}");
}
