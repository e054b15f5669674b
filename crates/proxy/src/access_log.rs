//! The access log of the process: a line of JSON for each request, for each client that sends what is none or fails its TLS handshake, and for
//! each connection that is forwarded as it is, written by a thread of its own.

mod line;

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use self::line::Second;
pub(crate) use self::line::escape;
use crate::{
    line_writer::{LineWriter, Lines},
    request_record::RequestRecord,
    server::{Connection, HandshakeFailure, Violation},
    session_record::SessionRecord,
};

/// Wait for the writer at the end.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Sink of the access log.
pub enum Sink {
    /// Nowhere.
    Off,
    /// To this writer, in batches of whole lines.
    To(Box<dyn Write + Send>),
}

/// The access log of a process.
pub struct AccessLog(Option<LineWriter<Second>>);

impl AccessLog {
    /// Starts the writer.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sink: Sink) -> io::Result<Self> {
        let Sink::To(out) = sink else { return Ok(Self(None)) };
        LineWriter::start("--access-log", out, Arc::default()).map(|writer| Self(Some(writer)))
    }

    /// Puts the line of a request that took `duration` in the queue.
    pub(crate) fn write(&self, record: &RequestRecord, duration: Duration) {
        self.append(|lines| line::write(&mut lines.bytes, &mut lines.state, record, duration));
    }

    /// Puts the line of a forwarded connection, or of a client's datagrams, in the queue.
    pub(crate) fn write_session(&self, session: &SessionRecord) {
        self.append(|lines| line::write_session(&mut lines.bytes, session));
    }

    /// Puts the line of a client that did not keep to the protocol in the queue.
    pub(crate) fn write_violation<W>(&self, connection: &Connection<W>, violation: &Violation) {
        self.append(|lines| line::write_violation(&mut lines.bytes, &mut lines.state, connection, violation));
    }

    /// Puts the line of a client's TLS handshake that failed in the queue.
    pub(crate) fn write_handshake(&self, failure: &HandshakeFailure) {
        self.append(|lines| line::write_handshake(&mut lines.bytes, &mut lines.state, failure));
    }

    fn append(&self, write: impl FnOnce(&mut Lines<Second>)) {
        if let Some(writer) = &self.0 {
            writer.append(write);
        }
    }

    /// Lines dropped since the start because the writer was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, LineWriter::dropped)
    }

    /// Writes what waits, and ends the writer. Lines that are not written by `deadline` count as dropped. Blocks.
    pub fn close(&self, deadline: Instant) {
        if let Some(writer) = &self.0 {
            writer.close(deadline);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(Instant::now() + CLOSE_TIMEOUT);
    }
}
