//! One line of the access log, as JSON. It is written for every request, and allocates nothing.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use http::Version;
use jiff::Timestamp;
use pailou_snapshot::{EndpointKey, ListenerName, RouteName};

use crate::{
    error::Flag,
    request_record::RequestRecord,
    server::{Connection, HandshakeFailure, Violation},
    session_record::{Protocol, SessionRecord},
};

const HEX: &[u8; 16] = b"0123456789abcdef";
/// First byte of the control characters U+0080 to U+009F, and of the 32 characters after them.
const C1: u8 = 0xc2;

/// The second that was written last, as text: most lines are of the same one.
#[derive(Default)]
pub(super) struct Second {
    number: i64,
    text: String,
}

/// A member's name as it is written.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Appends the line of a request that took `duration`.
pub(super) fn write(out: &mut Vec<u8>, second: &mut Second, record: &RequestRecord, duration: Duration) {
    append(out, |line| request(line, second, record, duration));
}

/// Appends the line of a forwarded connection, or of a client's datagrams.
pub(super) fn write_session(out: &mut Vec<u8>, session: &SessionRecord) {
    append(out, |line| forwarded(line, session));
}

/// Appends the line of a client that did not keep to the protocol.
pub(super) fn write_violation<W>(out: &mut Vec<u8>, second: &mut Second, connection: &Connection<W>, violation: &Violation) {
    append(out, |line| violated(line, second, connection, violation));
}

/// Appends the line of a client's TLS handshake that failed.
pub(super) fn write_handshake(out: &mut Vec<u8>, second: &mut Second, failure: &HandshakeFailure) {
    append(out, |line| handshake(line, second, failure));
}

/// Appends a line. Its texts are written as they are: nearly all are plain, and one look at the whole line, without a branch for each
/// byte, tells so at a small part of what a look at each text costs. Only where one is not, the line is written again with escapes.
fn append(out: &mut Vec<u8>, mut members: impl FnMut(&mut Line<'_>)) {
    let start = out.len();
    for escapes in [false, true] {
        out.truncate(start);
        let mut line = Line { out, escapes, quotes: 0 };
        members(&mut line);
        let quotes = line.quotes;
        if escapes || special(&out[start..]) == quotes {
            break;
        }
    }
    // In place of the first member's comma.
    out[start] = b'{';
    out.extend_from_slice(b"}\n");
}

/// Bytes that do not stand for themselves within a text.
fn special(bytes: &[u8]) -> usize {
    // Short enough for a count in a byte, which is what vectors are made of.
    let counts = bytes.chunks(128).map(|part| part.iter().fold(0u8, |count, &byte| count + u8::from(!is_plain(byte))));
    counts.map(usize::from).sum()
}

fn request(line: &mut Line<'_>, second: &mut Second, record: &RequestRecord, duration: Duration) {
    line.time(key!("time"), second, record.time);
    line.address(key!("client"), record.peer);
    line.text(key!("method"), record.method.as_str());
    line.text(key!("host"), &record.host);
    line.text(key!("path"), &record.path);
    line.text(key!("protocol"), protocol(record.version));
    line.option(key!("request_id"), record.request_id());
    line.number(key!("status"), record.status.map(|status| status.as_u16().into()));
    line.option(key!("flag"), record.flag.map(|flag| flag.code()));
    line.option(key!("detail"), record.detail.as_deref());
    if let Some(listener) = &record.listener {
        line.listener(listener);
    }
    if let Some(rule) = &record.rule {
        line.route(&rule.route);
    }
    if let Some(cluster) = &record.cluster {
        line.backend(&cluster.key().endpoints);
    }
    line.option(key!("endpoint"), record.endpoint.as_deref());
    if record.prefill_endpoint.is_some() {
        line.option(key!("prefill_endpoint"), record.prefill_endpoint.as_deref());
    }
    line.option(key!("model"), record.model.as_deref());
    line.option(key!("target_model"), record.target_model.as_deref());
    line.number(key!("attempts"), Some(record.attempts.into()));
    line.number(key!("request_bytes"), Some(record.request_bytes));
    line.number(key!("response_bytes"), Some(record.response_bytes));
    line.milliseconds(key!("duration_ms"), Some(duration));
    line.milliseconds(key!("queue_ms"), record.queued_for);
    line.milliseconds(key!("response_head_ms"), record.head_after);
    line.milliseconds(key!("ttft_ms"), record.first_content());
    if let Some(usage) = &record.usage {
        line.number(key!("input_tokens"), Some(usage.input_tokens));
        line.number(key!("cached_tokens"), usage.cached_tokens);
        line.number(key!("output_tokens"), Some(usage.output_tokens));
    }
    line.thousand_millionths(key!("cost_usd"), record.nano_usd);
}

fn forwarded(line: &mut Line<'_>, session: &SessionRecord) {
    line.shown(key!("time"), format_args!("{:.6}", Timestamp::try_from(session.time).unwrap_or_default()));
    line.shown(key!("client"), session.peer);
    line.text(key!("protocol"), session.protocol.name());
    line.option(key!("sni"), session.sni.as_deref());
    line.option(key!("flag"), session.flag.map(|flag| flag.code()));
    line.option(key!("detail"), session.detail.as_deref());
    if let Some(listener) = &session.listener {
        line.shown(key!("listener"), listener);
    }
    if let Some(route) = &session.route {
        line.shown(key!("route"), route);
    }
    if let Some(cluster) = &session.cluster {
        line.shown(key!("backend"), &cluster.key().endpoints);
    }
    line.option(key!("endpoint"), session.endpoint.as_deref());
    line.number(key!("attempts"), Some(session.attempts.into()));
    line.number(key!("request_bytes"), Some(session.moved.sent));
    line.number(key!("response_bytes"), Some(session.moved.received));
    line.milliseconds(key!("duration_ms"), Some(session.started.elapsed()));
}

fn violated<W>(line: &mut Line<'_>, second: &mut Second, connection: &Connection<W>, violation: &Violation) {
    line.time(key!("time"), second, SystemTime::now());
    line.address(key!("client"), connection.peer);
    line.text(key!("protocol"), violation.protocol);
    line.option(key!("sni"), connection.tls.as_ref().and_then(|tls| tls.sni.as_deref()));
    line.number(key!("status"), violation.status.map(|status| status.as_u16().into()));
    line.text(key!("flag"), Flag::BadRequest.code());
    line.text(key!("detail"), &violation.detail);
}

fn handshake(line: &mut Line<'_>, second: &mut Second, failure: &HandshakeFailure) {
    line.time(key!("time"), second, SystemTime::now());
    line.address(key!("client"), failure.peer);
    line.text(key!("protocol"), Protocol::Tls.name());
    line.option(key!("sni"), failure.sni.as_deref());
    line.text(key!("flag"), Flag::TlsHandshake.code());
    line.text(key!("detail"), &failure.cause.detail);
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Texts are escaped.
    escapes: bool,
    /// Quotes around names and texts.
    quotes: usize,
}

impl Line<'_> {
    fn key(&mut self, key: &'static str) {
        self.quotes += 2;
        self.out.extend_from_slice(key.as_bytes());
    }

    fn quote(&mut self) {
        self.quotes += 1;
        self.out.push(b'"');
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.parts(key, &[value]);
    }

    // As these show themselves, at a small part of what `Display` costs.

    fn listener(&mut self, name: &ListenerName) {
        if name.set.is_some() {
            return self.shown(key!("listener"), name);
        }
        self.parts(key!("listener"), &[&name.gateway.namespace, "/", &name.gateway.name, "/", &name.section]);
    }

    fn route(&mut self, name: &RouteName) {
        let mut number = itoa::Buffer::new();
        let rule = name.rule_name.as_deref().unwrap_or_else(|| number.format(name.rule));
        self.parts(key!("route"), &[&name.name.namespace, "/", &name.name.name, "/", rule]);
    }

    fn backend(&mut self, key: &EndpointKey) {
        let mut number = itoa::Buffer::new();
        match key {
            EndpointKey::Service(name, port) => {
                self.parts(key!("backend"), &["service/", &name.namespace, "/", &name.name, ":", number.format(*port)]);
            }
            EndpointKey::UdpService(name, port) => {
                let port = number.format(*port);
                self.parts(key!("backend"), &["service/", &name.namespace, "/", &name.name, ":", port, "/udp"]);
            }
            EndpointKey::Backend(name) => self.parts(key!("backend"), &["backend/", &name.namespace, "/", &name.name]),
            EndpointKey::Pool(name) => self.parts(key!("backend"), &["pool/", &name.namespace, "/", &name.name]),
        }
    }

    fn parts(&mut self, key: &'static str, parts: &[&str]) {
        self.key(key);
        self.quote();
        for part in parts {
            if self.escapes {
                escape(self.out, part);
            } else {
                self.out.extend_from_slice(part.as_bytes());
            }
        }
        self.quote();
    }

    /// A text that is made on the way.
    fn shown(&mut self, key: &'static str, value: impl fmt::Display) {
        self.key(key);
        self.quote();
        // Nothing but the value itself could fail, and then what it wrote stands.
        let _ = write!(Escaped(self.out), "{value}");
        self.quote();
    }

    /// In UTC, to the microsecond.
    fn time(&mut self, key: &'static str, second: &mut Second, time: SystemTime) {
        let time = Timestamp::try_from(time).unwrap_or_default();
        if second.text.is_empty() || second.number != time.as_second() {
            second.number = time.as_second();
            second.text.clear();
            // Writing to a string does not fail.
            let _ = write!(second.text, "{time:.0}");
            second.text.truncate("0000-00-00T00:00:00".len());
        }
        self.key(key);
        self.quotes += 2;
        self.out.push(b'"');
        self.out.extend_from_slice(second.text.as_bytes());
        let micros = time.subsec_microsecond().unsigned_abs();
        let [a, b, c, d, e, f] =
            [micros / 100_000, micros / 10_000, micros / 1000, micros / 100, micros / 10, micros].map(last_digit);
        self.out.extend_from_slice(&[b'.', a, b, c, d, e, f, b'Z', b'"']);
    }

    fn address(&mut self, key: &'static str, address: SocketAddr) {
        let IpAddr::V4(ip) = address.ip() else { return self.shown(key, address) };
        self.key(key);
        self.quotes += 2;
        let [a, b, c, d] = ip.octets();
        for (before, number) in [(b'"', a.into()), (b'.', b.into()), (b'.', c.into()), (b'.', d.into()), (b':', address.port())] {
            self.out.push(before);
            self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        self.out.push(b'"');
    }

    fn option(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(key);
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    fn thousand_millionths(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(key, Some(value / 1_000_000_000));
            self.out.push(b'.');
            let mut place = 100_000_000;
            while place > 0 {
                self.out.push(b'0' + (value / place % 10) as u8);
                place /= 10;
            }
        }
    }

    fn milliseconds(&mut self, key: &'static str, value: Option<Duration>) {
        if let Some(value) = value {
            let micros = value.subsec_micros();
            self.number(key, Some(value.as_secs() * 1000 + u64::from(micros / 1000)));
            let [hundreds, tens, ones] = [micros / 100, micros / 10, micros].map(last_digit);
            self.out.extend_from_slice(&[b'.', hundreds, tens, ones]);
        }
    }
}

fn last_digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP",
    }
}

/// Escapes what is written to it.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            C1 => match bytes.next_if(|next| *next < 0xa0) {
                Some(control) => escape_byte(out, control),
                None => out.push(byte),
            },
            byte if is_plain(byte) => out.push(byte),
            byte => escape_byte(out, byte),
        }
    }
}

fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
}

/// Whether a byte stands for itself. DEL does in JSON, and so do the control characters U+0080 to U+009F; terminals take them otherwise.
fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\') & (byte != 0x7f) & (byte != C1)
}

#[cfg(test)]
mod tests;
