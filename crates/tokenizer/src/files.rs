//! A model's files.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use flate2::read::GzDecoder;

use crate::FileError;

/// Longest file, in bytes: those of vocabularies with 262,144 tokens have 33 MB.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Names of the files.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const CONFIG: &str = "tokenizer_config.json";
pub(crate) const TEMPLATE: &str = "chat_template.jinja";
/// The tokenizer, compressed.
const COMPRESSED: &str = "tokenizer.json.gz";

/// Contents of a model's files.
#[derive(Clone, Debug, Default)]
pub struct ModelFiles {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`: special tokens, and the chat template of most models.
    pub config: Option<Vec<u8>>,
    /// `chat_template.jinja`, which goes before that.
    pub template: Option<Vec<u8>>,
}

impl ModelFiles {
    /// Names of the files that are looked for.
    pub const NAMES: [&str; 4] = [TOKENIZER, COMPRESSED, CONFIG, TEMPLATE];

    /// The files of a directory: `tokenizer.json` or `tokenizer.json.gz`, `tokenizer_config.json`, `chat_template.jinja`.
    ///
    /// # Errors
    /// The first is missing, or one is too long or cannot be read.
    pub fn read(directory: &Path) -> Result<Self, FileError> {
        Self::find(|name| match File::open(directory.join(name)) {
            Ok(file) => bounded(name, file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::Unreadable(name, error.to_string())),
        })
    }

    /// The files by name.
    fn find(mut file: impl FnMut(&'static str) -> Result<Option<Vec<u8>>, FileError>) -> Result<Self, FileError> {
        let tokenizer = match file(TOKENIZER)? {
            Some(bytes) => bytes,
            None => {
                let compressed = file(COMPRESSED)?.ok_or(FileError::Missing(TOKENIZER))?;
                bounded(COMPRESSED, GzDecoder::new(compressed.as_slice()))?
            }
        };
        Ok(Self { tokenizer, config: file(CONFIG)?, template: file(TEMPLATE)? })
    }

    /// Whether a directory has a tokenizer.
    pub fn are_in(directory: &Path) -> bool {
        [TOKENIZER, COMPRESSED].iter().any(|name| directory.join(name).is_file())
    }
}

fn bounded(name: &'static str, from: impl Read) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| FileError::Unreadable(name, error.to_string()))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLong(name, MAX_FILE_BYTES >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn a_compressed_tokenizer_is_unpacked_within_the_bound() {
        let zip = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        };
        let find = |packed: Vec<u8>| ModelFiles::find(|name| Ok((name == COMPRESSED).then(|| packed.clone())));
        assert_eq!(find(zip(b"{}")).expect("a file").tokenizer, b"{}");
        assert_eq!(find(zip(&vec![b' '; MAX_FILE_BYTES + 1])).unwrap_err(), FileError::TooLong(COMPRESSED, 64));
        assert!(matches!(find(b"no gzip".to_vec()), Err(FileError::Unreadable(COMPRESSED, _))));
        assert_eq!(ModelFiles::find(|_| Ok(None)).unwrap_err(), FileError::Missing(TOKENIZER));
    }
}
