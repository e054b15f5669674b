//! From sources to what is served: the path that `check`, start-up and reload share.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use pailou_api::{Gateway, NamespaceName, Object};
use pailou_compile::{Compiler, Settings, status::Statuses, store::Store};
use pailou_snapshot::{Endpoints, LimitService, LimitStore, Name, Snapshot};

use crate::{
    cli::ConfigArgs,
    exit::Error,
    no_endpoints, session_key,
    source::{Interest, Level, Problem, Source},
};

/// Sources, and how their objects are read.
#[derive(Debug)]
pub(crate) struct Configuration {
    source: Source,
    settings: Settings,
    compiler: Compiler,
    /// Gateways that `--address` names.
    addressed: Vec<Name>,
}

/// A configuration at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The objects.
    pub(crate) objects: Arc<Store>,
    /// Their statuses.
    pub(crate) statuses: Arc<Statuses>,
    /// Problems of their files.
    pub(crate) problems: Arc<[Problem]>,
    /// Routes, listeners and policies to serve.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Endpoints of the clusters.
    pub(crate) endpoints: Arc<Endpoints>,
    /// Files and directories whose changes matter.
    pub(crate) interest: Interest,
}

impl Configuration {
    /// The configuration that the command line describes. Standard input is read to its end.
    pub(crate) fn new(args: &ConfigArgs) -> Result<Self, Error> {
        let settings = settings(args);
        let addressed = settings.gateway_addresses.keys().cloned().collect();
        Ok(Self { source: Source::new(args)?, compiler: Compiler::new(settings.clone()), settings, addressed })
    }

    /// A configuration that never changes, of objects that are at hand.
    pub(crate) fn of_objects(namespace: NamespaceName, objects: Vec<Object>, settings: Settings) -> Self {
        Self {
            source: Source::of_objects(namespace, objects),
            compiler: Compiler::new(settings.clone()),
            settings,
            addressed: Vec::new(),
        }
    }

    /// Keeps listeners from the address of the admin endpoint.
    pub(crate) fn reserve_admin(&mut self, address: Option<SocketAddr>) {
        self.settings.admin = address;
        self.compiler.settle(&self.settings);
    }

    /// Counts global limits in this store, or by this rate limit service, whatever the objects say.
    pub(crate) fn count_in(&mut self, store: Option<LimitStore>, service: Option<LimitService>) {
        if store.is_some() || service.is_some() {
            (self.settings.limit_store, self.settings.limit_service) = (store.map(Arc::new), service.map(Arc::new));
            self.compiler.settle(&self.settings);
        }
    }

    /// The first path of the command line that is not there.
    pub(crate) fn missing(&self) -> Option<Error> {
        self.source.missing()
    }

    /// Reads and compiles everything, unless nothing has changed since `before`.
    pub(crate) fn load(&mut self, before: Option<&Loaded>) -> Loaded {
        let contents = self.source.load(Instant::now());
        let mut problems: Vec<_> = contents.problems.into_iter().chain(astray(&self.addressed, &contents.objects)).collect();
        if let Some(before) = before.filter(|before| before.objects.is_same(&contents.objects)) {
            problems.extend(no_endpoints::problems(&before.objects, &before.endpoints));
            problems.extend(session_key::problem(&before.objects));
            return Loaded { problems: problems.into(), interest: contents.interest, ..before.clone() };
        }
        let compiled = self.compiler.update(&contents.objects);
        problems.extend(no_endpoints::problems(&contents.objects, &compiled.endpoints));
        problems.extend(session_key::problem(&contents.objects));
        Loaded {
            objects: Arc::new(contents.objects),
            statuses: compiled.statuses,
            problems: problems.into(),
            snapshot: compiled.snapshot,
            endpoints: compiled.endpoints,
            interest: contents.interest,
        }
    }
}

/// The compiler's settings without a cluster.
pub(crate) fn settings(args: &ConfigArgs) -> Settings {
    let session_key = session_key::of_process();
    let mut settings = Settings { addresses: vec![args.bind], session_key, ..Settings::default() };
    settings.classes.extend(args.classes.iter().cloned());
    settings.controllers.extend(args.controllers.iter().cloned());
    for gateway in &args.addresses {
        let namespace = gateway.namespace.as_deref().unwrap_or(&args.namespace);
        settings.gateway_addresses.insert(Name::new(namespace, &gateway.name), gateway.address);
    }
    settings
}

/// Gateways that `--address` names and that are not there.
pub(crate) fn astray<'a>(addressed: impl IntoIterator<Item = &'a Name>, objects: &Store) -> impl Iterator<Item = Problem> {
    let is_there = |name: &Name| objects.find::<Gateway>(&name.namespace, &name.name).is_some();
    let problem = |name: &Name| {
        let message = format!("there is no Gateway {name}; it has no effect");
        Problem { origin: "--address".to_owned(), line: None, message, level: Level::Warning }
    };
    addressed.into_iter().filter(move |name| !is_there(name)).map(problem)
}
