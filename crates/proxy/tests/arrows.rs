//! The modules of `proxy` and of `compile` import each other in one direction.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The modules that each top-level module names in paths that begin with `crate::`, tests left out.
fn imports(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let mut folders = vec![(root.to_owned(), None)];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if name == "tests" || (module.is_none() && name == "lib") {
                continue;
            }
            let module = module.clone().unwrap_or(name);
            if path.is_dir() {
                folders.push((path, Some(module)));
            } else {
                let text = fs::read_to_string(path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                found.entry(module).or_default().extend(named(code));
            }
        }
    }
    let modules: BTreeSet<_> = found.keys().cloned().collect();
    for (module, imports) in &mut found {
        imports.retain(|it| modules.contains(it) && it != module);
    }
    found
}

fn named(code: &str) -> Vec<String> {
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let word = |text: &str| text.trim_start().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect::<String>();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.push(word(&group[start..at]));
                    start = at + 1;
                    if letter == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names
}

/// The modules that import each other in a circle, or import one that does.
fn circles(mut left: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    // Takes away the modules that import nothing which is left, until no more can go.
    loop {
        let bottom: Vec<_> = left.iter().filter(|(_, imports)| imports.is_empty()).map(|(name, _)| name.clone()).collect();
        if bottom.is_empty() {
            return left;
        }
        for name in bottom {
            left.remove(&name);
            left.values_mut().for_each(|imports| {
                imports.remove(&name);
            });
        }
    }
}

#[test]
fn modules_import_each_other_in_one_direction() {
    for (name, above, below) in [("proxy", "relay", "request_log"), ("compile", "routes", "matches")] {
        let found = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"));
        assert!(found.len() > 30 && found[above].contains(below), "the imports of {name} are not read: {found:?}");
        let circles = circles(found);
        assert!(circles.is_empty(), "these modules of {name} are in a circle, or import one that is: {circles:#?}");
    }
}

#[test]
fn a_circle_is_found() {
    let import = |(name, imports): &(&str, &[&str])| ((*name).to_owned(), imports.iter().map(|it| (*it).to_owned()).collect());
    let found = [("a", &["b"][..]), ("b", &["c", "d"]), ("c", &["b"]), ("d", &[])].iter().map(import).collect();
    assert_eq!(circles(found).into_keys().collect::<String>(), "abc");
}
