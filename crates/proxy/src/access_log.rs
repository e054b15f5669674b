//! The access log: a line of JSON for each request, for each client that sends what is none or fails its TLS handshake, and for each
//! connection that is forwarded as it is, written by a thread of its own.

mod line;

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

use self::line::Second;
use crate::{
    request_record::RequestRecord,
    server::{Connection, HandshakeFailure, Violation},
    session_record::SessionRecord,
};

/// Lines that wait for the writer, in bytes. Beyond it lines are dropped and counted: a slow disk never holds a request up.
const MAX_WAITING: usize = 4 << 20;
/// How long a line may wait so that several are written at once.
const INTERVAL: Duration = Duration::from_millis(50);

/// Sink of the access log.
pub enum Sink {
    /// Nowhere.
    Off,
    /// To this writer, in batches of whole lines.
    To(Box<dyn Write + Send>),
}

/// The access log of a process.
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    lines: Mutex<Lines>,
    wake: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    second: Second,
    /// There were none for a while: the writer is to be woken for the next.
    rests: bool,
    closed: bool,
}

impl AccessLog {
    /// Starts the writer.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sink: Sink) -> io::Result<Self> {
        let Sink::To(out) = sink else { return Ok(Self { queue: None, writer: Mutex::new(None) }) };
        let queue = Arc::new(Queue::default());
        let writer = std::thread::Builder::new().name("access-log".into()).spawn({
            let queue = queue.clone();
            move || queue.run(out)
        })?;
        Ok(Self { queue: Some(queue), writer: Mutex::new(Some(writer)) })
    }

    /// Puts the line of a request that took `duration` in the queue.
    pub(crate) fn write(&self, record: &RequestRecord, duration: Duration) {
        self.queue(|lines| line::write(&mut lines.bytes, &mut lines.second, record, duration));
    }

    /// Puts the line of a forwarded connection, or of a client's datagrams, in the queue.
    pub(crate) fn write_session(&self, session: &SessionRecord) {
        self.queue(|lines| line::write_session(&mut lines.bytes, session));
    }

    /// Puts the line of a client that did not keep to the protocol in the queue.
    pub(crate) fn write_violation<W>(&self, connection: &Connection<W>, violation: &Violation) {
        self.queue(|lines| line::write_violation(&mut lines.bytes, &mut lines.second, connection, violation));
    }

    /// Puts the line of a client's TLS handshake that failed in the queue.
    pub(crate) fn write_handshake(&self, failure: &HandshakeFailure) {
        self.queue(|lines| line::write_handshake(&mut lines.bytes, &mut lines.second, failure));
    }

    fn queue(&self, write: impl FnOnce(&mut Lines)) {
        let Some(queue) = &self.queue else { return };
        let lines = &mut *queue.lines.lock();
        if lines.bytes.len() >= MAX_WAITING {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            write(lines);
        }
        if std::mem::take(&mut lines.rests) {
            queue.wake.notify_one();
        }
    }

    /// Lines dropped since the start because the writer was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.dropped.load(Ordering::Relaxed))
    }

    /// Writes what waits, and ends the writer.
    pub fn close(&self) {
        if let Some(queue) = &self.queue {
            queue.lines.lock().closed = true;
            queue.wake.notify_one();
        }
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
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
                            tracing::error!(%error, "the access log cannot be written");
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

    #[test]
    fn a_line_after_a_pause_is_written_and_one_before_the_end_too() {
        let (tell, told) = mpsc::channel();
        let log = AccessLog::start(Sink::To(Box::new(Told(tell)))).unwrap();
        let line = |line: &[u8]| log.queue(|lines| lines.bytes.extend_from_slice(line));
        for pause in [0, 3] {
            std::thread::sleep(INTERVAL * pause);
            line(b"one\n");
            assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), b"one\n");
        }
        line(b"two\n");
        log.close();
        assert_eq!(told.recv().unwrap(), b"two\n");
    }

    #[test]
    fn lines_that_cannot_be_written_count_as_dropped() {
        let full = io::Cursor::new([0; 0]);
        let log = AccessLog::start(Sink::To(Box::new(full))).unwrap();
        log.queue.as_ref().unwrap().lines.lock().bytes.extend_from_slice(b"{}\n{}\n");
        log.close();
        assert_eq!(log.dropped(), 2);
    }
}
