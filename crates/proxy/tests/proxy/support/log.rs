//! An access log that tests read.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

/// An access log in memory. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Waits for the line that has this text.
    pub(crate) async fn line(&self, text: &str) -> String {
        for _ in 0..200 {
            if let Some(line) = self.text().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{text} is not in the log: {}", self.text());
    }

    /// All that was logged so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
