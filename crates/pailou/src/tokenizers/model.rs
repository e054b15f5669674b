//! A model's tokenizer, which the first request for its tokens has read.

use std::{
    fs::Metadata,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use pailou_picker::{PromptTokenizer, TokenSourceError};
use pailou_tokenizer::{ModelFiles, ModelTokenizer, PromptError};
use parking_lot::Mutex;

/// Pause before files that were of no use are looked at again, at first and at most, after doubling.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// A model's files.
pub(super) struct Model {
    name: String,
    directory: PathBuf,
    state: Arc<Mutex<State>>,
}

/// State of a model's files.
#[derive(Clone)]
enum State {
    Unread,
    Loading,
    Loaded(Arc<ModelTokenizer>),
    Useless(Useless),
}

/// Files of no use, and the time when they are looked at again.
#[derive(Clone, Copy)]
struct Useless {
    again: Instant,
    backoff: Duration,
    /// Files that the process could read: only others can be of more use.
    times: Option<FileTimes>,
}

/// Times of change of a model's files, and their lengths.
type FileTimes = [Option<(SystemTime, u64)>; 4];

impl Model {
    pub(super) fn new(name: String, directory: PathBuf) -> Self {
        Self { name, directory, state: Arc::new(Mutex::new(State::Unread)) }
    }

    /// The tokenizer, once it is there.
    fn tokenizer(&self) -> Result<Arc<ModelTokenizer>, TokenSourceError> {
        let mut state = self.state.lock();
        let (answer, useless) = match &*state {
            State::Loaded(tokenizer) => return Ok(Arc::clone(tokenizer)),
            State::Loading => return Err(TokenSourceError::Loading),
            State::Useless(useless) if Instant::now() < useless.again => return Err(TokenSourceError::Files),
            State::Useless(useless) => (TokenSourceError::Files, Some(*useless)),
            State::Unread => (TokenSourceError::Loading, None),
        };
        let before = std::mem::replace(&mut *state, State::Loading);
        drop(state);
        if !self.load(useless) {
            *self.state.lock() = before;
        }
        Err(answer)
    }

    /// Reads the files on a thread of its own: a large vocabulary takes a second. Gives whether there is one.
    fn load(&self, before: Option<Useless>) -> bool {
        let (name, directory, state) = (self.name.clone(), self.directory.clone(), Arc::clone(&self.state));
        let load = move || {
            let next = load(&name, &directory, before);
            *state.lock() = next;
        };
        thread::Builder::new().name("tokenizer".to_owned()).spawn(load).is_ok()
    }
}

fn load(name: &str, directory: &Path, before: Option<Useless>) -> State {
    let times = file_times(directory);
    let backoff = before.map_or(SHORTEST_BACKOFF, |useless| (useless.backoff * 2).min(LONGEST_BACKOFF));
    let useless = |times| State::Useless(Useless { again: Instant::now() + backoff, backoff, times });
    if before.is_some_and(|useless| useless.times == Some(times)) {
        return useless(Some(times));
    }
    let read = || ModelFiles::read(directory).map_err(|error| (error.to_string(), None));
    let made = |files| ModelTokenizer::new(&files).map_err(|error| (error.to_string(), Some(times)));
    let made = catch_unwind(AssertUnwindSafe(|| read().and_then(made)));
    let made = made.unwrap_or_else(|_| Err(("its reader panicked".to_owned(), Some(times))));
    match made {
        Ok(tokenizer) => State::Loaded(Arc::new(tokenizer)),
        Err((error, times)) => {
            let directory = directory.display();
            tracing::warn!(
                model = name, %directory, error,
                "the tokenizer's files are of no use; engines are asked for tokens until the files change"
            );
            useless(times)
        }
    }
}

fn file_times(directory: &Path) -> FileTimes {
    let time = |metadata: Metadata| Some((metadata.modified().ok()?, metadata.len()));
    ModelFiles::NAMES.map(|name| std::fs::metadata(directory.join(name)).ok().and_then(time))
}

impl PromptTokenizer for Model {
    fn tokens(&self, question: &[u8]) -> Result<Vec<u32>, TokenSourceError> {
        self.tokenizer()?.tokens(question).map_err(|error| {
            tracing::debug!(model = self.name, %error, "no tokens");
            match error {
                PromptError::TooLong => TokenSourceError::TooLong,
                _ => TokenSourceError::Prompt,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_dir::TestDir;

    const TOKENIZER: &str = r#"{"model": {"type": "BPE", "vocab": {"a": 7}, "merges": []}}"#;

    fn tokens(model: &Model) -> Result<Vec<u32>, TokenSourceError> {
        model.tokens(br#"{"prompt": "aa"}"#)
    }

    /// The answer once the files are no longer being read.
    fn settled(model: &Model) -> Result<Vec<u32>, TokenSourceError> {
        while matches!(*model.state.lock(), State::Unread | State::Loading) {
            _ = tokens(model);
            thread::yield_now();
        }
        tokens(model)
    }

    #[test]
    fn files_are_read_at_the_first_request() {
        let directory = TestDir::new();
        fs::write(directory.path().join("tokenizer.json"), TOKENIZER).expect("a temporary directory");
        let model = Model::new("qwen".to_owned(), directory.path().to_owned());
        assert_eq!(tokens(&model), Err(TokenSourceError::Loading));
        assert_eq!(settled(&model), Ok(vec![7, 7]));
        let long = format!(r#"{{"prompt": "{}"}}"#, "a".repeat(2 << 20));
        assert_eq!(model.tokens(long.as_bytes()), Err(TokenSourceError::TooLong));
    }

    /// A file that was being copied when it was read had been of no use for as long as the process lived.
    #[test]
    fn files_of_no_use_are_read_again_once_they_change() {
        let directory = TestDir::new();
        let path = directory.path().join("tokenizer.json");
        fs::write(&path, &TOKENIZER[..20]).expect("a temporary directory");
        let model = Model::new("qwen".to_owned(), directory.path().to_owned());
        assert_eq!(settled(&model), Err(TokenSourceError::Files));
        fs::write(&path, TOKENIZER).expect("a temporary directory");
        while tokens(&model) != Ok(vec![7, 7]) {
            thread::yield_now();
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_tried_again() {
        let directory = TestDir::new();
        let path = directory.path().join("tokenizer.json");
        fs::create_dir(&path).expect("a temporary directory");
        let model = Model::new("qwen".to_owned(), directory.path().to_owned());
        assert_eq!(settled(&model), Err(TokenSourceError::Files));
        fs::remove_dir(&path).expect("a temporary directory");
        fs::write(&path, TOKENIZER).expect("a temporary directory");
        while tokens(&model) != Ok(vec![7, 7]) {
            thread::yield_now();
        }
    }

    #[test]
    fn the_same_files_are_of_no_use_again() {
        let directory = TestDir::new();
        fs::write(directory.path().join("tokenizer.json"), "{}").expect("a temporary directory");
        let State::Useless(first) = load("qwen", directory.path(), None) else { panic!("they are of use") };
        assert!(first.times.is_some());
        let before = Useless { backoff: Duration::from_secs(200), ..first };
        let State::Useless(second) = load("qwen", directory.path(), Some(before)) else { panic!("they are of use") };
        assert_eq!((second.backoff, second.times), (LONGEST_BACKOFF, first.times));
    }
}
