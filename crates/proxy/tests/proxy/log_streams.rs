//! Streams of entries to an access log service (EnvoyProxy `telemetry.accessLog`, a sink of type ALS).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::support::objects::{Gateway, route};

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                       infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: logs}}\n  listeners: [{name: \
                       http, protocol: HTTP, port: 8080}]\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {name: \
                       logs}\nspec: {telemetry: {accessLog: {settings: [{sinks: [{type: ALS, als: {backendRefs: [{group: \
                       gateway.envoyproxy.io, kind: Backend, name: collector}]}}]}]}}}\n";

/// Servers of one collector. The first stream is refused once some of it has come, and its refusal is noted.
struct Collector {
    addresses: Vec<SocketAddr>,
    refused: mpsc::UnboundedReceiver<()>,
    messages: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Collector {
    async fn start(servers: usize) -> Self {
        let (refuse, refused) = mpsc::unbounded_channel();
        let (send, messages) = mpsc::unbounded_channel();
        let is_first = Arc::new(AtomicBool::new(true));
        let mut addresses = Vec::new();
        for _ in 0..servers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let (refuse, send, is_first) = (refuse.clone(), send.clone(), is_first.clone());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let (refuse, send, is_first) = (refuse.clone(), send.clone(), is_first.clone());
                    tokio::spawn(async move {
                        while let Some(Ok((request, answer))) = connection.accept().await {
                            let body = request.into_body();
                            match is_first.swap(false, Ordering::Relaxed) {
                                true => drop(tokio::spawn(refuse_stream(body, answer, refuse.clone()))),
                                false => drop(tokio::spawn(read(body, answer, send.clone()))),
                            }
                        }
                    });
                }
            });
        }
        Self { addresses, refused, messages }
    }
}

/// Takes the first whole message, then refuses the stream.
async fn refuse_stream(mut body: RecvStream, mut answer: SendResponse<Bytes>, refuse: mpsc::UnboundedSender<()>) {
    let mut read = Vec::new();
    while message(&mut read).is_none() {
        read.extend(body.data().await.unwrap().unwrap());
    }
    answer.send_reset(h2::Reason::REFUSED_STREAM);
    let _ = refuse.send(());
}

/// Takes messages, and answers nothing.
async fn read(mut body: RecvStream, answer: SendResponse<Bytes>, send: mpsc::UnboundedSender<Vec<u8>>) {
    let mut read = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        read.extend(data);
        while let Some(message) = message(&mut read) {
            let _ = send.send(message);
        }
    }
    drop(answer);
}

/// Takes a message from the front of what has come, if it is whole.
fn message(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(read.get(1..5)?.try_into().unwrap()) as usize;
    (read.len() >= 5 + length).then(|| read.drain(..5 + length).skip(5).collect())
}

#[tokio::test]
async fn a_stream_that_a_collector_refuses_begins_anew_at_another_endpoint() {
    let mut collector = Collector::start(2).await;
    let endpoints: Vec<_> =
        collector.addresses.iter().map(|it| format!("{{ip: {{address: {}, port: {}}}}}", it.ip(), it.port())).collect();
    let backend = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: collector}}\nspec: {{appProtocols: \
         [gateway.envoyproxy.io/h2c], endpoints: [{}]}}\n",
        endpoints.join(", ")
    );
    let gateway = Gateway::at_own_address(&[GATEWAY, &route("{}"), &backend].concat());
    gateway.ask("GET /first HTTP/1.1\r\nhost: gateway.test").await;
    timeout(Duration::from_secs(60), collector.refused.recv()).await.unwrap().unwrap();
    gateway.ask("GET /second HTTP/1.1\r\nhost: gateway.test").await;
    let message = timeout(Duration::from_secs(60), collector.messages.recv()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&message);
    // Field 1 is the sender, which the first message of a stream has.
    assert!(message[0] == 0x0a && text.contains("/first"), "{text}");
}
