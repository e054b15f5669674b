//! Mooncake's trace of conversations (`conversation_trace.jsonl`): times, lengths, and an identity for each 512 tokens of a prompt.

use std::{fs, io, path::Path, time::Duration};

use serde::Deserialize;

use super::{RequestSpec, RequestStart, Run, Source, WorkloadScale};
use crate::{error::Error, picker::prompt::Segment};

/// Tokens of a block of the trace.
const TRACE_BLOCK: u32 = 512;
/// Shares of the capacity at which it runs.
const LOADS: [f64; 3] = [0.5, 0.8, 1.0];
/// Requests under way for each replica while the capacity is measured.
const FULL: usize = 24;

#[derive(Deserialize)]
struct Line {
    /// Milliseconds.
    timestamp: u64,
    input_length: u32,
    output_length: u32,
    hash_ids: Vec<u64>,
}

pub(super) fn runs(
    path: &Path,
    scale: &WorkloadScale,
    capacity: impl FnOnce(&Run) -> Result<f64, Error>,
) -> Result<Vec<Run>, Error> {
    let unreadable = |source| Error::Trace { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let parsed: Result<Vec<Line>, _> = text.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect();
    let mut lines = parsed.map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    lines.truncate(((lines.len() as f64 * scale.share) as usize).max(1));
    let full = Run { closed: Some(FULL * scale.replicas), ..run(&lines, 1.0, 0.0) };
    let seconds = lines.last().map_or(0.0, |line| line.timestamp as f64 / 1e3).max(1e-3);
    let own_rate = lines.len() as f64 / seconds;
    let most = capacity(&full)?;
    Ok(LOADS.iter().map(|load| run(&lines, own_rate / (most * load), *load)).collect())
}

/// The trace with its times stretched so much.
fn run(lines: &[Line], stretch: f64, load: f64) -> Run {
    let mut source = Source::new(0);
    let request = |line: &Line| {
        let mut left = line.input_length;
        let segment = |id: &u64| {
            let tokens = left.min(TRACE_BLOCK);
            left -= tokens;
            Segment { id: *id, tokens }
        };
        let prompt: Vec<_> = line.hash_ids.iter().map(segment).filter(|segment| segment.tokens > 0).collect();
        RequestSpec {
            start: RequestStart::At(Duration::from_secs_f64(line.timestamp as f64 / 1e3 * stretch)),
            stage: 0,
            prompt,
            output: source.fresh(line.output_length.max(1)),
            adapter: None,
            max_tokens: None,
            priority: 0,
        }
    };
    let requests: Vec<_> = lines.iter().map(request).filter(|request| !request.prompt.is_empty()).collect();
    Run { loads: vec![load], requests: requests.into(), ..Run::default() }
}
