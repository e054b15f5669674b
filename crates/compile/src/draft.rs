//! A cluster before the policies of a rule are laid upon it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use pailou_snapshot::{Cluster, ClusterKey, ClusterKind, EndpointKey, Failure, PickerKind, Protocol, Roots, UpstreamTls};

use super::policies::traffic::Traffic;

/// A cluster before the policies of a rule apply.
pub(crate) struct Draft {
    pub(crate) endpoints: EndpointKey,
    pub(crate) kind: ClusterKind,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Result<Option<Arc<UpstreamTls>>, Failure>,
}

impl Draft {
    /// The cluster that it is with these settings.
    pub(crate) fn cluster(self, traffic: &Traffic) -> Cluster {
        told_apart(Cluster {
            key: ClusterKey { endpoints: self.endpoints, variant: 0 },
            kind: self.kind,
            protocol: self.protocol,
            tls: self.tls,
            load_balancer: traffic.load_balancer(),
            health: traffic.health(),
            tcp_keepalive: traffic.tcp_keepalive(),
            proxy_protocol: traffic.proxy_protocol(),
            connection: traffic.connection(),
        })
    }
}

/// Gives a cluster the variant that its settings make it.
pub(crate) fn told_apart(mut cluster: Cluster) -> Cluster {
    cluster.key.variant = digest(&cluster);
    cluster
}

/// Tells apart clusters with the same endpoints. Equal settings give equal digests within one build of the program.
fn digest(cluster: &Cluster) -> u64 {
    let mut hasher = DefaultHasher::new();
    cluster.protocol.hash(&mut hasher);
    cluster.load_balancer.hash(&mut hasher);
    cluster.health.hash(&mut hasher);
    cluster.tcp_keepalive.hash(&mut hasher);
    cluster.proxy_protocol.hash(&mut hasher);
    cluster.connection.hash(&mut hasher);
    match &cluster.tls {
        Ok(Some(tls)) => hash_tls(tls, &mut hasher),
        Ok(None) => 0.hash(&mut hasher),
        Err(failure) => failure.0.hash(&mut hasher),
    }
    if let ClusterKind::Pool(pool) = &cluster.kind
        && let PickerKind::External { cluster: picker, .. } = &pool.picker
    {
        picker.hash(&mut hasher);
    }
    hasher.finish()
}

fn hash_tls(tls: &UpstreamTls, hasher: &mut DefaultHasher) {
    (&tls.sni, tls.is_by_host, &tls.names, tls.insecure_skip_verify).hash(hasher);
    (tls.min_version as u8, tls.max_version as u8).hash(hasher);
    if let Roots::Certificates(certificates) = &tls.roots {
        certificates.iter().for_each(|certificate| certificate.as_ref().hash(hasher));
    }
    if let Some(certificate) = &tls.client_certificate {
        certificate.cert.iter().for_each(|certificate| certificate.as_ref().hash(hasher));
    }
}
