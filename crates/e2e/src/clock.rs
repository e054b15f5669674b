//! A wall clock that can be set, for one process: libfaketime stands between it and the system's. The monotonic clock is left alone, as
//! it is when a machine's time is set.

use std::process::Command;

use crate::gateway::{Files, Setup};
use crate::python;

/// The file that says how far the clock is off.
const OFFSET: &str = "offset";

/// The wall clock of a gateway.
pub struct WallClock {
    library: String,
    files: Files,
}

impl WallClock {
    /// A clock that is right; `None` where `faketime` is not installed, as with [`python::program`].
    ///
    /// # Panics
    /// When it is missing and required, or does not work.
    pub fn new() -> Option<Self> {
        let faketime = python::program("faketime")?;
        // It knows where its library is: the one that is for programs of several threads.
        let told = Command::new(faketime).args(["-m", "-f", "+0", "sh", "-c", "printf %s \"$LD_PRELOAD\""]).output();
        let told = told.expect("faketime can be run");
        assert!(told.status.success() && !told.stdout.is_empty(), "faketime: {}", String::from_utf8_lossy(&told.stderr));
        let clock = Self { library: String::from_utf8_lossy(&told.stdout).into_owned(), files: Files::new() };
        clock.set(0);
        Some(clock)
    }

    /// Has a gateway go by it.
    pub fn of(&self, setup: Setup) -> Setup {
        let file = self.files.path(OFFSET);
        let setup = setup.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
        // Files keep the times they have, too.
        setup.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1")
    }

    /// Sets it this many hours off.
    pub fn set(&self, hours: i32) {
        self.files.write(OFFSET, &format!("{hours:+}h\n"));
    }
}
