//! Filters of rules and of backendRefs.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::status::Problem;
use pailou_api::{
    grpc_route::GrpcRouteFilter,
    header_filter::{HeaderFilter, HttpHeader},
    http_filter::{HttpRouteFilter, RedirectScheme, RequestMirror, RequestRedirect, UrlRewrite},
    path_modifier::HttpPathModifier,
};
use pailou_snapshot::{
    Action, Failure, Filters, Fraction, HeaderEdit, HostRewrite, HttpFilter, Mirror, PathRewrite, Redirect, Rewrite,
};

use super::{extension, external_auth, policies::cors, rules::RuleContext};

/// Result of compiling a list of filters.
#[derive(Default)]
pub(crate) struct FilterSet {
    pub(crate) filters: Filters,
    /// An answer given in place of forwarding.
    pub(crate) answer: Option<Action>,
    /// Why the rule must answer 500, if it must.
    pub(crate) failure: Option<Failure>,
    /// Further conditions, of which one has to hold beside each match.
    pub(crate) cookies: Vec<Vec<pailou_snapshot::QueryMatch>>,
}

impl FilterSet {
    /// Puts a filter in the place of the one of its kind, if there is one.
    fn put(&mut self, filter: HttpFilter) {
        self.filters.http.retain(|it| it.rank() != filter.rank());
        self.filters.http.push(filter);
    }

    /// Refuses all requests, whatever else the filters do.
    pub(crate) fn fail(&mut self, context: &mut RuleContext<'_, '_, '_>, problem: Problem) {
        self.failure.get_or_insert_with(|| Failure(problem.message.as_str().into()));
        context.problem(problem);
    }
}

/// Filters of an HTTPRoute.
pub(crate) fn http(context: &mut RuleContext<'_, '_, '_>, specs: &[HttpRouteFilter]) -> FilterSet {
    let mut set = FilterSet::default();
    for (place, spec) in specs.iter().enumerate() {
        if let Err(problem) = apply(context, &mut set, place, spec) {
            set.fail(context, problem);
        }
    }
    set
}

/// Filters of a GRPCRoute.
pub(crate) fn grpc(context: &mut RuleContext<'_, '_, '_>, specs: &[GrpcRouteFilter]) -> FilterSet {
    let as_http = specs.iter().map(|spec| match spec {
        GrpcRouteFilter::RequestHeaderModifier(headers) => HttpRouteFilter::RequestHeaderModifier(headers.clone()),
        GrpcRouteFilter::ResponseHeaderModifier(headers) => HttpRouteFilter::ResponseHeaderModifier(headers.clone()),
        GrpcRouteFilter::RequestMirror(mirror) => HttpRouteFilter::RequestMirror(mirror.clone()),
        GrpcRouteFilter::ExtensionRef(reference) => HttpRouteFilter::ExtensionRef(reference.clone()),
    });
    http(context, &as_http.collect::<Vec<_>>())
}

fn apply(context: &mut RuleContext<'_, '_, '_>, set: &mut FilterSet, place: usize, spec: &HttpRouteFilter) -> Result<(), Problem> {
    match spec {
        HttpRouteFilter::RequestHeaderModifier(headers) => {
            let named = headers.set.iter().chain(&headers.add).map(|header| &*header.name);
            if named.chain(headers.remove.iter().map(|name| &**name)).any(|name| name.eq_ignore_ascii_case("host")) {
                context.ignored(format!("{}.filters[{place}].requestHeaderModifier: Host (URLRewrite changes it)", context.field));
            }
            merge(&mut set.filters.request_headers, edit_of(headers)?);
        }
        HttpRouteFilter::ResponseHeaderModifier(headers) => merge(&mut set.filters.response_headers, edit_of(headers)?),
        HttpRouteFilter::RequestMirror(spec) => set.filters.mirrors.extend(mirror(context, spec)),
        HttpRouteFilter::RequestRedirect(spec) => set.answer = Some(Action::Redirect(redirect(spec)?.into())),
        HttpRouteFilter::UrlRewrite(spec) => lay_over(&mut set.filters.rewrite, rewrite(spec)?),
        HttpRouteFilter::Cors(spec) => set.put(HttpFilter::Cors(Arc::new(cors::of_route(spec)?))),
        HttpRouteFilter::ExtensionRef(reference) => extension::apply(context, set, reference)?,
        HttpRouteFilter::ExternalAuth(spec) => {
            let filter = external_auth::of_rule(context, place, spec)?;
            set.filters.http.push(HttpFilter::ExternalAuth(Arc::new(filter)));
        }
    }
    Ok(())
}

fn merge(known: &mut Option<HeaderEdit>, more: HeaderEdit) {
    let known = known.get_or_insert_default();
    known.set.extend(more.set);
    known.add.extend(more.add);
    known.remove.extend(more.remove);
}

/// Lays a later rewrite over a former one: its fields win, and those that it leaves open stay.
pub(crate) fn lay_over(known: &mut Option<Rewrite>, more: Rewrite) {
    let known = known.get_or_insert_default();
    known.host = more.host.or(known.host.take());
    known.path = more.path.or(known.path.take());
}

/// Edits of headers.
pub(crate) fn edit_of(spec: &HeaderFilter) -> Result<HeaderEdit, Problem> {
    header_edit(&spec.set, &spec.add, &spec.remove)
}

/// Edits of headers from their three lists.
pub(crate) fn header_edit(set: &[HttpHeader], add: &[HttpHeader], remove: &[String]) -> Result<HeaderEdit, Problem> {
    let field = |header: &HttpHeader| -> Result<_, Problem> { Ok((header_name(&header.name)?, header_value(&header.value)?)) };
    Ok(HeaderEdit {
        set: set.iter().map(field).collect::<Result<_, _>>()?,
        add: add.iter().map(field).collect::<Result<_, _>>()?,
        remove: remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
    })
}

/// A header's name in lower case.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, Problem> {
    let wrong = |_| Problem::accepted("UnsupportedValue", format!("{name:?} is no header name"));
    HeaderName::from_bytes(name.as_bytes()).map_err(wrong)
}

/// A header's value.
pub(crate) fn header_value(value: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(value).map_err(|_| Problem::accepted("UnsupportedValue", format!("{value:?} cannot stand in a header")))
}

fn path_rewrite(spec: &HttpPathModifier) -> PathRewrite {
    match spec {
        HttpPathModifier::ReplaceFullPath(path) => PathRewrite::Full(path.as_str().into()),
        HttpPathModifier::ReplacePrefixMatch(prefix) => PathRewrite::Prefix(prefix.as_str().into()),
    }
}

fn rewrite(spec: &UrlRewrite) -> Result<Rewrite, Problem> {
    let host = spec.hostname.as_ref().map(|name| header_value(name)).transpose()?;
    Ok(Rewrite { host: host.map(HostRewrite::Name), path: spec.path.as_ref().map(path_rewrite) })
}

pub(crate) fn redirect(spec: &RequestRedirect) -> Result<Redirect, Problem> {
    let status = StatusCode::from_u16(spec.status_code).ok().filter(StatusCode::is_redirection);
    let wrong =
        || Problem::accepted("UnsupportedValue", format!("requestRedirect.statusCode: {} is no redirection", spec.status_code));
    Ok(Redirect {
        scheme: spec.scheme.map(|scheme| match scheme {
            RedirectScheme::Http => "http".into(),
            RedirectScheme::Https => "https".into(),
        }),
        hostname: spec.hostname.as_deref().map(Into::into),
        path: spec.path.as_ref().map(path_rewrite),
        port: spec.port.map(|port| port.get()),
        status: status.ok_or_else(wrong)?,
    })
}

/// A mirror whose backend cannot be had is left out; the route's condition says so.
fn mirror(context: &mut RuleContext<'_, '_, '_>, spec: &RequestMirror) -> Option<Mirror> {
    let fraction = match (spec.fraction, spec.percent) {
        (Some(fraction), _) => Fraction { numerator: fraction.numerator, denominator: fraction.denominator.max(1) },
        (None, Some(percent)) => Fraction { numerator: percent, denominator: 100 },
        (None, None) => Fraction { numerator: 1, denominator: 1 },
    };
    let number = context.next_breaker();
    match context.resolve(&spec.backend_ref) {
        Ok(resolved) => {
            let cluster = resolved.cluster.ok()?;
            let breaker = context.breaker(resolved.pool, number);
            Some(Mirror { cluster, breaker, fraction })
        }
        Err(problem) => {
            context.problem(problem);
            None
        }
    }
}
