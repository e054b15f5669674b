//! `pailou controller`: the part of a gateway that follows a cluster.

use std::{iter, sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::LocalObjectReference;
use pailou_compile::{SessionKeySource, Settings};
use pailou_control::{
    ClusterState, CompiledState, Connection, Controller, Metrics, Options,
    feed::{self, admin_token::AdminSigner},
    leader, provision,
    proxies::{Proxies, ProxyPod},
    session_key,
};
use pailou_snapshot::PortKey;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    admin::{
        self,
        object_rows::{self, PageQuery},
        routes_page,
        state::{AdminState, Component, pretty},
    },
    cli::ControllerArgs,
    document::Document,
    exit::{Error, ExitOutcome},
    gather::{Gatherer, Listing, ProxySource, ProxyTarget},
    overview::{ControllerCounts, ObjectsCache, Overview, by_name},
    runtime,
    serve::admin_guard,
    signals::Signals,
    source::Strictness,
};

/// Follows the cluster until a signal comes.
pub(crate) fn run(args: &ControllerArgs) -> Result<ExitOutcome, Error> {
    // Long work has threads of its own; to wake one for each event of a watch costs as much as the event.
    let guard = admin_guard(args.admin_token_file.as_deref())?;
    runtime::one_thread()?.block_on(async {
        let mut signals = Signals::new(None)?;
        let listener = match args.admin.0 {
            Some(address) => Some(admin::bind(address).await?),
            None => None,
        };
        let connection = Connection::new(args.kubeconfig.as_deref()).await.map_err(Error::Cluster)?;
        let namespace = args.namespace.as_ref().map_or_else(|| connection.namespace.clone(), ToString::to_string);
        let options = options(args, &connection, namespace.clone());
        tracing::info!("following {} as {}", connection.origin, options.lease.identity);
        let key = tokio::spawn(session_key::create(connection.client.clone(), namespace.clone()));
        let controller = Controller::start(connection.client.clone(), options);
        let feed = feed::Feed::start(connection.client.clone(), feed_options(args, &namespace), controller.known());
        let feed = feed.await.map_err(|source| Error::Bind {
            port: PortKey::tcp(args.feed_listen),
            purpose: "the feed of the proxies".to_owned(),
            source,
            hint: "give another address with --feed-listen".to_owned(),
        })?;
        let proxies = ProvisionedProxies {
            pods: Proxies::new(connection.client.clone(), namespace.clone(), args.watch_namespaces.clone(), controller.known()),
            signer: feed.signer(),
        };
        let provisioning = provision::start(connection.client, provisioning(args, namespace), &controller, feed.authorities());
        let component = ControllerComponent {
            known: controller.known(),
            published: controller.published(),
            metrics: controller.metrics(),
            leader: controller.leader(),
            objects: ObjectsCache::default(),
            gatherer: Arc::new(Gatherer::new(proxies)),
        };
        let admin_state = Arc::new(AdminState::new(component).guarded(guard));
        if let (Some(listener), Some(address)) = (listener, args.admin.0) {
            tracing::info!("admin endpoint on http://{address}");
            tokio::spawn(admin::serve(listener, admin_state.clone()));
        }
        let signal = signals.next().await;
        tracing::info!("{signal}: releasing the Lease; a second signal ends at once");
        admin_state.drain();
        drop(provisioning);
        key.abort();
        tokio::select! {
            () = controller.stop() => {}
            signal = signals.next() => tracing::warn!("{signal} again: ending at once"),
        }
        Ok(ExitOutcome::Done)
    })
}

fn feed_options(args: &ControllerArgs, namespace: &str) -> feed::Options {
    let service = &args.service;
    feed::Options {
        listen: args.feed_listen,
        namespace: namespace.to_owned(),
        secret: args.feed_secret.clone(),
        names: iter::once(format!("{service}.{namespace}.svc")).chain(args.feed_names.iter().cloned()).collect(),
    }
}

fn provisioning(args: &ControllerArgs, namespace: String) -> provision::Options {
    let secret = |name: &String| LocalObjectReference { name: name.clone() };
    provision::Options {
        image: args.proxy_image.clone(),
        image_pull_policy: args.proxy_image_pull_policy.clone(),
        image_pull_secrets: args.proxy_image_pull_secrets.iter().map(secret).collect(),
        feed_url: format!("https://{}.{namespace}.svc:{}", args.service, args.feed_listen.port()),
        namespace,
        namespaces: args.watch_namespaces.clone(),
        drain_seconds: args.proxy_drain,
        log: args.proxy_log.clone(),
        admin_peers: args.proxy_admin_peers.as_ref().map(|peers| peers.0.clone()),
    }
}

fn options(args: &ControllerArgs, connection: &Connection, namespace: String) -> Options {
    // The provisioner tells of them.
    let settings = Settings {
        controllers: args.controllers.clone(),
        data_planes: None,
        session_key: SessionKeySource { namespace: Some(namespace.clone()), fallback: None },
        ..Settings::cluster()
    };
    Options {
        namespaces: args.watch_namespaces.clone(),
        origin: connection.origin.clone(),
        settings,
        lease: leader::Options {
            namespace,
            name: args.lease.clone(),
            identity: args.identity.clone().unwrap_or_else(leader::random_identity),
            duration: leader::LEASE_DURATION,
        },
    }
}

/// The controller, as the admin endpoint shows it.
struct ControllerComponent {
    known: watch::Receiver<Option<ClusterState>>,
    published: watch::Receiver<Option<CompiledState>>,
    leader: watch::Receiver<String>,
    metrics: Arc<Metrics>,
    objects: ObjectsCache,
    gatherer: Arc<Gatherer>,
}

/// Proxies that the controller provisions.
struct ProvisionedProxies {
    pods: Proxies,
    signer: watch::Receiver<Option<Arc<AdminSigner>>>,
}

impl ProxySource for ProvisionedProxies {
    fn list(&self, most: usize) -> Listing<'_> {
        Box::pin(async move {
            let (pods, omitted) =
                self.pods.list(most).await.map_err(|error| format!("the API server does not list them: {error}"))?;
            let target = |ProxyPod { gateway, name, admin }| ProxyTarget { gateway, name, admin };
            Ok((pods.into_iter().map(target).collect(), omitted))
        })
    }

    fn token(&self, proxy: &ProxyTarget) -> Option<String> {
        self.signer.borrow().as_ref()?.token(&proxy.gateway, &proxy.name, SystemTime::now())
    }
}

impl Component for ControllerComponent {
    fn is_ready(&self) -> bool {
        self.known.borrow().is_some()
    }

    fn encode_metrics(&self, text: &mut String) {
        self.metrics.encode(text);
    }

    fn overview(&self) -> Overview {
        let published = self.published.borrow().clone();
        let objects = published.map(|published| self.objects.of(&published.compiled.statuses)).unwrap_or_default();
        let counts = ControllerCounts {
            leader: self.metrics.is_leader(),
            leader_name: Some(self.leader.borrow().clone()).filter(|name| !name.is_empty()),
            objects: self.metrics.objects(),
            status_writes: by_name(self.metrics.status_writes()),
        };
        Overview {
            kind: "controller".to_owned(),
            controller: Some(counts),
            problems: objects.problems,
            gateways: Some(objects.gateways),
            gateways_omitted: objects.gateways_omitted,
            ..Overview::default()
        }
    }

    fn gatherer(&self) -> Option<&Arc<Gatherer>> {
        Some(&self.gatherer)
    }

    fn routes(&self, query: &PageQuery) -> Option<String> {
        let compiled = self.published.borrow().clone()?.compiled;
        Some(pretty(&routes_page::page(query, &compiled.statuses, Some(&compiled.snapshot), None)))
    }

    fn objects(&self, query: &PageQuery) -> Option<String> {
        Some(pretty(&object_rows::page(query, &self.published.borrow().clone()?.compiled.statuses)))
    }

    fn no_objects(&self) -> String {
        match &**self.leader.borrow() {
            "" => "no replica of the controller is known to lead, and only the one that does has the objects\n".to_owned(),
            _ if self.metrics.is_leader() => {
                "this replica has begun to lead, and does not have the objects yet: ask again\n".to_owned()
            }
            name => format!("this replica does not lead, and has no objects: ask {name}, which does\n"),
        }
    }

    fn status(&self) -> String {
        match self.published.borrow().clone() {
            Some(published) => pretty(&Document::new(&published.compiled.statuses, &[], Strictness::SERVING)),
            None => pretty(&json!({})),
        }
    }
}
