//! Files of the page: in the program, compressed once when somebody first looks.

use std::{
    io::{self, Write as _},
    sync::LazyLock,
};

use flate2::{Compression, write::GzEncoder};
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, VARY},
    http::request::Parts,
};

use super::{
    body::AdminBody,
    response::{content, text},
};

/// Beginning of the paths of all files but the page itself.
pub(super) const PREFIX: &str = "/ui/";
/// Name of the page itself, which is at `/`.
const INDEX: &str = "index.html";

/// A file of the page.
struct Asset {
    name: &'static str,
    plain: &'static [u8],
}

/// Names the files of `src/page`.
macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(Asset { name: $name, plain: include_bytes!(concat!("../page/", $name)) }),*]
    };
}

/// All files.
static ASSETS: &[Asset] = assets![
    "answer.js",
    "api.js",
    "app.js",
    "base.css",
    "chart.js",
    "conditions.js",
    "dom.js",
    "flags.js",
    "format.js",
    "heat.js",
    "icon.svg",
    "index.html",
    "keys.js",
    "limits.js",
    "models.js",
    "next.js",
    "now.js",
    "overview-tables.js",
    "pools.js",
    "rates.js",
    "receipt.js",
    "requests-table.js",
    "requests.js",
    "router.js",
    "scope.js",
    "routes.js",
    "snippets.js",
    "spark.js",
    "store.js",
    "stream.js",
    "table.css",
    "table.js",
    "timeline.js",
    "try.js",
    "views.css",
];

/// Each of them with gzip, in their order.
static COMPRESSED: LazyLock<io::Result<Vec<Bytes>>> = LazyLock::new(|| ASSETS.iter().map(Asset::compress).collect());

impl Asset {
    fn compress(&self) -> io::Result<Bytes> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(self.plain)?;
        Ok(encoder.finish()?.into())
    }

    fn content_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            _ => "application/octet-stream",
        }
    }
}

/// Whether a browser asks, rather than a tool.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    has_token(headers, &ACCEPT, "text/html")
}

/// Answers a request for the page or one of its files.
pub(super) fn answer(head: &Parts) -> Response<AdminBody> {
    let path = head.uri.path();
    let name = path.strip_prefix(PREFIX).unwrap_or(INDEX);
    let Some((at, asset)) = ASSETS.iter().enumerate().find(|(_, asset)| asset.name == name) else {
        return text(StatusCode::NOT_FOUND, "the page has no such file\n");
    };
    let compressed = COMPRESSED.as_ref().ok().and_then(|all| all.get(at));
    let compressed = compressed.filter(|_| has_token(&head.headers, &ACCEPT_ENCODING, "gzip"));
    let body = compressed.cloned().unwrap_or(Bytes::from_static(asset.plain));
    let mut response = content(asset.content_type(), AdminBody::text(body));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if compressed.is_some() {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether a header's list has this member, and not with a weight of 0.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|member| {
        let mut parts = member.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|value| value.eq_ignore_ascii_case(token));
        is_it && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use pailou_proxy::error::Flag;

    use super::*;
    use crate::overview;

    /// Most bytes that the page may have on its way, all files together.
    const MAX_PAGE: usize = 60 << 10;

    #[test]
    fn all_files_together_are_small() {
        let compressed: usize = COMPRESSED.as_ref().unwrap().iter().map(Bytes::len).sum();
        assert!(compressed <= MAX_PAGE, "{compressed} bytes");
    }

    #[test]
    fn every_file_of_the_directory_is_served() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        let mut there: Vec<_> = fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        there.sort();
        served.sort();
        assert_eq!(there, served);
    }

    #[test]
    fn the_page_knows_each_flag_and_whose_doing_it_is() {
        let page = include_str!("../page/flags.js");
        let (_, table) = page.split_once("const FLAGS = {").unwrap();
        let rows = table.split_once("};").unwrap().0.lines().filter_map(|line| line.trim().split_once(": ['"));
        let known: BTreeSet<_> = rows.map(|(code, rest)| (code, rest.split_once('\'').unwrap().0)).collect();
        let ours: BTreeSet<_> = Flag::ALL.into_iter().map(|flag| (flag.code(), overview::fault(flag.cause()))).collect();
        assert_eq!(known, ours);
    }

    #[test]
    fn a_coding_that_a_client_refuses_is_not_used() {
        let accepts = |value: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            has_token(&headers, &ACCEPT_ENCODING, "gzip")
        };
        assert!(accepts("gzip") && accepts("br, GZIP;q=0.5, *") && !accepts("br, gzip;q=0") && !accepts("xgzip"));
    }
}
