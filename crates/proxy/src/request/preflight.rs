//! CORS preflights: a browser asks for another request, and sends neither that one's body nor its headers.

use http::{Method, header};
use pailou_snapshot::{Body, Listener, RouteMatch};

use super::models;
use crate::request_head::Head;

/// The rule whose CORS answers a preflight; `None` for any other request, and where no CORS is configured for it.
///
/// Rules match it by host, path, query and the method asked for. It is answered without the listener's filters: a browser sends no
/// credentials with it, and the answer is the gateway's own.
pub(super) fn rule<'a>(listener: &'a Listener, head: &Head) -> Option<&'a RouteMatch> {
    if head.parts.method != Method::OPTIONS {
        return None;
    }
    let asked = head.parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let method = Method::from_bytes(asked.as_bytes()).ok()?;
    let origin = head.text(&header::ORIGIN)?;
    let view = head.view(Body::Read { model: None, base_model: None });
    listener.routes.find_preflight(&view, &method, origin).or_else(|| models::preflight(listener, head, &method, origin))
}
