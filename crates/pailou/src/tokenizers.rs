//! `--tokenizers`: models whose files this process has.

mod model;

use std::{
    collections::BTreeMap,
    fs::DirEntry,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pailou_picker::{PromptPermits, PromptTokenizer, TokenSource};
use pailou_tokenizer::ModelFiles;

use self::model::Model;
use crate::exit::Error;

/// Most models.
const MAX_MODELS: usize = 256;
/// Deepest directory of a model: names have a slash at the most.
const MAX_DEPTH: usize = 2;
/// Most prompts that are tokenized at the same time beside the threads that serve.
const MAX_AT_ONCE: usize = 4;

/// Models by name.
struct Library {
    models: BTreeMap<String, Arc<Model>>,
    permits: PromptPermits,
}

/// The models of a directory, with a directory for each. None of their files is read as yet.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn read(directory: Option<&Path>) -> Result<Option<Arc<dyn TokenSource>>, Error> {
    let Some(directory) = directory else { return Ok(None) };
    let mut found = BTreeMap::new();
    let top = entries(directory).map_err(|source| Error::Read { path: directory.to_owned(), source })?;
    find(&entries, top, "", 1, &mut found);
    if found.is_empty() {
        tracing::warn!("--tokenizers {}: no model; give each a directory of its name with a tokenizer.json", directory.display());
    }
    if let Some((first, _)) = found.iter().nth(MAX_MODELS) {
        tracing::warn!(
            "--tokenizers {}: {} models; {first} and those after it by name are left out, as {MAX_MODELS} is the most",
            directory.display(),
            found.len()
        );
    }
    let models = found.into_iter().take(MAX_MODELS).map(|(name, path)| (name.clone(), Arc::new(Model::new(name, path))));
    Ok(Some(Arc::new(Library { models: models.collect(), permits: PromptPermits::new(MAX_AT_ONCE) })))
}

fn entries(directory: &Path) -> io::Result<Vec<DirEntry>> {
    std::fs::read_dir(directory)?.collect()
}

/// Finds directories of models. One that cannot be read, such as a volume's `lost+found`, is passed over.
fn find(
    read: &impl Fn(&Path) -> io::Result<Vec<DirEntry>>,
    entries: Vec<DirEntry>,
    name: &str,
    depth: usize,
    models: &mut BTreeMap<String, PathBuf>,
) {
    for entry in entries {
        // Those of a mounted volume's own begin with a dot.
        let Some(part) = entry.file_name().to_str().filter(|part| !part.starts_with('.')).map(str::to_owned) else { continue };
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let name = if name.is_empty() { part } else { format!("{name}/{part}") };
        if ModelFiles::are_in(&path) {
            models.insert(name, path);
            continue;
        }
        if depth == MAX_DEPTH {
            continue;
        }
        match read(&path) {
            Ok(entries) => find(read, entries, &name, depth + 1, models),
            Err(error) => tracing::warn!(directory = %path.display(), %error, "--tokenizers: the directory is passed over"),
        }
    }
}

impl TokenSource for Library {
    fn tokenizer(&self, model: &str) -> Option<Arc<dyn PromptTokenizer>> {
        self.models.get(model).map(|model| Arc::clone(model) as _)
    }

    fn permits(&self) -> PromptPermits {
        self.permits.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_dir::TestDir;

    fn write(directory: &TestDir, path: &str) {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a temporary directory");
        fs::write(path, "{}").expect("a temporary directory");
    }

    fn known<const COUNT: usize>(directory: &TestDir, names: [&str; COUNT]) -> [bool; COUNT] {
        let library = read(Some(directory.path())).expect("a directory").expect("models");
        names.map(|name| library.tokenizer(name).is_some())
    }

    #[test]
    fn models_are_the_directories_with_a_tokenizer() {
        let directory = TestDir::new();
        for path in
            ["qwen/tokenizer.json", "Org/Model-8B/tokenizer.json", "none/README.md", "a/b/c/tokenizer.json", ".data/tokenizer.json"]
        {
            write(&directory, path);
        }
        let names = ["qwen", "Org/Model-8B", "none", "a/b/c", ".data", "../qwen", ""];
        assert_eq!(known(&directory, names), [true, true, false, false, false, false, false]);
        assert!(read(Some(&directory.path().join("missing"))).is_err());
        assert!(read(None).expect("none").is_none());
    }

    /// `lost+found` of a volume had kept the process from starting.
    #[test]
    fn a_directory_that_cannot_be_read_is_passed_over() {
        let directory = TestDir::new();
        for path in ["Org/Model-8B/tokenizer.json", "lost+found/qwen/tokenizer.json", "qwen/tokenizer.json"] {
            write(&directory, path);
        }
        // By hand: permissions do not keep root out.
        let read = |path: &Path| match path.ends_with("lost+found") {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => entries(path),
        };
        let mut found = BTreeMap::new();
        find(&read, entries(directory.path()).expect("a directory"), "", 1, &mut found);
        assert_eq!(found.into_keys().collect::<Vec<String>>(), ["Org/Model-8B", "qwen"]);
    }

    #[test]
    fn the_first_models_by_name_are_taken() {
        let directory = TestDir::new();
        (0..MAX_MODELS + 2).rev().for_each(|number| write(&directory, &format!("model-{number:03}/tokenizer.json")));
        assert_eq!(known(&directory, ["model-000", "model-255", "model-256", "model-257"]), [true, true, false, false]);
    }
}
