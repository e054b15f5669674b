//! What is measured: gateways, how each is configured and started, and the engine without any.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{cli::PeerName, error::Error, workload::Workload};

const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
const HAPROXY_BODY: &str = include_str!("../peers/haproxy-body.cfg");
const NGINX: &str = include_str!("../peers/nginx.conf");
const PAILOU: &str = include_str!("../peers/pailou.yaml");

/// Where Debian keeps servers, which is not on every user's path.
const SERVER_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Something the load can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// As it is called in tables.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// Kinds of subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The engine without a gateway.
    Direct,
    /// A peer and its program.
    Peer(PeerName, PathBuf),
    /// A build of the gateway.
    Pailou(PathBuf),
}

/// What a gateway's configuration refers to.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) engine_port: u16,
    pub(crate) directory: &'a Path,
}

impl Subject {
    /// All subjects that were asked for, the engine without a gateway first.
    ///
    /// # Errors
    /// When a peer was asked for by name and is not installed.
    pub(crate) fn choose(peers: &[PeerName], gateways: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let mut subjects = vec![Self { name: "direct".into(), kind: Kind::Direct }];
        for (name, program) in [(PeerName::Haproxy, "haproxy"), (PeerName::HaproxyBody, "haproxy"), (PeerName::Nginx, "nginx")] {
            let asked = peers.contains(&name);
            if !asked && !peers.is_empty() {
                continue;
            }
            match installed(program) {
                Some(path) => subjects.push(Self { name: title(name).into(), kind: Kind::Peer(name, path) }),
                None if asked => return Err(Error::NotInstalled { program }),
                None => eprintln!("{} is left out: {program} is not installed", title(name)),
            }
        }
        let several = gateways.len() > 1;
        subjects.extend(gateways.iter().map(|path| Self {
            name: if several { format!("pailou ({})", path.display()) } else { "pailou".into() },
            kind: Kind::Pailou(path.clone()),
        }));
        Ok(subjects)
    }

    /// Whether the subject can serve the workload at all.
    pub(crate) fn serves(&self, workload: Workload) -> bool {
        !(matches!(self.kind, Kind::Peer(PeerName::HaproxyBody, _)) && workload == Workload::Large)
    }

    /// Writes the subject's configuration and says how it is started; `None` where there is nothing to start.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub(crate) fn command(&self, site: &Site<'_>) -> Result<Option<Command>, Error> {
        let (program, template, file) = match &self.kind {
            Kind::Direct => return Ok(None),
            Kind::Peer(PeerName::Nginx, program) => (program, NGINX, "nginx.conf"),
            Kind::Peer(PeerName::HaproxyBody, program) => (program, HAPROXY_BODY, "haproxy-body.cfg"),
            Kind::Peer(_, program) => (program, HAPROXY, "haproxy.cfg"),
            Kind::Pailou(program) => (program, PAILOU, "pailou.yaml"),
        };
        let text = template
            .replace("@PORT@", &site.address.port().to_string())
            .replace("@ENGINE_PORT@", &site.engine_port.to_string())
            .replace("@DIR@", &site.directory.to_string_lossy());
        let path = site.directory.join(file);
        fs::write(&path, text).map_err(|source| Error::Write { path: path.clone(), source })?;
        let mut command = Command::new(program);
        match &self.kind {
            Kind::Direct => {}
            Kind::Peer(PeerName::Nginx, _) => drop(command.arg("-c").arg(path)),
            Kind::Peer(..) => drop(command.args(["-db", "-f"]).arg(path)),
            Kind::Pailou(_) => {
                command.args(["serve", "--workers", "1", "--drain", "0", "--access-log", "/dev/null"]);
                command.args(["--admin", &site.admin.to_string(), "-f"]).arg(path);
            }
        }
        Ok(Some(command))
    }
}

fn title(peer: PeerName) -> &'static str {
    match peer {
        PeerName::Direct => "direct",
        PeerName::Haproxy => "haproxy",
        PeerName::HaproxyBody => "haproxy, by body",
        PeerName::Nginx => "nginx",
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(SERVER_DIRECTORIES.map(PathBuf::from));
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}
