//! Authorization by rules, and protection from cross-site request forgery (SecurityPolicy `authorization`, `csrf`).

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use pailou_auth::{Denial, GeoLocation, RequestFacts};
use pailou_snapshot::{AuthorizationFilter, Body, CsrfFilter, DeniedModel, Filters, HttpFilter};

use super::{
    Stage,
    attributes::JudgedRequest,
    authentication::{self, Identity},
    facts::header_value,
};
use crate::{
    error::{Error, Flag},
    request_head::Head,
    request_input::RequestInput,
    weighted::falls_within,
};

/// Judges a request by rules. Gives back the body, read where a rule looks at the model.
///
/// # Errors
/// 403; the errors of reading a body.
pub(super) async fn rules(
    filter: &AuthorizationFilter,
    stage: &Stage<'_>,
    head: &Head,
    mut input: RequestInput,
    identity: &Identity,
) -> Result<RequestInput, Error> {
    if filter.geo_needs.any() {
        wait_for_places(stage).await;
    }
    while !judge(filter, stage, head, &mut input, identity)? {
        input = input.read(head, &stage.connection.worker.context, &stage.bounds).await?;
    }
    Ok(input)
}

/// The same, if nothing has to be waited for. Gives back whether the request was judged.
///
/// # Errors
/// The same.
pub(super) fn rules_now(
    filter: &AuthorizationFilter,
    stage: &Stage<'_>,
    head: &Head,
    input: &mut RequestInput,
    identity: &Identity,
) -> Result<bool, Error> {
    Ok(!filter.geo_needs.any() && judge(filter, stage, head, input, identity)?)
}

/// Judges a request, unless a rule looks at the model and the body has yet to come: then it gives back `false`.
fn judge(
    filter: &AuthorizationFilter,
    stage: &Stage<'_>,
    head: &Head,
    input: &mut RequestInput,
    identity: &Identity,
) -> Result<bool, Error> {
    let location = locate(filter, stage)?;
    if filter.needs_model
        && let Some(judged) = filter.rules.authorize_address(stage.client, location.as_deref())
    {
        match judged {
            // The body is not asked for.
            Ok(()) => return Ok(true),
            Err(denial) if filter.denied_model == DeniedModel::Unnamed => return Err(authentication::error(denial)),
            // The answer depends on the model that the body names.
            Err(_) => {}
        }
    }
    if filter.needs_model {
        if !input.read_now(head, &stage.connection.worker.context, &stage.bounds)? {
            return Ok(false);
        }
        if !input.is_understood() {
            let message = "who may send this request depends on its model, which cannot be read in a body of this kind";
            return Err(Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Error::new(Flag::BadRequest, message) });
        }
    }
    let known = if filter.needs_model { input.known(&stage.runtime.snapshot().base_models) } else { Body::Unread };
    let header = |name: &HeaderName| header_value(&head.parts.headers, &known, name);
    let attributes = JudgedRequest { stage, head, method: &head.parts.method, path: head.parts.uri.path(), body: &known, identity };
    let facts = RequestFacts {
        client: stage.client,
        method: &head.parts.method,
        path: head.parts.uri.path(),
        header: &header,
        claims: &identity.claims,
        attributes: &attributes,
        location,
    };
    if let Err(denial) = filter.rules.authorize(&facts) {
        // At every path: a model that nobody knows is not found at any.
        let model = if let Body::Read { model, .. } = known { model } else { None };
        return Err(Denied::new(filter, denial).error(model));
    }
    Ok(true)
}

/// The place of the client's address, where rules look at it.
///
/// # Errors
/// 500: nobody can say what the rules would.
pub(super) fn locate(filter: &AuthorizationFilter, stage: &Stage<'_>) -> Result<Option<Arc<GeoLocation>>, Error> {
    stage.place.find(&stage.connection.worker.context.geo, stage.geo, filter.geo_needs, stage.client)
}

/// Whether rules look at the place of the client's address.
pub(crate) fn needs_places(filters: &Filters) -> bool {
    let needs_places = |filter: &HttpFilter| matches!(filter, HttpFilter::Authorization(rules) if rules.geo_needs.any());
    filters.http.iter().any(needs_places)
}

/// Waits until the databases of places have been read once: a configuration does not wait for them. The request's time goes on.
pub(crate) async fn wait_for_places(stage: &Stage<'_>) {
    if let Some(sources) = stage.geo {
        stage.connection.worker.context.geo.wait_until_read(sources, stage.deadline).await;
    }
}

/// Whether a refusal hides the model: its response tells no more than that of a model that nothing leads to.
pub(super) fn hides_model(filter: &AuthorizationFilter, error: &Error) -> bool {
    filter.denied_model == DeniedModel::NotFound && error.flag == Flag::NoRoute
}

/// Refusal of a request by rules.
pub(crate) struct Denied {
    error: Error,
    answer: DeniedModel,
}

impl Denied {
    pub(super) fn new(filter: &AuthorizationFilter, denial: Denial) -> Self {
        let answer = if filter.needs_model { filter.denied_model } else { DeniedModel::Unnamed };
        Self { error: authentication::error(denial), answer }
    }

    /// Rules that cannot be judged by.
    pub(super) fn failed(error: Error) -> Self {
        Self { error, answer: DeniedModel::Unnamed }
    }

    /// The response's kind, where the request names a model.
    pub(crate) fn answer(&self) -> DeniedModel {
        self.answer
    }

    /// The response to a request that names this model.
    pub(crate) fn error(self, model: Option<&str>) -> Error {
        match (self.answer, model) {
            (DeniedModel::NotFound, Some(model)) => Error::unknown_model(model, "authorization denies the model"),
            (DeniedModel::Forbidden, Some(model)) => Error::denied_model(model),
            _ => self.error,
        }
    }
}

/// Judges a request by the site that it comes from.
///
/// # Errors
/// 403.
pub(super) fn csrf(filter: &CsrfFilter, head: &Head) -> Result<(), Error> {
    match filter.settings.check(&head.parts.method, &head.authority, &head.parts.headers) {
        Err(denial) if !filter.shadow.is_some_and(falls_within) => Err(authentication::error(denial)),
        _ => Ok(()),
    }
}
