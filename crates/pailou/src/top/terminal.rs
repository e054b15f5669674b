//! The terminal: keys as they are pressed, and a screen of its own, until this is dropped.

use std::{
    io::{self, Read as _, Write},
    thread,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc::{self, Receiver};

use super::keys::{self, Key};

/// Leads to the other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
/// Leads back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Size of a terminal that does not tell it.
const ASSUMED_SIZE: (usize, usize) = (80, 24);

/// A terminal in use.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input is none.
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let terminal = Self { before };
        put(ENTER)?;
        Ok(terminal)
    }

    /// Keys from now on. A thread reads them, since a read cannot be cancelled; it ends with the process.
    pub(super) fn keys(&self) -> io::Result<Receiver<Key>> {
        let (send, receive) = mpsc::channel(64);
        let read = move || {
            let mut buffer = [0; 256];
            while let Ok(length @ 1..) = io::stdin().lock().read(&mut buffer) {
                if keys::parse(&buffer[..length]).into_iter().any(|key| send.blocking_send(key).is_err()) {
                    return;
                }
            }
        };
        thread::Builder::new().name("keys".to_owned()).spawn(read)?;
        Ok(receive)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = terminal_size::terminal_size().map(|(width, height)| (width.0.into(), height.0.into()));
        size.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(ASSUMED_SIZE)
    }

    /// Draws the screen anew, all at once.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        put(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Of a terminal that is gone nothing can be given back.
        let _ = put(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
