//! The gateway's own answer to `GET /v1/models` and `/v1/models/{id}`: models that the listener's routes name. A rule that matches
//! such a request goes first.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use http::{Method, Response, StatusCode, header};
use pailou_ai::Dialect;
use pailou_snapshot::{
    Action, Backends, Body, ClusterKind, DeniedModel, Listener, MatchOutcome, Pool, RequestView, RouteKind, RouteMatch, Rule,
    ValueMatch,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::unrouted;
use crate::{
    error::{Audience, Error, Flag},
    error_response::with_body,
    filter::{self, Consultation, Denied, FilterState, Stage},
    request_head::Head,
    response_body::ResponseBody,
    runtime::Runtime,
};

/// Most guards that are asked for one list; models behind others are left out.
const MAX_CONSULTED: usize = 8;
/// Anthropic's form has a date, of which a gateway knows nothing.
const NO_DATE: &str = "1970-01-01T00:00:00Z";

/// The list of models, or one of them, for a request that no rule matches; `unrouted` where it asks for neither.
///
/// # Errors
/// 404 where there is no model of that name; the refusal of a guard that stands before all of them; `unrouted`.
pub(super) async fn response(
    listener: &Listener,
    stage: &Stage<'_>,
    head: &Head,
    state: &mut FilterState,
    unrouted: Error,
) -> Result<Response<ResponseBody>, Error> {
    let is_read = matches!(head.parts.method, Method::GET | Method::HEAD) && unrouted.flag == Flag::NoRoute;
    let Some(request) = ModelsRequest::of(head.parts.uri.path()).filter(|_| is_read) else { return Err(unrouted) };
    let entries: Vec<&RouteMatch> =
        entries(listener, head, &request).filter(|entry| entry.may_match_under(request.base, Some(&head.parts.headers))).collect();
    if let Some(origin) = head.text(&header::ORIGIN)
        && let Some(entry) = entries.iter().find(|entry| allows_origin(entry, origin))
    {
        state.enter_cors(&entry.rule.filters, head);
    }
    let (entries, refusal) = admitted(entries, stage, head).await;
    if entries.iter().any(|(entry, _)| filter::needs_places(&entry.rule.filters)) {
        filter::wait_for_places(stage).await;
    }
    let Listed { models, refusal: forbidden, denied, hides } = Listed::of(&entries, stage, &request);
    // To hide a model hides neither that credentials are missing, nor that something is broken.
    let is_open = |error: &Error| error.status == StatusCode::UNAUTHORIZED || error.status.is_server_error();
    if models.is_empty() && (!hides || [&refusal, &forbidden].into_iter().flatten().any(is_open)) {
        return Err(refusal.or(denied).or(forbidden).unwrap_or(unrouted));
    }
    let is_anthropic = head.audience == Audience::Objects(Dialect::Anthropic);
    match &request.id {
        Some(id) if models.contains(&**id) => Ok(json_response(&shape(id, is_anthropic))),
        Some(id) => Err(denied.unwrap_or_else(|| unrouted::unknown_model(id))),
        None if is_anthropic => Ok(json_response(&page(&models, head.parts.uri.query().unwrap_or("")))),
        None => {
            let data: Vec<Value> = models.iter().map(|id| shape(id, false)).collect();
            Ok(json_response(&json!({"object": "list", "data": data})))
        }
    }
}

/// The rule whose CORS answers a preflight for such a request; `None` where a rule takes the request, or none allows the origin.
pub(super) fn preflight<'a>(listener: &'a Listener, head: &Head, method: &Method, origin: &str) -> Option<&'a RouteMatch> {
    let request = ModelsRequest::of(head.parts.uri.path()).filter(|_| method == Method::GET)?;
    let view = RequestView { method, ..head.view(Body::Read { model: None, base_model: None }) };
    if !matches!(listener.routes.find(&view), MatchOutcome::Nothing) {
        return None;
    }
    entries(listener, head, &request).find(|entry| allows_origin(entry, origin))
}

/// A request for models.
struct ModelsRequest<'a> {
    /// The path before `/models`: clients send their calls to what is under it.
    base: &'a str,
    /// The model asked for; all where there is none.
    id: Option<Cow<'a, str>>,
}

impl<'a> ModelsRequest<'a> {
    /// Reads a path. Names of models have slashes (`org/name`), so that everything behind `/models/` is one.
    fn of(path: &'a str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let is_base = |base: &str| {
            let version = base.rsplit_once('/').and_then(|(_, last)| last.strip_prefix('v'));
            version.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let one = path.match_indices("/models/").find(|(at, _)| is_base(&path[..*at]));
        if let Some((at, before)) = one {
            let id = percent_decode_str(&path[at + before.len()..]).decode_utf8_lossy();
            return Some(Self { base: &path[..at], id: Some(id) });
        }
        path.strip_suffix("/models").filter(|base| is_base(base)).map(|base| Self { base, id: None })
    }
}

/// Entries for the host that lead somewhere under the path before `/models`.
fn entries<'a>(listener: &'a Listener, head: &Head, request: &ModelsRequest<'_>) -> impl Iterator<Item = &'a RouteMatch> {
    let leads_somewhere = |rule: &Rule| {
        rule.route.kind == RouteKind::Http
            && backends(rule).is_some_and(|backends| backends.iter().any(|backend| backend.weight > 0 && backend.cluster.is_ok()))
    };
    let entries = listener.routes.entries_of(&head.host);
    entries.filter(move |entry| leads_somewhere(&entry.rule) && entry.may_match_under(request.base, None))
}

fn backends(rule: &Rule) -> Option<&Backends> {
    match &rule.action {
        Action::Forward(backends) => Some(backends),
        Action::Redirect(_) | Action::Respond(_) | Action::Fail(_) => None,
    }
}

fn allows_origin(entry: &RouteMatch, origin: &str) -> bool {
    entry.rule.filters.cors().is_some_and(|cors| cors.allows_origin(origin))
}

/// An entry whose guards let the request pass.
type Admitted<'a> = (&'a RouteMatch, Arc<Consultation>);

/// The entries whose guards let the request pass, and the first refusal. Equal guards are asked once.
async fn admitted<'a>(entries: Vec<&'a RouteMatch>, stage: &Stage<'_>, head: &Head) -> (Vec<Admitted<'a>>, Option<Error>) {
    let mut consulted: Vec<(&RouteMatch, Result<Arc<Consultation>, Error>)> = Vec::new();
    let mut admitted = Vec::new();
    for entry in entries {
        let filters = &entry.rule.filters;
        let known = consulted.iter().find(|(other, _)| filter::have_same_guards(&other.rule.filters, filters));
        let passed = match known {
            Some((_, outcome)) => outcome.as_ref().ok().cloned(),
            None if consulted.len() == MAX_CONSULTED => None,
            None => {
                let outcome = filter::consult_guards(&entry.rule, stage, head).await.map(Arc::new);
                let passed = outcome.as_ref().ok().cloned();
                consulted.push((entry, outcome));
                passed
            }
        };
        admitted.extend(passed.map(|passed| (entry, passed)));
    }
    (admitted, consulted.into_iter().find_map(|(_, outcome)| outcome.err()))
}

/// Models that entries lead to.
#[derive(Default)]
struct Listed {
    /// Those that the client may call.
    models: BTreeSet<String>,
    /// The first refusal of another. It names none.
    refusal: Option<Error>,
    /// The refusal of the one that is asked for, where the client is to learn of it.
    denied: Option<Error>,
    /// A model is denied, and the client is not to learn of it.
    hides: bool,
}

impl Listed {
    fn of(entries: &[Admitted<'_>], stage: &Stage<'_>, request: &ModelsRequest<'_>) -> Self {
        let mut listed = Self::default();
        let path = format!("{}/chat/completions", request.base);
        for (entry, consultation) in entries {
            let mut add = |name: &str| {
                if listed.models.contains(name) {
                    return;
                }
                match consultation.may_call(&entry.rule.filters, stage, name, &path) {
                    Ok(()) => drop(listed.models.insert(name.to_owned())),
                    Err(denied) => listed.deny(name, denied, request),
                }
            };
            names(entry, stage.runtime, &mut add);
        }
        listed
    }

    fn deny(&mut self, name: &str, denied: Denied, request: &ModelsRequest<'_>) {
        match denied.answer() {
            DeniedModel::NotFound => self.hides = true,
            DeniedModel::Forbidden if request.id.as_deref() == Some(name) => self.denied = Some(denied.error(Some(name))),
            DeniedModel::Forbidden | DeniedModel::Unnamed => {
                self.refusal.get_or_insert_with(|| denied.error(None));
            }
        }
    }
}

/// Names that an entry says, and those that its pools serve and its conditions match.
fn names(entry: &RouteMatch, runtime: &Runtime, add: &mut impl FnMut(&str)) {
    let bases = &runtime.snapshot().base_models;
    let (model, base_model) =
        entry.conditions.as_deref().map_or((None, None), |more| (more.model.as_ref(), more.base_model.as_ref()));
    let matches = |name: &str| {
        model.is_none_or(|model| model.matches(name))
            && base_model.is_none_or(|base_model| bases.get(name).is_some_and(|base| base_model.matches(base)))
    };
    if let Some(ValueMatch::Exact(name)) = model {
        if matches(name) {
            add(name);
        }
        return;
    }
    if base_model.is_some() {
        bases.keys().filter(|name| matches(name)).for_each(|name| add(name));
    }
    let pools = PoolNames::of(&entry.rule, runtime);
    pools.for_clients.iter().filter(|name| matches(name)).for_each(|name| add(name));
    let is_served = |base: &str| pools.for_clients.contains(base) || pools.of_engines.contains(base);
    // A base model is its own base.
    bases.iter().filter(|(name, base)| name != base && is_served(base) && matches(name)).for_each(|(name, _)| add(name));
}

/// Names under which a rule's pools serve models.
#[derive(Default)]
struct PoolNames {
    /// Those of their objects, and those of their engines but for names that an InferenceModel or an InferenceModelRewrite puts in the
    /// place of others.
    for_clients: BTreeSet<Box<str>>,
    /// Those of their engines, by their own account.
    of_engines: BTreeSet<Box<str>>,
}

impl PoolNames {
    fn of(rule: &Rule, runtime: &Runtime) -> Self {
        let mut names = Self::default();
        for id in backends(rule).into_iter().flat_map(Backends::iter).filter_map(|backend| backend.cluster.as_ref().ok()) {
            let ClusterKind::Pool(pool) = &runtime.snapshot().cluster(*id).kind else { continue };
            names.for_clients.extend(pool.models.keys().map(|name| Box::from(&**name)));
            let served = runtime.cluster(*id).pool().map(|state| state.served_models()).unwrap_or_default();
            names.for_clients.extend(served.iter().filter(|name| !is_target(pool, name)).cloned());
            names.of_engines.extend(served);
        }
        names
    }
}

fn is_target(pool: &Pool, name: &str) -> bool {
    let targets = pool.models.values().chain(&pool.any_model).flat_map(|model| &model.targets);
    targets.into_iter().any(|target| *target.name == *name)
}

/// A model in OpenAI's form, or in Anthropic's.
fn shape(id: &str, is_anthropic: bool) -> Value {
    match is_anthropic {
        true => json!({"type": "model", "id": id, "display_name": id, "created_at": NO_DATE}),
        false => json!({"id": id, "object": "model", "created": 0, "owned_by": "pailou"}),
    }
}

/// A page of Anthropic's list, by the query's `after_id`, `before_id` and `limit`; all of it without.
fn page(models: &BTreeSet<String>, query: &str) -> Value {
    let value = |wanted: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == wanted).map(|(_, value)| percent_decode_str(value).decode_utf8_lossy())
    };
    let (after, before) = (value("after_id"), value("before_id"));
    let follows = |id: &&String| after.as_ref().is_none_or(|after| id.as_str() > &**after);
    let precedes = |id: &&String| before.as_ref().is_none_or(|before| id.as_str() < &**before);
    let mut ids: Vec<&String> = models.iter().filter(follows).filter(precedes).collect();
    let limit = value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX).max(1);
    let has_more = ids.len() > limit;
    if has_more && before.is_some() {
        ids.drain(..ids.len() - limit);
    }
    ids.truncate(limit);
    let data: Vec<Value> = ids.iter().map(|id| shape(id, true)).collect();
    json!({"first_id": ids.first(), "last_id": ids.last(), "has_more": has_more, "data": data})
}

fn json_response(value: &Value) -> Response<ResponseBody> {
    with_body(StatusCode::OK, "application/json", value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_all_models_or_one() {
        let of = |path| ModelsRequest::of(path).map(|request| (request.base.to_owned(), request.id.map(Cow::into_owned)));
        let all = |base: &str| Some((base.to_owned(), None));
        let one = |base: &str, id: &str| Some((base.to_owned(), Some(id.to_owned())));
        for (path, expected) in [
            ("/v1/models", all("/v1")),
            ("/v1/models/", all("/v1")),
            ("/anthropic/v1/models", all("/anthropic/v1")),
            ("/v1/models/qwen", one("/v1", "qwen")),
            ("/v1/models/org/qwen%3A7b", one("/v1", "org/qwen:7b")),
            ("/models/a/v1/models/b", one("/models/a/v1", "b")),
            ("/v1/models/v1/models", one("/v1", "v1/models")),
            ("/v1beta/models", None),
            ("/models", None),
            ("/v1/modelscope", None),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }

    #[test]
    fn a_list_is_given_page_by_page() {
        let models: BTreeSet<String> = ["a", "b", "c", "d/e"].map(String::from).into();
        let ids = |query| {
            let page = page(&models, query);
            let ids: Vec<String> =
                page["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!((&page["first_id"], &page["last_id"]), (&json!(ids.first()), &json!(ids.last())));
            (ids.join(" "), page["has_more"] == true)
        };
        for (query, expected, has_more) in [
            ("", "a b c d/e", false),
            ("beta=true&limit=3", "a b c", true),
            ("after_id=b&limit=2", "c d/e", false),
            ("before_id=d%2Fe&limit=2", "b c", true),
            ("limit=0", "a", true),
            ("limit=x", "a b c d/e", false),
            ("after_id=z", "", false),
        ] {
            assert_eq!(ids(query), (expected.to_owned(), has_more), "{query}");
        }
    }
}
