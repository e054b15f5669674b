//! WebSocket and other upgrades: after the 101 both connections are but bytes.

use std::time::Duration;

use crate::{
    error::Flag,
    request_log::RequestLog,
    server::OnUpgrade,
    tunnel::{End, tunnel},
    upstream::Switched,
};

/// Joins a client's and a backend's connection once both have switched protocols, until either side ends, no byte has moved for
/// `idle`, or the drain is over. `guards` are held as long as that takes.
pub(crate) async fn join<G>(client: OnUpgrade, backend: Switched, mut record: Box<RequestLog>, guards: G, idle: Option<Duration>) {
    match client.upgraded().await {
        Some(client) => {
            let passed = tunnel(client, backend, idle, record.cut_off()).await;
            record.request_bytes = passed.sent;
            record.response_bytes = passed.received;
            record.flag = match passed.end {
                End::Closed => None,
                End::Idle => Some(Flag::StreamIdle),
                End::Stopped => Some(Flag::Stopped),
            };
        }
        None => {
            record.flag = Some(Flag::ClientGone);
            record.detail = Some("the connection was not switched".to_owned());
        }
    }
    record.settle();
    drop(guards);
}
