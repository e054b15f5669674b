//! A backend's answer as the client gets it.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, response::Parts};
use pailou_extproc::client::{Backend, Listener, Processed};
use pailou_snapshot::{Action, ClientPolicy, DirectResponse, HeaderEdit, RouteMatch, Rule};
use tokio::time::{Instant, timeout_at};

use super::{Chosen, receipt_headers};
use crate::{
    backend_body::BackendBody,
    context::Share,
    error::{Error, Flag},
    filter::Admitted,
    guards::Guards,
    headers, redirect,
    relay::{Clocks, Reader, Relay},
    request_head::Head,
    request_log::RequestLog,
    response_body::ResponseBody,
    response_edit::ResponseEdit,
    server::OnUpgrade,
    template::{self, RequestFacts},
    upgrade,
    upstream::Switched,
    worker::Connection,
};

/// Why the gateway answered, for clients, where the operator switches it on.
const RESPONSE_FLAG: &str = "x-pailou-response-flag";

/// A backend's response on its way back, from its head on: attempts make it, and picker, route and relay change it in place.
pub(super) struct BackendResponse {
    pub(super) head: Parts,
    pub(super) body: BackendBody,
    /// The connection, where it is no longer HTTP.
    pub(super) switched: Option<Switched>,
    /// Reader of a model's response.
    pub(super) reader: Option<Box<Reader>>,
    /// Changes to the body.
    pub(super) edit: Option<Box<ResponseEdit>>,
}

/// A response that is certain, with what the request holds until its end.
pub(super) struct Answer {
    pub(super) response: Box<BackendResponse>,
    pub(super) guards: Guards,
    pub(super) clocks: Clocks,
}

impl BackendResponse {
    /// Passes it through an endpoint picker that listens.
    ///
    /// # Errors
    /// The answer that the picker gives instead; 504 if the picker takes longer than the request may.
    pub(super) async fn pass_picker(
        mut self,
        listener: Listener,
        served: &str,
        deadline: Option<Instant>,
        room: Share,
    ) -> Result<Self, Error> {
        let BackendBody::Direct(body) = self.body else { return Ok(self) };
        let headers = &mut self.head.headers;
        let mut processed = Processed::new(listener, &Backend { status: self.head.status, headers, served }, body, Box::new(room));
        let changed = processed.head(headers);
        let changed = match deadline {
            Some(deadline) => timeout_at(deadline, changed)
                .await
                .map_err(|_| Error::new(Flag::Timeout, "the endpoint picker did not answer in time"))?,
            None => changed.await,
        };
        changed.map_err(Error::local_reply)?;
        self.body = BackendBody::Picker(Box::new(processed));
        Ok(self)
    }

    /// Applies changes that the rule and the backendRef make to responses; `resolved` are these where they name something of the request.
    pub(super) fn edit(&mut self, route: &Chosen<'_>, resolved: Option<&[HeaderEdit]>, set_cookie: Option<HeaderValue>) {
        let head = &mut self.head;
        let upgrade = headers::strip_hop_by_hop(&mut head.headers);
        if let Some(upgrade) = upgrade.filter(|_| head.status == StatusCode::SWITCHING_PROTOCOLS) {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(header::UPGRADE, upgrade);
        }
        head.version = Version::HTTP_11;
        if self.edit.is_some() {
            headers::remove_digests(&mut head.headers);
            for name in [header::CONTENT_LENGTH, header::ETAG, header::ACCEPT_RANGES] {
                head.headers.remove(name);
            }
        }
        let (rule, own) = (&route.entry.rule.filters, &route.backend.filters);
        match resolved {
            None => {
                let edits = [&own.response_headers, &rule.response_headers].into_iter().flatten();
                edits.for_each(|edit| headers::edit(&mut head.headers, edit));
            }
            Some(edits) => edits.iter().for_each(|edit| template::edit_response(&mut head.headers, head.status, edit)),
        }
        if let Some(cookie) = set_cookie {
            head.headers.append(header::SET_COOKIE, cookie);
        }
    }
}

impl Answer {
    /// The response, whose head was there at this time. From here on the record is the body's to settle, or the joined connections'.
    pub(super) fn relay(
        self,
        mut record: Box<RequestLog>,
        head_at: std::time::Instant,
        client: Option<OnUpgrade>,
    ) -> Response<ResponseBody> {
        let Self { response, guards, clocks } = self;
        let BackendResponse { mut head, body, switched, reader, edit } = *response;
        record.head_at(head.status, head_at);
        if let Some(is_kept) = record.tells_client() {
            receipt_headers::stamp(&mut head.headers, &record, is_kept);
        }
        record.keep_response(&head.headers);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Joined connections know no more of it.
            record.note_pick(guards.picked(), false);
            if let (Some(client), Some(backend)) = (client, switched) {
                tokio::spawn(upgrade::join(client, backend, record, guards, clocks));
            }
            return Response::from_parts(head, ResponseBody::empty());
        }
        Response::from_parts(head, ResponseBody::relayed(Relay::new(body, record, guards, reader, clocks).editing(edit)))
    }
}

/// The response to a request whose rule has no backend; `None` where it has one.
///
/// # Errors
/// 500 where the rule is not valid.
pub(super) fn without_backend(
    _: &Admitted,
    entry: &RouteMatch,
    head: &Head,
    connection: &Connection,
) -> Result<Option<Response<ResponseBody>>, Error> {
    let rule = &entry.rule;
    let parts = &head.parts;
    let facts = RequestFacts::of(head, connection, Some(&rule.route));
    let mut response = match &rule.action {
        Action::Forward(_) => return Ok(None),
        Action::Fail(failure) => return Err(Error::misconfigured(&failure.0)),
        Action::Redirect(to) => {
            let port = connection.local.port();
            redirect::response(to, &entry.path, &parts.uri, &head.host, port, connection.tls.is_some())
                .ok_or_else(|| Error::misconfigured("the redirect's location is not valid"))?
        }
        Action::Respond(direct) => direct_response(direct, &facts, &parts.headers),
    };
    if let Some(edit) = &rule.filters.response_headers {
        let status = response.status();
        facts.edit_answer(response.headers_mut(), status, edit, &parts.headers);
    }
    Ok(Some(response))
}

/// The listener's late edit of response headers, with what its values say of the request.
pub(super) fn late_edit(policy: &ClientPolicy, head: &Head, connection: &Connection, rule: &Rule) -> Option<Arc<HeaderEdit>> {
    let edit = policy.late_response_headers.as_ref()?;
    let facts = RequestFacts::of(head, connection, Some(&rule.route));
    Some(match facts.resolve_edit(edit, &head.parts.headers) {
        Cow::Borrowed(_) => Arc::clone(edit),
        Cow::Owned(resolved) => Arc::new(resolved),
    })
}

/// A response of the configuration's own.
fn direct_response(direct: &DirectResponse, facts: &RequestFacts<'_>, request: &HeaderMap) -> Response<ResponseBody> {
    let body = match &direct.template {
        None => direct.body.clone(),
        Some(template) => facts.body(template, direct.status, request).into(),
    };
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = direct.status;
    if let Some(content_type) = &direct.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    if let Some(edit) = &direct.headers {
        facts.edit_answer(response.headers_mut(), direct.status, edit, request);
    }
    response
}

/// Says why the gateway answered by itself.
pub(super) fn flag(map: &mut HeaderMap, flag: Flag) {
    map.insert(RESPONSE_FLAG, HeaderValue::from_static(flag.code()));
}
