//! `--assume-present`: objects that the files refer to and do not hold count as there, as another file or the cluster has them.

use std::collections::{BTreeMap, BTreeSet};

use pailou_api::{
    InferencePool, Kind, NamespaceName, Object, ObjectKey, PortNumber,
    inference_model::PoolRef,
    inference_pool::INFERENCE_GROUP,
    parse::parse_object,
    references::References,
    refs::{GATEWAY_GROUP, ParentReference, PolicyTargetReference},
};
use pailou_compile::store::{Entry, Store};

use super::placeholder::{Details, ListenerProtocol, Placeholder};
use crate::{
    cli::AssumedKind,
    source::{Level, Problem},
};

/// Puts placeholders of these kinds into `objects`. Gives the keys of those that stand for an object which the files refer to first, and
/// of all that had to be made.
pub(super) fn assume(objects: &mut Store, kinds: &[AssumedKind]) -> Assumed {
    let mut assumed = Assumed::default();
    let Some(placeholder) = Placeholder::new() else { return assumed };
    let mut wanted = Wanted::default();
    for (_, entry) in objects.iter() {
        wanted.add_object(&entry.object);
    }
    // A pool of the other group is there in its place, or is what a reference in the wrong group means.
    let is_there = |key: &ObjectKey| match &*key.kind {
        "InferencePool" => objects.find::<InferencePool>(&key.namespace, &key.name).is_some(),
        _ => objects.entry(key).is_some(),
    };
    wanted.0.retain(|key, _| !is_there(key) && kinds.iter().any(|kind| kind.is(&key.kind)));
    assumed.referred = wanted.0.keys().cloned().collect();
    let namespace = NamespaceName::try_from("default").expect("a valid name");
    for (key, details) in &wanted.0 {
        for value in placeholder.objects(key, details) {
            let Ok(decoded) = parse_object(value, "assumed", &namespace) else { continue };
            let key = decoded.object.key();
            if objects.insert(Entry::new(decoded, "assumed".into())).is_ok() {
                assumed.all.insert(key);
            }
        }
    }
    assumed
}

/// Placeholders that were made.
#[derive(Default)]
pub(super) struct Assumed {
    /// Those that the files refer to.
    referred: BTreeSet<ObjectKey>,
    /// These, and what they need.
    pub(super) all: BTreeSet<ObjectKey>,
}

impl Assumed {
    /// A note for each object that the files refer to.
    pub(super) fn notes(&self) -> impl Iterator<Item = Problem> {
        self.referred.iter().filter(|key| self.all.contains(key)).map(|key| Problem {
            origin: "--assume-present".to_owned(),
            line: None,
            message: format!("{key} counts as there"),
            level: Level::Assumed,
        })
    }
}

/// Objects that others refer to.
#[derive(Default)]
struct Wanted(BTreeMap<ObjectKey, Details>);

impl Wanted {
    fn add_object(&mut self, object: &Object) {
        object.references(&mut |reference| {
            let to = reference.to;
            let details = self.details(reference.kind, to.group, to.namespace, to.name);
            details.ports.extend(reference.port.map(PortNumber::get));
            if to.namespace != reference.from.namespace && !to.namespace.is_empty() {
                let from = reference.from;
                details.referrers.insert((from.group.to_owned(), from.kind.to_owned(), from.namespace.to_owned()));
            }
        });
        let namespace = object.meta().namespace.as_str();
        match object {
            Object::HttpRoute(it) => self.add_parents(&it.spec.parent_refs, namespace, ListenerProtocol::Http),
            Object::GrpcRoute(it) => self.add_parents(&it.spec.parent_refs, namespace, ListenerProtocol::Http),
            Object::TlsRoute(it) => self.add_parents(&it.spec.parent_refs, namespace, ListenerProtocol::Tls),
            Object::TcpRoute(it) => self.add_parents(&it.spec.parent_refs, namespace, ListenerProtocol::Tcp),
            Object::UdpRoute(it) => self.add_parents(&it.spec.parent_refs, namespace, ListenerProtocol::Udp),
            Object::ListenerSet(it) => {
                let parent = &it.spec.parent_ref;
                let namespace = parent.namespace.as_deref().unwrap_or(namespace);
                self.details(Kind::Gateway, GATEWAY_GROUP, namespace, &parent.name);
            }
            Object::BackendTlsPolicy(it) => self.add_targets(&it.spec.target_refs, namespace),
            Object::ClientTrafficPolicy(it) => self.add_targets(&it.spec.targets(), namespace),
            Object::BackendTrafficPolicy(it) => self.add_targets(&it.spec.targets(), namespace),
            Object::SecurityPolicy(it) => self.add_targets(&it.spec.targets(), namespace),
            Object::EnvoyExtensionPolicy(it) => self.add_targets(&it.spec.targets(), namespace),
            Object::InferenceModel(it) => self.add_pool(&it.spec.pool_ref, namespace),
            Object::InferenceModelRewrite(it) => self.add_pool(&it.spec.pool_ref, namespace),
            Object::InferenceObjective(it) => self.add_pool(&it.spec.pool_ref, namespace),
            _ => {}
        }
    }

    fn add_parents(&mut self, parents: &[ParentReference], namespace: &str, protocol: ListenerProtocol) {
        for parent in parents {
            let Some(kind) = Kind::find(&parent.group, &parent.kind) else { continue };
            let namespace = parent.namespace.as_deref().unwrap_or(namespace);
            let details = self.details(kind, &parent.group, namespace, &parent.name);
            details.listeners.insert((
                parent.section_name.as_deref().map(str::to_owned),
                parent.port.map(PortNumber::get),
                protocol,
            ));
        }
    }

    fn add_targets(&mut self, targets: &[PolicyTargetReference], namespace: &str) {
        for target in targets {
            let Some(kind) = Kind::find(&target.group, &target.kind) else { continue };
            let details = self.details(kind, &target.group, namespace, &target.name);
            let section = target.section_name.as_deref().map(str::to_owned);
            details.rules.extend(section.clone());
            details.listeners.insert((section, None, ListenerProtocol::Http));
        }
    }

    fn add_pool(&mut self, pool: &PoolRef, namespace: &str) {
        // A reference of either group finds the pool of the other.
        self.details(Kind::InferencePool, INFERENCE_GROUP, namespace, &pool.name);
    }

    fn details(&mut self, kind: Kind, group: &str, namespace: &str, name: &str) -> &mut Details {
        self.0.entry(ObjectKey::new(group.to_owned(), kind.name(), namespace, name)).or_default()
    }
}
