//! WebSocket and other upgrades: after the 101 both connections are but bytes.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::{error::Flag, record::Record, tunnel::tunnel, upstream::Switched};

/// Joins a client's and a backend's connection once both have switched protocols, until either side ends or no byte has moved for
/// `idle`. `guards` are held as long as that takes.
pub(crate) async fn join<G>(client: OnUpgrade, backend: Switched, mut record: Box<Record>, guards: G, idle: Option<Duration>) {
    match client.await {
        Ok(client) => {
            let passed = tunnel(TokioIo::new(client), backend, idle).await;
            record.request_bytes = passed.sent;
            record.response_bytes = passed.received;
            record.flag = passed.idle.then_some(Flag::StreamIdle);
        }
        Err(error) => {
            record.flag = Some(Flag::UpstreamReset);
            record.detail = Some(format!("the connection was not switched: {error}"));
        }
    }
    record.settle();
    drop(guards);
}
