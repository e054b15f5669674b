//! Lines on their way to a file: a thread of their own writes them in batches, and requests wait for neither it nor the disk.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// Lines that wait for the writer, in bytes. Beyond it lines are dropped and counted: a slow disk never holds a request up.
const MAX_WAITING: usize = 4 << 20;
/// How long a line may wait so that several are written at once.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// Lines of one file; `T` is state of those who write them.
pub(crate) struct LineWriter<T> {
    queue: Arc<Queue<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Lines that wait.
#[derive(Default)]
pub(crate) struct Lines<T> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) state: T,
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
        let thread = std::thread::Builder::new().name("access-log".into()).spawn({
            let queue = queue.clone();
            move || queue.run(out)
        })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }
}

impl<T> LineWriter<T> {
    /// Appends lines, or counts one as dropped.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Lines<T>)) {
        let lines = &mut *self.queue.lines.lock();
        if lines.closed || lines.bytes.len() >= MAX_WAITING {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            write(lines);
        }
        if std::mem::take(&mut lines.rests) {
            self.queue.wake.notify_one();
        }
    }

    /// Lines dropped since the start because the writer was too slow or failed.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, and ends the thread.
    pub(crate) fn close(&self) {
        self.end();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    /// Has the thread end once it has written what waits.
    fn end(&self) {
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
            let closed = lines.closed;
            drop(lines);
            if !batch.is_empty() {
                match out.write_all(&batch).and_then(|()| out.flush()) {
                    Ok(()) => broken = false,
                    Err(error) => {
                        // Some of them may have been written; nobody can tell.
                        let lost = batch.iter().filter(|&&byte| byte == b'\n').count();
                        self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
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
        log.close();
        assert_eq!(told.recv().unwrap(), b"two\n");
        line(b"three\n");
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_count_as_dropped() {
        let log = start(io::Cursor::new([0; 0]));
        log.queue.lines.lock().bytes.extend_from_slice(b"{}\n{}\n");
        log.close();
        assert_eq!(log.dropped(), 2);
    }
}
