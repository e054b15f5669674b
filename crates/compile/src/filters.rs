//! Filters of rules and of backendRefs.

use std::sync::Arc;

use crate::{
    extension, external_auth,
    filter_set::{FilterSet, lay_over},
    headers::{edit_of, header_value},
    policies::cors,
    redirect::{path_rewrite, redirect},
    rule_context::RuleContext,
    status::Problem,
};
use pailou_api::{
    grpc_route::GrpcRouteFilter,
    http_filter::{HttpRouteFilter, RequestMirror, UrlRewrite},
};
use pailou_snapshot::{Action, Fraction, HeaderEdit, HostRewrite, HttpFilter, Mirror, Rewrite};

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
    known.templates.extend(more.templates);
}

fn rewrite(spec: &UrlRewrite) -> Result<Rewrite, Problem> {
    let host = spec.hostname.as_ref().map(|name| header_value("Host", name)).transpose()?;
    Ok(Rewrite { host: host.map(HostRewrite::Name), path: spec.path.as_ref().map(path_rewrite) })
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
