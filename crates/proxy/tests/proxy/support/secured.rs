//! Backends that speak TLS, and clients that do.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    server::{ServerConnection, WebPkiClientVerifier},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream, server};

use super::pki::{Authority, Leaf, fingerprint};

/// A backend that answers with what it knows of the connection: `x-sni`, `x-alpn` and the fingerprint of the certificate shown
/// to it, `x-client`. It lets in who shows none.
pub(crate) async fn backend(certificate: &Leaf, clients: &Authority) -> SocketAddr {
    serve(certificate, clients, |stream| async move {
        let told = told(stream.get_ref().1);
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(move |_: Request<Incoming>| {
            let told = told.clone();
            async move { Ok::<_, Infallible>(told) }
        });
        if is_http2 {
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        } else {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// TLS before a server that speaks in the clear, and whose certificate each connection showed, as [`shown`] has it.
pub(crate) async fn before(server: SocketAddr, certificate: &Leaf, clients: &Authority) -> (SocketAddr, UnboundedReceiver<String>) {
    let (tell, told) = unbounded_channel();
    let address = serve(certificate, clients, move |mut stream| {
        tell.send(shown(stream.get_ref().1)).unwrap();
        async move {
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    });
    (address.await, told)
}

/// Serves each connection once its TLS has begun; gives the address.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    certificate: &Leaf,
    clients: &Authority,
    connection: impl Fn(server::TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> SocketAddr {
    let acceptor = acceptor(certificate, clients);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, connection) = (acceptor.clone(), connection.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate ends it here.
                if let Ok(stream) = acceptor.accept(stream).await {
                    connection(stream).await;
                }
            });
        }
    });
    address
}

fn acceptor(certificate: &Leaf, clients: &Authority) -> TlsAcceptor {
    let mut trusted = RootCertStore::empty();
    trusted.add(clients.der.clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&provider));
    let verifier = verifier.allow_unauthenticated().build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(verifier);
    let mut config = builder.with_single_cert(vec![certificate.der.clone()], certificate.private()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// The fingerprint of the certificate that a client showed, or `none`.
fn shown(session: &ServerConnection) -> String {
    session.peer_certificates().map_or_else(|| "none".to_owned(), |chain| fingerprint(&chain[0]))
}

fn told(session: &ServerConnection) -> Response<Empty<bytes::Bytes>> {
    let alpn = String::from_utf8(session.alpn_protocol().unwrap_or_default().to_vec()).unwrap();
    let response = Response::builder().header("x-sni", session.server_name().unwrap_or("none"));
    response.header("x-alpn", alpn).header("x-client", shown(session)).body(Empty::new()).unwrap()
}

/// A TLS connection.
pub(crate) async fn connect(address: SocketAddr, sni: &str, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = sni.to_owned().try_into().unwrap();
    timeout(Duration::from_secs(60), TlsConnector::from(Arc::clone(config)).connect(name, stream)).await?
}

/// One request in HTTP/1.1 on a connection that stays, and the head of its answer.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, host: &str, path: &str) -> io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(Duration::from_secs(60), stream.read_u8()).await??);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()).map_or(0, |it| it.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(head)
}

/// The same on a connection of its own.
pub(crate) async fn ask_once(address: SocketAddr, sni: &str, config: &Arc<ClientConfig>) -> io::Result<String> {
    let mut stream = connect(address, sni, config).await?;
    ask(&mut stream, sni, "/").await
}

/// The statuses of requests to these hosts, one after the other on one HTTP/2 connection.
pub(crate) async fn statuses_in_http2(stream: TlsStream<TcpStream>, hosts: &[&str]) -> Vec<StatusCode> {
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for host in hosts {
        client = client.ready().await.unwrap();
        let request = Request::get(format!("https://{host}/")).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        statuses.push(timeout(Duration::from_secs(60), response).await.unwrap().unwrap().status());
    }
    statuses
}
