//! Notice of files that may have changed: from the kernel if possible, and from a slow poll in any case.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::files::{is_hidden, is_object_file};

/// How long nothing must happen before a change counts as complete: an editor's rename follows its write by less.
const QUIET: Duration = Duration::from_millis(10);
/// How long changes that follow each other without a pause may put a reload off.
const STEADY_LIMIT: Duration = Duration::from_secs(1);
/// Time for a writer to close a file. Before that a read would find half of it, or none where a shell has opened it for a slow command.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// How often to look where the kernel reports nothing (network file systems, some container mounts).
const SLOW_POLL: Duration = Duration::from_secs(10);
/// How often to look where watching failed.
const FALLBACK_POLL: Duration = Duration::from_secs(1);

/// Paths whose changes matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interest {
    /// Every directory to watch, without links.
    directories: BTreeSet<PathBuf>,
    /// Those of them whose object files are read.
    listed: BTreeSet<PathBuf>,
    /// Names of files and directories, wherever they are.
    names: BTreeSet<OsString>,
    /// Time at which to look again though nothing has changed.
    look_again: Option<Instant>,
}

impl Interest {
    /// A file or directory that is read by its path, and where it is if it is a link.
    pub(super) fn add(&mut self, path: &Path) {
        let target = path.canonicalize().ok();
        for path in [Some(path), target.as_deref()].into_iter().flatten() {
            self.names.extend(path.file_name().map(ToOwned::to_owned));
            let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
            // Without even a directory, the poll finds later files.
            self.directories.extend(parent.and_then(|parent| parent.canonicalize().ok()));
        }
    }

    /// A directory, without links, whose object files are read.
    pub(super) fn add_listed(&mut self, directory: PathBuf) {
        self.directories.insert(directory.clone());
        self.listed.insert(directory);
    }

    /// Makes the next wait end at that time at the latest.
    pub(super) fn look_again(&mut self, at: Option<Instant>) {
        self.look_again = at;
    }

    /// Whether an event is about something that is read.
    fn concerns(&self, event: &Event) -> bool {
        let is_data = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)) | EventKind::Access(_));
        event.paths.iter().any(|path| {
            let Some(name) = path.file_name() else { return true };
            // Kubernetes' volumes change by a link of such a name.
            let is_volume = name.as_encoded_bytes().starts_with(b"..");
            let is_listed = path.parent().is_some_and(|parent| self.listed.contains(parent));
            is_volume || self.names.contains(name) || is_listed && (is_object_file(path) || !is_data && !is_hidden(path))
        })
    }
}

/// Result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Something may have changed.
    Changed,
    /// The program ends.
    Stopped,
}

enum Signal {
    File(Event),
    Lost,
    Stop,
}

/// Ends a [`Watcher`]'s wait from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Stopper(Sender<Signal>);

impl Stopper {
    /// Makes the present or next wait end.
    pub(crate) fn stop(&self) {
        // A watcher that has ended needs no stopping.
        let _ = self.0.send(Signal::Stop);
    }
}

/// Watches directories; files in them are watched by it too, also those that come later or are replaced by a rename.
#[derive(Debug)]
pub(crate) struct Watcher {
    kernel: Option<RecommendedWatcher>,
    interest: Interest,
    watched: BTreeSet<PathBuf>,
    complete: bool,
    signals: Receiver<Signal>,
    sender: Sender<Signal>,
}

impl Watcher {
    /// A watcher of nothing yet. If the kernel cannot help it polls, and logs that.
    pub(crate) fn new() -> Self {
        let (sender, signals) = mpsc::channel();
        let events = sender.clone();
        let kernel = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let signal = event.map_or(Signal::Lost, Signal::File);
            // The receiver goes first when the program ends.
            let _ = events.send(signal);
        });
        let kernel = kernel.inspect_err(|error| tracing::warn!(%error, "cannot watch files; polling them once a second")).ok();
        Self { complete: kernel.is_some(), kernel, interest: Interest::default(), watched: BTreeSet::new(), signals, sender }
    }

    /// A handle to end waits with.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Watches just this from now on. Says whether there are new directories in it, in which something may have changed before they
    /// were watched.
    pub(crate) fn watch(&mut self, interest: Interest) -> bool {
        self.interest = interest;
        let Some(kernel) = &mut self.kernel else { return false };
        let directories = &self.interest.directories;
        for gone in self.watched.difference(directories) {
            // It may no longer exist, in which case the kernel dropped the watch by itself.
            let _ = kernel.unwatch(gone);
        }
        let (mut failed, mut added) = (false, false);
        let mut watched = BTreeSet::new();
        for directory in directories {
            if self.watched.contains(directory) {
                watched.insert(directory.clone());
                continue;
            }
            match kernel.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    added = true;
                    watched.insert(directory.clone());
                }
                Err(error) => {
                    failed = true;
                    if self.complete {
                        tracing::warn!(%error, directory = %directory.display(), "cannot watch; polling it once a second");
                    }
                }
            }
        }
        self.watched = watched;
        self.complete = !failed;
        added
    }

    /// Waits until something may have changed and has settled, or it is time to look anyway.
    pub(crate) fn wait(&mut self) -> Wake {
        let poll = Instant::now() + if self.complete { SLOW_POLL } else { FALLBACK_POLL };
        let poll = self.interest.look_again.map_or(poll, |look_again| look_again.min(poll));
        let mut pending = Pending::default();
        loop {
            let now = Instant::now();
            let patience = pending.patience(now).unwrap_or_else(|| poll.saturating_duration_since(now));
            match self.signals.recv_timeout(patience) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Wake::Stopped,
                Ok(Signal::Lost) => pending.note_change(Instant::now()),
                Ok(Signal::File(event)) => {
                    self.forget(&event);
                    if self.interest.concerns(&event) {
                        pending.note(event, Instant::now());
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Wake::Changed,
            }
        }
    }

    /// A directory that goes takes its watch with it: one of the same name that comes later must be watched anew.
    fn forget(&mut self, event: &Event) {
        if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            for path in &event.paths {
                if self.watched.remove(path)
                    && let Some(kernel) = &mut self.kernel
                {
                    // After a removal the kernel has none; after a rename it would report the old name.
                    let _ = kernel.unwatch(path);
                }
            }
        }
    }
}

/// Changes seen and not yet acted upon.
#[derive(Debug, Default)]
struct Pending {
    first: Option<Instant>,
    last: Option<Instant>,
    /// Files written to and not closed since.
    open: BTreeSet<PathBuf>,
}

impl Pending {
    fn note(&mut self, event: Event, now: Instant) {
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
                self.note_change(now);
            }
            // Our own reading is an access.
            EventKind::Access(_) => {}
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.open.extend(event.paths);
                self.note_change(now);
            }
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
                self.note_change(now);
            }
            _ => self.note_change(now),
        }
    }

    fn note_change(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// How much longer to wait for what was seen to settle; `None` when nothing was seen.
    fn patience(&self, now: Instant) -> Option<Duration> {
        let (first, last) = (self.first?, self.last?);
        let settled = if self.open.is_empty() { (last + QUIET).min(first + STEADY_LIMIT) } else { first + OPEN_LIMIT };
        Some(settled.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::event::{DataChange, RenameMode};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event::new(kind).add_path("a.yaml".into())
    }

    #[test]
    fn a_file_that_is_being_written_is_left_until_it_is_closed() {
        let now = Instant::now();
        let mut pending = Pending::default();
        assert_eq!(pending.patience(now), None);
        pending.note(event(EventKind::Modify(ModifyKind::Data(DataChange::Any))), now);
        assert_eq!(pending.patience(now), Some(OPEN_LIMIT));
        pending.note(event(EventKind::Access(AccessKind::Close(AccessMode::Write))), now);
        assert_eq!(pending.patience(now), Some(QUIET));
    }

    #[test]
    fn steady_writing_cannot_put_a_reload_off_for_ever() {
        let start = Instant::now();
        let mut pending = Pending::default();
        for step in 0..300 {
            pending.note(event(EventKind::Modify(ModifyKind::Name(RenameMode::To))), start + Duration::from_millis(5 * step));
        }
        assert_eq!(pending.patience(start + Duration::from_millis(1_500)), Some(Duration::ZERO));
    }

    #[test]
    fn reading_is_no_change() {
        let mut pending = Pending::default();
        pending.note(event(EventKind::Access(AccessKind::Open(AccessMode::Any))), Instant::now());
        assert_eq!(pending.patience(Instant::now()), None);
    }

    #[test]
    fn only_what_is_read_matters() {
        let mut interest = Interest::default();
        interest.add_listed("/config".into());
        interest.names.insert("key".into());
        let concerns = |kind, path: &str| interest.concerns(&Event::new(kind).add_path(path.into()));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert!(concerns(written, "/config/a.yaml") && concerns(renamed, "/config/..data") && concerns(renamed, "/config/sub"));
        assert!(concerns(written, "/elsewhere/key"));
        assert!(!concerns(written, "/config/log") && !concerns(renamed, "/config/.a.yaml.swp") && !concerns(renamed, "/b.yaml"));
    }

    #[test]
    fn a_rename_into_a_watched_directory_wakes() {
        let directory = crate::test_dir::TestDir::new();
        let mut watcher = Watcher::new();
        let mut interest = Interest::default();
        interest.add_listed(directory.path().to_owned());
        assert!(watcher.watch(interest));
        fs::write(directory.path().join("new"), "a").unwrap();
        fs::rename(directory.path().join("new"), directory.path().join("a.yaml")).unwrap();
        let start = Instant::now();
        assert_eq!(watcher.wait(), Wake::Changed);
        assert!(start.elapsed() < SLOW_POLL / 2, "woken by the poll alone");
        watcher.stopper().stop();
        assert_eq!(watcher.wait(), Wake::Stopped);
    }
}
