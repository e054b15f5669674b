//! The simulated engines of the demo.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr},
};

use pailou_sim::{Config, Sim, StartError, selfsigned::Authority};

use super::objects::{HOSTED_MODEL, HOSTED_NAME, REPLICAS};
use crate::{exit::Error, sim};

/// All simulated servers.
pub(super) struct Engines {
    replicas: Vec<Sim>,
    hosted: Sim,
    ca_pem: String,
    key: String,
}

impl Engines {
    /// Starts two replicas of each model, and a hosted service with TLS and a key of its own.
    pub(super) async fn start(port: u16) -> Result<Self, Error> {
        let mut replicas = Vec::new();
        for (seed, (pod, model, address)) in (0..).zip(REPLICAS) {
            let listen = SocketAddr::from((address, port));
            let config = Config { listen, seed, ..Config::new(pod, [model]) };
            let error = |error| start_error(error, &format!("the simulated engine {pod}"));
            replicas.push(Sim::start(config).await.map_err(error)?);
        }
        let authority = Authority::new().map_err(Error::Certificate)?;
        let key = format!("sk-demo-{:016x}", RandomState::new().build_hasher().finish());
        let config = Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            path_prefix: "/compatible-mode".to_owned(),
            api_key: Some(key.as_str().into()),
            tls: Some(authority.issue(&[HOSTED_NAME]).map_err(Error::Certificate)?),
            ..Config::new("hosted", [HOSTED_MODEL])
        };
        let hosted = Sim::start(config).await.map_err(|error| start_error(error, "the simulated hosted service"))?;
        Ok(Self { replicas, hosted, ca_pem: authority.ca_pem(), key })
    }

    /// Address of the hosted service.
    pub(super) fn hosted(&self) -> SocketAddr {
        self.hosted.addr()
    }

    /// The certificate of the authority that signed the hosted service's.
    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The hosted service's key, as it stands in a Secret.
    pub(super) fn credential(&self) -> String {
        format!("Bearer {}", self.key)
    }

    /// Stops them all.
    pub(super) async fn stop(self) {
        for sim in self.replicas.into_iter().chain([self.hosted]) {
            sim.kill().await;
        }
    }
}

fn start_error(error: StartError, purpose: &str) -> Error {
    let is_foreign = matches!(&error, StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable);
    match sim::start_error(error, purpose, "--engine-port PORT") {
        // Linux answers for all of 127.0.0.0/8; other systems need each address configured.
        Error::Bind { port, purpose, source, .. } if is_foreign => {
            let hint = format!("add the address to the loopback interface, as with: sudo ifconfig lo0 alias {}", port.address.ip());
            Error::Bind { port, purpose, source, hint }
        }
        other => other,
    }
}
