//! A record for a collector of OpenTelemetry: a text as its body, members as its attributes.

use std::time::{SystemTime, UNIX_EPOCH};

use pailou_snapshot::{AccessLog, LogFormat};
use pailou_telemetry::log_record::{RecordHead, append_record};

use super::{facts::Facts, line};

/// Appends the record of an event, whose `line` is there where the form is a text.
pub(super) fn append(out: &mut Vec<u8>, log: &AccessLog, line: &[u8], of_pod: &[(&'static str, String)], facts: &Facts<'_>) {
    let body = match &log.format {
        LogFormat::Text(_) => str::from_utf8(line.trim_ascii_end()).ok(),
        LogFormat::Json(_) => None,
    };
    let trace = facts.request.and_then(|(record, _)| record.trace.as_ref());
    let head = RecordHead {
        time: nanos(facts.time),
        observed: nanos(SystemTime::now()),
        span: trace.map(|trace| (trace.trace_id, trace.span_id, trace.flags())),
        body,
    };
    append_record(out, &head, |attributes| {
        for (name, value) in of_pod {
            attributes.text(name, value);
        }
        if let LogFormat::Json(members) = &log.format {
            for (name, text) in members {
                attributes.text(name, &line::shown(text, facts));
            }
        }
    });
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}
