//! A proxy that serves what objects say: YAML, compiled.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use pailou_config::{
    compile::{Compiled, Compiler, Settings, compile},
    parse::parse,
    resources::NamespaceName,
    store::{Entry, Store},
};
use pailou_proxy::{Options, Proxy, access_log::Sink, dns::Overrides};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A Gateway, and whatever else is given.
pub(crate) struct Gateway {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
    settings: Settings,
    state: Mutex<(Store, Compiler)>,
}

impl Gateway {
    /// Serves objects on a Gateway with one listener for cleartext, at an address that nobody else uses.
    pub(crate) fn serve(objects: &str) -> Self {
        let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                       listeners: [{name: http, protocol: HTTP, port: 8080}]\n---\n";
        Self::at_own_address(&[gateway, objects].concat())
    }

    /// Serves just these objects at an address that nobody else uses; one of their listeners has port 8080.
    pub(crate) fn at_own_address(objects: &str) -> Self {
        let address = IpAddr::from(loopback());
        let settings = Settings { addresses: vec![address], ..Settings::default() };
        Self::start(objects, SocketAddr::new(address, 8080), settings)
    }

    /// Another port of its.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.ip(), port)
    }

    fn start(objects: &str, address: SocketAddr, settings: Settings) -> Self {
        let (store, mut compiler) = (store(objects), Compiler::new(settings.clone()));
        let compiled = compiler.update(&store);
        let options = Options {
            workers: 1,
            overrides: Overrides::default(),
            access_log: Sink::Off,
            response_flags: true,
            body_budget: 64 << 20,
        };
        let proxy = Proxy::start(options).unwrap();
        let errors = proxy.apply(&compiled.snapshot, &compiled.endpoints);
        assert!(errors.is_empty(), "{errors:?}");
        Self { proxy, address, settings, state: Mutex::new((store, compiler)) }
    }

    /// Serves other objects from now on.
    pub(crate) fn update(&self, objects: &str) {
        let compiled = compiled(objects, &self.settings);
        let errors = self.proxy.apply(&compiled.snapshot, &compiled.endpoints);
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// What would be served after a change of these objects and no others.
    pub(crate) fn changed(&self, objects: &str) -> Compiled {
        let mut state = self.state.lock();
        let (store, compiler) = &mut *state;
        for entry in entries(objects) {
            store.upsert(entry).unwrap();
        }
        compiler.update(store)
    }

    /// Serves what was compiled.
    pub(crate) fn apply(&self, compiled: &Compiled) {
        let errors = self.proxy.apply(&compiled.snapshot, &compiled.endpoints);
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// The answer to a request of this head, to which the end and `connection: close` are added.
    pub(crate) async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A loopback address of its own, in 127.64.0.0/10: process and serial number are in it.
fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed) % (1 << 10);
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + (std::process::id() % (1 << 12)) * (1 << 10) + serial)
}

fn compiled(objects: &str, settings: &Settings) -> Compiled {
    compile(&store(objects), settings)
}

fn store(objects: &str) -> Store {
    let mut store = Store::new();
    for entry in entries(objects) {
        store.insert(entry).unwrap();
    }
    store
}

fn entries(objects: &str) -> impl Iterator<Item = Entry> {
    let parsed = parse(objects.as_bytes(), "test", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    parsed.objects.into_iter().map(|decoded| Entry::new(decoded, "test".into()))
}

/// An address that nobody listens at.
pub(crate) fn nowhere() -> SocketAddr {
    SocketAddr::from((loopback(), 8080))
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
