//! Requests to the token endpoint. Sources: RFC 6749 sections 2.3.1, 4.1.3 and 6, RFC 8707.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri};

use super::{Oidc, Provider, Refresh, login::PendingLogin};

/// A client secret. It is in no `Debug` output.
#[derive(Clone)]
pub struct ClientSecret(Box<[u8]>);

impl ClientSecret {
    /// A secret, verbatim.
    pub fn new(secret: &[u8]) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A POST of `application/x-www-form-urlencoded` to the token endpoint.
pub struct TokenRequest {
    /// URL.
    pub uri: Uri,
    /// `Authorization`: client_secret_basic.
    pub authorization: HeaderValue,
    /// The form. It holds a code or a refresh token.
    pub body: String,
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Oidc {
    /// The request that exchanges the code of a login.
    pub fn code_request(&self, provider: &Provider, login: &PendingLogin, redirect_uri: &str) -> TokenRequest {
        let mut form = Form::default();
        form.add("grant_type", b"authorization_code");
        form.add("code", &login.code);
        form.add("redirect_uri", redirect_uri.as_bytes());
        form.add("code_verifier", login.flow.code_verifier(self).as_bytes());
        self.token_request(provider, form)
    }

    /// The request that makes a session go on.
    pub fn refresh_request(&self, provider: &Provider, refresh: &Refresh) -> TokenRequest {
        let mut form = Form::default();
        form.add("grant_type", b"refresh_token");
        form.add("refresh_token", refresh.token.expose().as_bytes());
        self.token_request(provider, form)
    }

    fn token_request(&self, provider: &Provider, mut form: Form) -> TokenRequest {
        self.resources.iter().for_each(|resource| form.add("resource", resource.as_bytes()));
        let mut pair = String::new();
        encode(&mut pair, self.client_id.as_bytes());
        pair.push(':');
        encode(&mut pair, &self.client_secret.0);
        let basic = format!("Basic {}", BASE64_STANDARD.encode(pair));
        // Letters of base64 can stand in a header.
        let mut authorization = HeaderValue::try_from(basic).unwrap_or(HeaderValue::from_static("Basic"));
        authorization.set_sensitive(true);
        TokenRequest { uri: provider.token_endpoint.clone(), authorization, body: form.0 }
    }
}

/// A form, or a query.
#[derive(Default)]
pub(super) struct Form(pub(super) String);

impl Form {
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        encode(&mut self.0, value);
    }
}

/// Percent-encodes all but unreserved letters (RFC 3986, section 2.3), which a form's reader understands as well.
fn encode(into: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(char::from(*byte)),
            byte => {
                into.push('%');
                into.push(char::from(HEX[usize::from(byte >> 4)]));
                into.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}
