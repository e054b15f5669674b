//! A provider of OpenID Connect that can be made to misbehave, and a browser.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use base64::{Engine as _, prelude::*};
use parking_lot::Mutex;
use ring::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::objects::Gateway;

/// A provider.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    /// The token endpoint answers nobody while it holds.
    pub(crate) holds: Arc<watch::Sender<bool>>,
}

/// State of a provider, and its faults.
#[derive(Default)]
pub(crate) struct State {
    /// Logins that users have confirmed, by code.
    codes: HashMap<String, HashMap<String, String>>,
    refresh_tokens: HashSet<String>,
    serial: usize,
    /// Paths that were asked for.
    pub(crate) paths: Vec<String>,
    /// Forms that the token endpoint got.
    pub(crate) forms: Vec<HashMap<String, String>>,
    /// Claims in place of the right ones; null leaves one out.
    pub(crate) claims: Map<String, Value>,
    /// Header of ID tokens.
    pub(crate) header: Option<Value>,
    /// Seed of another key than the key set has.
    pub(crate) wrong_key: bool,
    /// Key and its id in the key set.
    pub(crate) key: u8,
    /// Issuer of the discovery document.
    pub(crate) issuer: Option<String>,
    /// Secret of the client, in place of the right one.
    pub(crate) client_secret: Option<&'static str>,
    /// Status of all responses.
    pub(crate) status: Option<u16>,
    /// Characters that access tokens have more.
    pub(crate) padding: usize,
    /// `expires_in`; 300 by default.
    pub(crate) expires_in: Option<u64>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { key: 1, ..State::default() }));
        let holds = Arc::new(watch::Sender::new(false));
        let shared = (state.clone(), holds.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, holds) = shared.clone();
                tokio::spawn(serve(stream, address, state, holds));
            }
        });
        Self { address, state, holds }
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The user confirms a login. Gives the path and query that the browser is sent back to.
    pub(crate) fn confirm(&self, location: &str) -> String {
        let (url, query) = location.split_once('?').unwrap();
        assert_eq!(url, format!("{}/authorize", self.issuer()));
        let parameters = form(query);
        assert_eq!((&*parameters["client_id"], &*parameters["response_type"]), ("shop", "code"));
        assert_eq!(&*parameters["code_challenge_method"], "S256");
        assert!(parameters["scope"].split(' ').any(|scope| scope == "openid"));
        let mut state = self.state.lock();
        state.serial += 1;
        let code = format!("code/{}", state.serial);
        let callback = parameters["redirect_uri"].clone();
        let path = callback.strip_prefix("http://a.test").unwrap_or_else(|| panic!("{callback}"));
        let back = format!("{path}?code=code%2F{}&state={}", state.serial, parameters["state"]);
        state.codes.insert(code, parameters);
        back
    }

    /// Waits until a path has been asked for so often.
    pub(crate) async fn asked(&self, path: &str, count: usize) {
        for _ in 0..500 {
            if self.count(path) >= count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{path} was asked for {} times", self.count(path));
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.state.lock().paths.iter().filter(|asked| *asked == path).count()
    }
}

impl State {
    fn answer(&mut self, address: SocketAddr, head: &str, body: &str) -> (u16, Value) {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.paths.push(path.clone());
        if let Some(status) = self.status {
            return (status, json!({"error": "temporarily_unavailable"}));
        }
        let issuer = format!("http://{address}");
        match &*path {
            "/.well-known/openid-configuration" => {
                let url = |path: &str| format!("{issuer}{path}");
                let own = self.issuer.clone().unwrap_or_else(|| issuer.clone());
                let document = json!({"issuer": own, "authorization_endpoint": url("/authorize"), "token_endpoint": url("/token"),
                    "jwks_uri": url("/keys"), "end_session_endpoint": url("/end")});
                (200, document)
            }
            "/keys" => {
                let x = BASE64_URL_SAFE_NO_PAD.encode(signer(self.key).public_key().as_ref());
                (200, json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": self.key.to_string(), "x": x}]}))
            }
            "/token" => self.tokens(&issuer, head, &form(body)),
            _ => (404, Value::Null),
        }
    }

    fn tokens(&mut self, issuer: &str, head: &str, form: &HashMap<String, String>) -> (u16, Value) {
        self.forms.push(form.clone());
        let basic = format!(
            "authorization: basic {}",
            BASE64_STANDARD.encode(format!("shop:{}", self.client_secret.unwrap_or("hush%2Bhush")))
        );
        if !head.lines().any(|line| line.eq_ignore_ascii_case(&basic)) {
            return (401, json!({"error": "invalid_client"}));
        }
        let refused = (400, json!({"error": "invalid_grant"}));
        let nonce = match &*form["grant_type"] {
            "authorization_code" => {
                let Some(login) = self.codes.remove(&form["code"]) else { return refused };
                let challenge = digest::digest(&digest::SHA256, form["code_verifier"].as_bytes());
                let is_same = login["code_challenge"] == BASE64_URL_SAFE_NO_PAD.encode(challenge);
                if !is_same || login["redirect_uri"] != form["redirect_uri"] {
                    return refused;
                }
                Some(login["nonce"].clone())
            }
            // Each counts once.
            _ if self.refresh_tokens.remove(&form["refresh_token"]) => None,
            _ => return refused,
        };
        self.serial += 1;
        let refresh_token = format!("refresh-{}", self.serial);
        self.refresh_tokens.insert(refresh_token.clone());
        let access_token = format!("access-{}{}", self.serial, "x".repeat(self.padding));
        let id_token = self.id_token(issuer, nonce);
        let expires_in = self.expires_in.unwrap_or(300);
        let tokens = json!({"access_token": access_token, "token_type": "Bearer", "id_token": id_token, "refresh_token": refresh_token,
            "expires_in": expires_in});
        (200, tokens)
    }

    fn id_token(&self, issuer: &str, nonce: Option<String>) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"iss": issuer, "aud": "shop", "sub": "user", "iat": now, "exp": now + 300, "nonce": nonce});
        let members = claims.as_object_mut().unwrap();
        members.extend(self.claims.clone());
        members.retain(|_, value| !value.is_null());
        let header = self.header.clone().unwrap_or_else(|| json!({"alg": "EdDSA", "kid": self.key.to_string()}));
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let key = if self.wrong_key { self.key + 100 } else { self.key };
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signer(key).sign(message.as_bytes()).as_ref()))
    }
}

fn signer(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// Parameters of a query or form.
fn form(text: &str) -> HashMap<String, String> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect()
}

async fn serve(mut stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>, holds: Arc<watch::Sender<bool>>) {
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let (status, answer) = state.lock().answer(address, head, body);
        if head.starts_with("POST /token ") {
            let _ = holds.subscribe().wait_for(|holds| !holds).await;
        }
        read.clear();
        let answer = answer.to_string();
        let response =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        let _ = stream.write_all(response.as_bytes()).await;
    }
}

/// A browser: it keeps cookies.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

/// A response as a browser sees it.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// `Location`, or nothing.
    pub(crate) location: String,
}

impl Browser {
    /// Head of a request for a path, with these header lines more.
    pub(crate) fn head(&self, path: &str, headers: &str) -> String {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = if cookies.is_empty() { String::new() } else { format!("\r\ncookie: {}", cookies.join("; ")) };
        let headers = if headers.is_empty() { String::new() } else { format!("\r\n{headers}") };
        format!("GET {path} HTTP/1.1\r\nhost: a.test{cookies}{headers}")
    }

    /// Asks for a path, with these header lines more.
    pub(crate) async fn get(&mut self, gateway: &Gateway, path: &str, headers: &str) -> Seen {
        let text = gateway.ask(&self.head(path, headers)).await;
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let head = text.split("\r\n\r\n").next().unwrap().to_owned();
        let mut location = String::new();
        for line in head.lines() {
            if let Some(value) = line.strip_prefix("location: ") {
                location = value.to_owned();
            }
            let Some(cookie) = line.strip_prefix("set-cookie: ") else { continue };
            assert!(cookie.contains("; path=/") && cookie.contains("; secure; HttpOnly; SameSite="), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match cookie.contains("Max-Age=0") {
                true => drop(self.cookies.remove(name)),
                false => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        Seen { status, text, location }
    }

    /// Logs in, from a path and back to it. Gives the last response but one: that of the callback.
    pub(crate) async fn log_in(&mut self, gateway: &Gateway, provider: &Provider, path: &str) -> Seen {
        let seen = self.get(gateway, path, "").await;
        assert_eq!(seen.status, 302, "{}", seen.text);
        self.get(gateway, &provider.confirm(&seen.location), "").await
    }
}
