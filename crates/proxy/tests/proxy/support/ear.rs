//! A backend that listens.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A backend that keeps the heads it was sent and answers 200.
pub(crate) struct Ear {
    pub(crate) address: SocketAddr,
    pub(crate) heads: Arc<Mutex<VecDeque<String>>>,
}

impl Ear {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let kept = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                        let text = String::from_utf8_lossy(&read);
                        if let Some((head, _)) = text.split_once("\r\n\r\n") {
                            kept.lock().push_back(head.to_ascii_lowercase());
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                            read.clear();
                        }
                    }
                });
            }
        });
        Self { address, heads }
    }

    /// The next head, once it has come.
    pub(crate) async fn next(&self) -> String {
        for _ in 0..500 {
            if let Some(head) = self.heads.lock().pop_front() {
                return head;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing came");
    }
}
