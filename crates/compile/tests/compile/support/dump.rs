//! A compilation's result, in words for people who compare it with the specification.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use pailou_compile::{
    Compiled,
    status::{Condition, Severity, StatusBody},
};
use pailou_snapshot::{
    Action, BackendRef, ClientPolicy, Cluster, ClusterKind, Collector, CollectorTarget, ConnectionListener, ConnectionSettings,
    Disaggregation, EndpointRole, ExtProc, ExternalAuth, Filters, Forward, HealthChecks, HttpFilter, KvConnector, Listener,
    ListenerRef, ListenerTracing, LoadBalancer, ModelServer, PathMatch, PickerKind, Pool, Port, ProcessedParts, RouteMatch, Rule,
    Snapshot, Timeouts, Tracing, ValueMatch,
};

use super::{
    access_log,
    printed::{changed, printed},
};

/// Everything, as YAML.
pub(crate) fn dump(compiled: &Compiled) -> String {
    let mut out = String::new();
    statuses(&mut out, compiled);
    ports(&mut out, &compiled.snapshot);
    rules(&mut out, &compiled.snapshot);
    forwards(&mut out, &compiled.snapshot);
    clusters(&mut out, compiled);
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    writeln!(out, "{:indent$}{text}", "", indent = depth * 2).unwrap();
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn item(out: &mut String, depth: usize, text: &str) {
    line(out, depth, &format!("- {}", quoted(text)));
}

fn statuses(out: &mut String, compiled: &Compiled) {
    line(out, 0, "statuses:");
    for (key, status) in compiled.statuses.iter() {
        let parts = status.conditions();
        if parts.is_empty() && status.notes.is_empty() {
            continue;
        }
        line(out, 1, &format!("{}:", quoted(&key.to_string())));
        whole(out, &status.body);
        for (part, conditions) in parts {
            let attached = attached(status, &part);
            line(out, 2, &format!("{}:", quoted(&format!("{part}{attached}"))));
            conditions.iter().for_each(|it| item(out, 3, &condition(it)));
        }
        for (place, note) in status.notes.iter().enumerate() {
            let severity = if note.severity == Severity::Error { "error" } else { "warning" };
            line(out, 2, &format!("{severity} {place}: {}", quoted(&note.message)));
        }
    }
}

/// Writes a status without its conditions; it leaves out the address that a Gateway has without asking.
fn whole(out: &mut String, body: &StatusBody) {
    let StatusBody::Gateway(gateway) = body else { return };
    let addresses = gateway.addresses.iter().map(|it| match it.routability.unwrap_or_default() {
        "" => format!("{} {}", it.kind, it.value),
        routability => format!("{} {} of {routability}", it.kind, it.value),
    });
    let addresses: Vec<_> = addresses.collect();
    if gateway.attached_listener_sets.is_some() && addresses != ["IPAddress 127.0.0.1"] {
        line(out, 2, &format!("addresses: {}", quoted(&addresses.join(", "))));
    }
    gateway.attached_listener_sets.iter().filter(|count| **count > 0).for_each(|it| line(out, 2, &format!("listener sets: {it}")));
}

fn attached(status: &pailou_compile::status::Status, part: &str) -> String {
    let StatusBody::Gateway(gateway) = &status.body else { return String::new() };
    let listener = gateway.listeners.iter().find(|it| format!("listener {}", it.name) == part);
    listener.map_or(String::new(), |it| {
        let kinds: Vec<_> = it.supported_kinds.iter().map(|kind| kind.kind).collect();
        format!(" [{}] {} attached", kinds.join(" "), it.attached_routes)
    })
}

fn condition(condition: &Condition) -> String {
    let mut text = format!("{} {:?}", condition.kind, condition.status);
    if condition.reason != condition.kind {
        write!(text, "/{}", condition.reason).unwrap();
    }
    if !condition.message.is_empty() {
        write!(text, ": {}", condition.message).unwrap();
    }
    text
}

pub(crate) fn ports(out: &mut String, snapshot: &Snapshot) {
    line(out, 0, "ports:");
    for port in &snapshot.ports {
        line(out, 1, &format!("{}:", quoted(&format!("{} {}", port.service.protocol(), port.key()))));
        port_listeners(out, port);
    }
}

fn port_listeners(out: &mut String, port: &Port) {
    let mut listeners = port.listeners();
    listeners.sort_by_key(|it| it.hostname());
    for listener in listeners {
        let host = listener.hostname().map_or("any host".to_owned(), |host| host.to_string());
        line(out, 2, &format!("{}:", quoted(&format!("{} ({host})", listener.name()))));
        self::listener(out, listener);
    }
}

fn listener(out: &mut String, listener: ListenerRef<'_>) {
    if let Some(tls) = listener.tls() {
        line(out, 3, &format!("tls: {}", quoted(&printed(tls))));
    }
    if **listener.client() != ClientPolicy::default() {
        line(out, 3, &format!("client: {}", quoted(&changed(&**listener.client()))));
    }
    match listener {
        ListenerRef::Http(listener) => requests(out, listener),
        ListenerRef::Connections(listener) => connections(out, listener),
    }
}

fn connections(out: &mut String, listener: &ConnectionListener) {
    let mut routes: Vec<_> = listener.routes.iter().collect();
    routes.sort_by_key(|(host, _)| host.clone());
    for (host, forward) in routes {
        let host = host.map_or("any".to_owned(), |host| host.to_string());
        item(out, 3, &format!("{host} => {}", forward.route));
    }
}

fn authorizer(auth: &ExternalAuth) -> String {
    let backends = match &auth.backends {
        Ok(backends) => {
            let backends = backends.iter().map(|(weight, key)| match weight {
                1 => key.endpoints.to_string(),
                weight => format!("{weight} x {}", key.endpoints),
            });
            backends.collect::<Vec<_>>().join(", ")
        }
        Err(failure) => format!("none ({})", failure.0),
    };
    let settings = &auth.settings;
    let mut text = format!("{backends}, {}, body up to {}", printed(&settings.protocol), settings.max_body);
    let mut more = |is_set: bool, word: String| text.push_str(&if is_set { format!(", {word}") } else { String::new() });
    more(settings.timeout.as_secs() != 10, format!("{} ms", settings.timeout.as_millis()));
    more(settings.connect_timeout != Timeouts::default().connect, format!("connects in {:?}", settings.connect_timeout));
    more(settings.fail_open, "fail open".to_owned());
    more(settings.status_on_error != 503, format!("{} on error", settings.status_on_error.as_str()));
    auth.route.iter().for_each(|route| text.push_str(&format!(", of {} {:?}", route.route, route.annotations)));
    text
}

fn external_processor(processor: &ExtProc) -> String {
    let ExtProc { backends, authority, request, response, message_timeout, .. } = processor;
    let backends: Vec<_> = backends.iter().map(|(weight, key)| format!("{weight} x {}", key.endpoints)).collect();
    let parts = |parts: &Option<ProcessedParts>| parts.as_ref().map_or("nothing".to_owned(), printed);
    let mut text = format!(
        "{} as {}, of requests {}, of responses {}, {} ms",
        backends.join(", "),
        authority.to_str().unwrap(),
        parts(request),
        parts(response),
        message_timeout.as_millis()
    );
    let mut more = |is_set: bool, word: String| text.push_str(&if is_set { format!(", {word}") } else { String::new() });
    more(processor.allow_mode_override, "mode override".to_owned());
    more(processor.fail_open, "fail open".to_owned());
    more(processor.shadow_mode, "shadow".to_owned());
    more(processor.status_on_error != 500, format!("{} on error", processor.status_on_error.as_str()));
    more(!processor.accessible_namespaces.is_empty(), format!("reads {:?}", processor.accessible_namespaces));
    more(!processor.writable_namespaces.is_empty(), format!("writes {:?}", processor.writable_namespaces));
    text
}

fn http_filter(filter: &HttpFilter) -> (&'static str, String) {
    match filter {
        HttpFilter::ResponseOverride(rules) => ("response override", printed(&rules.0)),
        HttpFilter::Fault(fault) => ("fault", printed(fault)),
        HttpFilter::Cors(cors) => ("cors", printed(cors)),
        HttpFilter::ExternalAuth(auth) => ("authorizer", authorizer(auth)),
        HttpFilter::ExtProc(processor) => ("external processor", external_processor(processor)),
        HttpFilter::Csrf(csrf) => ("csrf", printed(csrf)),
        HttpFilter::ApiKeyAuth(auth) => ("API keys", printed(auth)),
        HttpFilter::BasicAuth(auth) => ("passwords", printed(auth)),
        HttpFilter::Oidc(login) => ("login", printed(login)),
        HttpFilter::Jwt(auth) => ("tokens", printed(auth)),
        HttpFilter::Authorization(rules) => ("authorization", printed(&rules.rules)),
        HttpFilter::RateLimit(limits) => ("limits", printed(limits)),
        HttpFilter::Compressor(compressor) => ("compressor", printed(&compressor.0)),
        HttpFilter::BandwidthLimit(limit) => ("bandwidth limit", printed(limit)),
    }
}

fn requests(out: &mut String, listener: &Listener) {
    if !listener.identity_headers.is_empty() {
        line(out, 3, &format!("identity headers: {}", quoted(&printed(&listener.identity_headers))));
    }
    let logs = access_log::lines(&listener.access_log);
    if !logs.is_empty() {
        line(out, 3, "access log:");
        logs.iter().for_each(|log| item(out, 4, log));
    }
    if listener.tracing == ListenerTracing::Off {
        line(out, 3, "tracing: 'off'");
    }
    if let ListenerTracing::Own(tracing) = &listener.tracing {
        let Tracing { sampler, collector: Collector { target, protocol, headers, .. }, .. } = &**tracing;
        let backends = match target {
            CollectorTarget::Backends(all) => all.iter().map(|(weight, key)| format!("{weight} x {}", key.endpoints)).collect(),
            CollectorTarget::Url(url) => vec![url.host.to_string()],
        };
        let text = format!("{}, {protocol:?}, {headers:?}, {sampler:?}", backends.join(", "));
        line(out, 3, &format!("tracing: {}", quoted(&text)));
        if let Some(custom) = &tracing.custom {
            line(out, 3, &format!("spans: {}", quoted(&printed(custom))));
        }
    }
    if let Some(costs) = &listener.costs {
        line(out, 3, &format!("costs: {}", quoted(&printed(costs))));
    }
    for filter in &listener.filters {
        let (name, text) = http_filter(filter);
        line(out, 3, &format!("{name}: {}", quoted(&text)));
    }
    let mut hosts: Vec<_> = listener.routes.by_host().collect();
    hosts.sort_by_key(|(host, _)| host.clone());
    for (host, entries) in hosts {
        line(out, 3, &format!("{}:", quoted(&host.map_or("any host".to_owned(), |host| format!("host {host}")))));
        entries.iter().for_each(|entry| item(out, 4, &format!("{} => {}", route_match(entry), entry.rule.route)));
    }
}

fn value(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Exact(text) => format!("={text}"),
        ValueMatch::Prefix(text) => format!("^{text}"),
        ValueMatch::Suffix(text) => format!("{text}$"),
        ValueMatch::Regex(regex) => format!("~{regex}"),
    }
}

fn route_match(entry: &RouteMatch) -> String {
    let mut text = match &entry.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(prefix) => format!("prefix {prefix}/"),
        PathMatch::Regex(regex) => format!("regex {regex}"),
    };
    let mut more = |name: &str, condition: String| write!(text, ", {name}{condition}").unwrap();
    let conditions = entry.conditions.as_deref().cloned().unwrap_or_default();
    conditions.method.iter().for_each(|method| more("method ", method.to_string()));
    conditions.headers.iter().for_each(|header| more(&format!("header {}", header.name), value(&header.value)));
    conditions.model.iter().for_each(|model| more("model", value(model)));
    conditions.base_model.iter().for_each(|model| more("base model", value(model)));
    conditions.query.iter().for_each(|query| more(&format!("query {}", query.name), value(&query.value)));
    conditions.cookies.iter().for_each(|cookie| more(&format!("cookie {}", cookie.name), value(&cookie.value)));
    text
}

pub(crate) fn rules(out: &mut String, snapshot: &Snapshot) {
    let listeners = snapshot.ports.iter().flat_map(Port::listeners);
    let mut rules: BTreeMap<String, Vec<&Rule>> = BTreeMap::new();
    for rule in listeners.filter_map(http).flat_map(|listener| listener.routes.entries()).map(|entry| &*entry.rule) {
        let known = rules.entry(format!("{:?} {}", rule.route.kind, rule.route)).or_default();
        if !known.iter().any(|it| std::ptr::eq(*it, rule)) {
            known.push(rule);
        }
    }
    line(out, 0, "rules:");
    variants(out, rules, |out, rule| self::rule(out, snapshot, rule));
}

/// Writes listeners' routes of connections; nothing if there are no such listeners.
pub(crate) fn forwards(out: &mut String, snapshot: &Snapshot) {
    let listeners = snapshot.ports.iter().flat_map(Port::listeners).filter_map(|it| match it {
        ListenerRef::Http(_) => None,
        ListenerRef::Connections(listener) => Some(listener),
    });
    let mut forwards: BTreeMap<String, Vec<&Forward>> = BTreeMap::new();
    for forward in listeners.flat_map(|listener| listener.routes.values()) {
        let known = forwards.entry(format!("{:?} {}", forward.route.kind, forward.route)).or_default();
        if !known.iter().any(|it| std::ptr::eq(*it, &**forward)) {
            known.push(forward);
        }
    }
    if !forwards.is_empty() {
        line(out, 0, "forwards:");
    }
    variants(out, forwards, |out, forward| {
        if let Some(filter) = &forward.authorization {
            line(out, 2, &format!("authorization: {}", quoted(&printed(&filter.rules))));
        }
        match &forward.backends {
            Ok(backends) => backends.iter().for_each(|it| backend(out, snapshot, it)),
            Err(failure) => line(out, 2, &format!("fails: {}", quoted(&failure.0))),
        }
    });
}

/// Writes one route's results, once for each form. Listeners and hosts have no order, so the text of the forms orders them.
fn variants<T>(out: &mut String, named: BTreeMap<String, Vec<T>>, write: impl Fn(&mut String, T)) {
    for (name, variants) in named {
        let mut written: Vec<_> = variants.into_iter().map(|it| written(|text| write(text, it))).collect();
        written.sort();
        for (place, text) in written.iter().enumerate() {
            let variant = if place == 0 { String::new() } else { format!(" (variant {place})") };
            line(out, 1, &format!("{}:", quoted(&format!("{name}{variant}"))));
            out.push_str(text);
        }
    }
}

fn written(write: impl FnOnce(&mut String)) -> String {
    let mut text = String::new();
    write(&mut text);
    text
}

fn http(listener: ListenerRef<'_>) -> Option<&Listener> {
    match listener {
        ListenerRef::Http(listener) => Some(listener),
        ListenerRef::Connections(_) => None,
    }
}

fn rule(out: &mut String, snapshot: &Snapshot, rule: &Rule) {
    filters(out, 2, snapshot, &rule.filters);
    match &rule.action {
        Action::Forward(backends) => {
            line(out, 2, &format!("forward{}:", if rule.needs_body { " (needs the body)" } else { "" }));
            backends.iter().for_each(|it| backend(out, snapshot, it));
        }
        other => line(out, 2, &format!("action: {}", quoted(&printed(other)))),
    }
    if rule.policy.timeouts != Timeouts::default() {
        line(out, 2, &format!("timeouts: {}", quoted(&changed(&rule.policy.timeouts))));
    }
    rule.policy.retry.iter().for_each(|it| line(out, 2, &format!("retry: {}", quoted(&printed(it)))));
    rule.policy.breaker.iter().for_each(|it| line(out, 2, &format!("breaker: {}", quoted(&printed(it)))));
    rule.policy.admission_control.iter().for_each(|it| line(out, 2, &format!("admission control: {}", quoted(&printed(it)))));
    rule.session.iter().for_each(|it| line(out, 2, &format!("session: {}", quoted(&printed(it)))));
    rule.policy.upgrades.iter().for_each(|it| line(out, 2, &format!("upgrades: {}", quoted(&it.join(", ")))));
    rule.policy.max_body.iter().for_each(|it| line(out, 2, &format!("max body: {it}")));
}

fn backend(out: &mut String, snapshot: &Snapshot, backend: &BackendRef) {
    let to = match &backend.cluster {
        Ok(id) => format!("cluster {} {}", id.0, snapshot.cluster(*id).key.endpoints),
        Err(failure) => format!("500: {}", failure.0),
    };
    let breaker = match &snapshot.breakers[backend.breaker.0 as usize] {
        pailou_snapshot::BreakerKey::Pool(pool) => format!("pool {pool}"),
        pailou_snapshot::BreakerKey::Backend { route, backend } => format!("{route}#{backend}"),
    };
    let fallback = if backend.fallback { ", fallback" } else { "" };
    line(out, 3, &format!("- to: {}", quoted(&format!("{} x {to}, breaker {breaker}{fallback}", backend.weight))));
    filters(out, 4, snapshot, &backend.filters);
    backend.limits.iter().for_each(|it| line(out, 4, &format!("limits: {}", quoted(&printed(it)))));
}

fn filters(out: &mut String, depth: usize, snapshot: &Snapshot, filters: &Filters) {
    let mut say = |name: &str, text: String| line(out, depth, &format!("{name}: {}", quoted(&text)));
    for filter in &filters.http {
        let (name, text) = http_filter(filter);
        say(name, text);
    }
    filters.request_headers.iter().for_each(|it| say("request headers", printed(it)));
    for (place, mirror) in filters.mirrors.iter().enumerate() {
        let to = &snapshot.cluster(mirror.cluster).key.endpoints;
        say(&format!("mirror {place}"), format!("{}/{} to {to}", mirror.fraction.numerator, mirror.fraction.denominator));
    }
    filters.rewrite.iter().for_each(|it| say("rewrite", format!("host {:?}, path {:?}", it.host, it.path)));
    for (place, credential) in filters.credentials.iter().enumerate() {
        say(&format!("credential {place}"), printed(credential));
    }
    filters.response_headers.iter().for_each(|it| say("response headers", printed(it)));
}

fn clusters(out: &mut String, compiled: &Compiled) {
    line(out, 0, "clusters:");
    for (place, cluster) in compiled.snapshot.clusters.iter().enumerate() {
        line(out, 1, &format!("{}:", quoted(&format!("{place} {}", cluster.key.endpoints))));
        self::cluster(out, cluster);
        let endpoints = &compiled.endpoints[&cluster.key.endpoints];
        let shown = endpoints.iter().map(|it| {
            let fallback = if it.priority > 0 { format!(" priority {}", it.priority) } else { String::new() };
            let role = if it.role == EndpointRole::Whole { String::new() } else { format!(" {:?}", it.role) };
            format!("{} ({}){fallback}{role}", it.address, it.name)
        });
        line(out, 2, &format!("endpoints: {}", quoted(&shown.collect::<Vec<_>>().join(", "))));
    }
    for document in &compiled.snapshot.documents {
        let servers = document.backends.iter().map(|(weight, key)| format!(" from {weight} x {}", key.endpoints));
        let servers: String = servers.collect();
        let [cached, failed] = [document.cache_duration, document.failed_refetch_duration].map(|it| it.as_secs());
        let connect = document.connect_timeout;
        let text = format!("{}{servers}, each {cached} s, after a failure each {failed} s, connects in {connect:?}", document.uri);
        line(out, 0, &format!("document: {}", quoted(&text)));
    }
    if !compiled.snapshot.base_models.is_empty() {
        line(out, 0, &format!("base models: {}", quoted(&format!("{:?}", compiled.snapshot.base_models))));
    }
}

pub(crate) fn cluster(out: &mut String, cluster: &Cluster) {
    line(out, 2, &format!("protocol: {:?}", cluster.protocol));
    match &cluster.tls {
        Ok(None) => {}
        Ok(Some(tls)) => line(out, 2, &format!("tls: {}", quoted(&printed(tls)))),
        Err(failure) => line(out, 2, &format!("tls fails: {}", quoted(&failure.0))),
    }
    if cluster.load_balancer != LoadBalancer::default() {
        line(out, 2, &format!("load balancer: {}", quoted(&printed(&cluster.load_balancer))));
    }
    if cluster.health != (HealthChecks { panic_threshold: Some(50), ..HealthChecks::default() }) {
        line(out, 2, &format!("health: {}", quoted(&printed(&cluster.health))));
    }
    cluster.tcp_keepalive.iter().for_each(|it| line(out, 2, &format!("keepalive: {it:?}")));
    if cluster.connection != ConnectionSettings::default() {
        line(out, 2, &format!("connection: {}", quoted(&changed(&cluster.connection))));
    }
    if let ClusterKind::Pool(pool) = &cluster.kind {
        let picker = match &pool.picker {
            PickerKind::BuiltIn => "BuiltIn".to_owned(),
            // The key's digest is not for reading.
            PickerKind::External { cluster, failure_mode, timeout, .. } => {
                let longer = if *timeout == Duration::from_secs(70) { String::new() } else { format!(" {timeout:?}") };
                format!("{} {failure_mode:?}{longer}", cluster.endpoints)
            }
        };
        line(out, 2, &format!("pool: {}", quoted(&format!("{:?} {:?} {picker}", pool.runtime, pool.strategy))));
        let models: BTreeMap<_, _> = pool.models.iter().collect();
        models.iter().for_each(|(name, model)| line(out, 2, &format!("model {name}: {}", quoted(&printed(model)))));
        pool.any_model.iter().for_each(|model| line(out, 2, &format!("any model: {}", quoted(&printed(model)))));
        pool.kv_events.iter().for_each(|events| line(out, 2, &format!("kv events: {}", quoted(&format!("{events:?}")))));
        pool.scorers.iter().for_each(|scorers| line(out, 2, &format!("scorers: {}", quoted(&format!("{scorers:?}")))));
        pool.queueing.iter().for_each(|queueing| line(out, 2, &format!("queueing: {}", quoted(&format!("{queueing:?}")))));
        // Every pool has it by its engine: only what annotations change is shown.
        if let Some(apart) = pool.disaggregation.filter(|apart| *apart != by_engine(pool)) {
            line(out, 2, &format!("prefill apart: {}", quoted(&format!("{apart:?}"))));
        }
        let objectives: BTreeMap<_, _> = pool.objectives.iter().collect();
        objectives.iter().for_each(|(name, priority)| line(out, 2, &format!("objective {name}: {priority}")));
    }
}

/// Prefill apart in a pool without annotations.
fn by_engine(pool: &Pool) -> Disaggregation {
    Disaggregation {
        connector: match pool.runtime {
            ModelServer::Vllm => KvConnector::Nixl,
            ModelServer::Sglang => KvConnector::Sglang,
            ModelServer::TensorRtLlm => KvConnector::TensorRtLlm,
        },
        min_uncached_tokens: 512,
        prefill_timeout: Duration::from_secs(120),
        bootstrap_port: 8998,
    }
}
