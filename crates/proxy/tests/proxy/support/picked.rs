//! A gateway before a pool that has an endpoint picker, with engines that tell what they were sent.

use std::{net::SocketAddr, time::Duration};

use pailou_envoy_proto::core::Metadata;
use prost_types::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::objects::{Gateway, route};

pub(crate) const TO_POOL: &str = "{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]}";
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// An engine that tells what it was sent and answers in two pieces.
pub(crate) async fn engine() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !whole(&read) && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
                if read.is_empty() {
                    return;
                }
                let call = String::from_utf8_lossy(&read).into_owned();
                // The built-in picker reads metrics meanwhile.
                if !call.starts_with("GET /metrics") {
                    told.send(call).unwrap();
                }
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(format!("{head}3\r\none\r\n").as_bytes()).await.unwrap();
                sleep(Duration::from_millis(100)).await;
                let _ = stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await;
            });
        }
    });
    (address, calls)
}

/// Whether a request is there with all of its body.
fn whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A gateway whose pool has these engines on one port of 127.0.0.x, and a picker at this address.
pub(crate) fn gateway(engines: &[SocketAddr], picker: SocketAddr, failure_mode: &str, rule: &str) -> Gateway {
    gateway_with(engines, picker, failure_mode, rule, "")
}

/// The same with more objects.
pub(crate) fn gateway_with(engines: &[SocketAddr], picker: SocketAddr, failure_mode: &str, rule: &str, more: &str) -> Gateway {
    Gateway::serve(&objects(engines, picker, failure_mode, rule, more))
}

/// The objects of such a gateway, but for the Gateway itself.
pub(crate) fn objects(engines: &[SocketAddr], picker: SocketAddr, failure_mode: &str, rule: &str, more: &str) -> String {
    let mut objects = route(rule);
    objects += more;
    let ports: Vec<String> = engines.iter().map(|engine| format!("{{number: {}}}", engine.port())).collect();
    objects += &format!(
        "---\napiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: pool}}\nspec:\n  selector: {{matchLabels: \
         {{app: engine}}}}\n  targetPorts: [{}]\n  endpointPickerRef: {{name: epp, port: {{number: 9002}}, failureMode: {failure_mode}}}\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: engine, labels: {{app: engine}}}}\nspec: {{containers: [{{name: a, image: a}}]}}\n\
         status: {{podIP: 127.0.0.1, podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: 'True'}}]}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: epp}}\nspec: {{ports: [{{name: grpc, port: 9002, appProtocol: \
         kubernetes.io/h2c}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: epp-1, labels: \
         {{kubernetes.io/service-name: epp}}}}\naddressType: IPv4\nports: [{{name: grpc, port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
        ports.join(", "),
        picker.port(),
        picker.ip()
    );
    objects
}

pub(crate) async fn post(gateway: &Gateway, body: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn metadata<'a>(metadata: &'a Option<Metadata>, namespace: &str, key: &str) -> &'a Value {
    &metadata.as_ref().unwrap().filter_metadata[namespace].fields[key]
}
