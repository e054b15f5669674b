//! One data plane for each Gateway, in the Gateway's own namespace: a ServiceAccount, the feed's authority, a Deployment of
//! proxies and the Service that clients reach them by; an autoscaler and a disruption budget if parameters ask for them, a NetworkPolicy if
//! the controller's options do.
//!
//! The desired state is a pure function of the objects (`plan`, `render`). `apply` brings the cluster to it by server-side
//! apply, `prune` deletes the rest, `children` observes the result, and `report` passes it to the compiler.

mod addresses;
mod apply;
mod children;
mod desired;
mod failures;
mod listed;
mod names;
mod observed;
mod plan;
mod prune;
mod render;
mod report;

pub(crate) use names::data_plane;
pub(crate) use render::{CONTROLLER_LABEL, DATA_PLANE_LABEL};

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{core::v1::LocalObjectReference, networking::v1::NetworkPolicyPeer};
use kube::Client;
use pailou_api::NamespaceName;
use tokio::{sync::watch, task::JoinSet};

use crate::Controller;
use apply::Provisioner;
use children::Children;
use report::{Refused, Reporter};

/// Begins to provision what a controller plans. `authorities` are those of the feed, in PEM, once the feed knows them. Dropping
/// the result ends it. Needs the runtime.
pub fn start(
    client: Client,
    options: Options,
    controller: &Controller,
    authorities: watch::Receiver<Option<Arc<str>>>,
) -> JoinSet<()> {
    let (send, children) = watch::channel(Children::unknown(&options.namespaces));
    let (refuse, refused) = watch::channel(Refused::default());
    let (known, settings) = (controller.known(), controller.settings().clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(children::follow(client.clone(), options.clone(), send));
    tasks.spawn(Reporter { children: children.clone(), refused, known, settings }.run());
    let (published, leadership) = (controller.published(), controller.leadership());
    tasks.spawn(Provisioner { client, options, published, children, authorities, leadership, refuse }.run());
    tasks
}

/// The shortest time from the end of one step to the next: each data plane that comes or goes is a dozen changes of observed
/// objects.
const PACE: Duration = Duration::from_millis(20);

/// Options for all data planes.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The proxies' image.
    pub image: String,
    /// When it is pulled; the cluster's own rule where absent.
    pub image_pull_policy: Option<String>,
    /// The Secrets that it is pulled with, of each Gateway's namespace.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Address of the feed for proxies: an `https` URL whose host the feed's certificate names.
    pub feed_url: String,
    /// The namespace of the controller, which tells its objects from those of another installation.
    pub namespace: String,
    /// The namespaces that are watched; all where there are none.
    pub namespaces: Vec<NamespaceName>,
    /// How long a proxy that ends finishes what is under way, in seconds.
    pub drain_seconds: u16,
    /// Levels of the proxies' log, as for `--log`.
    pub log: Option<String>,
    /// Peers that the admin endpoints admit, by a NetworkPolicy for each data plane; no policies where absent.
    pub admin_peers: Option<Vec<NetworkPolicyPeer>>,
}

/// The audience of the tokens by which proxies show who they are.
pub const FEED_AUDIENCE: &str = "pailou.dev/feed";

/// Label that names an object's Gateway. Source: Gateway API, `GatewayNameLabelKey`.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
