//! A search for credentials in all that a gateway prints and shows.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Shorter values are words that a log may have for other reasons.
const SHORTEST: usize = 8;
/// Members of Secrets that are public.
const PUBLIC: [&str; 2] = ["tls.crt", "ca.crt"];
/// Pages of the admin endpoint.
const PAGES: [&str; 3] = ["/status", "/limits", "/metrics"];
/// Time that a page may take: a test may have stopped the gateway.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Credentials that a gateway was given.
#[derive(Debug, Default)]
pub(crate) struct Credentials(BTreeSet<String>);

impl Credentials {
    /// Notes the credentials of the Secrets in a file of objects.
    pub(crate) fn note(&mut self, file: &str) {
        for document in file.split("\n---\n") {
            // A file that a test breaks on purpose gives none.
            let Ok(object) = serde_json::from_str::<Value>(document) else { continue };
            if object["kind"] == "Secret" {
                let members = object["stringData"].as_object().into_iter().flatten();
                let secret = members.filter(|(name, _)| !PUBLIC.contains(&name.as_str()));
                secret.filter_map(|(name, value)| Some((name, value.as_str()?))).for_each(|(name, value)| self.add(name, value));
            }
        }
    }

    fn add(&mut self, name: &str, value: &str) {
        // A key in PEM is known by any of its lines. Of a URL the password alone is secret: `scheme://user:password@host`.
        let lines = value.lines().filter(|line| !line.starts_with("-----")).filter_map(|line| match line.split_once("://") {
            Some((_, rest)) => password(rest),
            None if name == "url" => password(line),
            None => Some(line),
        });
        self.0.extend(lines.filter(|text| text.len() >= SHORTEST).map(ToOwned::to_owned));
    }

    /// The first line of a text that has one of them, without it.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let found = self.0.iter().find_map(|credential| Some((text.lines().find(|line| line.contains(credential))?, credential)));
        found.map(|(line, credential)| line.replace(credential, "<the credential>"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The password before a host.
fn password(authority: &str) -> Option<&str> {
    Some(authority.rsplit_once('@')?.0.split_once(':')?.1)
}

/// The pages that a gateway shows at its admin endpoint; none if it has ended.
pub(crate) fn pages(admin: SocketAddr) -> String {
    PAGES.iter().filter_map(|path| page(admin, path).ok()).collect()
}

fn page(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PAGE_TIMEOUT)?;
    stream.set_read_timeout(Some(PAGE_TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_are_found_wherever_they_stand_in_a_text() {
        let mut credentials = Credentials::default();
        let pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n";
        let list = [
            json!({"kind": "Secret", "stringData": {"key": "sk-0123456789", "tls.key": pem, "tls.crt": "public-certificate", "short": "word"}}),
            json!({"kind": "ConfigMap", "data": {"key": "no-secret-at-all"}}),
            json!({"kind": "Secret", "stringData": {"url": "redis://user:pass-word-1@localhost:6379"}}),
            json!({"kind": "Secret", "stringData": {"url": "127.0.0.1:6379"}}),
        ];
        credentials.note(&crate::objects::documents(list));
        for leak in ["a sk-0123456789 b", "MIGHAgEAMBMGByqGSM49", "redis://***:pass-word-1@x"] {
            let line = credentials.find(&format!("first\n{leak}\nlast")).unwrap();
            assert!(line.contains("<the credential>"), "{line}");
        }
        for harmless in [
            "redis://user@localhost:6379",
            "127.0.0.1:6379",
            "public-certificate",
            "word",
            "no-secret-at-all",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert_eq!(credentials.find(harmless), None);
        }
    }
}
