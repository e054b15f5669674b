//! Mooncake's bootstrap server, which knows the engines of an endpoint that prefills.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::BytesMut;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use pailou_snapshot::{Address, Timeouts};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::leg::{LegFailure, Why};
use crate::{
    cluster::{AttemptOutcome, ClusterSettings},
    request::tried::failed,
    request_body::RequestBody,
    upstream::{Destination, Upstreams},
};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// An engine: a data-parallel rank of an endpoint.
pub(super) struct Engine {
    pub(super) rank: HeaderValue,
    /// Its name, as JSON.
    pub(super) id: String,
}

#[derive(Deserialize)]
struct Answer {
    engine_id: String,
}

/// Asks a bootstrap server for its engines, and chooses one of them: at each prefill anew, for an engine that starts again has another name.
pub(super) async fn ask(
    upstreams: &Upstreams,
    settings: &ClusterSettings,
    timeouts: &Timeouts,
    bootstrap: SocketAddr,
    deadline: Instant,
) -> Result<Engine, Why> {
    let address = Address::Socket(bootstrap);
    let local_addresses = settings.local_addresses;
    let destination = Destination { local_addresses, ..Destination::new(&address, timeouts) };
    let answer = timeout_at(deadline, query(upstreams, &destination, bootstrap)).await;
    let answer = answer.map_err(|_| Why::Late)?.map_err(Why::Failed)?;
    choose(&answer).ok_or_else(|| Why::Failed(failure("its bootstrap server names no engine", AttemptOutcome::GatewayError)))
}

async fn query(upstreams: &Upstreams, destination: &Destination<'_>, bootstrap: SocketAddr) -> Result<BytesMut, LegFailure> {
    let request = Request::get("/query").header(header::HOST, bootstrap.to_string()).body(RequestBody::empty());
    let request = request.map_err(|error| failure(error, AttemptOutcome::Unknown))?;
    let sent = upstreams.send_request(destination, request).await;
    let exchange = sent.map_err(|why| failure(format!("its bootstrap server: {why}"), failed(&why).outcome))?;
    let status = exchange.response.status();
    if status != StatusCode::OK {
        return Err(failure(format!("its bootstrap server answered {status}"), AttemptOutcome::GatewayError));
    }
    let (mut body, mut answer) = (exchange.response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure(error, AttemptOutcome::Reset))?;
        let Ok(data) = frame.into_data() else { continue };
        if answer.len() + data.len() > MAX_ANSWER {
            return Err(failure("its bootstrap server's answer is too long", AttemptOutcome::GatewayError));
        }
        answer.extend_from_slice(&data);
    }
    Ok(answer)
}

/// One of the engines in an answer, by chance: each rank has a share of the cache, and none is known to be the best.
fn choose(answer: &[u8]) -> Option<Engine> {
    let engines: BTreeMap<u16, Answer> = serde_json::from_slice(answer).ok()?;
    let (rank, Answer { engine_id }) = fastrand::choice(engines)?;
    Some(Engine { rank: HeaderValue::from(rank), id: serde_json::to_string(&engine_id).ok()? })
}

fn failure(detail: impl ToString, outcome: AttemptOutcome) -> LegFailure {
    LegFailure { detail: detail.to_string(), outcome, response: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_ranks_is_chosen_and_named_as_json() {
        let answer = br#"{"0":{"engine_id":"a\"b","worker_addr":{"0":{"0":"tcp://h:1"}}},"3":{"engine_id":"c"}}"#;
        for _ in 0..50 {
            let Engine { rank, id } = choose(answer).expect("an engine");
            assert!((rank == "0" && id == r#""a\"b""#) || (rank == "3" && id == r#""c""#), "{rank:?} {id}");
        }
        for answer in ["{}", "[]", r#"{"x":{"engine_id":"a"}}"#, r#"{"0":{}}"#] {
            assert!(choose(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}
