//! Protection of what the admin endpoint says: of single requests (receipts and explanations), of clients and of objects.
//!
//! A page on the web can have a browser send requests here. By a name that leads to this machine (DNS rebinding) it could read the answers,
//! too: so `Host` must be an address or `localhost`. Others of the network need a token.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::OnceLock,
};

use hyper::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue},
    http::request::Parts,
};
use ring::digest::{SHA256, digest};

/// Least length of a token, in bytes.
const MIN_TOKEN: usize = 16;

/// Headers of requests that a proxy brings. Istio's sidecar brings them from 127.0.0.6, without any.
const FORWARDED: [&str; 11] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-envoy-external-address",
    "x-pailou-hops",
    "forwarded",
    "via",
];

/// Whether a token is the controller's.
type KnowsController = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Rules by which requests are admitted.
#[derive(Default)]
pub(crate) struct AdminGuard {
    /// Digest of the token.
    token: Option<[u8; 32]>,
    /// Knows the controller by its tokens.
    controller: Option<KnowsController>,
    /// This machine needs it, too.
    trusts_nobody: bool,
    /// Operators may try requests.
    allows_tries: bool,
}

/// The owner of a request's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearer {
    Nobody,
    Operator,
    Controller,
}

/// A request that asks to be admitted. Its token is judged once, and only where that decides something: a signature takes time.
pub(crate) struct Asked<'g> {
    guard: &'g AdminGuard,
    head: &'g Parts,
    peer: IpAddr,
    bearer: OnceLock<Bearer>,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: &'static str,
}

impl AdminGuard {
    /// The rules, with the token of a file if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or its token is too short.
    pub(crate) fn new(token_file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = token_file else { return Ok(Self::default()) };
        let text = fs::read_to_string(path)?;
        let token = text.trim();
        if token.len() < MIN_TOKEN {
            return Err(io::Error::other(format!("the token has less than {MIN_TOKEN} characters")));
        }
        Ok(Self { token: Some(sha256(token)), ..Self::default() })
    }

    /// The same that admits the controller, too, by tokens that this function knows. Whom else it admits stays as it is.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only proxies have a controller"))]
    pub(crate) fn admitting_controller(self, knows: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { controller: Some(Box::new(knows)), ..self }
    }

    /// The same without an exemption for this machine: others have it send requests.
    #[cfg_attr(not(any(feature = "cluster", test)), expect(dead_code, reason = "only proxies of a cluster have such others"))]
    pub(crate) fn trusting_nobody(self) -> Self {
        Self { trusts_nobody: true, ..self }
    }

    /// The same that lets operators try requests, or does not.
    pub(crate) fn allowing_tries(self, allows_tries: bool) -> Self {
        Self { allows_tries, ..self }
    }

    /// Whether operators may try requests.
    pub(super) fn allows_tries(&self) -> bool {
        self.allows_tries
    }

    /// A request of this peer.
    pub(crate) fn ask<'g>(&'g self, head: &'g Parts, peer: IpAddr) -> Asked<'g> {
        Asked { guard: self, head, peer, bearer: OnceLock::new() }
    }

    fn bearer(&self, headers: &HeaderMap) -> Bearer {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        let Some(given) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim()) else {
            return Bearer::Nobody;
        };
        // Digests are compared: how many bytes are the same says nothing of the token.
        if self.token.is_some_and(|token| token == sha256(given)) {
            Bearer::Operator
        } else if self.controller.as_ref().is_some_and(|knows| knows(given)) {
            Bearer::Controller
        } else {
            Bearer::Nobody
        }
    }
}

impl Asked<'_> {
    /// Whether the request may have an answer, as far as pages on the web are concerned. One with a token may: no page has it.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_origin(&self) -> Result<(), Refusal> {
        self.check_host()?;
        if is_from_another_site(&self.head.headers) && !self.has_token() {
            return Err(Refusal { status: StatusCode::FORBIDDEN, message: "pages of other sites get no answer\n" });
        }
        Ok(())
    }

    /// The same as far as names are concerned that lead to this machine. Where a token is set they get nothing without it, so that
    /// any name may lead here.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_host(&self) -> Result<(), Refusal> {
        if self.guard.token.is_some() { Ok(()) } else { self.check_name() }
    }

    fn check_name(&self) -> Result<(), Refusal> {
        if is_own_host(&self.head.headers) || self.has_token() {
            return Ok(());
        }
        let message = "the host of the request is a name: use the address of the admin endpoint, or localhost\n";
        Err(Refusal { status: StatusCode::MISDIRECTED_REQUEST, message })
    }

    /// Whether the request may have an answer about single requests.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        self.check_for(self.is_own() || self.has_token())
    }

    /// Whether the request may have others sent. The controller only reads.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_try(&self) -> Result<(), Refusal> {
        self.check_for(self.is_own() || self.whose() == Bearer::Operator)
    }

    fn check_for(&self, is_admitted: bool) -> Result<(), Refusal> {
        self.check_origin()?;
        if self.head.method == Method::POST && !is_json(&self.head.headers) {
            let message = "the content-type must be application/json\n";
            return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message });
        }
        if is_admitted {
            return Ok(());
        }
        Err(match self.guard.token {
            Some(_) => Refusal { status: StatusCode::UNAUTHORIZED, message: "send the token: authorization: Bearer TOKEN\n" },
            None => Refusal {
                status: StatusCode::FORBIDDEN,
                message: "only this machine gets an answer; to others with --admin-token-file, or by kubectl port-forward\n",
            },
        })
    }

    /// Whether the request may have an answer about the objects and limits of the process. Everybody needs the token if there is one.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_process(&self) -> Result<(), Refusal> {
        if self.guard.token.is_some() { self.check() } else { self.check_origin() }
    }

    /// Whether the request may have the metrics. Prometheus and kubelets ask by names of their own, from elsewhere.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_metrics(&self) -> Result<(), Refusal> {
        // They need no token, so that a name may not lead there even where one is set.
        if self.peer.to_canonical().is_loopback() { self.check_name() } else { Ok(()) }
    }

    /// Whether this machine's own user asks, without a token where none is set. Sidecars and reverse proxies bring requests of others from
    /// loopback addresses: a token counts for everybody.
    fn is_own(&self) -> bool {
        let (guard, peer, headers) = (self.guard, self.peer.to_canonical(), &self.head.headers);
        let is_this_machine = peer == IpAddr::V4(Ipv4Addr::LOCALHOST) || peer == IpAddr::V6(Ipv6Addr::LOCALHOST);
        guard.token.is_none()
            && !guard.trusts_nobody
            && is_this_machine
            && !FORWARDED.iter().any(|name| headers.contains_key(*name))
    }

    fn has_token(&self) -> bool {
        self.whose() != Bearer::Nobody
    }

    fn whose(&self) -> Bearer {
        *self.bearer.get_or_init(|| self.guard.bearer(&self.head.headers))
    }
}

fn sha256(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap_or_default()
}

/// Whether `Host` is there once, and an address or `localhost`.
fn is_own_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let host = pailou_snapshot::normalize_host(host);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    bare == "localhost" || bare.parse::<IpAddr>().is_ok()
}

/// Whether a browser says that a page of another site has it send the request.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn check(guard: &AdminGuard, peer: &str, headers: &[(&str, &str)]) -> u16 {
        let request = headers.iter().fold(Request::get("/receipts"), |request, (name, value)| request.header(*name, *value));
        let (head, ()) = request.body(()).unwrap().into_parts();
        guard.ask(&head, peer.parse().unwrap()).check().map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_name_that_leads_here_gets_no_answer() {
        let guard = AdminGuard::default();
        for (host, expected) in [
            ("127.0.0.1:15000", 200),
            ("[::1]:15000", 200),
            ("10.1.2.3", 200),
            ("localhost:15000", 200),
            ("LOCALHOST", 200),
            ("evil.test:15000", 421),
            ("localhost.evil.test", 421),
            ("", 421),
        ] {
            assert_eq!(check(&guard, "127.0.0.1", &[("host", host)]), expected, "{host:?}");
        }
        assert_eq!(check(&guard, "127.0.0.1", &[]), 421);
        assert_eq!(check(&guard, "127.0.0.1", &[("host", "localhost"), ("host", "evil.test")]), 421);
        assert_eq!(check(&guard, "127.0.0.1", &[("host", "localhost"), ("sec-fetch-site", "cross-site")]), 403);
    }

    #[test]
    fn others_of_the_network_need_the_token() {
        let host = ("host", "10.0.0.1:15000");
        assert_eq!(check(&AdminGuard::default(), "10.0.0.2", &[host]), 403);
        assert_eq!(check(&AdminGuard::default(), "10.0.0.2", &[host, ("authorization", "Bearer ")]), 403);
        let guard = AdminGuard { token: Some(sha256("a-token-of-enough-bytes")), ..AdminGuard::default() };
        assert_eq!(check(&guard, "10.0.0.2", &[host]), 401);
        assert_eq!(check(&guard, "10.0.0.2", &[host, ("authorization", "Bearer another-token-than-that")]), 401);
        assert_eq!(check(&guard, "10.0.0.2", &[host, ("authorization", "bearer a-token-of-enough-bytes")]), 200);
        assert_eq!(check(&AdminGuard::default(), "::ffff:127.0.0.1", &[host]), 200);
        assert_eq!(check(&guard, "127.0.0.1", &[host]), 401, "a proxy on this machine brings requests of others");
        assert_eq!(check(&guard, "127.0.0.1", &[host, ("authorization", "Bearer a-token-of-enough-bytes")]), 200);
    }

    #[test]
    fn the_controller_is_admitted_by_its_own_token_and_opens_nothing_to_others() {
        let guard = AdminGuard::default().admitting_controller(|token| token == "signed");
        let host = ("host", "10.0.0.1:15000");
        assert_eq!(check(&guard, "10.0.0.2", &[host, ("authorization", "Bearer signed")]), 200);
        assert_eq!(check(&guard, "10.0.0.2", &[host, ("authorization", "Bearer forged")]), 403);
        assert_eq!((check(&guard, "10.0.0.2", &[host]), check(&guard, "127.0.0.1", &[host])), (403, 200));
    }

    #[test]
    fn the_controllers_token_sends_no_requests_and_is_judged_once() {
        let judged = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = judged.clone();
        let guard = AdminGuard { token: Some(sha256("a-token-of-enough-bytes")), ..AdminGuard::default() };
        let guard = guard.admitting_controller(move |token| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            token == "signed"
        });
        let tried = |token: &str| {
            let request = Request::post("/try").header("host", "pailou.test").header("content-type", "application/json");
            let request = request.header("sec-fetch-site", "cross-site").header("authorization", format!("Bearer {token}"));
            let (head, ()) = request.body(()).unwrap().into_parts();
            let asked = guard.ask(&head, "10.0.0.2".parse().unwrap());
            let status = |checked: Result<(), Refusal>| checked.map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
            (status(asked.check()), status(asked.check_try()))
        };
        assert_eq!((tried("signed"), judged.load(std::sync::atomic::Ordering::Relaxed)), ((200, 401), 1));
        assert_eq!(tried("a-token-of-enough-bytes"), (200, 200));
        let host = ("host", "10.0.0.1:15000");
        judged.store(0, std::sync::atomic::Ordering::Relaxed);
        assert_eq!((check(&guard, "10.0.0.2", &[host]), judged.load(std::sync::atomic::Ordering::Relaxed)), (401, 0));
    }

    #[test]
    fn by_a_name_a_browser_is_asked_for_the_token_where_one_is_set() {
        let guard = AdminGuard { token: Some(sha256("a-token-of-enough-bytes")), ..AdminGuard::default() };
        let host = ("host", "pailou.example.com");
        assert_eq!(check(&guard, "10.0.0.2", &[host]), 401);
        assert_eq!(check(&guard, "10.0.0.2", &[host, ("authorization", "Bearer a-token-of-enough-bytes")]), 200);
        assert_eq!(check(&guard, "10.0.0.2", &[host, ("sec-fetch-site", "cross-site")]), 403);
        let (head, ()) = Request::get("/").header("host", "pailou.example.com").body(()).unwrap().into_parts();
        let peer = "127.0.0.1".parse().unwrap();
        assert!(guard.ask(&head, peer).check_origin().is_ok() && guard.ask(&head, peer).check_metrics().is_err());
        assert!(AdminGuard::default().ask(&head, peer).check_origin().is_err());
    }

    #[test]
    fn objects_and_limits_need_the_token_where_there_is_one() {
        let with = |guard: &AdminGuard, peer: &str, headers: &[(&str, &str)]| {
            let request = headers.iter().fold(Request::get("/status"), |request, (name, value)| request.header(*name, *value));
            let (head, ()) = request.body(()).unwrap().into_parts();
            guard.ask(&head, peer.parse().unwrap()).check_process().map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
        };
        let host = ("host", "127.0.0.1");
        assert_eq!(with(&AdminGuard::default(), "127.0.0.1", &[host]), 200);
        assert_eq!(with(&AdminGuard::default(), "127.0.0.1", &[("host", "evil.test")]), 421);
        let guard = AdminGuard { token: Some(sha256("a-token-of-enough-bytes")), ..AdminGuard::default() };
        assert_eq!((with(&guard, "127.0.0.1", &[host]), with(&guard, "10.0.0.2", &[host])), (401, 401));
        assert_eq!(with(&guard, "10.0.0.2", &[host, ("authorization", "Bearer a-token-of-enough-bytes")]), 200);
    }

    #[test]
    fn metrics_are_for_scrapers_of_the_network_and_not_for_names_that_lead_here() {
        let asked = |host: &str, peer: &str| {
            let (head, ()) = Request::get("/metrics").header("host", host).body(()).unwrap().into_parts();
            AdminGuard::default().ask(&head, peer.parse().unwrap()).check_metrics().is_ok()
        };
        assert!(asked("pailou.default.svc:15000", "10.0.0.2") && asked("localhost:15000", "127.0.0.1") && asked("[::1]", "::1"));
        for loopback in ["127.0.0.1", "127.0.0.6", "::1", "::ffff:127.0.0.1"] {
            assert!(!asked("evil.test", loopback), "{loopback}");
        }
    }

    #[test]
    fn requests_that_a_proxy_brings_are_not_this_machine_s() {
        let host = ("host", "127.0.0.1:15000");
        assert_eq!(check(&AdminGuard::default(), "127.0.0.6", &[host]), 403);
        assert_eq!(check(&AdminGuard::default().trusting_nobody(), "127.0.0.1", &[host]), 403);
        for name in FORWARDED {
            assert_eq!(check(&AdminGuard::default(), "127.0.0.1", &[host, (name, "1")]), 403, "{name}");
        }
    }
}
