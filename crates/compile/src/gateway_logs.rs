//! Access logs of Gateways: EnvoyProxy `spec.telemetry.accessLog`, the Gateway's own or its class's.

mod default_format;
pub(crate) mod format;
pub(crate) mod operators;
mod sinks;
mod time_format;

use std::sync::Arc;

use pailou_api::{
    EnvoyProxy,
    envoy::access_log::{AccessLogSetting, AccessLogSinkType, AccessLogType, ProxyAccessLog},
};
use pailou_auth::Condition as Expression;
use pailou_snapshot::{AccessLog, AccessLogs, Captured, Cluster, ListenerAccessLog, LogFormat, LogScope};

use self::sinks::Sinks;
use crate::{
    clusters::Clusters,
    gateway::{GatewayState, Gateways},
    index::Index,
    parameters,
    resolver::Resolver,
    telemetry_collector,
};

/// Most settings, sinks of one, and conditions of one, as in Envoy Gateway.
const MAX_SETTINGS: usize = 50;
const MAX_SINKS: usize = 50;
const MAX_MATCHES: usize = 10;
/// Problems that a condition names, and the longest of one, in bytes.
const MAX_PROBLEMS: usize = 16;
const MAX_PROBLEM: usize = 1024;

/// Reads the access logs of Gateways, and finds their receivers. Gives back the clusters, each once. A setting that cannot be acted on costs its
/// own lines, and no request.
pub(crate) fn of_gateways<'a>(index: &Index<'a>, gateways: &mut Gateways<'_>, clusters: &mut Clusters<'a>) -> Vec<Arc<Cluster>> {
    let mut found: Vec<Arc<Cluster>> = Vec::new();
    for (id, gateway) in gateways.list.iter_mut() {
        let Some(proxy) = parameters::access_log(index, gateway.object) else { continue };
        let Some(spec) = proxy.spec.telemetry.as_ref().and_then(|it| it.access_log.as_ref()) else { continue };
        if spec.disable {
            gateway.listeners.iter_mut().for_each(|listener| listener.access_log = ListenerAccessLog::Off);
            continue;
        }
        let mut resolver = Resolver::new(index, clusters);
        resolver.identity = gateway.identity.clone();
        let mut reading = Reading::new(proxy, gateway, &mut resolver);
        let logs = Arc::new(reading.read(spec));
        let Reading { problems, sinks, .. } = reading;
        telemetry_collector::add_new(&mut found, sinks.clusters);
        for policy in resolver.finish().policies {
            clusters.tls.reached(policy, id);
        }
        for listener in &mut gateway.listeners {
            listener.access_log = ListenerAccessLog::Own(Arc::clone(&logs));
        }
        if !problems.is_empty() {
            let message = format!("{}; until then settings and sinks that need these have no lines", listed(&problems));
            telemetry_collector::warn(gateway, proxy, &message);
        }
    }
    found
}

/// The first problems, and the number of the others.
fn listed(problems: &[String]) -> String {
    let cut = |problem: &String| problem[..problem.floor_char_boundary(MAX_PROBLEM)].to_owned();
    let first: Vec<_> = problems.iter().take(MAX_PROBLEMS).map(cut).collect();
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

/// The logs of one Gateway, as they are read.
struct Reading<'r, 'a, 'c> {
    sinks: Sinks<'r, 'a, 'c>,
    captured: Captured,
    /// Each names its field.
    problems: Vec<String>,
}

impl<'r, 'a, 'c> Reading<'r, 'a, 'c> {
    fn new(proxy: &'r EnvoyProxy, gateway: &GatewayState<'_>, resolver: &'r mut Resolver<'a, 'c>) -> Self {
        Self { sinks: Sinks::new(proxy, gateway, resolver), captured: Captured::default(), problems: Vec::new() }
    }

    fn read(&mut self, spec: &ProxyAccessLog) -> AccessLogs {
        let field = "spec.telemetry.accessLog.settings";
        if spec.settings.len() > MAX_SETTINGS {
            self.problems.push(format!("{field}: {} settings, but {MAX_SETTINGS} are the most", spec.settings.len()));
        }
        let mut logs = Vec::new();
        if spec.settings.is_empty() {
            logs.push(default_format::on_standard_output(&mut self.captured));
        }
        for (place, setting) in spec.settings.iter().take(MAX_SETTINGS).enumerate() {
            match self.log(&format!("{field}[{place}]"), setting) {
                Ok(log) => logs.push(log),
                Err(problem) => self.problems.push(problem),
            }
        }
        self.captured.attempts = logs.iter().any(|log| log.scope == LogScope::Upstream);
        for (request, response) in logs.iter().flat_map(|log| &log.matches).map(Expression::sides) {
            self.captured.all_request |= request;
            self.captured.all_response |= response;
        }
        AccessLogs { logs, captured: Arc::new(std::mem::take(&mut self.captured)) }
    }

    /// Reads one log. A receiver that cannot be had costs itself alone.
    ///
    /// # Errors
    /// The first field that is of no use.
    fn log(&mut self, field: &str, setting: &AccessLogSetting) -> Result<AccessLog, String> {
        let (matches, sinks) = (&setting.matches, &setting.sinks);
        if matches.len() > MAX_MATCHES {
            return Err(format!("{field}.matches: {} conditions, but {MAX_MATCHES} are the most", matches.len()));
        }
        if !(1..=MAX_SINKS).contains(&sinks.len()) {
            return Err(format!("{field}.sinks: {} sinks, but 1 to {MAX_SINKS} are needed", sinks.len()));
        }
        let condition = |(place, text): (usize, &String)| {
            Expression::parse_for_end(text).map_err(|error| format!("{field}.matches[{place}]: {error}"))
        };
        let matches = matches.iter().enumerate().map(condition).collect::<Result<_, _>>()?;
        let format = match format::read(setting.format.as_ref(), &mut self.captured) {
            Ok(format) => format,
            // Entries have no format.
            Err(error) if sinks.iter().all(|sink| sink.kind == AccessLogSinkType::Als) => {
                self.problems.push(format!("{field}.format{error}"));
                LogFormat::Json(Vec::new())
            }
            Err(error) => return Err(format!("{field}.format{error}")),
        };
        let mut read = Vec::new();
        for (place, sink) in sinks.iter().enumerate() {
            let unused =
                Sinks::unused(sink).map(|name| format!("{field}.sinks[{place}].{name}: its type does not use it; remove it"));
            self.problems.extend(unused);
            match self.sinks.read(sink, &mut self.captured) {
                Ok(sink) => read.push(sink),
                Err(error) => self.problems.push(format!("{field}.sinks[{place}]{error}")),
            }
        }
        let scope = match setting.kind {
            None => LogScope::Default,
            Some(AccessLogType::Route) => LogScope::Route,
            Some(AccessLogType::Listener) => LogScope::Listener,
            Some(AccessLogType::Upstream) => LogScope::Upstream,
        };
        Ok(AccessLog { scope, matches, format, sinks: read })
    }
}
