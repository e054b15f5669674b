//! URLs of `oidc`.

use http::{Uri, uri::PathAndQuery};
use pailou_api::envoy::oidc::OidcProvider;
use pailou_auth::{ProviderSettings, RedirectUrl, RedirectUrlPart, endpoint, has_credentials};
use pailou_snapshot::{PathNormalization, RequestFact, TemplatePart, normalize_path};

use crate::{status::Problem, template};

use super::invalid;

const FIELD: &str = "oidc.redirectURL";
const DEFAULT_REDIRECT_URL: &str = "%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback";

/// The provider's URLs.
pub(super) fn provider(spec: &OidcProvider) -> Result<ProviderSettings, Problem> {
    let urls = [
        ("issuer", Some(&spec.issuer)),
        ("authorizationEndpoint", spec.authorization_endpoint.as_ref()),
        ("tokenEndpoint", spec.token_endpoint.as_ref()),
        ("endSessionEndpoint", spec.end_session_endpoint.as_ref()),
    ];
    // Their text is not repeated: it has a password.
    if let Some((field, _)) = urls.iter().find(|(_, url)| url.is_some_and(|url| has_credentials(url))) {
        return Err(invalid(&format!(
            "oidc.provider.{field}: it has a user name or a password, which no request would bear: remove it"
        )));
    }
    let issuer = endpoint(&spec.issuer).filter(|uri| uri.query().is_none());
    if issuer.is_none() {
        return Err(invalid(&format!("oidc.provider.issuer: {:?}: write a URL such as https://id.example.com", spec.issuer)));
    }
    let url = |field: &str, url: &Option<String>| match url.as_deref() {
        Some(url) if endpoint(url).is_none() => {
            Err(invalid(&format!("oidc.provider.{field}: {url:?}: write a URL such as https://id.example.com/{field}")))
        }
        url => Ok(url.map(Into::into)),
    };
    let settings = ProviderSettings {
        issuer: spec.issuer.as_str().into(),
        authorization_endpoint: url("authorizationEndpoint", &spec.authorization_endpoint)?,
        token_endpoint: url("tokenEndpoint", &spec.token_endpoint)?,
        end_session_endpoint: url("endSessionEndpoint", &spec.end_session_endpoint)?,
    };
    let token: Option<Uri> = settings.token_endpoint.as_deref().and_then(endpoint);
    let is_ip = |uri: &Uri| uri.host().is_some_and(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok());
    match token.filter(|uri| is_ip(uri) && spec.backend_refs.is_empty()) {
        // As Envoy Gateway has it; loopback apart, which a provider on the same machine has.
        Some(uri) if !is_loopback(&uri) => Err(invalid("oidc.provider.tokenEndpoint: name a host, not an IP address")),
        _ => Ok(settings),
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let address = uri.host().and_then(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok());
    address.is_some_and(|address| address.is_loopback())
}

/// A URL that clients come back to, and its path.
pub(super) struct Callback {
    pub(super) url: RedirectUrl,
    pub(super) path: Box<str>,
}

/// Reads `redirectURL`.
pub(super) fn redirect_url(spec: Option<&str>) -> Result<Callback, Problem> {
    let text = spec.unwrap_or(DEFAULT_REDIRECT_URL);
    let template = template::strict(text).map_err(|problem| invalid(&format!("{FIELD}: {problem}")))?;
    let part = |part: TemplatePart| match part {
        TemplatePart::Text(text) => Ok(RedirectUrlPart::Text((*text).into())),
        TemplatePart::RequestHeader(name, None, None) if name == "x-forwarded-proto" => Ok(RedirectUrlPart::Scheme),
        TemplatePart::Request(RequestFact::Scheme, None) => Ok(RedirectUrlPart::Scheme),
        TemplatePart::RequestHeader(name, None, None) if name == "host" => Ok(RedirectUrlPart::Authority),
        TemplatePart::Request(RequestFact::Authority, None) => Ok(RedirectUrlPart::Authority),
        _ => Err(invalid(&format!(
            "{FIELD}: of the request only %REQ(x-forwarded-proto)%, %REQ(:scheme)% and %REQ(:authority)% can stand in it"
        ))),
    };
    let url = RedirectUrl(template.0.into_iter().map(part).collect::<Result<_, _>>()?);
    let example = url.render("https", "example.com");
    let uri = endpoint(&example).filter(|uri| uri.query().is_none() && uri.path() != "/");
    let path = uri.as_ref().and_then(Uri::path_and_query).map(PathAndQuery::path);
    match path {
        Some(path) => Ok(Callback { path: normal_path(FIELD, path)?, url }),
        None => Err(invalid(&format!(
            "{FIELD}: {text:?}: write a URL with a path of its own and no query, such as {DEFAULT_REDIRECT_URL}"
        ))),
    }
}

/// A path as the gateway sees it in requests, which come in their normal form.
pub(super) fn normal_path(field: &str, path: &str) -> Result<Box<str>, Problem> {
    match normalize_path(path, PathNormalization::default()) {
        Ok(normal) if !path.contains("//") => Ok(normal.path.into()),
        _ => Err(invalid(&format!("{field}: {path:?}: write the path without empty segments, and none above its root"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_url_has_a_path_of_its_own() {
        assert_eq!(&*redirect_url(None).unwrap().path, "/oauth2/callback");
        let fixed = redirect_url(Some("https://login.example/cb")).unwrap();
        assert_eq!((&*fixed.path, &*fixed.url.render("http", "a")), ("/cb", "https://login.example/cb"));
        let by_host = redirect_url(Some("%REQ(:scheme)%://%REQ(host)%/cb")).unwrap();
        assert_eq!(by_host.url.render("http", "a:8080"), "http://a:8080/cb");
        assert_eq!(&*redirect_url(Some("https://a/x/./../cb")).unwrap().path, "/cb");
        for wrong in [
            "",
            "/cb",
            "https://a//cb",
            "https://a/../cb",
            "https://a",
            "https://a/",
            "https://a/cb?x=1",
            "https://%REQ(x-host)%/cb",
            "ftp://a/cb",
            "%REQ(%",
        ] {
            assert!(redirect_url(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
