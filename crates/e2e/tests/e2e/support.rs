//! Helpers of several tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pailou_e2e::address::loopback;
use pailou_e2e::objects;
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};

/// A simulated engine on port 8000 of an address of its own, as a pod has one.
pub(crate) async fn engine(config: Config) -> Sim {
    let listen = SocketAddr::from((loopback(), 8000));
    Sim::start(Config { listen, ..config }).await.expect("the address is free")
}

/// An engine that answers at once.
pub(crate) async fn instant(name: &str, model: &str) -> Sim {
    engine(Config::new(name, [model]).instant()).await
}

/// The address of a simulated engine.
pub(crate) fn ip(sim: &Sim) -> Ipv4Addr {
    match sim.addr().ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("tests give engines IPv4 addresses, not {address}"),
    }
}

/// A pool of these engines, which are its pods.
pub(crate) fn pool_of(name: &str, engines: &[&Sim]) -> Vec<Value> {
    let pods = engines.iter().enumerate().map(|(index, sim)| objects::pod(&format!("{name}-{index}"), name, ip(sim)));
    std::iter::once(objects::pool(name)).chain(pods).collect()
}

/// A rule that sends everything to a backend.
pub(crate) fn everything_to(backend: Value) -> Value {
    json!([{"backendRefs": [backend]}])
}

/// The data of each event in a stream; `[DONE]` and what is no JSON become strings.
pub(crate) fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
}
