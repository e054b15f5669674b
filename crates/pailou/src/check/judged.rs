//! The files as `serve` or the controller of a cluster would judge them.

use std::{collections::BTreeMap, time::Instant};

use pailou_api::{EndpointSlice, Gateway, Kind, Pod};
use pailou_compile::{
    DataPlane, Settings, compile,
    status::{GatewayAddress, Statuses},
    store::Store,
};
use pailou_snapshot::Name;

use super::assume::{Assumed, assume};
use crate::{
    cli::{CheckArgs, ConfigArgs, JudgedAs},
    configuration,
    exit::Error,
    no_endpoints,
    source::{Level, Problem, Source},
};

/// Objects of the files, and the judgement on them.
pub(super) struct Judged {
    pub(super) objects: Store,
    pub(super) statuses: Statuses,
    pub(super) problems: Vec<Problem>,
}

impl Judged {
    /// Reads and compiles the files.
    pub(super) fn new(args: &CheckArgs) -> Result<Self, Error> {
        let mut source = Source::new(&args.config)?;
        if let Some(error) = source.missing() {
            return Err(error);
        }
        let contents = source.load(Instant::now());
        let (objects, mut problems) = (contents.objects, contents.problems);
        let settings = match args.judged_as {
            JudgedAs::Standalone => configuration::settings(&args.config),
            JudgedAs::Cluster => cluster(&args.config, &objects),
        };
        problems.extend(configuration::astray(settings.gateway_addresses.keys(), &objects));
        let mut all = objects.clone();
        let assumed = if args.assume_present.is_empty() { Assumed::default() } else { assume(&mut all, &args.assume_present) };
        let compiled = compile(&all, &settings);
        problems.extend(assumed.notes());
        if args.judged_as == JudgedAs::Standalone && has_endpoints(&objects) {
            problems.extend(no_endpoints::problems(&objects, &compiled.endpoints));
        }
        Ok(Self { objects, statuses: compiled.statuses.without(&assumed.all), problems })
    }

    /// Whether a file could not be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.problems.iter().any(|problem| problem.level == Level::Unreadable)
    }
}

/// Whether the files say which endpoints there are; in manifests of an application a Deployment stands for its Pods.
fn has_endpoints(objects: &Store) -> bool {
    objects.all::<Pod>().next().is_some()
        || objects.all::<EndpointSlice>().next().is_some()
        || objects.all_undecodable().any(|it| it.key.kind == Kind::Pod.name())
}

/// Settings of a controller whose data planes are up, so that only what the files say is judged.
fn cluster(args: &ConfigArgs, objects: &Store) -> Settings {
    let mut settings = Settings::cluster();
    settings.classes.extend(args.classes.iter().cloned());
    settings.controllers.extend(args.controllers.iter().cloned());
    let planes = objects.all::<Gateway>().map(|gateway| (Name::new(&gateway.meta.namespace, &gateway.meta.name), plane(gateway)));
    settings.data_planes = Some(planes.collect::<BTreeMap<_, _>>());
    settings
}

/// A data plane that has the addresses which its Gateway asks for.
fn plane(gateway: &Gateway) -> DataPlane {
    let is_ip = |kind: &str| kind != "Hostname";
    let asked = gateway.spec.addresses.iter().map(|asked| {
        let value = asked.value.clone().unwrap_or_else(|| ANY_ADDRESS.to_owned());
        GatewayAddress { kind: if is_ip(&asked.kind) { "IPAddress" } else { "Hostname" }, value, routability: None }
    });
    let mut addresses: Vec<_> = asked.collect();
    if addresses.is_empty() {
        addresses.push(GatewayAddress { kind: "IPAddress", value: ANY_ADDRESS.to_owned(), routability: None });
    }
    let within = addresses.iter().cloned().map(|address| address.reached_from(pailou_compile::CLUSTER)).collect();
    DataPlane { addresses, within, ready: true, ..DataPlane::default() }
}

/// Stands for the address that a cluster would give. It is one of those for documentation (RFC 5737).
const ANY_ADDRESS: &str = "192.0.2.1";
