//! Access logs, for people who read dumps.

use pailou_snapshot::{AccessLog, Collector, CollectorTarget, ListenerAccessLog, LogCollector, LogFormat, LogSender, LogSink};

/// A line for a listener, and one for each log.
pub(crate) fn lines(log: &ListenerAccessLog) -> Vec<String> {
    match log {
        ListenerAccessLog::Process => Vec::new(),
        ListenerAccessLog::Off => vec!["off".to_owned()],
        ListenerAccessLog::Own(logs) => {
            let all = logs.logs.iter().map(shown);
            all.chain([format!("keeps {:?}", logs.captured)]).collect()
        }
    }
}

fn shown(log: &AccessLog) -> String {
    let AccessLog { scope, matches, format, sinks } = log;
    let format = match format {
        LogFormat::Text(text) => format!("{:?}", text.0),
        LogFormat::Json(members) if members.len() > 4 => members.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(" "),
        LogFormat::Json(members) => members.iter().map(|(name, text)| format!("{name}={:?}", text.0)).collect::<Vec<_>>().join(" "),
    };
    let sinks: Vec<_> = sinks.iter().map(sink).collect();
    format!("{scope:?} if {matches:?}: {format} => {}", sinks.join(", "))
}

fn sink(sink: &LogSink) -> String {
    match sink {
        LogSink::File(path) => path.display().to_string(),
        LogSink::OpenTelemetry(it) => collector(it),
        LogSink::Service(it, headers) => format!("{} {headers:?}", collector(it)),
    }
}

fn collector(it: &LogCollector) -> String {
    let LogCollector { sender, collector: Collector { target, headers, .. }, .. } = it;
    let backends = match target {
        CollectorTarget::Backends(all) => {
            all.iter().map(|(weight, key)| format!("{weight} x {}", key.endpoints)).collect::<Vec<_>>()
        }
        CollectorTarget::Url(url) => vec![url.host.to_string()],
    };
    let sender = match sender {
        LogSender::Otlp(_) => "OTLP".to_owned(),
        LogSender::Service { is_tcp, log_name, gateway } => format!("ALS {log_name} of {gateway}, TCP {is_tcp}"),
    };
    format!("{sender} to {} with {headers:?}", backends.join(", "))
}
