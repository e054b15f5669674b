//! Paths of the admin endpoint, and who may ask for each.

use std::{net::IpAddr, sync::Arc};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_ENCODING, HeaderValue, VARY},
    http::request::Parts,
};

use super::{
    assets,
    body::AdminBody,
    guard::Asked,
    limits_page::LimitsPage,
    object_rows::PageQuery,
    overview_stream, proxies_page, proxies_routes, requests,
    response::{content, json, only, refused, sentence, text},
    state::{AdminState, Component, MAX_REQUESTS, pretty},
    try_out,
};

/// Content type of OpenMetrics, the variant of Prometheus's text format that Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// All paths, for clients that are no browser.
const PATHS: &str = "/healthz\n/readyz\n/metrics\n/overview\n/routes\n/objects\n/status\n/limits\n/receipts\n/explain\n/try\n";
/// Content type of server-sent events.
const EVENTS: &str = "text/event-stream";

/// Answers a request of this peer. Probes need no place among the requests.
pub(super) async fn answer<C: Component>(
    request: Request<Incoming>,
    peer: IpAddr,
    state: &Arc<AdminState<C>>,
) -> Response<AdminBody> {
    let (head, body) = request.into_parts();
    if let (&Method::GET | &Method::HEAD, "/healthz" | "/readyz") = (&head.method, head.uri.path()) {
        return probe(head.uri.path(), state);
    }
    let Ok(permit) = state.requests().clone().try_acquire_owned() else {
        return sentence(StatusCode::SERVICE_UNAVAILABLE, &format_args!("{MAX_REQUESTS} requests are answered already"));
    };
    answer_one(&head, body, peer, state).await.map(|body| body.with(permit))
}

fn probe(path: &str, state: &AdminState<impl Component>) -> Response<AdminBody> {
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        _ if state.is_ready() => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn answer_one<C: Component>(head: &Parts, body: Incoming, peer: IpAddr, state: &Arc<AdminState<C>>) -> Response<AdminBody> {
    let path = head.uri.path();
    let asked = state.guard().ask(head, peer);
    if let Some(gatherer) = state.component().gatherer().filter(|_| proxies_page::is_of_proxies(path)) {
        return match asked.check() {
            Ok(()) => proxies_page::answer(head, body, gatherer).await,
            Err(refusal) => refused(refusal),
        };
    }
    match state.component().proxy() {
        _ if matches!(path, "/overview" | "/overview/stream" | "/routes" | "/objects") => match asked.check() {
            Ok(()) => overview(head, state).await,
            Err(refusal) => refused(refusal),
        },
        Some(proxy) if path == "/try" => match (asked.check_try(), &head.method) {
            (Err(refusal), _) => refused(refusal),
            (Ok(()), &Method::GET) => json(pretty(&try_out::form(proxy, state.guard().allows_tries()))),
            (Ok(()), &Method::POST) if state.guard().allows_tries() => try_out::send(body, proxy, state.tries()).await,
            (Ok(()), &Method::POST) => {
                text(StatusCode::FORBIDDEN, "requests are not sent from here: start Pailou with --admin-try\n")
            }
            (Ok(()), _) => only("GET, POST"),
        },
        Some(proxy) if requests::is_of_requests(path) => match asked.check() {
            Ok(()) => requests::answer(head, body, proxy).await,
            Err(refusal) => refused(refusal),
        },
        _ if !matches!(head.method, Method::GET | Method::HEAD) => only("GET, HEAD"),
        _ if path == "/" || path.starts_with(assets::PREFIX) => page(&asked, head),
        _ => answer_of_process(&asked, head, state),
    }
}

/// The process as a whole, its routes and its other objects.
async fn overview<C: Component>(head: &Parts, state: &Arc<AdminState<C>>) -> Response<AdminBody> {
    let selection = proxies_page::selection(head.uri.query().unwrap_or_default());
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/overview/stream") => match overview_stream::stream(state, head, &selection) {
            Ok(events) => content(EVENTS, AdminBody::events(events)),
            Err(full) => sentence(StatusCode::SERVICE_UNAVAILABLE, &full),
        },
        (&Method::GET | &Method::HEAD, "/routes" | "/objects") => {
            let query = PageQuery::of_query(head.uri.query().unwrap_or_default());
            let component = state.component();
            let page = match (head.uri.path(), component.gatherer()) {
                ("/objects", _) => component.objects(&query),
                (_, None) => component.routes(&query),
                (_, Some(gatherer)) => match component.routes(&query) {
                    Some(page) => proxies_routes::with_counts(&page, gatherer, &selection).await,
                    None => None,
                },
            };
            match page {
                Some(page) => json(page),
                None => text(StatusCode::NOT_FOUND, component.no_objects()),
            }
        }
        (&Method::GET | &Method::HEAD, "/overview") => json(state.overview_line(&selection).await + "\n"),
        (&Method::HEAD, _) => content(EVENTS, AdminBody::text("")),
        _ => only("GET, HEAD"),
    }
}

/// The page's files. They are the same everywhere and tell nothing, so they need no token; the data that they ask for does.
fn page(asked: &Asked<'_>, head: &Parts) -> Response<AdminBody> {
    // A link on another site may lead to the page, as it has nobody do anything.
    let is_link = head.uri.path() == "/" && head.headers.get("sec-fetch-dest").is_some_and(|dest| dest == "document");
    let checked = if is_link { asked.check_host() } else { asked.check_origin() };
    match checked {
        Err(refusal) => refused(refusal),
        Ok(()) if head.uri.path() == "/" && !assets::wants_page(&head.headers) => text(StatusCode::OK, PATHS),
        Ok(()) => assets::answer(head),
    }
}

fn answer_of_process(asked: &Asked<'_>, head: &Parts, state: &AdminState<impl Component>) -> Response<AdminBody> {
    let (component, path) = (state.component(), head.uri.path());
    let checked = match path {
        "/metrics" => asked.check_metrics(),
        "/status" | "/limits" => asked.check_process(),
        _ => asked.check_origin(),
    };
    match (checked, path) {
        (Err(refusal), _) => refused(refusal),
        (Ok(()), "/metrics") => metrics(head, component),
        (Ok(()), "/status") => json(component.status()),
        (Ok(()), "/limits") => match component.limits(&LimitsPage::of_query(head.uri.query().unwrap_or_default())) {
            Some(page) => json(page),
            None => text(StatusCode::NOT_FOUND, "only a gateway has limits\n"),
        },
        (Ok(()), _) => text(StatusCode::NOT_FOUND, format!("there are\n{PATHS}")),
    }
}

fn metrics(head: &Parts, component: &impl Component) -> Response<AdminBody> {
    let mut text = String::new();
    component.encode_metrics(&mut text);
    let Some((coding, bytes)) = component.proxy().and_then(|proxy| proxy.compress_metrics(&text, &head.headers)) else {
        return content(OPEN_METRICS, AdminBody::text(text));
    };
    let mut response = content(OPEN_METRICS, AdminBody::text(bytes));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}
