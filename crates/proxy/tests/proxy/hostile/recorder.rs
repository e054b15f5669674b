//! A backend that writes down every byte of every connection, and answers what can be read in one way only.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::strict::{Request, requests};

/// Long enough for whatever has to happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// A backend.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
}

#[derive(Clone, Default)]
struct Connection {
    bytes: Vec<u8>,
    is_open: bool,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<Connection>>>::default();
        let recorded = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let index = recorded.lock().len();
                recorded.lock().push(Connection { is_open: true, ..Connection::default() });
                let recorded = Arc::clone(&recorded);
                tokio::spawn(async move {
                    serve(stream, &recorded, index).await;
                    recorded.lock()[index].is_open = false;
                });
            }
        });
        Self { address, connections }
    }

    /// Every request since the last call that came in whole, and whether one came in part. Waits until all connections have ended.
    ///
    /// # Panics
    /// When something is ambiguous, or a connection stays open.
    pub(crate) async fn take(&self, what: &str) -> (Vec<Request>, bool) {
        let ended = async {
            while self.connections.lock().iter().any(|connection| connection.is_open) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, ended).await.unwrap_or_else(|_| panic!("{what}: a connection to the backend stays open"));
        let (mut whole, mut in_part) = (Vec::new(), false);
        for connection in &mut *self.connections.lock() {
            let connection = std::mem::take(connection);
            let shown = String::from_utf8_lossy(&connection.bytes);
            let (requests, is_cut) = requests(&connection.bytes).unwrap_or_else(|why| panic!("{what}: {why} in {shown:?}"));
            // A pool's engines are asked for their load meanwhile.
            whole.extend(requests.into_iter().filter(|request| request.target != "/metrics"));
            in_part |= is_cut;
        }
        (whole, in_part)
    }
}

/// Answers the first request, and reads on until the other side closes.
async fn serve(mut stream: TcpStream, recorded: &Mutex<Vec<Connection>>, index: usize) {
    let mut has_answered = false;
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let is_whole = {
            let bytes = &mut recorded.lock()[index].bytes;
            bytes.extend_from_slice(&buffer[..count]);
            requests(bytes).is_ok_and(|(requests, _)| !requests.is_empty())
        };
        if is_whole && !std::mem::replace(&mut has_answered, true) {
            let _ = stream.write_all(ANSWER.as_bytes()).await;
        }
    }
}
