//! Notes of a request: begun with its head, and completed by its listener.

use std::{net::IpAddr, sync::Arc};

use http::request::Parts;
use pailou_snapshot::{Captured, ClientPolicy};

use crate::{
    request_head::Head,
    request_notes::{Origin, RequestNotes},
    worker::Connection,
};

/// Notes of a request that has just come.
pub(super) fn begin(captured: &Arc<Captured>, connection: &Connection, (authority, parts): (&str, &Parts)) -> RequestNotes {
    let tls = connection.tls.as_ref();
    let origin = Origin {
        local: connection.destination,
        server_name: tls.and_then(|tls| tls.sni.clone()),
        is_mutual_tls: tls.is_some_and(|tls| tls.presented.is_some()),
        scheme: if tls.is_some() { "https" } else { "http" },
    };
    RequestNotes::new(captured.clone(), origin, (authority, parts.uri.query()), &parts.headers)
}

/// Keeps what the listener has made of a request's head.
pub(super) fn prepared(notes: &mut RequestNotes, client: IpAddr, policy: &ClientPolicy, head: &Head) {
    notes.client = Some(client);
    notes.appends_forwarded_for = policy.appends_forwarded_for;
    notes.keep_request(&head.parts.headers);
}
