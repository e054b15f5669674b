//! Running processes, and the little HTTP that is needed to talk to them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before it counts as hung.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A running binary, killed when dropped. Keeps its standard error.
pub(crate) struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        for pipe in [Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>, Box::new(child.stderr.take().unwrap())] {
            let stderr = stderr.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut stderr = stderr.lock().unwrap();
                    stderr.push_str(&line);
                    stderr.push('\n');
                }
            });
        }
        Self { child, stderr }
    }

    /// Waits until it has said something that contains `words`, and gives back all it said.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        wait_until(&format!("{words:?} is said"), || Some(self.stderr()).filter(|said| said.contains(words)))
    }

    /// Its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end: the exit status.
    pub(crate) fn end(&mut self) -> i32 {
        wait_until("the process ends", || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks every few milliseconds.
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < TEST_TIMEOUT, "{what}: not within {TEST_TIMEOUT:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// An address on loopback that is free, and is left alone: the system gives none of these ports to whoever asks for any, and each process
/// of tests takes them from a range of its own.
pub(crate) fn free_address() -> SocketAddr {
    const PER_PROCESS: u16 = 100;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 120).unwrap() * PER_PROCESS;
    loop {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(serial < PER_PROCESS, "the tests of one process take at most {PER_PROCESS} ports");
        let address = SocketAddr::from(([127, 0, 0, 1], first + serial));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A connection for one request after the other.
pub(crate) struct Client(BufReader<TcpStream>);

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Response {
    /// A field of the head, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for a path.
    pub(crate) fn get(&mut self, path: &str) -> std::io::Result<Response> {
        self.0.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())?;
        self.response()
    }

    /// Asks for a path, with these headers.
    pub(crate) fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
        let host = if headers.iter().any(|(name, _)| *name == "host") { "" } else { "host: test\r\n" };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.0.get_mut().write_all(format!("GET {path} HTTP/1.1\r\n{host}{headers}\r\n").as_bytes())?;
        self.response()
    }

    /// Sends JSON to a path.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> std::io::Result<Response> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all((head + body).as_bytes())?;
        self.response()
    }

    fn response(&mut self) -> std::io::Result<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut response = Response { status, head, body: String::new() };
        let length = response.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        response.body = String::from_utf8_lossy(&body).into_owned();
        Ok(response)
    }
}
