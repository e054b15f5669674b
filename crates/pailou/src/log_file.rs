//! A log file that is opened again once another program, such as logrotate, has renamed it.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

/// A log file. Clones are the same file.
#[derive(Clone)]
pub(crate) struct LogFile(Arc<Shared>);

struct Shared {
    path: PathBuf,
    opened: Mutex<Opened>,
}

struct Opened {
    file: File,
    /// Takes the place of `file` at the end of the line that is being written.
    next: Option<File>,
    is_within_line: bool,
}

impl LogFile {
    /// Opens a file, to append to it.
    ///
    /// # Errors
    /// The file can be neither opened nor made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let opened = Mutex::new(Opened { file: append(path)?, next: None, is_within_line: false });
        Ok(Self(Arc::new(Shared { path: path.to_owned(), opened })))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Opens the path again. Lines from now on go to the file that is there, or to a new one.
    ///
    /// # Errors
    /// The file can be neither opened nor made; the former one stays in use.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let file = append(&self.0.path)?;
        let mut opened = self.0.opened.lock();
        opened.next = Some(file);
        opened.change();
        Ok(())
    }
}

impl Opened {
    fn change(&mut self) {
        if !self.is_within_line
            && let Some(next) = self.next.take()
        {
            self.file = next;
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut opened = self.0.opened.lock();
        let written = opened.file.write(bytes)?;
        if let Some(last) = bytes[..written].last() {
            opened.is_within_line = *last != b'\n';
        }
        opened.change();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.opened.lock().file.flush()
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFile").field(&self.0.path).finish()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_renamed_file_keeps_whole_lines_and_the_new_one_gets_the_next() {
        let directory = std::env::temp_dir().join(format!("pailou-log-file-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (path, former) = (directory.join("log"), directory.join("log.1"));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"one\ntw").unwrap();
        fs::rename(&path, &former).unwrap();
        log.reopen().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"", "the new file is there at once");
        log.write_all(b"o\n").unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!((fs::read(&former).unwrap(), fs::read(&path).unwrap()), (b"one\ntwo\n".to_vec(), b"three\n".to_vec()));
        fs::rename(&path, &former).unwrap();
        log.reopen().unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four\n");
        fs::remove_dir_all(&directory).unwrap();
        assert!(log.reopen().is_err());
        log.write_all(b"five\n").unwrap();
    }
}
