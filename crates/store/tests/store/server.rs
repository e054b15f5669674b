//! Real servers: Valkey where it is installed, else Redis.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// A server. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    child: Child,
    directory: PathBuf,
}

/// The program; `None` where there is none, and none is required.
pub(crate) fn program() -> Option<&'static str> {
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

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A directory of its own.
pub(crate) fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pailou-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

impl Server {
    /// A server with these arguments besides its port; `None` where there is no program.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::at(free_port(), arguments)
    }

    /// One on this port.
    pub(crate) fn at(port: u16, arguments: &[&str]) -> Option<Self> {
        let directory = directory();
        let own = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"];
        let arguments: Vec<_> = own.iter().chain(arguments).map(ToString::to_string).collect();
        let child = spawn(port, &arguments, &directory)?;
        let server = Self { port, arguments, child, directory };
        server.wait();
        Some(server)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.directory).unwrap();
        self.wait();
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Sends a command without arguments that have spaces, and gives its first line.
    pub(crate) fn command(&self, line: &str) -> String {
        try_command(self.port, line).unwrap()
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
pub(crate) fn try_command(port: u16, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut bytes = [0; 4096];
    let length = stream.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn spawn(port: u16, arguments: &[String], directory: &PathBuf) -> Option<Child> {
    let mut command = Command::new(program()?);
    // A configuration file comes first.
    let (file, flags) = match arguments.iter().position(|it| it == "--sentinel-file") {
        Some(at) => (Some(arguments[at + 1].clone()), vec!["--sentinel".to_owned()]),
        None => (None, arguments.to_vec()),
    };
    command.args(file).args(["--port", &port.to_string()]).args(flags).current_dir(directory);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Some(child.unwrap())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
        let _ = fs::remove_dir_all(&self.directory);
    }
}
