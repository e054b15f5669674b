//! Subjects of a measurement: gateways, and the engine without any.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::Error,
    peer::{PAILOU, Peer, PeerName, PeerOption},
    template::Site,
    workload::{Kind, Workload},
};

/// Something the load can be sent to.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// As it is called in tables.
    pub(crate) name: String,
    /// Its program and how that is run; `None` is the engine without a gateway.
    gateway: Option<(PathBuf, &'static Peer)>,
}

impl Subject {
    /// All subjects that the command line names, the engine without a gateway first; and notes on peers that are not installed.
    ///
    /// # Errors
    /// The command line names a peer that is not installed.
    pub(crate) fn choose(
        asked: &[PeerOption],
        gateways: &[PathBuf],
        directories: &[PathBuf],
    ) -> Result<(Vec<Self>, Vec<String>), Error> {
        let mut subjects = vec![Self { name: "direct".into(), gateway: None }];
        let mut absent = Vec::new();
        for name in PeerName::gateways() {
            let Some(peer) = name.peer() else { continue };
            let asked_for = asked.iter().find(|asked| asked.name == name);
            if asked_for.is_none() && !asked.is_empty() {
                continue;
            }
            let given = asked_for.and_then(|asked| asked.program.clone());
            match given.or_else(|| peer.installed(directories)) {
                Some(program) => subjects.push(Self { name: peer.title.into(), gateway: Some((program, peer)) }),
                None if asked_for.is_some() => return Err(Error::NotInstalled { title: peer.title, install: peer.install }),
                None => absent.push(format!("{} is left out, as it is not installed: {}", peer.title, peer.install)),
            }
        }
        let several = gateways.len() > 1;
        subjects.extend(gateways.iter().map(|path| Self {
            name: if several { format!("pailou ({})", path.display()) } else { "pailou".into() },
            gateway: Some((path.clone(), &PAILOU)),
        }));
        Ok((subjects, absent))
    }

    /// Whether the subject can serve the workload at all.
    pub(crate) fn serves(&self, workload: Workload) -> bool {
        match &self.gateway {
            None => {
                matches!(workload.shape().kind, Kind::Requests(_) | Kind::Streams(_))
                    && workload != Workload::TwoCores
                    && !workload.is_of_policies()
            }
            // Controllers differ in all that a turn would need of them.
            Some((_, peer)) if workload == Workload::Cluster || workload.is_of_policies() => peer.title == PAILOU.title,
            Some((_, peer)) => peer.serves.contains(&workload),
        }
    }

    /// Its program; `None` where there is no gateway.
    pub(crate) fn program(&self) -> Option<&Path> {
        self.gateway.as_ref().map(|(program, _)| &**program)
    }

    /// Headers that requests to it have.
    pub(crate) fn headers(&self, site: &Site<'_>) -> Vec<(String, String)> {
        let headers = self.gateway.iter().flat_map(|(_, peer)| peer.headers);
        headers.map(|(name, value)| ((*name).to_owned(), site.fill(value).trim_end().to_owned())).collect()
    }

    /// Writes the subject's configuration and says how it is started; `None` where there is nothing to start.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub(crate) fn command(&self, site: &Site<'_>) -> Result<Option<Command>, Error> {
        let Some((program, peer)) = &self.gateway else { return Ok(None) };
        for (name, text) in peer.files {
            let path = site.directory.join(name);
            fs::write(&path, site.fill(text)).map_err(|source| Error::Write { path, source })?;
        }
        Ok(Some(peer.command(program, site)))
    }
}
