//! The collector's URL, and TLS to it.

use std::{path::PathBuf, sync::Arc};

use http::{Uri, uri::PathAndQuery};
use pailou_compile::ServiceCertificates;
use pailou_snapshot::{CollectorUrl, OtlpProtocol};

use super::Reader;
use crate::exit::Error;

/// Reads the URL. The general one gets the signal's path added, and that of a signal does not.
///
/// # Errors
/// It is no URL of HTTP, or a certificate cannot be read.
pub(super) fn read(variables: &Reader<'_>, protocol: OtlpProtocol) -> Result<CollectorUrl, Error> {
    let default = match protocol {
        OtlpProtocol::Grpc => "http://localhost:4317",
        OtlpProtocol::HttpProtobuf => "http://localhost:4318",
    };
    let named = variables.of_signal("ENDPOINT");
    let (variable, text) = named.unwrap_or_else(|| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), default.to_owned()));
    let is_general = variable == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let text = with_scheme(variables, text);
    // The text may hold a password, and is not repeated.
    let error = |problem: &str| Error::TelemetryVariable { variable: variable.clone(), problem: problem.to_owned() };
    let url: Uri = text.parse().map_err(|_| error("not a URL; expected http://host:port or https://host:port"))?;
    let is_tls = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(error("expected a URL that begins with http:// or https://")),
    };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(error("a URL with a user's name is not taken; name credentials in OTEL_EXPORTER_OTLP_HEADERS"));
    }
    let host: Arc<str> =
        url.host().map(|host| host.trim_matches(['[', ']']).into()).ok_or_else(|| error("the URL names no host"))?;
    let default_port = match (protocol, is_tls) {
        (_, true) => 443,
        (OtlpProtocol::Grpc, false) => 4317,
        (OtlpProtocol::HttpProtobuf, false) => 80,
    };
    let path = url.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let path = match is_general {
        true => format!("{}{}", path.path().trim_end_matches('/'), variables.signal.http_path())
            .parse()
            .map_err(|_| error("its path is not valid"))?,
        false => path,
    };
    let tls = if is_tls { Some(certificates(variables, &host)?) } else { None };
    Ok(CollectorUrl { port: url.port_u16().unwrap_or(default_port), host, path, tls })
}

/// gRPC's endpoints need no scheme: TLS unless `…_INSECURE` is `true`.
fn with_scheme(variables: &Reader<'_>, text: String) -> String {
    if text.contains("://") {
        return text;
    }
    let is_insecure = variables.of_signal("INSECURE").is_some_and(|(_, text)| text.eq_ignore_ascii_case("true"));
    format!("{}://{text}", if is_insecure { "http" } else { "https" })
}

fn certificates(variables: &Reader<'_>, host: &Arc<str>) -> Result<pailou_snapshot::UpstreamTls, Error> {
    let read = |end: &str| {
        let Some((_, path)) = variables.of_signal(end) else { return Ok(None) };
        let path = PathBuf::from(path);
        std::fs::read(&path).map(Some).map_err(|source| Error::Read { path, source })
    };
    let (authorities, chain, key) = (read("CERTIFICATE")?, read("CLIENT_CERTIFICATE")?, read("CLIENT_KEY")?);
    let certificates = ServiceCertificates { authorities: authorities.as_deref(), chain: chain.as_deref(), key: key.as_deref() };
    certificates.tls(host).map_err(|error| Error::TelemetryVariable {
        variable: "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY".to_owned(),
        problem: error.to_string(),
    })
}
