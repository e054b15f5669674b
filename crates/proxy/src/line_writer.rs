//! Lines on their way to a file: a thread of their own writes them in batches, and requests wait for neither it nor the disk.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// Lines that wait for the writer, in bytes. Beyond it lines are dropped and counted: a slow disk never holds a request up.
const MAX_WAITING: usize = 4 << 20;
/// Longest wait of a line for others that are written with it.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// Lines of one file; `T` is state of those who write them.
pub(crate) struct LineWriter<T> {
    queue: Arc<Queue<T>>,
    /// Hears of the thread's end.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

/// Lines that wait.
#[derive(Default)]
pub(crate) struct Lines<T> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) state: T,
    /// Number of those in `bytes`.
    waiting: u64,
    /// Number of those that are being written.
    writing: u64,
    /// There were none for a while: the writer is to be woken for the next.
    rests: bool,
    closed: bool,
}

struct Queue<T> {
    name: Box<str>,
    lines: Mutex<Lines<T>>,
    wake: Condvar,
    /// Shared where several files count together.
    dropped: Arc<AtomicU64>,
}

impl<T: Default + Send + 'static> LineWriter<T> {
    /// Starts the thread, which reports errors by the file's `name`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(name: &str, out: Box<dyn Write + Send>, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let queue = Arc::new(Queue { name: name.into(), lines: Mutex::default(), wake: Condvar::new(), dropped });
        let (running, ended) = mpsc::channel();
        std::thread::Builder::new().name("access-log".into()).spawn({
            let queue = queue.clone();
            move || {
                queue.run(out);
                drop(running);
            }
        })?;
        Ok(Self { queue, ended: Mutex::new(Some(ended)) })
    }
}

impl<T> LineWriter<T> {
    /// Appends a line, or counts it as dropped.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Lines<T>)) {
        let lines = &mut *self.queue.lines.lock();
        if lines.closed || lines.bytes.len() >= MAX_WAITING {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            write(lines);
            lines.waiting += 1;
        }
        if std::mem::take(&mut lines.rests) {
            self.queue.wake.notify_one();
        }
    }

    /// Lines dropped since the start because the writer was too slow or failed.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, and ends the thread. Lines that are not written by `deadline` count as dropped: a pipe without a reader, or a network's
    /// file system, may hold the thread for ever. Blocks.
    pub(crate) fn close(&self, deadline: Instant) {
        self.end();
        let Some(ended) = self.ended.lock().take() else { return };
        // Nothing is sent: the thread's end is the sender's.
        if ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) == Err(mpsc::RecvTimeoutError::Timeout) {
            let left = self.queue.give_up();
            tracing::warn!(lines = left, log = %self.queue.name, "the gateway ends before the access log is written");
        }
    }

    /// Has the thread end once it has written what waits.
    pub(crate) fn end(&self) {
        self.queue.lines.lock().closed = true;
        self.queue.wake.notify_one();
    }
}

impl<T> Drop for LineWriter<T> {
    /// Waits for nothing: a request may be the last that holds it.
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> Queue<T> {
    /// Counts what is not written as dropped, and gives its number.
    fn give_up(&self) -> u64 {
        let mut lines = self.lines.lock();
        lines.bytes = Vec::new();
        let left = std::mem::take(&mut lines.waiting) + std::mem::take(&mut lines.writing);
        self.dropped.fetch_add(left, Ordering::Relaxed);
        left
    }

    fn run(&self, mut out: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        let mut broken = false;
        loop {
            let mut lines = self.lines.lock();
            // Requests do not wake the writer, but the first after a pause: a wake-up for each costs more than the line.
            lines.rests = lines.bytes.is_empty();
            while lines.rests && !lines.closed {
                self.wake.wait(&mut lines);
            }
            if !lines.closed {
                self.wake.wait_for(&mut lines, INTERVAL);
            }
            std::mem::swap(&mut lines.bytes, &mut batch);
            lines.writing = std::mem::take(&mut lines.waiting);
            let closed = lines.closed;
            drop(lines);
            if !batch.is_empty() {
                match out.write_all(&batch).and_then(|()| out.flush()) {
                    Ok(()) => broken = false,
                    Err(error) => {
                        // Some of them may have been written; nobody can tell.
                        let lost = std::mem::take(&mut self.lines.lock().writing);
                        self.dropped.fetch_add(lost, Ordering::Relaxed);
                        if !std::mem::replace(&mut broken, true) {
                            tracing::error!(%error, log = %self.name, "the access log cannot be written");
                        }
                    }
                }
                batch.clear();
            }
            if closed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A writer that hands on what it is given.
    struct Told(mpsc::Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Later than any thread takes.
    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A writer that nobody reads from.
    struct Stuck(mpsc::Sender<()>, mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            let _ = self.1.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(out: impl Write + Send + 'static) -> LineWriter<()> {
        LineWriter::start("test", Box::new(out), Arc::default()).unwrap()
    }

    #[test]
    fn a_line_after_a_pause_is_written_and_one_before_the_end_too() {
        let (tell, told) = mpsc::channel();
        let log = start(Told(tell));
        let line = |line: &[u8]| log.append(|lines| lines.bytes.extend_from_slice(line));
        for pause in [0, 3] {
            std::thread::sleep(INTERVAL * pause);
            line(b"one\n");
            assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), b"one\n");
        }
        line(b"two\n");
        log.close(soon());
        assert_eq!(told.recv().unwrap(), b"two\n");
        line(b"three\n");
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_count_as_dropped() {
        let log = start(io::Cursor::new([0; 0]));
        for _ in 0..2 {
            log.append(|lines| lines.bytes.extend_from_slice(b"{}\n"));
        }
        log.close(soon());
        assert_eq!(log.dropped(), 2);
    }

    #[test]
    fn a_writer_that_hangs_keeps_nobody_waiting_at_the_end() {
        let (tell, writes) = mpsc::channel();
        let (release, held) = mpsc::channel();
        let log = start(Stuck(tell, held));
        log.append(|lines| lines.bytes.extend_from_slice(b"{}\n"));
        writes.recv().unwrap();
        log.append(|lines| lines.bytes.extend_from_slice(b"{}\n"));
        log.close(Instant::now());
        assert_eq!(log.dropped(), 2, "one that is being written, and one that waits");
        log.close(Instant::now());
        assert_eq!(log.dropped(), 2, "none counts twice");
        drop(release);
    }
}
