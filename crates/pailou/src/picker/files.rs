//! The pool in files, which are followed as the gateway follows its own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    thread,
    time::Instant,
};

use pailou_api::NamespaceName;
use pailou_epp::EndpointPicker;

use super::followed::Followed;
use crate::{
    cli::{ConfigArgs, PickerArgs},
    exit::Error,
    source::{Level, Problem, Source, Stopper, Wake, Watcher},
};

/// Files that are followed by a thread; it ends when this is dropped.
pub(super) struct Files(Stopper);

impl Files {
    /// Reads the files, and goes on following them.
    ///
    /// # Errors
    /// One is not there.
    pub(super) fn follow(args: &PickerArgs, picker: Arc<EndpointPicker>) -> Result<Self, Error> {
        let namespace =
            args.pool_namespace.clone().map_or_else(|| NamespaceName::try_from("default"), Ok).map_err(Error::Namespace)?;
        let source = Source::new(&config(args, &namespace))?;
        if let Some(error) = source.missing() {
            return Err(error);
        }
        let watcher = Watcher::new();
        let stopper = watcher.stopper();
        let followed = Followed::new(picker, args, namespace)?;
        let mut follower = Follower { source, watcher, followed, reported: BTreeSet::new() };
        follower.load();
        let run = move || {
            while follower.watcher.wait() != Wake::Stopped {
                follower.load();
            }
        };
        let spawned = thread::Builder::new().name("config".to_owned()).spawn(run);
        spawned.map_err(|source| Error::Start { what: "a thread", source })?;
        Ok(Self(stopper))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Follower {
    source: Source,
    watcher: Watcher,
    followed: Followed,
    /// Problems already logged.
    reported: BTreeSet<String>,
}

impl Follower {
    fn load(&mut self) {
        let mut contents = self.source.load(Instant::now());
        if self.watcher.watch(contents.interest.clone()) {
            // Something may have changed between the reading and the watching.
            contents = self.source.load(Instant::now());
        }
        let problem_text = |problem: &Problem| problem.to_string();
        let reported: BTreeSet<String> =
            contents.problems.iter().filter(|it| it.level > Level::Skipped).map(problem_text).collect();
        reported.difference(&self.reported).for_each(|problem| tracing::warn!("{problem}"));
        self.reported = reported;
        self.followed.take(&contents.objects);
    }
}

/// Sources that the flags name.
fn config(args: &PickerArgs, namespace: &NamespaceName) -> ConfigArgs {
    ConfigArgs {
        files: args.files.clone(),
        recursive: args.recursive,
        namespace: namespace.as_str().to_owned(),
        secrets: Vec::new(),
        addresses: Vec::new(),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        classes: Vec::new(),
        controllers: Vec::new(),
    }
}
