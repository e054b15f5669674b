//! External processors of an EnvoyExtensionPolicy.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use pailou_api::{
    EnvoyExtensionPolicy,
    envoy::{
        ENVOY_GROUP,
        ext_proc::{BodyProcessingMode, ExtProc as Spec, ProcessingModeOptions},
    },
    refs::BackendRef,
};
use pailou_snapshot::{BodyProcessing, ExtProc, ProcessedParts};

use crate::{grants::Referrer, index::Index, servers, status::Problem};

use super::{server_settings, traffic::Traffic};

/// Time for an answer where the policy gives none.
const DEFAULT_MESSAGE_TIMEOUT: Duration = Duration::from_millis(200);
/// Envoy Gateway's bounds of lists.
const MAX_PROCESSORS: usize = 16;
const MAX_BACKENDS: usize = 16;
const MAX_WRITABLE_NAMESPACES: usize = 8;

/// Processors of one policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processors {
    pub(crate) list: Arc<[Processor]>,
    /// Problems of those that requests pass without.
    pub(crate) problems: Vec<Problem>,
}

/// A processor, before its backends are resolved for a rule.
#[derive(Debug)]
pub(crate) struct Processor {
    /// Path in the policy.
    pub(crate) field: String,
    /// The policy's namespace.
    pub(crate) namespace: String,
    pub(crate) refs: Vec<BackendRef>,
    /// Settings of its clusters.
    pub(crate) traffic: Traffic,
    /// All but the backends.
    pub(crate) settings: ExtProc,
}

/// Reads the processors of a policy.
///
/// # Errors
/// The first that cannot be run, and without which no request may pass.
pub(crate) fn of_policy(index: &Index<'_>, policy: &EnvoyExtensionPolicy) -> Result<Processors, Problem> {
    let list = &policy.spec.ext_proc;
    if list.len() > MAX_PROCESSORS {
        return Err(invalid(format!("spec.extProc: {} processors, but at most {MAX_PROCESSORS} are allowed", list.len()), ""));
    }
    let (mut processors, mut problems) = (Vec::new(), Vec::new());
    for (place, spec) in list.iter().enumerate() {
        match processor(index, policy, place, spec) {
            Ok(processor) => processors.extend(processor),
            Err(message) if spec.fail_open => {
                problems.push(Problem::accepted("Invalid", format!("{message}: requests pass without it, as failOpen is set")));
            }
            Err(message) => return Err(invalid(message, " or failOpen is set")),
        }
    }
    problems.extend(of_connections(policy).filter(|_| processors.iter().any(|it: &Processor| !it.settings.fail_open)));
    Ok(Processors { list: processors.into(), problems })
}

/// Routes that a policy targets, and of which a processor would see nothing.
fn of_connections(policy: &EnvoyExtensionPolicy) -> impl Iterator<Item = Problem> {
    let targets = policy.spec.targets().into_iter().filter(|it| matches!(&*it.kind, "TCPRoute" | "TLSRoute" | "UDPRoute"));
    targets.map(|it| {
        let message =
            format!("{} {} is closed: an external processor sees requests of HTTP, and would see nothing of it", it.kind, it.name);
        Problem::accepted("Invalid", message)
    })
}

fn invalid(message: String, remedy: &str) -> Problem {
    let closed = "the routes that the policy applies to answer 500 to everyone until that is mended";
    Problem::accepted("Invalid", format!("{message}: {closed}{remedy}"))
}

/// A processor; `None` where it gets no part of anything.
fn processor(index: &Index<'_>, policy: &EnvoyExtensionPolicy, place: usize, spec: &Spec) -> Result<Option<Processor>, String> {
    let field = format!("spec.extProc[{place}]");
    let namespace = policy.meta.namespace.clone();
    let refs = references(spec);
    let count = refs.len();
    if !(1..=MAX_BACKENDS).contains(&count) {
        return Err(format!("{field}.backendRefs: {count} backends, but 1 to {MAX_BACKENDS} are needed"));
    }
    for (place, to) in refs.iter().enumerate() {
        let found = servers::check(index, referrer(&namespace), &to.target());
        found.map_err(|problem| format!("{field}.backendRefs[{place}]: {}", problem.message))?;
    }
    let traffic = server_settings::read(index, &field["spec.".len()..], spec.backend_settings.as_ref());
    let traffic = traffic.map_err(|problem| problem.message)?;
    let settings = settings(spec, &refs[0], &namespace).map_err(|message| format!("{field}.{message}"))?;
    let settings = ExtProc { name: format!("{namespace}/{} {field}", policy.meta.name).into(), ..settings };
    let is_used = settings.request.is_some() || settings.response.is_some();
    Ok(is_used.then_some(Processor { field, namespace, refs, traffic, settings }))
}

/// `backendRefs`, or else `backendRef`.
fn references(spec: &Spec) -> Vec<BackendRef> {
    let single = spec.backend_ref.iter().filter(|_| spec.backend_refs.is_empty()).map(|it| BackendRef {
        group: it.group.clone(),
        kind: it.kind.clone(),
        namespace: it.namespace.clone(),
        name: it.name.clone(),
        port: it.port,
        weight: 1,
    });
    single.chain(spec.backend_refs.iter().cloned()).collect()
}

/// A policy of this namespace, as one that refers to others.
pub(crate) fn referrer(namespace: &str) -> Referrer<'_> {
    Referrer { group: ENVOY_GROUP, kind: "EnvoyExtensionPolicy", namespace }
}

fn settings(spec: &Spec, first: &BackendRef, namespace: &str) -> Result<ExtProc, String> {
    let mode = spec.processing_mode.clone().unwrap_or_default();
    let (request, response) = (mode.request.as_ref().map(parts), mode.response.as_ref().map(parts));
    let is_duplex = |parts: &ProcessedParts| parts.body == BodyProcessing::FullDuplexStreamed;
    if spec.fail_open && request.iter().chain(&response).any(is_duplex) {
        return Err("failOpen: it must be false with FullDuplexStreamed, since the server holds the body".to_owned());
    }
    let may_be_shown = |parts: &ProcessedParts| matches!(parts.body, BodyProcessing::None | BodyProcessing::Streamed);
    if spec.shadow_mode && !request.iter().chain(&response).all(may_be_shown) {
        return Err(
            "shadowMode: processingMode.*.body must be Streamed or absent with it, since nothing waits for the server".to_owned()
        );
    }
    let status = |code: u16| {
        let status = StatusCode::from_u16(code).ok().filter(|status| status.is_client_error() || status.is_server_error());
        status.ok_or_else(|| format!("statusOnError: {code} is no status of an error (400 to 599)"))
    };
    let metadata = spec.metadata.clone().unwrap_or_default();
    let writable = &metadata.writable_namespaces;
    if writable.len() > MAX_WRITABLE_NAMESPACES {
        return Err(format!(
            "metadata.writableNamespaces: {} items, but at most {MAX_WRITABLE_NAMESPACES} are allowed",
            writable.len()
        ));
    }
    if let Some(own) = writable.iter().find(|it| it.starts_with("envoy.filters.http")) {
        return Err(format!("metadata.writableNamespaces: {own:?} is Envoy's own"));
    }
    let host = format!("{}.{}", first.name, first.namespace.as_deref().unwrap_or(namespace));
    let authority = first.port.map_or(host.clone(), |port| format!("{host}:{}", port.get()));
    Ok(ExtProc {
        name: Box::default(),
        backends: Box::default(),
        authority: HeaderValue::try_from(authority).map_err(|_| "backendRefs[0].name: it cannot stand in a header".to_owned())?,
        request,
        response,
        allow_mode_override: mode.allow_mode_override,
        message_timeout: spec.message_timeout.map_or(DEFAULT_MESSAGE_TIMEOUT, |timeout| timeout.as_std()),
        // Nothing is guarded by a server whose answers count for nothing.
        fail_open: spec.fail_open || spec.shadow_mode,
        shadow_mode: spec.shadow_mode,
        status_on_error: spec.status_on_error.map_or(Ok(StatusCode::INTERNAL_SERVER_ERROR), status)?,
        accessible_namespaces: boxed(&metadata.accessible_namespaces),
        writable_namespaces: boxed(writable),
    })
}

fn parts(spec: &ProcessingModeOptions) -> ProcessedParts {
    let body = match spec.body {
        None => BodyProcessing::None,
        Some(BodyProcessingMode::Streamed) => BodyProcessing::Streamed,
        Some(BodyProcessingMode::Buffered) => BodyProcessing::Buffered,
        Some(BodyProcessingMode::BufferedPartial) => BodyProcessing::BufferedPartial,
        Some(BodyProcessingMode::FullDuplexStreamed) => BodyProcessing::FullDuplexStreamed,
    };
    ProcessedParts { body, attributes: boxed(&spec.attributes) }
}

fn boxed(names: &[String]) -> Box<[Box<str>]> {
    names.iter().map(|name| name.as_str().into()).collect()
}

impl Processors {
    /// Path of the first without which nothing may pass.
    pub(crate) fn first_guard(&self) -> Option<&str> {
        self.list.iter().find(|it| !it.settings.fail_open).map(|it| it.field.as_str())
    }
}
