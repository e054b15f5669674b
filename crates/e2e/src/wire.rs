//! Byte by byte: clients and servers that send what no library would.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wait::within;

/// A connection as bytes.
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// When the peer refuses.
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap_or_else(|error| panic!("{to}: {error}"));
        Self::new(stream)
    }

    /// Connects with a receive buffer this small, to feel back-pressure soon.
    ///
    /// # Panics
    /// When the peer refuses.
    pub async fn connect_narrow(to: SocketAddr, receive_buffer: u32) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket can be made");
        socket.set_recv_buffer_size(receive_buffer).expect("the buffer can be set");
        Self::new(socket.connect(to).await.unwrap_or_else(|error| panic!("{to}: {error}")))
    }

    fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, ahead: Vec::new() }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the peer has closed the connection.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("the peer takes bytes", self.stream.write_all(bytes.as_ref())).await
    }

    /// A chunk of a chunked body.
    ///
    /// # Errors
    /// When the peer has closed the connection.
    pub async fn chunk(&mut self, data: impl AsRef<[u8]>) -> io::Result<()> {
        let data = data.as_ref();
        let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\r\n");
        self.write(bytes).await
    }

    /// The next bytes, at least one; none at the end.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        if !self.ahead.is_empty() {
            return Ok(std::mem::take(&mut self.ahead));
        }
        let mut bytes = vec![0; 64 << 10];
        let read = self.stream.read(&mut bytes).await?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Text up to and with `end`. Bytes after it stay for the next read.
    ///
    /// # Panics
    /// The connection ends before.
    pub async fn until(&mut self, end: &str) -> String {
        match within(&format!("{end:?} arrives"), self.try_until(end)).await {
            Ok(text) => text,
            Err(error) => panic!("{error}; so far: {:?}", String::from_utf8_lossy(&self.ahead)),
        }
    }

    async fn try_until(&mut self, end: &str) -> io::Result<String> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.ahead.split_off(at + end.len());
                let text = std::mem::replace(&mut self.ahead, rest);
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A message's head, with the empty line.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < length {
            if within("bytes arrive", self.stream.read_buf(&mut self.ahead)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.ahead.split_off(length);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// Everything to the connection's end, and whether it was a reset.
    pub async fn rest(&mut self) -> (String, bool) {
        let mut bytes = std::mem::take(&mut self.ahead);
        let end = within("the connection ends", self.stream.read_to_end(&mut bytes)).await;
        (String::from_utf8_lossy(&bytes).into_owned(), end.is_err())
    }

    /// Closes the direction from here.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Resets the connection.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Waits until the peer closes or resets the connection.
    pub async fn closed(&mut self) {
        let gone = async { while self.some().await.is_ok_and(|bytes| !bytes.is_empty()) {} };
        within("the peer closes the connection", gone).await;
    }

    /// A request's head and body. Scrapes of metrics that come before it are answered 404.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn request(&mut self) -> io::Result<Received> {
        loop {
            let head = self.try_until("\r\n\r\n").await?;
            if !head.starts_with("GET /metrics ") {
                let body = self.body(&head).await?;
                return Ok(Received { head, body });
            }
            self.write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }

    async fn body(&mut self, head: &str) -> io::Result<Vec<u8>> {
        if let Some(length) = header(head, "content-length") {
            return self.exactly(length.parse().map_err(io::Error::other)?).await;
        }
        let mut body = Vec::new();
        if header(head, "transfer-encoding").is_some() {
            loop {
                let line = self.try_until("\r\n").await?;
                let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                body.extend(self.exactly(length).await?);
                self.try_until("\r\n").await?;
                if length == 0 {
                    break;
                }
            }
        }
        Ok(body)
    }

    /// Answers with JSON.
    ///
    /// # Errors
    /// When the peer has closed the connection.
    pub async fn answer(&mut self, status: u16, body: &str) -> io::Result<()> {
        let length = body.len();
        self.write(format!("HTTP/1.1 {status} Test\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await
    }

    /// Begins an event stream in chunks.
    ///
    /// # Errors
    /// When the peer has closed the connection.
    pub async fn begin_events(&mut self) -> io::Result<()> {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and headers, with the empty line.
    pub head: String,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

/// A header in a message's head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// A server made by hand. Dropping it closes its port; connections under way stay.
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves every connection with `handle`, on an address of its own.
    ///
    /// # Panics
    /// The address is in use.
    pub async fn start<F>(handle: impl Fn(Wire) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let address = SocketAddr::from((crate::address::loopback(), 8000));
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                // The test judges a connection's end on the client's side.
                tokio::spawn(handle(Wire::new(stream)));
            }
        });
        Self { address, connections, task }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
