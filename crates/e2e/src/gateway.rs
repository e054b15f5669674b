//! A gateway under test: a process, its files, and what it prints.

use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use serde_json::Value;

use crate::client::Call;
use crate::leaks::{self, Credentials};
use crate::{address, binary, exposition, objects, wait};

/// Port of the plain listener in most tests.
pub const HTTP: u16 = 8080;
/// Port of the admin endpoint.
const ADMIN: u16 = 15000;

/// Options of a gateway.
pub struct Setup {
    address: IpAddr,
    files: Files,
    command: Command,
}

impl Setup {
    /// A gateway without objects on an address of its own.
    pub fn new() -> Self {
        Self::at(IpAddr::from(address::loopback()))
    }

    /// One that is to serve in place of another: at its address, with these objects.
    pub fn in_place_of(other: &Gateway, list: impl IntoIterator<Item = Value>) -> Self {
        Self::at(other.address).file("objects.yaml", &objects::documents(list))
    }

    fn at(address: IpAddr) -> Self {
        let files = Files::new();
        let mut command = Command::new(binary::path());
        command.args(["serve", "--bind", &address.to_string(), "--admin", &SocketAddr::new(address, ADMIN).to_string(), "-f"]);
        command.arg(&files.0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { address, files, command }
    }

    /// A gateway with these objects, in `objects.yaml`.
    pub fn with(list: impl IntoIterator<Item = Value>) -> Self {
        Self::new().file("objects.yaml", &objects::documents(list))
    }

    /// Adds a file to the directory that the gateway reads.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.files.write(name, text);
        self
    }

    /// Adds a file that the gateway does not read by itself, and tells where it is.
    pub fn aside(&self, name: &str, text: &str) -> PathBuf {
        self.files.write(&format!(".aside-{name}"), text)
    }

    /// Adds arguments to the command line.
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets it open no more than so many files and sockets. To be called last.
    pub fn descriptors(self, most: usize) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\"")]).arg(self.command.get_program());
        command.args(self.command.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, ..self }
    }

    /// Gives it a pipe as standard input.
    pub fn with_input(mut self) -> (Self, PipeWriter) {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        self.command.stdin(reader);
        (self, writer)
    }

    /// The address that its Gateways get.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Starts it without waiting for anything.
    pub fn spawn(mut self) -> Gateway {
        let mut child = self.command.spawn().expect("the binary can be started");
        let stdout = Printed::read(child.stdout.take().expect("standard output is a pipe"));
        let stderr = Printed::read(child.stderr.take().expect("standard error is a pipe"));
        Gateway { address: self.address, child, files: self.files, stdout, stderr }
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn serve(self) -> Gateway {
        let mut gateway = self.spawn();
        let ready = async {
            loop {
                if let Some(status) = gateway.child.try_wait().expect("the process can be asked") {
                    panic!("the gateway ended with {status}:\n{}", gateway.stderr());
                }
                if let Ok(reply) = Call::get("/readyz").try_send(gateway.admin()).await
                    && reply.status == StatusCode::OK
                {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        wait::within("the gateway is ready", ready).await;
        gateway
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// A running gateway. Dropping it kills it, and fails the test if it printed or shows a credential of its Secrets.
pub struct Gateway {
    address: IpAddr,
    child: Child,
    files: Files,
    stdout: Printed,
    stderr: Printed,
}

impl Gateway {
    /// A port of its.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Its plain listener in most tests.
    pub fn http(&self) -> SocketAddr {
        self.port(HTTP)
    }

    /// Its admin endpoint.
    pub fn admin(&self) -> SocketAddr {
        self.port(ADMIN)
    }

    /// Saves a file in the directory that it reads.
    pub fn save(&self, name: &str, text: &str) {
        self.files.write(name, text);
    }

    /// Saves objects in `objects.yaml`.
    pub fn save_objects(&self, list: impl IntoIterator<Item = Value>) {
        self.save("objects.yaml", &objects::documents(list));
    }

    /// Removes a file from the directory that it reads.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.files.0.join(name)).expect("the file is there");
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The access log's lines so far.
    pub fn access_log(&self) -> Vec<Value> {
        self.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line in the access log.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::eventually_some(what, || self.access_log().into_iter().find(&wanted)).await
    }

    /// A metric's sum over the series whose labels contain all of `labels`; 0 where there is none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        exposition::sum(self.admin(), name, labels).await
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells the resident size");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("the size is a number");
        kilobytes << 10
    }

    /// Its open file descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process lives").count()
    }

    /// The processor time that it has used, in hundredths of a second.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process lives");
        let fields = stat.rsplit_once(") ").expect("the name stands in parentheses").1;
        let times = fields.split(' ').skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().expect("times are numbers")).sum()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`: the program is not everywhere.
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().expect("a shell can be run");
        assert!(status.success(), "the signal is sent");
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process can be asked")
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        wait::eventually_some("the gateway ends", || self.has_ended()).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let credentials = self.files.credentials();
        let pages = if credentials.is_empty() { String::new() } else { leaks::pages(self.admin()) };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway's standard error:\n{}", self.stderr());
            let log = self.access_log();
            let last = log.iter().rev().take(5).rev().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            eprintln!("--- the access log's last lines:\n{last}");
            return;
        }
        for (place, text) in [("an admin page", pages), ("standard output", self.stdout()), ("standard error", self.stderr())] {
            let leak = credentials.find(&text);
            assert!(leak.is_none(), "{place} has a credential: {}", leak.unwrap_or_default());
        }
    }
}

/// Output of a process, read as it comes.
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    pub(crate) fn read(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = text.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).append(&mut line);
            }
        });
        Self(text)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// A directory of its own, gone when dropped.
pub(crate) struct Files(PathBuf, Mutex<Credentials>);

impl Files {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pailou-e2e-{}-{serial}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made");
        Self(path, Mutex::default())
    }

    /// Credentials of the Secrets that were written.
    fn credentials(&self) -> std::sync::MutexGuard<'_, Credentials> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Saves as editors do: a new file takes the old one's place at once.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.credentials().note(text);
        let path = self.0.join(name);
        let fresh = self.0.join(format!(".{name}.new"));
        fs::write(&fresh, text).expect("a file can be written");
        fs::rename(&fresh, &path).expect("a file can take another's place");
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}
