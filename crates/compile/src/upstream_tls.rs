//! BackendTLSPolicy: TLS towards Services, Backends and InferencePools.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::status::{Condition, Problem, SectionReference, Severity, Statuses};
use pailou_api::{
    BackendTlsPolicy, Kind, ObjectKey,
    backend_tls_policy::SubjectAltName,
    envoy::ENVOY_GROUP,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
    refs::{GATEWAY_GROUP, PolicyTargetReference},
};
use pailou_snapshot::{Failure, Roots, San, TlsVersion, UpstreamTls};

use super::{
    authorities,
    gateway::Gateways,
    grants::Referrer,
    ids::{ById, GatewayId, PolicyId},
    index::{Index, name_of},
    policies::report::{Ancestors, write},
    wrong_kind::{self, Named},
};

/// A target: group, namespace, name, section. Only one kind of each group can be one.
type Target<'a> = (&'a str, &'a str, &'a str, Option<&'a str>);

/// All BackendTLSPolicies.
pub(crate) struct TlsPolicies<'a> {
    policies: ById<PolicyId, Policy<'a>>,
    winners: HashMap<Target<'a>, PolicyId>,
}

struct Policy<'a> {
    object: &'a BackendTlsPolicy,
    tls: Result<Arc<UpstreamTls>, Failure>,
    problems: Vec<Problem>,
    /// Targets that an older policy has, with that policy.
    lost: Vec<(String, PolicyId)>,
    notes: Vec<String>,
    gateways: BTreeSet<GatewayId>,
}

impl<'a> TlsPolicies<'a> {
    /// Reads all policies; the oldest wins each target.
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let mut all = Self { policies: ById::default(), winners: HashMap::new() };
        for object in index.backend_tls_policies.iter() {
            let (tls, problems) = read(index, object);
            let id = all.policies.next();
            let mut policy = Policy { object, tls, problems, lost: Vec::new(), notes: Vec::new(), gateways: BTreeSet::new() };
            for reference in &object.spec.target_refs {
                match target(index, &object.meta.namespace, reference) {
                    Ok(target) => {
                        let winner = *all.winners.entry(target).or_insert(id);
                        if winner != id {
                            policy.lost.push((format!("{} {}", reference.kind, reference.name), winner));
                        }
                    }
                    Err(note) => policy.notes.push(note),
                }
            }
            all.policies.push(policy);
        }
        all
    }

    /// TLS towards a Service's port: a policy of the port wins over one of the whole Service.
    pub(crate) fn of_service(
        &self,
        namespace: &str,
        name: &str,
        port: &str,
    ) -> Option<(PolicyId, Result<Arc<UpstreamTls>, Failure>)> {
        let own = self.winners.get(&("", namespace, name, Some(port)));
        self.at(own.or_else(|| self.winners.get(&("", namespace, name, None))))
    }

    /// TLS towards a Backend.
    pub(crate) fn of_backend(&self, namespace: &str, name: &str) -> Option<(PolicyId, Result<Arc<UpstreamTls>, Failure>)> {
        self.at(self.winners.get(&(ENVOY_GROUP, namespace, name, None)))
    }

    /// TLS towards the endpoints of an InferencePool.
    pub(crate) fn of_pool(
        &self,
        group: &str,
        namespace: &str,
        name: &str,
    ) -> Option<(PolicyId, Result<Arc<UpstreamTls>, Failure>)> {
        self.at(self.winners.get(&(group, namespace, name, None)))
    }

    fn at(&self, id: Option<&PolicyId>) -> Option<(PolicyId, Result<Arc<UpstreamTls>, Failure>)> {
        id.map(|id| (*id, self.policies[*id].tls.clone()))
    }

    /// A route attached to this Gateway makes use of the policy.
    pub(crate) fn reached(&mut self, id: PolicyId, gateway: GatewayId) {
        self.policies[id].gateways.insert(gateway);
    }

    /// Writes down every policy's status.
    pub(crate) fn report(&self, gateways: &Gateways<'_>, statuses: &mut Statuses) {
        for (_, policy) in self.policies.iter() {
            let meta = &policy.object.meta;
            let key = ObjectKey::new(GATEWAY_GROUP, "BackendTLSPolicy", &meta.namespace, &meta.name);
            for note in &policy.notes {
                statuses.note(key.clone(), Severity::Error, note.clone());
            }
            // A policy that lost everything counts as reached through the winner.
            let borrowed = policy.lost.iter().flat_map(|(_, winner)| &self.policies[*winner].gateways);
            let reached: BTreeSet<GatewayId> = policy.gateways.iter().chain(borrowed).copied().collect();
            if reached.is_empty() {
                let message = "no route of a served Gateway leads to the policy's targets";
                statuses.note(key.clone(), Severity::Warning, message);
                for problem in &policy.problems {
                    statuses.note(key.clone(), Severity::Error, problem.message.clone());
                }
            }
            let conditions = self.conditions(policy);
            let ancestors: Ancestors<'_> = reached
                .into_iter()
                .map(|id| &gateways[id])
                .map(|gateway| (SectionReference::gateway(&gateway.name), (gateway.controller, conditions.clone())))
                .collect::<BTreeMap<_, _>>();
            write(key, ancestors, statuses);
        }
    }

    fn conditions(&self, policy: &Policy<'_>) -> Vec<Condition> {
        let generation = policy.object.meta.generation;
        let mut problems = policy.problems.clone();
        for (target, winner) in &policy.lost {
            let winner = name_of(&self.policies[*winner].object.meta);
            let message = format!("{target} has an older policy already, {winner}: change or remove one of the two");
            problems.insert(0, Problem::accepted("Conflicted", message));
        }
        let unused: Vec<_> = policy.object.spec.options.keys().map(|key| format!("options[{key}]")).collect();
        let warning = super::warnings::unsupported(unused.iter().map(String::as_str), generation);
        let conditions =
            [Condition::summary("Accepted", &problems, generation), Condition::summary("ResolvedRefs", &problems, generation)];
        conditions.into_iter().chain(warning).collect()
    }
}

fn target<'a>(index: &Index<'_>, namespace: &'a str, reference: &'a PolicyTargetReference) -> Result<Target<'a>, String> {
    let (name, section) = (reference.name.as_str(), reference.section_name.as_deref());
    let missing = || format!("the target {} {name} does not exist in namespace {namespace}", reference.kind);
    let group = &*reference.group;
    match (group, &*reference.kind) {
        ("", "Service") => {
            let service = index.services.get(namespace, name).ok_or_else(missing)?;
            if let Some(section) = section.filter(|section| service.spec.ports.iter().all(|port| port.name != *section)) {
                return Err(format!("the target Service {name} has no port named {section}"));
            }
            Ok((group, namespace, name, section))
        }
        (ENVOY_GROUP, "Backend") => {
            index.backends.get(namespace, name).ok_or_else(missing)?;
            Ok((group, namespace, name, None))
        }
        (INFERENCE_GROUP | INFERENCE_X_GROUP, "InferencePool") => {
            index.pool(group, namespace, name).ok_or_else(missing)?;
            Ok((group, namespace, name, None))
        }
        (group, kind) => {
            let problem = wrong_kind::message(Named { group, kind, name }, &[Kind::Service, Kind::Backend, Kind::InferencePool]);
            Err(format!("targetRefs: {problem}"))
        }
    }
}

fn read(index: &Index<'_>, policy: &BackendTlsPolicy) -> (Result<Arc<UpstreamTls>, Failure>, Vec<Problem>) {
    let validation = &policy.spec.validation;
    let (roots, mut problems) = match validation.well_known_ca_certificates.as_deref() {
        Some("System") => (Some(Roots::System), Vec::new()),
        Some(other) => {
            let message = format!("validation.wellKnownCACertificates: {other} is not known: use System");
            (None, vec![Problem::accepted("Invalid", message)])
        }
        None => {
            let (certificates, problems) = {
                let from = Referrer { group: GATEWAY_GROUP, kind: "BackendTLSPolicy", namespace: &policy.meta.namespace };
                authorities::read(index, from, &validation.ca_certificate_refs)
            };
            ((!certificates.is_empty()).then(|| authorities::roots(certificates)), problems)
        }
    };
    let Some(roots) = roots else {
        let message = "no authority can be trusted: connections to the targets fail until validation names one";
        problems.insert(0, Problem::accepted("NoValidCACertificate", message));
        let texts: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        let failure = format!("BackendTLSPolicy {}/{}: {}", policy.meta.namespace, policy.meta.name, texts.join("; "));
        return (Err(Failure(failure.into())), problems);
    };
    let sni: Arc<str> = validation.hostname.as_str().into();
    let names = validation.subject_alt_names.iter().map(|name| match name {
        SubjectAltName::Hostname(name) => San::Hostname(name.as_str().into()),
        SubjectAltName::Uri(uri) => San::Uri(uri.as_str().into()),
    });
    let mut names: Vec<_> = names.collect();
    if names.is_empty() {
        names.push(San::Hostname(sni.clone()));
    }
    let tls = UpstreamTls {
        sni,
        is_by_host: false,
        names,
        roots,
        insecure_skip_verify: false,
        client_certificate: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    };
    (Ok(Arc::new(tls)), problems)
}
