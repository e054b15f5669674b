//! URL that a provider sends clients back to.

/// A URL, of which scheme and authority may be the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUrl(pub Vec<RedirectUrlPart>);

/// Part of such a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectUrlPart {
    /// Text as it stands.
    Text(Box<str>),
    /// The request's scheme.
    Scheme,
    /// The request's host and port.
    Authority,
}

impl RedirectUrl {
    /// The URL for a request.
    pub fn render(&self, scheme: &str, authority: &str) -> String {
        let part = |part: &RedirectUrlPart| match part {
            RedirectUrlPart::Text(text) => text.to_string(),
            RedirectUrlPart::Scheme => scheme.to_owned(),
            RedirectUrlPart::Authority => authority.to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}
