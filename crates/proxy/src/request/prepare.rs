//! Settings of a listener that change a request before it is matched.

use std::net::IpAddr;

use http::HeaderMap;
use pailou_snapshot::{Listener, UnderscoredHeaders};

use crate::{
    client_cert_header,
    error::{Error, Flag},
    headers,
    request_head::{self, Head},
    template::RequestFacts,
    worker::Connection,
};

/// Applies the listener's settings. Gives the client's address.
///
/// # Errors
/// 403 where a required header holds no address, 400 for a header that the listener does not accept.
pub(super) fn prepare(head: &mut Head, listener: &Listener, connection: &Connection) -> Result<IpAddr, Error> {
    let policy = &*listener.client;
    let client = request_head::client_address(policy, &head.parts.headers, connection)?;
    let map = &mut head.parts.headers;
    headers::remove_identities(map, &listener.identity_headers);
    if head.survey.assertions {
        headers::remove_assertions(map, request_head::comes_by_trusted_proxy(policy, client, connection));
    }
    if head.survey.underscores {
        underscores(map, policy.underscored_headers)?;
    }
    let presented = connection.tls.as_ref().and_then(|tls| tls.presented.as_deref());
    if presented.is_some() || head.survey.client_cert {
        client_cert_header::apply(map, policy.client_cert_header, presented);
    }
    if let Some(edit) = &policy.early_request_headers {
        let mut map = std::mem::take(&mut head.parts.headers);
        RequestFacts::of(head, connection, None).edit_request(&mut map, edit);
        head.parts.headers = map;
    }
    Ok(client)
}

/// Treats headers with underscores as the listener asks.
fn underscores(map: &mut HeaderMap, listeners: UnderscoredHeaders) -> Result<(), Error> {
    match listeners {
        UnderscoredHeaders::Allow => {}
        UnderscoredHeaders::Drop => headers::remove_where(map, headers::has_underscore),
        UnderscoredHeaders::Reject if headers::any(map, headers::has_underscore) => {
            let message = "a header's name has an underscore, which this listener does not accept; write it with hyphens";
            return Err(Error::new(Flag::BadRequest, message));
        }
        UnderscoredHeaders::Reject => {}
    }
    Ok(())
}
