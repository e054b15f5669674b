//! A backend's answer as the client gets it.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, response::Parts};
use http_body::Frame;
use pailou_extproc::client::{Backend, Listener, Processed};
use pailou_snapshot::DirectResponse;
use tokio::time::{Instant, timeout_at};

use super::{Chosen, attempt::Answered};
use crate::{
    backend_body::{Ahead, BackendBody},
    error::{Error, Flag},
    guards::Guards,
    headers,
    relay::{Clocks, Reader, Relay},
    request_log::RequestLog,
    response_body::ResponseBody,
    server::OnUpgrade,
    upgrade,
    upstream::{Exchange, Switched},
};

/// Why the gateway answered, for clients, where the operator switches it on.
const RESPONSE_FLAG: &str = "x-pailou-response-flag";

/// A response that is certain: the head as the client gets it, the body still to come.
pub(super) struct Answer {
    head: Parts,
    body: BackendBody,
    switched: Option<Switched>,
    ahead: VecDeque<Frame<Bytes>>,
    reader: Option<Box<Reader>>,
    guards: Guards,
    clocks: Clocks,
}

/// A backend's response as it reaches the rule's filters.
pub(super) struct Passed {
    head: Parts,
    body: BackendBody,
    switched: Option<Switched>,
    ahead: VecDeque<Frame<Bytes>>,
    reader: Option<Box<Reader>>,
}

impl Passed {
    /// As the backend gave it.
    pub(super) fn direct(answered: Answered) -> Self {
        let Answered { exchange, ahead, reader } = answered;
        let Exchange { response, switched, .. } = exchange;
        let (head, body) = response.into_parts();
        Self { head, body: BackendBody::Direct(body), switched, ahead, reader }
    }

    /// Past an endpoint picker that listens.
    ///
    /// # Errors
    /// The answer that the picker gives instead; 504 if the picker takes longer than the request may.
    pub(super) async fn by(listener: Listener, answered: Answered, served: &str, deadline: Option<Instant>) -> Result<Self, Error> {
        let Answered { exchange, ahead, reader } = answered;
        let (mut head, body) = exchange.response.into_parts();
        let backend = Backend { status: head.status, headers: &head.headers, served };
        let mut processed = Processed::new(listener, &backend, Ahead { read: ahead, body });
        let changed = processed.head(&mut head.headers);
        let changed = match deadline {
            Some(deadline) => timeout_at(deadline, changed)
                .await
                .map_err(|_| Error::new(Flag::Timeout, "the endpoint picker did not answer in time"))?,
            None => changed.await,
        };
        changed.map_err(Error::local_reply)?;
        Ok(Self { head, body: BackendBody::Picker(Box::new(processed)), switched: None, ahead: VecDeque::new(), reader })
    }
}

impl Answer {
    /// Applies what the rule and the backendRef do to responses.
    pub(super) fn new(
        route: &Chosen<'_>,
        passed: Passed,
        guards: Guards,
        clocks: Clocks,
        set_cookie: Option<HeaderValue>,
    ) -> Box<Self> {
        let Passed { mut head, body, switched, ahead, reader } = passed;
        let upgrade = headers::strip_hop_by_hop(&mut head.headers);
        if let Some(upgrade) = upgrade.filter(|_| head.status == StatusCode::SWITCHING_PROTOCOLS) {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(header::UPGRADE, upgrade);
        }
        head.version = Version::HTTP_11;
        let (rule, own) = (&route.entry.rule.filters, &route.backend.filters);
        for edit in [&own.response_headers, &rule.response_headers].into_iter().flatten() {
            headers::edit(&mut head.headers, edit);
        }
        if let Some(cookie) = set_cookie {
            head.headers.append(header::SET_COOKIE, cookie);
        }
        Box::new(Self { head, body, switched, ahead, reader, guards, clocks })
    }

    /// The response. From here on the record is the body's to settle, or the joined connections'.
    pub(super) fn relay(self, mut record: Box<RequestLog>, client: Option<OnUpgrade>) -> Response<ResponseBody> {
        let Self { head, body, switched, ahead, reader, guards, clocks } = self;
        record.head(head.status);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if let (Some(client), Some(backend)) = (client, switched) {
                tokio::spawn(upgrade::join(client, backend, record, guards, clocks.idle));
            }
            return Response::from_parts(head, ResponseBody::empty());
        }
        Response::from_parts(head, ResponseBody::relayed(Relay::new(body, ahead, record, guards, reader, clocks)))
    }
}

/// A response of the configuration's own.
pub(super) fn direct(direct: &DirectResponse) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(direct.body.clone()));
    *response.status_mut() = direct.status;
    if let Some(content_type) = &direct.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    if let Some(edit) = &direct.headers {
        headers::edit(response.headers_mut(), edit);
    }
    response
}

/// Says why the gateway answered by itself.
pub(super) fn flag(map: &mut HeaderMap, flag: Flag) {
    map.insert(RESPONSE_FLAG, HeaderValue::from_static(flag.code()));
}
