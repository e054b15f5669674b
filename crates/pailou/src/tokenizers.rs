//! `--tokenizers`: models whose files this process has.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use pailou_picker::{PromptTokenizer, TokenSource, TokenSourceError};
use pailou_tokenizer::{ModelFiles, ModelTokenizer};

use crate::exit::Error;

/// Most models.
const MAX_MODELS: usize = 256;
/// Deepest directory of a model: names have a slash at the most.
const MAX_DEPTH: usize = 2;

/// Models by name.
struct Library(HashMap<String, Arc<Model>>);

/// A model's files, which the first request for its tokens reads.
struct Model {
    name: String,
    directory: PathBuf,
    is_asked: AtomicBool,
    /// `None`: the files are of no use.
    tokenizer: Arc<OnceLock<Option<ModelTokenizer>>>,
}

/// The models of a directory, with a directory for each. None of their files is read as yet.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn read(directory: Option<&Path>) -> Result<Option<Arc<dyn TokenSource>>, Error> {
    let Some(directory) = directory else { return Ok(None) };
    let mut models = HashMap::new();
    find(directory, "", 0, &mut models).map_err(|source| Error::Read { path: directory.to_owned(), source })?;
    if models.is_empty() {
        tracing::warn!("--tokenizers {}: no model; give each a directory of its name with a tokenizer.json", directory.display());
    }
    Ok(Some(Arc::new(Library(models))))
}

fn find(directory: &Path, name: &str, depth: usize, models: &mut HashMap<String, Arc<Model>>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Those of a mounted volume's own begin with a dot.
        let Some(part) = entry.file_name().to_str().filter(|part| !part.starts_with('.')).map(str::to_owned) else { continue };
        let path = entry.path();
        if !path.is_dir() || models.len() == MAX_MODELS {
            continue;
        }
        let name = if name.is_empty() { part } else { format!("{name}/{part}") };
        if ModelFiles::are_in(&path) {
            let model = Model { name: name.clone(), directory: path, is_asked: AtomicBool::new(false), tokenizer: Arc::default() };
            models.insert(name, Arc::new(model));
        } else if depth + 1 < MAX_DEPTH {
            find(&path, &name, depth + 1, models)?;
        }
    }
    Ok(())
}

impl TokenSource for Library {
    fn tokenizer(&self, model: &str) -> Option<Arc<dyn PromptTokenizer>> {
        self.0.get(model).map(|model| Arc::clone(model) as _)
    }
}

impl PromptTokenizer for Model {
    fn tokens(&self, question: &[u8]) -> Result<Vec<u32>, TokenSourceError> {
        let Some(tokenizer) = self.tokenizer.get() else {
            self.load();
            return Err(TokenSourceError::Loading);
        };
        let tokenizer = tokenizer.as_ref().ok_or(TokenSourceError::Files)?;
        tokenizer.tokens(question).map_err(|error| {
            tracing::debug!(model = self.name, %error, "no tokens");
            TokenSourceError::Prompt
        })
    }
}

impl Model {
    /// Reads the files on a thread of its own: a large vocabulary takes a second.
    fn load(&self) {
        if self.is_asked.swap(true, Relaxed) {
            return;
        }
        let (name, directory, tokenizer) = (self.name.clone(), self.directory.clone(), Arc::clone(&self.tokenizer));
        let load = move || {
            let read = ModelFiles::read(&directory).and_then(|files| ModelTokenizer::new(&files));
            if let Err(error) = &read {
                let directory = directory.display();
                tracing::warn!(model = name, %directory, %error, "the tokenizer's files are of no use; engines are asked for tokens");
            }
            let _ = tokenizer.set(read.ok());
        };
        if thread::Builder::new().name("tokenizer".to_owned()).spawn(load).is_err() {
            self.is_asked.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn models_are_the_directories_with_a_tokenizer() {
        let directory = TestDir::new();
        let write = |path: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a temporary directory");
            fs::write(path, "{}").expect("a temporary directory");
        };
        for path in
            ["qwen/tokenizer.json", "Org/Model-8B/tokenizer.json", "none/README.md", "a/b/c/tokenizer.json", ".data/tokenizer.json"]
        {
            write(path);
        }
        let library = read(Some(directory.path())).expect("a directory").expect("models");
        let known = ["qwen", "Org/Model-8B", "none", "a/b/c", ".data", "../qwen", ""].map(|name| library.tokenizer(name).is_some());
        assert_eq!(known, [true, true, false, false, false, false, false]);
        assert!(read(Some(&directory.path().join("missing"))).is_err());
        assert!(read(None).expect("none").is_none());
    }

    #[test]
    fn files_are_read_at_the_first_request_and_of_no_use_where_they_are_wrong() {
        let directory = TestDir::new();
        fs::create_dir(directory.path().join("qwen")).expect("a temporary directory");
        fs::write(directory.path().join("qwen/tokenizer.json"), "{}").expect("a temporary directory");
        let library = read(Some(directory.path())).expect("a directory").expect("models");
        let model = library.tokenizer("qwen").expect("a model");
        assert_eq!(model.tokens(b"{}"), Err(TokenSourceError::Loading));
        while model.tokens(b"{}") == Err(TokenSourceError::Loading) {
            thread::yield_now();
        }
        assert_eq!(model.tokens(b"{}"), Err(TokenSourceError::Files));
    }
}
