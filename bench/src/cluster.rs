//! A turn in a cluster: the gateway's controller and one proxy, beside an API server in memory, while routes come one by one.

mod objects;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use pailou_apiserver::{Api, serve};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn},
    time::{Instant, sleep},
};

use crate::{
    cpu,
    engine::Answer,
    error::Error,
    http::Receiver,
    load::ask,
    process::{Process, free_address},
    stats::quantile,
    subject::Subject,
    turn::Conditions,
};

/// Routes that are there from the beginning, and those that then come, each when the one before is served; few of both in a smoke test.
const ROUTES: (u32, u32) = (1000, 200);
const SMOKE_ROUTES: (u32, u32) = (20, 5);
/// Pause between two tries of a route, and how long it is tried.
const RETRY: Duration = Duration::from_micros(500);
const WITHIN: Duration = Duration::from_secs(60);
/// Time for what controller and proxy do after that.
const SETTLE: Duration = Duration::from_millis(500);

/// Results of one turn.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Clustered {
    pub(crate) subject: String,
    pub(crate) round: u32,
    /// Milliseconds from a route's creation to its first answer, by half of them and by all but a hundredth.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) controller: Part,
    pub(crate) proxy: Part,
}

/// Resources that a process used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Part {
    /// Milliseconds of processor time for each route that came.
    pub(crate) cpu_ms: f64,
    /// Bytes in memory at the end, and those of them that are no file's.
    pub(crate) bytes: u64,
    pub(crate) anonymous_bytes: u64,
}

/// Measures one build of the gateway; nothing where there is none.
///
/// # Errors
/// When a process does not start or vanishes, or a route is not served in time.
pub(crate) async fn measure(conditions: &Conditions<'_>, subject: &Subject, round: u32) -> Result<Option<Clustered>, Error> {
    let Some(program) = subject.program() else { return Ok(None) };
    let observe = |source| Error::Observe { name: subject.name.clone(), source };
    conditions.engine.set_answer(Answer::Completion);
    let (there, coming) = if conditions.smoke { SMOKE_ROUTES } else { ROUTES };
    let cluster = Cluster::start(conditions, program, there).await.map_err(observe)?;
    cluster.served(there - 1).await.map_err(observe)?;
    sleep(SETTLE).await;
    let used = cluster.used().map_err(observe)?;
    let mut waits = Vec::new();
    for number in there..there + coming {
        let created = Instant::now();
        cluster.api.apply(objects::ROUTES, objects::route(number));
        cluster.served(number).await.map_err(observe)?;
        waits.push(u64::try_from(created.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    sleep(SETTLE).await;
    let (controller, proxy) = cluster.parts(used, coming).map_err(observe)?;
    for number in there..there + coming {
        cluster.api.delete(objects::ROUTES, &objects::name(number));
    }
    sleep(SETTLE).await;
    waits.sort_unstable();
    let ms = |q| quantile(&waits, q).map_or(f64::NAN, |micros| micros as f64 / 1e3);
    Ok(Some(Clustered { subject: subject.name.clone(), round, p50_ms: ms(0.5), p99_ms: ms(0.99), controller, proxy }))
}

/// A running cluster.
struct Cluster {
    api: Api,
    gateway: SocketAddr,
    controller: Process,
    proxy: Process,
    server: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Cluster {
    /// Starts a controller, and the proxy that it asks for.
    async fn start(conditions: &Conditions<'_>, program: &Path, routes: u32) -> io::Result<Self> {
        let (gateway, feed, admin) = (free_address()?, free_address()?, free_address()?);
        let api = Api::default();
        objects::fill(&api, gateway.port(), conditions.engine.addresses(), routes);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let server = spawn(serve(api.clone(), tokio::net::TcpListener::from_std(listener)?));

        let file = |name: &str, text: &str| -> io::Result<PathBuf> {
            let path = conditions.directory.join(name);
            fs::write(&path, text).map(|()| path)
        };
        let mut command = Command::new(program);
        command.args(["controller", "--admin=off", "--feed-name=localhost", "--kubeconfig"]);
        command.arg(file("kubeconfig.json", &objects::kubeconfig(address).to_string())?);
        command.arg(format!("--feed-listen={feed}"));
        // A program that is built to be profiled is laid out for proxies, of which there are many: what only a controller runs would lie
        // among it.
        command.env("LLVM_PROFILE_FILE", "/dev/null");
        let cores = conditions.cores(1);
        let controller = Process::spawn(command, &conditions.directory.join("controller.log"), &cores)?;

        let (deployment, authorities) = provisioned(&api).await?;
        let mut command = Command::new(program);
        command.args(objects::arguments(&deployment));
        // The engines are at loopback addresses.
        command.args(["--access-log=/dev/null", "--allow-local-backends", &format!("--admin={admin}")]);
        command.arg(format!("--feed=https://localhost:{}", feed.port()));
        command.arg("--feed-ca").arg(file("feed-ca.pem", &authorities)?);
        command.arg("--feed-token").arg(file("feed-token", &objects::token(&deployment))?);
        let proxy = Process::spawn(command, &conditions.directory.join("proxy.log"), &cores)?;
        // As a kubelet asks before it lets anybody else.
        answered(admin, "/readyz").await?;
        Ok(Self { api, gateway, controller, proxy, server })
    }

    /// Waits until a route is served.
    async fn served(&self, number: u32) -> io::Result<()> {
        answered(self.gateway, &format!("/route-{number}/models")).await
    }

    /// Processor time of controller and proxy so far.
    fn used(&self) -> io::Result<(Duration, Duration)> {
        Ok((cpu::of_tree(self.controller.id())?, cpu::of_tree(self.proxy.id())?))
    }

    /// Resources that both used since then, for so many routes.
    fn parts(&self, (controller, proxy): (Duration, Duration), routes: u32) -> io::Result<(Part, Part)> {
        let part = |process: &Process, before: Duration| {
            let used = cpu::of_tree(process.id())?.saturating_sub(before);
            Ok::<_, io::Error>(Part {
                cpu_ms: used.as_secs_f64() * 1e3 / f64::from(routes),
                bytes: cpu::resident(process.id())?,
                anonymous_bytes: cpu::anonymous(process.id())?,
            })
        };
        Ok((part(&self.controller, controller)?, part(&self.proxy, proxy)?))
    }
}

/// Asks for something until the answer is 200.
async fn answered(at: SocketAddr, path: &str) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench.example.com\r\n\r\n");
    let deadline = Instant::now() + WITHIN;
    loop {
        let asked = async {
            let mut stream = TcpStream::connect(at).await?;
            ask(&mut stream, &mut Receiver::new(), request.as_bytes()).await
        };
        match asked.await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// The Deployment that the controller makes, and the authorities that it hands its pods.
async fn provisioned(api: &Api) -> io::Result<(Value, String)> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = objects::provisioned(api) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the controller provisions nothing; its log is controller.log"));
        }
        sleep(RETRY).await;
    }
}
