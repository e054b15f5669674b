//! ClientTrafficPolicy: how each listener treats its clients.

use std::{collections::HashMap, sync::Arc};

use crate::{
    client_certificates,
    gateway::Gateways,
    headers,
    index::{Index, TrackedTable},
    listener::ListenerState,
    listener_protocol::ListenerProtocol,
    status::{Problem, Statuses},
};
use pailou_api::{
    ClientTrafficPolicy, Resource,
    envoy::{
        client_headers::{ClientHeaders, RequestIdAction, UnderscoresAction, XForwardedClientCert, XfccCertDetail, XfccMode},
        client_traffic_policy::{ClientIpDetection, ClientTls, ClientTrafficPolicySpec, EscapedSlashesAction},
        tls::TlsVersion,
    },
    refs::{PolicyTargetReference, TargetSelector},
};
use pailou_auth::Cidr;
use pailou_snapshot::{
    ClientAddress, ClientCertDetails, ClientCertificates, ClientPolicy, ClientProxyProtocol, EscapedSlashes, ForwardedClientCert,
    ForwardedClientCertMode, ListenerName, RequestIds, UnderscoredHeaders,
};

use super::{
    ancestors::Reach,
    deprecated,
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
    tcp_keepalive, unenforced,
    values::invalid,
};

/// TLS settings of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsSettings {
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) max_version: Option<TlsVersion>,
    pub(crate) ciphers: Vec<String>,
    pub(crate) alpn: Option<Vec<String>>,
}

/// All ClientTrafficPolicies, and the TLS settings that they give to listeners.
pub(crate) struct ClientSettings<'a> {
    policies: PolicyTargets<'a, ClientTrafficPolicySpec>,
    tls: HashMap<ListenerName, TlsSettings>,
}

/// Settings of a policy: each part, or why it cannot be had.
#[derive(Clone)]
pub(crate) struct ClientPolicySettings {
    client: Result<Arc<ClientPolicy>, Problem>,
    /// Certificates that it asks of clients, if it asks for any.
    certificates: Option<Result<ClientCertificates, Problem>>,
}

impl TargetedSpec for ClientTrafficPolicySpec {
    const KIND: &'static str = "ClientTrafficPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::LISTENING;
    type Settings = ClientPolicySettings;

    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>> {
        &index.client_policies
    }

    fn targets(&self) -> Vec<PolicyTargetReference> {
        self.targets()
    }

    fn selectors(&self) -> &[TargetSelector] {
        &self.target_selectors
    }

    fn read(index: &Index<'_>, policy: &ClientTrafficPolicy) -> Result<Self::Settings, Problem> {
        let client = client_policy(&policy.spec).map(Arc::new);
        Ok(ClientPolicySettings { client, certificates: client_certificates::of_policy(index, policy) })
    }

    fn problems(settings: &Self::Settings) -> Vec<Problem> {
        let ClientPolicySettings { client, certificates } = settings;
        let certificates = certificates.as_ref().and_then(|asked| asked.as_ref().err());
        client.as_ref().err().into_iter().chain(certificates).cloned().collect()
    }

    fn deprecated(&self) -> Vec<(&'static str, &'static str)> {
        deprecated::of_target(self.target_ref.is_some())
    }

    fn unenforced(policy: &ClientTrafficPolicy, _reach: &Reach<'_, '_>) -> Vec<&'static str> {
        unenforced::of_client(policy)
    }
}

impl<'a> ClientSettings<'a> {
    /// Reads all policies and applies them to the listeners.
    pub(crate) fn apply(index: &Index<'a>, gateways: &mut Gateways<'_>) -> Self {
        let mut policies = PolicyTargets::new(index);
        policies.claim(index);
        let mut tls = HashMap::new();
        for listener in gateways.list.iter_mut().flat_map(|(_, gateway)| &mut gateway.listeners) {
            let Some(id) = policies.of_listener(&listener.name) else { continue };
            let (ClientTrafficPolicy { meta, spec }, Ok(settings)) = policies.get(id) else { continue };
            let encrypted = listener.protocol.is_some_and(ListenerProtocol::terminates_tls);
            let closed = match &settings.client {
                Ok(client) => {
                    listener.client = client.clone();
                    settings.certificates.as_ref().filter(|_| encrypted).and_then(|asked| ask(listener, asked))
                }
                Err(problem) => Some(problem.message.clone()),
            };
            if let Some(why) = closed {
                let message = format!("ClientTrafficPolicy {}/{}: {why}, so that the port stays closed", meta.namespace, meta.name);
                listener.problems.push(Problem { condition: "Programmed", reason: "Invalid", message });
            }
            if let Some(settings) = spec.tls.as_ref().filter(|_| encrypted) {
                tls.insert(listener.name.clone(), tls_settings(settings));
            }
        }
        Self { policies, tls }
    }

    /// The TLS settings of a listener.
    pub(crate) fn tls(&self, listener: &ListenerName) -> Option<&TlsSettings> {
        self.tls.get(listener)
    }

    /// Writes down every policy's status.
    pub(crate) fn report(&mut self, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
        self.policies.report(reach, statuses);
    }
}

/// Has a listener ask its clients for certificates; says why it has to stay closed where it cannot.
fn ask(listener: &mut ListenerState<'_>, asked: &Result<ClientCertificates, Problem>) -> Option<String> {
    match asked {
        Err(problem) => Some(problem.message.clone()),
        Ok(_) if listener.client_certificates.is_some() => {
            Some("the Gateway's spec.tls.frontend asks for clients' certificates as well: remove one of the two".to_owned())
        }
        Ok(asked) => {
            listener.client_certificates = Some(asked.clone());
            None
        }
    }
}

fn tls_settings(spec: &ClientTls) -> TlsSettings {
    TlsSettings {
        min_version: spec.min_version,
        max_version: spec.max_version,
        ciphers: spec.ciphers.clone(),
        alpn: spec.alpn_protocols.clone().filter(|names| !names.is_empty()),
    }
}

fn client_policy(spec: &ClientTrafficPolicySpec) -> Result<ClientPolicy, Problem> {
    let mut policy = ClientPolicy::default();
    if let Some(limit) = spec.connection.as_ref().and_then(|it| it.buffer_limit) {
        policy.buffer_limit = limit.bytes();
    }
    let limit = spec.connection.as_ref().and_then(|it| it.connection_limit.as_ref());
    policy.max_connections = limit.and_then(|it| it.value).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    policy.close_delay = limit.and_then(|it| it.close_delay).map(|it| it.as_std()).unwrap_or_default();
    policy.max_requests = limit.and_then(|it| it.max_requests_per_connection);
    policy.max_connection_age = limit.and_then(|it| it.max_connection_duration).and_then(|it| it.enabled());
    policy.timeouts.max_stream = limit.and_then(|it| it.max_stream_duration).and_then(|it| it.enabled());
    policy.tcp_keepalive = spec.tcp_keepalive.map(tcp_keepalive::of_clients);
    policy.proxy_protocol = match (spec.proxy_protocol, spec.enable_proxy_protocol) {
        (Some(settings), _) if settings.optional => Some(ClientProxyProtocol::Optional),
        (Some(_), _) | (None, Some(true)) => Some(ClientProxyProtocol::Required),
        (None, _) => None,
    };
    if let Some(http) = spec.timeout.as_ref().and_then(|it| it.http.as_ref()) {
        let clock = |asked: Option<pailou_api::Duration>, default| asked.map_or(default, |it| it.enabled());
        policy.timeouts.request_head = clock(http.request_headers_received_timeout, policy.timeouts.request_head);
        policy.timeouts.request_received = clock(http.request_received_timeout, policy.timeouts.request_received);
        policy.timeouts.idle = clock(http.idle_timeout, policy.timeouts.idle);
        policy.timeouts.stream_idle = clock(http.stream_idle_timeout, policy.timeouts.stream_idle);
    }
    if let Some(tcp) = spec.timeout.as_ref().and_then(|it| it.tcp.as_ref()) {
        policy.timeouts.connection_idle = tcp.idle_timeout.map_or(policy.timeouts.connection_idle, |it| it.enabled());
        policy.timeouts.tls_handshake = tcp.tls_handshake_timeout.map_or(policy.timeouts.tls_handshake, |it| it.enabled());
    }
    if let Some(detection) = &spec.client_ip_detection {
        policy.client_address = client_address(detection)?;
        policy.appends_forwarded_for = detection.x_forwarded_for.as_ref().is_none_or(|it| !it.disable_append);
    }
    if let Some(http2) = &spec.http2 {
        let window = |asked: Option<pailou_api::Quantity>, default| {
            asked.map_or(default, |it| u32::try_from(it.bytes()).unwrap_or(MAX_WINDOW).min(MAX_WINDOW))
        };
        policy.http2.initial_stream_window = window(http2.initial_stream_window_size, policy.http2.initial_stream_window);
        policy.http2.initial_connection_window =
            window(http2.initial_connection_window_size, policy.http2.initial_connection_window);
        let keepalive = http2.connection_keepalive.unwrap_or_default();
        policy.http2.ping_interval = keepalive.interval.and_then(|it| it.enabled());
        policy.http2.ping_timeout = keepalive.timeout.and_then(|it| it.enabled());
        policy.http2.max_concurrent_streams = http2.max_concurrent_streams.unwrap_or(policy.http2.max_concurrent_streams);
    }
    if let Some(path) = &spec.path {
        policy.path.merge_slashes = !path.disable_merge_slashes.unwrap_or(false);
        policy.path.escaped_slashes = path.escaped_slashes_action.map_or(policy.path.escaped_slashes, escaped_slashes);
    }
    policy.health_check_path = spec.health_check.as_ref().map(|it| it.path.as_str().into());
    if let Some(headers) = &spec.headers {
        policy.early_request_headers = headers.early_request_headers.as_ref().map(headers::client_edit).transpose()?;
        policy.late_response_headers = headers.late_response_headers.as_ref().map(headers::client_edit).transpose()?.map(Arc::new);
        policy.underscored_headers = match headers.with_underscores_action {
            None | Some(UnderscoresAction::Allow) => UnderscoredHeaders::Allow,
            Some(UnderscoresAction::RejectRequest) => UnderscoredHeaders::Reject,
            Some(UnderscoresAction::DropHeader) => UnderscoredHeaders::Drop,
        };
        policy.request_ids = request_ids(headers);
        policy.rate_limit_headers = !headers.disable_rate_limit_headers.unwrap_or(false);
        policy.envoy_headers = headers.enable_envoy_headers == Some(true);
        policy.strips_host_dot = headers.host.is_some_and(|it| it.strip_trailing_host_dot == Some(true));
        policy.client_cert_header = headers.x_forwarded_client_cert.as_ref().map(client_cert_header).unwrap_or_default();
    }
    Ok(policy)
}

fn escaped_slashes(action: EscapedSlashesAction) -> EscapedSlashes {
    match action {
        EscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
        EscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
        EscapedSlashesAction::UnescapeAndForward => EscapedSlashes::Unescape,
        EscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::Redirect,
    }
}

fn request_ids(spec: &ClientHeaders) -> RequestIds {
    match spec.request_id {
        None if spec.preserve_x_request_id == Some(false) => RequestIds::Generate,
        None | Some(RequestIdAction::PreserveOrGenerate) => RequestIds::PreserveOrGenerate,
        Some(RequestIdAction::Preserve) => RequestIds::Preserve,
        Some(RequestIdAction::Generate) => RequestIds::Generate,
        Some(RequestIdAction::Disable) => RequestIds::Disable,
    }
}

fn client_cert_header(spec: &XForwardedClientCert) -> ForwardedClientCert {
    let mode = match spec.mode.unwrap_or(XfccMode::Sanitize) {
        XfccMode::Sanitize => ForwardedClientCertMode::Sanitize,
        XfccMode::ForwardOnly => ForwardedClientCertMode::ForwardOnly,
        XfccMode::AppendForward => ForwardedClientCertMode::AppendForward,
        XfccMode::SanitizeSet => ForwardedClientCertMode::SanitizeSet,
        XfccMode::AlwaysForwardOnly => ForwardedClientCertMode::AlwaysForwardOnly,
    };
    let has = |detail| spec.cert_details_to_add.contains(&detail);
    let details = ClientCertDetails {
        cert: has(XfccCertDetail::Cert),
        chain: has(XfccCertDetail::Chain),
        subject: has(XfccCertDetail::Subject),
        uri: has(XfccCertDetail::Uri),
        dns: has(XfccCertDetail::Dns),
    };
    ForwardedClientCert { mode, details }
}

/// The largest window of HTTP/2 (RFC 9113, 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

fn client_address(spec: &ClientIpDetection) -> Result<ClientAddress, Problem> {
    if let Some(header) = &spec.custom_header {
        let name = headers::header_name(&header.name)?;
        return Ok(ClientAddress::Header { name, required: header.fail_closed });
    }
    let Some(forwarded) = &spec.x_forwarded_for else { return Ok(ClientAddress::Connection) };
    match forwarded.num_trusted_hops {
        Some(hops) => Ok(ClientAddress::TrustedHops(hops)),
        None => Ok(ClientAddress::TrustedNetworks(forwarded.trusted_cidrs.iter().map(|it| network(it)).collect::<Result<_, _>>()?)),
    }
}

fn network(text: &str) -> Result<Cidr, Problem> {
    let wrong = |_| invalid(&format!("clientIPDetection.xForwardedFor.trustedCIDRs: {text} is no network such as 10.0.0.0/8"));
    text.parse().map_err(wrong)
}
