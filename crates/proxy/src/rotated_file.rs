//! A file that lines are appended to, and that is opened again once another program, such as logrotate, has renamed it.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    sync::Arc,
};

/// A file by its path. The first write after [`Write::flush`] looks whether it is the same still.
pub(crate) struct RotatedFile {
    path: Arc<Path>,
    file: Option<File>,
    is_checked: bool,
}

impl RotatedFile {
    /// The file of a path; writes open it.
    pub(crate) fn new(path: Arc<Path>) -> Self {
        Self { path, file: None, is_checked: false }
    }

    fn current(&mut self) -> io::Result<&mut File> {
        if !self.is_checked {
            let there = self.path.metadata().ok();
            let opened = self.file.as_ref().map(File::metadata).transpose()?;
            if let Some(there) = &there {
                only_regular(there)?;
            }
            if opened.is_none() || opened.as_ref().map(identity) != there.as_ref().map(identity) {
                self.file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
            }
            self.is_checked = true;
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Refuses what may hold a writer for ever: to open a named pipe is to wait for its reader.
fn only_regular(there: &Metadata) -> io::Result<()> {
    let kind = there.file_type();
    match kind.is_file() || kind.is_char_device() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file and no character device; name one")),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Write for RotatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.current().and_then(|file| file.write(bytes));
        if written.is_err() {
            self.is_checked = false;
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.is_checked = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_that_is_no_file_is_refused_and_a_device_is_not() {
        let path = std::env::temp_dir().join(format!("pailou-rotated-file-{}.sock", std::process::id()));
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for (path, is_taken) in [(path.as_path(), false), (Path::new("/"), false), (Path::new("/dev/null"), true)] {
            let written = RotatedFile::new(Arc::from(path)).write_all(b"one\n");
            match written {
                Ok(()) => assert!(is_taken, "{}", path.display()),
                Err(error) => assert!(!is_taken && error.to_string().contains("no regular file"), "{}: {error}", path.display()),
            }
        }
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_renamed_file_gets_the_batch_under_way_and_a_new_one_the_next() {
        let directory = std::env::temp_dir().join(format!("pailou-rotated-file-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (path, former) = (directory.join("log"), directory.join("log.1"));
        let mut log = RotatedFile::new(Arc::from(path.as_path()));
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &former).unwrap();
        log.write_all(b"two\n").unwrap();
        log.flush().unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!((fs::read(&former).unwrap(), fs::read(&path).unwrap()), (b"one\ntwo\n".to_vec(), b"three\n".to_vec()));
        fs::remove_dir_all(&directory).unwrap();
        log.flush().unwrap();
        assert!(log.write_all(b"four\n").is_err());
        fs::create_dir_all(&directory).unwrap();
        log.write_all(b"five\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"five\n");
        fs::remove_dir_all(&directory).unwrap();
    }
}
