//! One connection: TLS, the choice between HTTP/1.1 and HTTP/2, and the ways it can end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::app::App;
use crate::mishap::{End, Link, TlsFacts};
use crate::service;

/// Time to complete a TLS handshake, or to show the HTTP version.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Window of HTTP/2 streams and connections: prompts of a megabyte should not wait for updates.
const H2_WINDOW: u32 = 4 << 20;
/// Streams open at the same time on an HTTP/2 connection.
const H2_STREAMS: u32 = 4096;
/// No HTTP parser takes this for a status line.
const GARBAGE: &[u8] = b"\x15\x03\x00 :-( this is not the protocol you are looking for \r\n\r\n\0\xff\xfe";

/// Serves `tcp` until either side ends it, or `draining` turns true and its requests are done.
pub(crate) async fn serve(app: Arc<App>, tcp: TcpStream, tls: Option<TlsAcceptor>, mut draining: watch::Receiver<bool>) {
    let Ok(peer) = tcp.peer_addr() else { return };
    // Without this every token would wait for the acknowledgement of the one before.
    let _ = tcp.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket { tcp, reset: reset.clone() };
    let opening = tokio::time::timeout(HANDSHAKE, open(socket, tls, peer));
    let opened = tokio::select! {
        opened = opening => opened,
        // No request has come on this connection yet.
        _ = draining.changed() => return,
    };
    match opened {
        Ok(Ok((Stream::Plain(stream), link, h2))) => speak(app, stream, link, reset, h2, draining).await,
        Ok(Ok((Stream::Tls(stream), link, h2))) => speak(app, *stream, link, reset, h2, draining).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "opening a connection failed"),
        Err(_) => tracing::debug!(%peer, "the client did not begin in time"),
    }
}

enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// The handshake, and whether HTTP/2 follows it.
async fn open(socket: Socket, tls: Option<TlsAcceptor>, peer: SocketAddr) -> io::Result<(Stream, Arc<Link>, bool)> {
    let Some(acceptor) = tls else {
        let h2 = speaks_h2(&socket.tcp).await;
        return Ok((Stream::Plain(socket), Arc::new(Link::new(peer, None)), h2));
    };
    let stream = acceptor.accept(socket).await?;
    let facts = tls_facts(&stream);
    let h2 = facts.alpn.as_deref() == Some("h2");
    Ok((Stream::Tls(Box::new(stream)), Arc::new(Link::new(peer, Some(facts))), h2))
}

fn tls_facts(stream: &TlsStream<Socket>) -> TlsFacts {
    let session = stream.get_ref().1;
    TlsFacts {
        server_name: session.server_name().map(str::to_owned),
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
    }
}

/// Whether the client begins with HTTP/2's preface. Only `PRI` does; no HTTP/1 method of that name exists.
async fn speaks_h2(tcp: &TcpStream) -> bool {
    let mut start = [0; 3];
    loop {
        match tcp.peek(&mut start).await {
            Ok(3) => return &start == b"PRI",
            Ok(seen @ 1..) if b"PRI".starts_with(&start[..seen]) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => return false,
        }
    }
}

async fn speak<S>(app: Arc<App>, stream: S, link: Arc<Link>, reset: Arc<AtomicBool>, h2: bool, mut draining: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handler = {
        let link = link.clone();
        service_fn(move |request: Request<Incoming>| {
            let (app, link) = (app.clone(), link.clone());
            async move { Ok::<_, Infallible>(service::answer(app, link, request).await) }
        })
    };
    let io = TokioIo::new(stream);
    if h2 {
        let mut connection = std::pin::pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(H2_WINDOW)
                .initial_connection_window_size(H2_WINDOW)
                .max_concurrent_streams(H2_STREAMS)
                .serve_connection(io, handler)
        );
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = link.broken() => return reset.store(true, Ordering::Release),
                Ok(()) = draining.changed() => connection.as_mut().graceful_shutdown(),
            }
        }
    }
    let mut connection = http1::Builder::new().header_read_timeout(None).serve_connection(io, handler);
    let end = loop {
        tokio::select! {
            _ = &mut connection => return,
            end = link.broken() => break end,
            Ok(()) = draining.changed() => Pin::new(&mut connection).graceful_shutdown(),
        }
    };
    match end {
        End::Reset => reset.store(true, Ordering::Release),
        End::Garbage => drip(connection.into_parts().io.into_inner()).await,
    }
}

/// Writes garbage in small pieces and closes.
async fn drip(mut stream: impl AsyncWrite + Unpin) {
    for piece in GARBAGE.chunks(8) {
        if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _ = stream.shutdown().await;
}

/// A TCP stream that can end with a reset.
struct Socket {
    tcp: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
