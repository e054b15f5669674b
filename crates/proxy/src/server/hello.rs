//! The first word of a TLS client, read without answering it.

use std::{
    future::poll_fn,
    io::{self, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::handshake::PlainHttp;

/// Bound on a ClientHello, post-quantum key shares and the records around it included.
const MAX_HELLO: usize = 64 << 10;

/// A ClientHello.
pub(super) struct Hello {
    /// From here the handshake can go on, with whatever was read beyond the hello.
    pub(super) accepted: Accepted,
    /// All that was read, for someone else to answer.
    pub(super) bytes: Bytes,
    /// The server name asked for, in lower case.
    pub(super) sni: Option<Arc<str>>,
}

/// Reads a ClientHello, of which `ahead` was read before; `None` where the client left without a byte, as probes of load balancers
/// do. The caller sets the clock.
///
/// # Errors
/// The bytes are no ClientHello, too long, or the connection ended within them. The client gets no answer.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), ahead: Bytes) -> io::Result<Option<Hello>> {
    let mut acceptor = Acceptor::default();
    let mut bytes = BytesMut::new();
    // Qualified: the standard library's reader, which rustls takes, has a `chain` too.
    let mut stream = AsyncReadExt::chain(&*ahead, stream);
    let accepted = poll_fn(|context| poll_accept(&mut acceptor, context, &mut stream, &mut bytes)).await?;
    Ok(accepted.map(|accepted| {
        let sni = accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
        Hello { accepted, bytes: bytes.freeze(), sni }
    }))
}

fn poll_accept(
    acceptor: &mut Acceptor,
    context: &mut Context<'_>,
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
) -> Poll<io::Result<Option<Accepted>>> {
    loop {
        match acceptor.read_tls(&mut Tee { stream, context, bytes }) {
            Ok(0) if bytes.is_empty() => return Poll::Ready(Ok(None)),
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(_) if bytes.is_empty() => return Poll::Ready(Ok(None)),
            Err(error) => return Poll::Ready(Err(error)),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Poll::Ready(Ok(Some(accepted))),
            Ok(None) if bytes.len() < MAX_HELLO => {}
            Ok(None) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello is too long"))),
            Err(_) if is_http(bytes) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, PlainHttp))),
            Err((error, _alert)) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }
}

/// Whether these bytes begin a request: a method, and a space.
fn is_http(bytes: &[u8]) -> bool {
    let method = memchr(b' ', bytes).map(|space| &bytes[..space]);
    method.is_some_and(|method| !method.is_empty() && method.iter().all(u8::is_ascii_uppercase))
}

/// Reads from a stream, and keeps what was read.
struct Tee<'a, 'b, S> {
    stream: &'a mut S,
    context: &'a mut Context<'b>,
    bytes: &'a mut BytesMut,
}

impl<S: AsyncRead + Unpin> Tee<'_, '_, S> {
    fn poll_read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *self.stream).poll_read(self.context, &mut read))?;
        self.bytes.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> Read for Tee<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.poll_read(buffer) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::{
        io::{AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    fn greeting(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn the_name_is_found_however_the_bytes_come_and_all_of_them_are_kept() {
        let greeting = greeting("A.Example");
        for piece in [1, 7, greeting.len()] {
            let (mut client, mut server) = duplex(piece);
            let sending = greeting.clone();
            let sent = tokio::spawn(async move {
                client.write_all(&sending).await.unwrap();
                client
            });
            let hello = timeout(Duration::from_secs(5), read(&mut server, Bytes::new())).await.unwrap().unwrap().unwrap();
            assert_eq!(hello.sni.as_deref(), Some("a.example"));
            assert_eq!(hello.bytes, greeting);
            drop(sent.await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_no_greeting_is_an_error_and_a_client_that_says_nothing_is_none() {
        let (mut client, mut server) = duplex(1024);
        client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut server, Bytes::new()).await.err().unwrap().kind(), io::ErrorKind::InvalidData);
        let (mut client, mut server) = duplex(1024);
        client.write_all(&greeting("a.example")[..40]).await.unwrap();
        drop(client);
        assert_eq!(read(&mut server, Bytes::new()).await.err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
        let (client, mut server) = duplex(1024);
        drop(client);
        assert!(read(&mut server, Bytes::new()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_greeting_without_end_is_given_up() {
        let (mut client, mut server) = duplex(1 << 20);
        // A handshake message that announces the most a length can say, in full records.
        let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0);
        let mut next = vec![22, 3, 1, 0x40, 0];
        next.resize(5 + 0x4000, 0);
        client.write_all(&record).await.unwrap();
        for _ in 0..6 {
            client.write_all(&next).await.unwrap();
        }
        let ended = timeout(Duration::from_secs(5), read(&mut server, Bytes::new())).await.unwrap();
        assert_eq!(ended.err().unwrap().kind(), io::ErrorKind::InvalidData);
    }
}
