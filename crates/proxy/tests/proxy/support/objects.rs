//! A proxy that serves what objects say: YAML, compiled.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    Settings, compile,
    store::{Entry, Store},
};
use pailou_proxy::{Options, Proxy, access_log::Sink, local_addresses::LocalAddresses};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{log::Log, options};

/// The Gateway of most tests.
pub(crate) const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                       listeners: [{name: http, protocol: HTTP, port: 8080}]\n---\n";

/// A Gateway, and whatever else is given.
pub(crate) struct Gateway {
    pub(crate) proxy: Proxy,
    pub(crate) log: Log,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Settings,
}

impl Gateway {
    /// Serves objects on a Gateway with one listener for cleartext, at an address that nobody else uses.
    pub(crate) fn serve(objects: &str) -> Self {
        Self::at_own_address(&[GATEWAY, objects].concat())
    }

    /// The same where URLs of policies must not lead to the machine itself.
    pub(crate) fn serve_without_local_urls(objects: &str) -> Self {
        Self::start(&[GATEWAY, objects].concat(), [LocalAddresses::Refused, LocalAddresses::Allowed])
    }

    /// The same where backends must not be the machine itself.
    pub(crate) fn serve_without_local_backends(objects: &str) -> Self {
        Self::start(&[GATEWAY, objects].concat(), [LocalAddresses::Allowed, LocalAddresses::Refused])
    }

    /// Serves just these objects at an address that nobody else uses; one of their listeners has port 8080.
    pub(crate) fn at_own_address(objects: &str) -> Self {
        Self::start(objects, [LocalAddresses::Allowed; 2])
    }

    /// Another port of its.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.ip(), port)
    }

    fn start(objects: &str, [local_addresses, local_backends]: [LocalAddresses; 2]) -> Self {
        let address = IpAddr::from(loopback());
        let settings = Settings { addresses: vec![address], ..Settings::default() };
        let address = SocketAddr::new(address, 8080);
        let log = Log::default();
        let options = Options { local_addresses, local_backends, ..options(1, Sink::To(Box::new(log.clone()))) };
        let proxy = Proxy::start(options).unwrap();
        let gateway = Self { proxy, log, address, settings };
        gateway.update(objects);
        gateway
    }

    /// Serves other objects from now on.
    pub(crate) fn update(&self, objects: &str) {
        let compiled = compile(&store(objects), &self.settings);
        let errors = self.proxy.apply(&compiled.snapshot, &compiled.endpoints);
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// The value of a metric's series, which is named as it is shown; 0 where there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let mut text = String::new();
        self.proxy.encode_metrics(&mut text);
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// The answer to these bytes.
    pub(crate) async fn raw(&self, bytes: &str) -> String {
        raw(self.address, bytes).await
    }

    /// The answer to a request of this head, to which the end and `connection: close` are added.
    pub(crate) async fn ask(&self, head: &str) -> String {
        self.raw(&format!("{head}\r\nconnection: close\r\n\r\n")).await
    }
}

/// The answer of a server to these bytes.
pub(crate) async fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A loopback address of its own, in 127.64.0.0/10: process and serial number are in it.
fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed) % (1 << 10);
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + (std::process::id() % (1 << 12)) * (1 << 10) + serial)
}

/// These objects and no others.
pub(crate) fn store(objects: &str) -> Store {
    let mut store = Store::new();
    for entry in entries(objects) {
        store.insert(entry).unwrap();
    }
    store
}

/// Objects as a source reads them.
pub(crate) fn entries(objects: &str) -> impl Iterator<Item = Entry> {
    let parsed = parse(objects.as_bytes(), "test", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    parsed.objects.into_iter().map(|decoded| Entry::new(decoded, "test".into()))
}

/// An address that nobody listens at.
pub(crate) fn nowhere() -> SocketAddr {
    SocketAddr::from((loopback(), 8080))
}

/// HTTPRoute `models` of Gateway `gw`: a rule for each of two models, to one Backend.
pub(crate) fn model_route(backend: &str, models: [&str; 2]) -> String {
    let rule = |model: &str| {
        format!(
            "{{matches: [{{headers: [{{name: X-Gateway-Model-Name, value: {model}}}]}}], backendRefs: [{{group: gateway.envoyproxy.io, kind: \
             Backend, name: {backend}}}]}}"
        )
    };
    let [first, second] = models.map(rule);
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: models}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{first}, {second}]\n"
    )
}

/// A Backend at an address, with these fields more.
pub(crate) fn backend(name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\nspec: {{endpoints: [{{ip: {{address: {}, \
         port: {}}}}}]{more}}}\n",
        address.ip(),
        address.port()
    )
}

/// A route for everything, with one rule made of these fields.
pub(crate) fn route(rule: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: route}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{rule}]\n"
    )
}
