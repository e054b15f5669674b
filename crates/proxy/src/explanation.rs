//! Explains a request without sending it: listener, rule, those beaten, filters, backends, and the ranking of a pool.
//!
//! JSON form `pailou.explanation/v1`. It holds names of the configuration, and of the request's own parts method, host, path and model.

mod backends;
mod request;

use pailou_snapshot::{Action, Endpoints, KnownRequest, Listener, Miss, Port, Snapshot};
use pailou_telemetry::receipt::{BeatenRule, MAX_BEATEN};
use serde_json::{Value, json};

pub use self::request::{ExplainError, ExplainRequest, MAX_BODY};
use crate::{receipts::rule_name, runtime::Runtime};

/// Most matches of a host that are looked at.
const MAX_MATCHES: usize = 10_000;

/// Knowledge that an explanation draws on.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The configuration.
    pub(crate) snapshot: &'a Snapshot,
    /// Endpoints of a configuration that nobody serves.
    pub(crate) endpoints: Option<&'a Endpoints>,
    /// State of a gateway that serves it.
    pub(crate) runtime: Option<&'a Runtime>,
}

impl<'a> Sources<'a> {
    /// A configuration that a gateway serves.
    pub(crate) fn of_runtime(runtime: &'a Runtime) -> Self {
        Self { snapshot: runtime.snapshot(), endpoints: None, runtime: Some(runtime) }
    }

    /// A configuration that nobody serves.
    pub fn of_files(snapshot: &'a Snapshot, endpoints: &'a Endpoints) -> Self {
        Self { snapshot, endpoints: Some(endpoints), runtime: None }
    }
}

/// Explains a request.
///
/// # Errors
/// It is no request that a gateway could get.
pub fn explain(sources: &Sources<'_>, request: &ExplainRequest) -> Result<Value, ExplainError> {
    let mut read = request.read()?;
    let mut explanation = json!({
        "schema": "pailou.explanation/v1",
        "request": {
            "method": read.head.parts.method.as_str(),
            "host": &*read.head.host,
            "port": read.port,
            "path": read.head.parts.uri.path(),
            "model": read.model(),
        },
    });
    let found = sources.snapshot.ports.iter().filter(|port| is_at(port, read.port)).find_map(|port| {
        let listener = port.http(&read.head.host)?;
        Some((port, listener))
    });
    let Some((port, listener)) = found else {
        explanation["problem"] = no_listener(sources.snapshot, read.port, &read.head.host).into();
        return Ok(explanation);
    };
    explanation["listener"] = json!({
        "name": listener.name.to_string(),
        "address": port.address.to_string(),
        "protocol": port.service.protocol(),
        "hostname": listener.hostname.as_ref().map(ToString::to_string),
        "filters": listener.filters.iter().map(|filter| filter.name()).collect::<Vec<_>>(),
    });
    if read.head.normalize_path(listener.client.path).is_err() {
        explanation["problem"] = "400: the listener refuses the path (ClientTrafficPolicy path)".into();
        return Ok(explanation);
    }
    explain_rule(sources, listener, &read, &mut explanation);
    Ok(explanation)
}

fn is_at(port: &Port, number: u16) -> bool {
    port.number == number || port.address.port() == number
}

fn no_listener(snapshot: &Snapshot, port: u16, host: &str) -> String {
    let mut ports: Vec<_> = snapshot.ports.iter().map(|port| port.number).collect();
    ports.sort_unstable();
    ports.dedup();
    if snapshot.ports.iter().any(|it| is_at(it, port)) {
        return format!("404: no listener for HTTP at port {port} is for the host {host}");
    }
    if ports.is_empty() {
        return "no Gateway has a listener".to_owned();
    }
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    format!("nothing listens at port {port}; there are {}", ports.join(", "))
}

fn explain_rule(sources: &Sources<'_>, listener: &Listener, read: &request::ReadRequest, explanation: &mut Value) {
    let parts = &read.head.parts;
    let (model, base_models) = (read.model(), &sources.snapshot.base_models);
    let base_model = model.and_then(|model| base_models.get(model)).map(String::as_str);
    let rest = Some((&parts.headers, parts.uri.query().unwrap_or_default()));
    let known = KnownRequest { host: &read.head.host, method: &parts.method, path: parts.uri.path(), rest, model, base_model };
    let (mut taken, mut beaten, mut strangers, mut others) = (None, Vec::new(), Vec::new(), 0);
    for contender in listener.routes.contenders(&known, None, MAX_MATCHES) {
        let told = |miss: &Miss<'_>| BeatenRule {
            rule: rule_name(&contender.entry.rule.route),
            by: contender.entry.to_string(),
            why: miss.to_string(),
        };
        match &contender.miss {
            None => taken = Some(contender.entry),
            Some(miss @ Miss::Path) => {
                others += 1;
                if strangers.len() < MAX_BEATEN {
                    strangers.push(told(miss));
                }
            }
            Some(miss) if beaten.len() < MAX_BEATEN => beaten.push(told(miss)),
            Some(_) => others += 1,
        }
    }
    if taken.is_none() && beaten.is_empty() {
        others -= strangers.len();
        beaten = strangers;
    }
    explanation["rule"] = json!({
        "matched": taken.map(|entry| rule_name(&entry.rule.route)),
        "by": taken.map(ToString::to_string),
        "beaten": beaten,
        "others": others,
    });
    let Some(entry) = taken else {
        explanation["problem"] = "404: no rule matches".into();
        return;
    };
    let rule = &entry.rule;
    explanation["filters"] = json!(rule.filter_names());
    explanation["policies"] = json!(rule.policy_names());
    match &rule.action {
        Action::Forward(to) => backends::explain(sources, to, read, explanation),
        Action::Redirect(_) => explanation["answer"] = "a redirect".into(),
        Action::Respond(direct) => explanation["answer"] = format!("{}, by directResponse", direct.status.as_u16()).into(),
        Action::Fail(failure) => explanation["problem"] = format!("500: {}", failure.0).into(),
    }
}
