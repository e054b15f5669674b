//! The requests of a workload.

use bytes::Bytes;

use crate::{
    template::{HOST, ROUTES_PER_HOST},
    workload::{Kind, Setup, Shape},
};

/// Words of prompts and of other bodies.
const WORDS: &[u8] = b"the gate over a street ";

/// Credential of callers without a token.
pub(crate) const API_KEY: &str = "none";

/// One request, to be written as HTTP/1.1 or sent by HTTP/2.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) host: String,
    pub(crate) path: String,
    /// Its headers beside `Host` and `Content-Length`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Request {
    /// The requests that a workload sends in turn, each with these headers too: with each of the tokens, if there are any.
    pub(crate) fn of(shape: &Shape, headers: &[(String, String)], tokens: &[String]) -> Vec<Self> {
        let body = body(shape);
        let with = |host: String, path: String, token: &str| {
            let mut all = vec![
                ("user-agent".to_owned(), "pailou-bench".to_owned()),
                ("accept".to_owned(), "*/*".to_owned()),
                ("authorization".to_owned(), format!("Bearer {token}")),
            ];
            if !body.is_empty() {
                all.push((
                    "content-type".to_owned(),
                    if shape.model { "application/json" } else { "application/octet-stream" }.to_owned(),
                ));
            }
            all.extend_from_slice(headers);
            Self { method: if body.is_empty() { "GET" } else { "POST" }, host, path, headers: all, body: body.clone() }
        };
        let one = |host, path| with(host, path, API_KEY);
        let model = || (HOST.to_owned(), "/v1/chat/completions".to_owned());
        match shape.setup {
            Setup::Jwt(_) => tokens.iter().map(|token| with(model().0, model().1, token)).collect(),
            Setup::Routes(hosts) => (0..hosts)
                .flat_map(|host| (0..ROUTES_PER_HOST).map(move |route| (host, route)))
                .map(|(host, route)| one(format!("host-{host}.example.com"), format!("/route-{route}/v1/chat/completions")))
                .collect(),
            _ if shape.model => vec![one(model().0, model().1)],
            _ => vec![one(HOST.to_owned(), "/plain/object".to_owned())],
        }
    }

    /// As HTTP/1.1 has it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { method, host, path, .. } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !self.body.is_empty() {
            head.extend(["Content-Length: ", &self.body.len().to_string(), "\r\n"]);
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

fn body(shape: &Shape) -> Bytes {
    let words = |length| WORDS.iter().copied().cycle().take(length);
    if !shape.model {
        return words(shape.body).collect();
    }
    let stream = if matches!(shape.kind, Kind::Streams(_) | Kind::Idle(_)) { r#","stream":true"# } else { "" };
    // The model comes after the prompt in some clients and before it in most.
    let start = r#"{"model":"qwen","messages":[{"role":"user","content":""#;
    let end = format!(r#""}}],"max_tokens":200{stream}}}"#);
    let prompt: Vec<u8> = words(shape.body.saturating_sub(start.len() + end.len())).collect();
    [start.as_bytes(), &prompt, end.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::workload::Workload;

    #[test]
    fn bodies_for_models_are_json_of_the_length_that_is_said() {
        for &workload in Workload::value_variants() {
            let shape = workload.shape();
            let request = Request::of(&shape, &[], &["token".into()]).remove(0);
            assert_eq!(request.body.len(), shape.body);
            assert!(request.bytes().ends_with(&[b"\r\n\r\n", &*request.body].concat()));
            if shape.model {
                let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["model"], "qwen");
                assert_eq!(body["stream"].as_bool().unwrap_or(false), matches!(shape.kind, Kind::Streams(_) | Kind::Idle(_)));
            }
        }
    }

    #[test]
    fn every_route_has_its_request() {
        let requests = Request::of(&Workload::ManyRoutes.shape(), &[("x-a".into(), "b".into())], &[]);
        assert_eq!(requests.len(), 5000);
        assert_eq!((&*requests[4999].host, &*requests[4999].path), ("host-999.example.com", "/route-4/v1/chat/completions"));
        assert!(String::from_utf8_lossy(&requests[0].bytes()).contains("\r\nx-a: b\r\n"));
    }
}
