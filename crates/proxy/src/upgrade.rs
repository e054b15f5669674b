//! WebSocket and other upgrades: after the 101 both connections are but bytes.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::{error::Flag, record::Record};

/// Joins a client's and a backend's connection once both have switched protocols, until either side ends. `guards` are held
/// as long as that takes.
pub(crate) async fn join<G>(client: OnUpgrade, backend: OnUpgrade, mut record: Box<Record>, guards: G) {
    match tokio::try_join!(client, backend) {
        Ok((client, backend)) => {
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            // An error here is how many such connections end.
            if let Ok((sent, received)) = copy_bidirectional(&mut client, &mut backend).await {
                record.request_bytes = sent;
                record.response_bytes = received;
            }
        }
        Err(error) => {
            record.flag = Some(Flag::UpstreamReset);
            record.detail = Some(format!("the connection was not switched: {error}"));
        }
    }
    record.settle();
    drop(guards);
}
