//! Real servers to count limits in: Valkey where it is installed, else Redis.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// A server, whose keys are gone when it ends. Dropping it kills it.
pub struct Server {
    /// Its port.
    pub port: u16,
    arguments: Vec<String>,
    child: Child,
    directory: PathBuf,
}

/// The program; `None` where there is none, and none is required.
pub fn program() -> Option<&'static str> {
    let is_there = |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let found = ["valkey-server", "redis-server"].into_iter().find(is_there);
    assert!(
        found.is_some() || std::env::var_os("PAILOU_E2E_REQUIRE").is_none(),
        "neither valkey-server nor redis-server is installed"
    );
    if found.is_none() {
        println!("left out: neither valkey-server nor redis-server is installed");
    }
    found
}

/// A port that is free, as is the one that a cluster's nodes speak to each other on. The system gives neither to those who ask for any port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 1000 * 10;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = 10_000 + (first as u16 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// A directory of its own.
pub fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pailou-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::create_dir_all(&path).expect("a directory can be made");
    path
}

impl Server {
    /// A server with these arguments besides its port; `None` where there is no program.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        Self::at(free_port(), arguments)
    }

    /// One on this port.
    pub fn at(port: u16, arguments: &[&str]) -> Option<Self> {
        let directory = directory();
        let own = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"];
        let arguments: Vec<_> = own.iter().chain(arguments).map(ToString::to_string).collect();
        let child = spawn(port, &arguments, &directory)?;
        let server = Self { port, arguments, child, directory };
        server.wait();
        Some(server)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server ends");
    }

    /// Starts it again, empty.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.directory).expect("the program was there before");
        self.wait();
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("there is kill").success());
    }

    /// Sends a command without arguments that have spaces, and gives its first line.
    pub fn command(&self, line: &str) -> String {
        // A signal interrupts, and a server that changes its role closes what it has open.
        for _ in 0..50 {
            if let Ok(answer) = try_command(self.port, line) {
                return answer;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not answer {line}")
    }

    fn wait(&self) {
        for _ in 0..2000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not come up");
    }
}

/// Sends a command to a port, and gives what comes back at once.
///
/// # Errors
/// Nothing answers there.
pub fn try_command(port: u16, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut bytes = [0; 4096];
    let length = stream.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn spawn(port: u16, arguments: &[String], directory: &Path) -> Option<Child> {
    let mut command = Command::new(program()?);
    // A configuration file comes first.
    let (file, flags) = match arguments.iter().position(|it| it == "--sentinel-file") {
        Some(at) => (Some(arguments[at + 1].clone()), vec!["--sentinel".to_owned()]),
        None => (None, arguments.to_vec()),
    };
    command.args(file).args(["--port", &port.to_string()]).args(flags).current_dir(directory);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Some(child.expect("the program can be started"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
        let _ = fs::remove_dir_all(&self.directory);
    }
}
