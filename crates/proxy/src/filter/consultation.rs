//! Guards of rules, asked about a request that is not the rule's own: the list of models tells of rules, and no client is to learn of a
//! model that it may not use.

use std::borrow::Cow;

use http::{HeaderName, Method};
use pailou_auth::RequestFacts;
use pailou_snapshot::{Body, Filters, HttpFilter, Rule};

use super::{
    Stage,
    attributes::JudgedRequest,
    authentication::{self, Identity},
    authorization::{self, Denied},
    ext_proc::Processing,
    external_auth,
    facts::header_value,
    oidc,
    passed::is_same,
};
use crate::{error::Error, request_head::Head, request_input::RequestInput};

/// A request that a rule's guards let pass.
pub(crate) struct Consultation {
    head: Head,
    identity: Identity,
}

/// Asks the guards that know a client by its request's head, external processors among them. Their changes come to nothing.
///
/// # Errors
/// The response of the first that refuses the request.
pub(crate) async fn consult_guards(rule: &Rule, stage: &Stage<'_>, head: &Head) -> Result<Consultation, Error> {
    let (mut head, mut identity) = (head.clone(), Identity::default());
    let mut processing = Processing::new(stage);
    for guard in guards(&rule.filters) {
        match guard {
            HttpFilter::ExtProc(processor) => {
                processing.enter(std::iter::once(processor), &head, stage.connection, &rule.route);
                processing.request(processor, stage, &mut head, RequestInput::Absent).await?;
            }
            HttpFilter::ExternalAuth(server) => {
                external_auth::request(server, stage, &mut head, RequestInput::Absent, &mut Vec::new()).await?;
            }
            HttpFilter::ApiKeyAuth(settings) => authentication::api_key(settings, &mut head, &mut identity)?,
            HttpFilter::BasicAuth(settings) => {
                authentication::password(settings, stage, &mut head, &mut identity).await?;
            }
            HttpFilter::Oidc(settings) => oidc::consult(settings, stage, &mut head)?,
            HttpFilter::Jwt(settings) => {
                authentication::token(settings, stage, &mut head, &mut identity).await?;
            }
            _ => {}
        }
    }
    Ok(Consultation { head, identity })
}

impl Consultation {
    /// Whether the rule would let the client call a model: the rules of `authorization` judge a POST to `path`.
    ///
    /// # Errors
    /// The refusal of the first that refuses it.
    pub(crate) fn may_call(&self, filters: &Filters, stage: &Stage<'_>, model: &str, path: &str) -> Result<(), Denied> {
        let base_model = stage.runtime.snapshot().base_models.get(model).map(String::as_str);
        let body = Body::Read { model: Some(model), base_model };
        let header = |name: &HeaderName| -> Option<Cow<'_, [u8]>> { header_value(&self.head.parts.headers, &body, name) };
        let (method, identity) = (&Method::POST, &self.identity);
        let attributes = JudgedRequest { stage, head: &self.head, method, path, body: &body, identity };
        let (client, claims) = (stage.client, &identity.claims);
        for filter in &filters.http {
            if let HttpFilter::Authorization(rules) = filter {
                let location = authorization::locate(rules, stage).map_err(Denied::failed)?;
                let facts = RequestFacts { client, method, path, header: &header, claims, attributes: &attributes, location };
                rules.rules.authorize(&facts).map_err(|denial| Denied::new(rules, denial))?;
            }
        }
        Ok(())
    }
}

/// Whether the same guards stand before two rules.
pub(crate) fn have_same_guards(one: &Filters, other: &Filters) -> bool {
    let (mut one, mut other) = (guards(one), guards(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if is_same(one, other) => {}
            _ => return false,
        }
    }
}

/// The filters that know clients. A processor that only watches, or sees responses alone, refuses nobody.
fn guards(filters: &Filters) -> impl Iterator<Item = &HttpFilter> {
    let knows_clients = |filter: &&HttpFilter| match filter {
        HttpFilter::ExtProc(processor) => processor.request.is_some() && !processor.shadow_mode,
        HttpFilter::ExternalAuth(_)
        | HttpFilter::ApiKeyAuth(_)
        | HttpFilter::BasicAuth(_)
        | HttpFilter::Oidc(_)
        | HttpFilter::Jwt(_) => true,
        HttpFilter::ResponseOverride(_)
        | HttpFilter::Fault(_)
        | HttpFilter::Cors(_)
        | HttpFilter::Csrf(_)
        | HttpFilter::Authorization(_)
        | HttpFilter::RateLimit(_)
        | HttpFilter::Compressor(_)
        | HttpFilter::BandwidthLimit(_) => false,
    };
    filters.http.iter().filter(knows_clients)
}
