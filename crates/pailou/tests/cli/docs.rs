//! The repository's Markdown: relative links lead somewhere, and the reference pages name every flag and metric.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::pailou;

/// Directories that hold results of a build or of other tools.
const SKIPPED: [&str; 5] = ["target", "bin", "corpus", "artifacts", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_hidden = name.starts_with('.') && name != ".github";
        if path.is_dir() && !path.is_symlink() && !is_hidden && !SKIPPED.contains(&name) && !name.starts_with("target") {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
}

/// The lines of a page outside code blocks: those between fences, and indented ones.
fn prose(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with("    ") {
            lines.push(line);
        }
    }
    lines
}

/// The targets of the links in a line, without those in code spans.
fn targets(line: &str) -> Vec<String> {
    let without_code: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let parts = without_code.split("](").skip(1);
    parts.filter_map(|part| part.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    prose(&text).into_iter().filter(|line| line.starts_with('#')).any(|line| anchor(line) == wanted)
}

/// The fault of a link in a page, if it has one.
fn fault(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    if !file.exists() {
        return Some(format!("{}: {target}: no such file", page.display()));
    }
    let is_missing = !wanted.is_empty() && file.extension().is_some_and(|it| it == "md") && !has_anchor(&file, wanted);
    is_missing.then(|| format!("{}: {target}: no such heading", page.display()))
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut pages = Vec::new();
    files(&root(), "md", &mut pages);
    assert!(pages.len() > 30, "{pages:?}");
    let mut links = 0;
    let mut faults = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for target in prose(&text).into_iter().flat_map(targets) {
            links += 1;
            faults.extend(fault(page, &target));
        }
    }
    assert!(links > 100, "{links}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The words of a text that begin so, to the first character that is not part of a name.
fn words(text: &str, start: &str) -> BTreeSet<String> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    let ends = text.match_indices(start).map(|(at, _)| &text[at..]);
    ends.map(|rest| {
        let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        rest[..length].to_owned()
    })
    .collect()
}

fn help(command: &str) -> String {
    let output = pailou().args([command, "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_reference_names_every_flag_and_variable() {
    let page = fs::read_to_string(root().join("docs/reference/command-line.md")).unwrap();
    let (flags, variables) = (words(&page, "--"), words(&page, "PAILOU_"));
    for command in ["serve", "check", "controller", "proxy", "picker", "demo", "sim"] {
        let help = help(command);
        let is_flag = |it: &String| it.len() > 2 && !["--help", "--version"].contains(&it.as_str());
        let missing: Vec<_> = words(&help, "--").into_iter().filter(|it| is_flag(it) && !flags.contains(it)).collect();
        assert!(missing.is_empty(), "{command}: {missing:?}");
        let missing: Vec<_> = words(&help, "PAILOU_").difference(&variables).cloned().collect();
        assert!(missing.is_empty(), "{command}: {missing:?}");
    }
}

#[test]
fn the_reference_names_every_metric() {
    let mut sources = Vec::new();
    files(&root().join("crates"), "rs", &mut sources);
    let page = fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let known = words(&page, "pailou_");
    let mut names = BTreeSet::new();
    for source in sources.iter().filter(|it| it.components().any(|part| part.as_os_str() == "src")) {
        let text = fs::read_to_string(source).unwrap();
        // Names of crates begin so too, and are no literals of their own.
        names.extend(text.split('"').skip(1).step_by(2).filter(|it| words(it, "pailou_").contains(*it)).map(str::to_owned));
    }
    names.retain(|name| name != "pailou_");
    assert!(names.len() > 30, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !known.contains(*name) && !known.contains(&format!("{name}_total"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
