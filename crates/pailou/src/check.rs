//! `pailou check`: what would become of the files, without serving them.

use std::io::{self, BufWriter, IsTerminal, Write};

use pailou_api::ObjectKey;
use pailou_compile::{
    status::{ConditionStatus, Severity, Statuses},
    store::Store,
};

use crate::{
    cli::{CheckArgs, OutputFormat},
    configuration::Configuration,
    document::Document,
    exit::{Error, ExitOutcome},
    source::{Level, Problem},
    table::Table,
};

/// Prints every object's conditions, and what is wrong with the files.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitOutcome, Error> {
    let mut configuration = Configuration::new(&args.config)?;
    if let Some(error) = configuration.missing() {
        return Err(error);
    }
    let loaded = configuration.load(None);
    let document = Document::new(&loaded.statuses, &loaded.problems);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        OutputFormat::Table => {
            let table = conditions(&loaded.objects, &loaded.statuses, &args.config.namespace);
            if loaded.objects.keys().next().is_some() {
                table.write(&mut out, terminal_width())?;
            }
            if loaded.objects.keys().next().is_some() && !loaded.problems.is_empty() {
                writeln!(out)?;
            }
            write_problems(&mut out, &loaded.problems)?;
        }
        OutputFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        OutputFormat::Yaml => {
            let text = serde_saphyr::to_string(&document).map_err(io::Error::other)?;
            writeln!(out, "{}", text.trim_end())?;
        }
    }
    out.flush()?;
    summarise(&document, &loaded.problems);
    if loaded.problems.iter().any(|problem| problem.level == Level::Unreadable) {
        return Err(Error::Unreadable);
    }
    Ok(if document.accepted { ExitOutcome::Done } else { ExitOutcome::NotAccepted })
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
            let severity = match note.severity {
                Severity::Fine => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
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

fn write_problems(out: &mut impl Write, problems: &[Problem]) -> io::Result<()> {
    for problem in problems {
        let label = if problem.level == Level::Ignored { "warning" } else { "error" };
        writeln!(out, "{label}: {problem}")?;
    }
    Ok(())
}

fn summarise(document: &Document<'_>, problems: &[Problem]) {
    let (objects, accepted) = document.counts();
    let rejected = problems.iter().filter(|problem| problem.level == Level::Rejected).count();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut line = format!("{objects} object{}, {accepted} accepted", plural(objects));
    if objects == 0 && problems.is_empty() {
        line.push_str(
            ": nothing was found (directories are read for *.yaml, *.yml and *.json, with subdirectories where -R is given)",
        );
    }
    if rejected > 0 {
        line.push_str(&format!("; {rejected} error{} in the files", plural(rejected)));
    }
    eprintln!("{line}");
}
