//! A rate limit service that counts as that of Envoy's project does, or answers by a script.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, server};
use http::{HeaderMap, HeaderValue, Response};
use pailou_envoy_proto::rate_limit::{
    Code, CurrentLimit, DescriptorStatus, RateLimitDescriptor, RateLimitRequest, RateLimitResponse, Unit,
};
use parking_lot::Mutex;
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Reaction of a service to a question.
pub(crate) enum Reply {
    Answer(Box<RateLimitResponse>),
    /// These bytes in place of a message, and this gRPC status.
    Raw(&'static [u8], &'static str),
    /// None, for ever.
    Silence,
    /// The connection ends with GOAWAY, the question unanswered.
    GoAway,
}

type Script = Arc<dyn Fn(&RateLimitRequest) -> Reply + Send + Sync>;

/// A service that runs.
pub(crate) struct LimitService {
    pub(crate) address: SocketAddr,
    /// Questions, in the order in which they came.
    pub(crate) questions: mpsc::UnboundedReceiver<RateLimitRequest>,
    /// Connections made to it.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl LimitService {
    /// A service of this script.
    pub(crate) async fn start(script: impl Fn(&RateLimitRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), script).await
    }

    /// One at this address.
    pub(crate) async fn at(address: SocketAddr, script: impl Fn(&RateLimitRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, questions) = mpsc::unbounded_channel();
        let (script, connections): (Script, _) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, script.clone(), told.clone()));
            }
        });
        Self { address, questions, connections }
    }

    /// A service that counts in one endless window; `limit_of` tells the limit of a descriptor, if it has one.
    pub(crate) async fn counting(limit_of: impl Fn(&RateLimitDescriptor) -> Option<(u32, Unit)> + Send + Sync + 'static) -> Self {
        let counts: Mutex<HashMap<String, u64>> = Mutex::default();
        Self::start(move |question| {
            let mut counts = counts.lock();
            let statuses = question.descriptors.iter().map(|descriptor| {
                let own = descriptor.limit.map(|limit| (limit.requests_per_unit, limit.unit()));
                let Some((limit, unit)) = own.or_else(|| limit_of(descriptor)) else {
                    return DescriptorStatus { code: Code::Ok as i32, ..DescriptorStatus::default() };
                };
                let counter = RateLimitDescriptor { entries: descriptor.entries.clone(), ..RateLimitDescriptor::default() };
                let count = counts.entry(format!("{} {}", question.domain, shown(&counter))).or_default();
                *count += descriptor.hits_addend.unwrap_or(u64::from(question.hits_addend.max(1)));
                status(limit, unit, *count)
            });
            Reply::Answer(Box::new(answer(statuses.collect())))
        })
        .await
    }

    /// The next question, as `domain: descriptor, …`.
    pub(crate) async fn next(&mut self) -> String {
        let question = tokio::time::timeout(std::time::Duration::from_secs(10), self.questions.recv()).await.unwrap().unwrap();
        let descriptors: Vec<_> = question.descriptors.iter().map(shown).collect();
        assert_eq!(question.hits_addend, 0);
        format!("{}: {}", question.domain, descriptors.join(" | "))
    }

    /// Questions that have come and were not looked at.
    pub(crate) fn others(&mut self) -> usize {
        std::iter::from_fn(|| self.questions.try_recv().ok()).count()
    }
}

/// State of a counter.
pub(crate) fn status(limit: u32, unit: Unit, count: u64) -> DescriptorStatus {
    let code = if count > u64::from(limit) { Code::OverLimit } else { Code::Ok };
    let seconds = unit.seconds().unwrap_or(1) as i64;
    DescriptorStatus {
        code: code as i32,
        current_limit: Some(CurrentLimit { requests_per_unit: limit, unit: unit as i32, name: String::new() }),
        limit_remaining: u32::try_from(u64::from(limit).saturating_sub(count)).unwrap(),
        duration_until_reset: Some(prost_types::Duration { seconds: seconds / 2, nanos: 0 }),
    }
}

/// An answer of these statuses.
pub(crate) fn answer(statuses: Vec<DescriptorStatus>) -> RateLimitResponse {
    let is_over = statuses.iter().any(|status| status.code() == Code::OverLimit);
    let code = if is_over { Code::OverLimit } else { Code::Ok };
    RateLimitResponse { overall_code: code as i32, statuses, ..RateLimitResponse::default() }
}

/// Entries of a descriptor, `key=value`, without a value that is the key; then the limit and the cost, where it has any.
fn shown(descriptor: &RateLimitDescriptor) -> String {
    let entries = descriptor.entries.iter().map(|entry| match entry.key == entry.value {
        true => entry.key.clone(),
        false => format!("{}={}", entry.key, entry.value),
    });
    let limit = descriptor.limit.map(|limit| format!("limit {} {:?}", limit.requests_per_unit, limit.unit()));
    let cost = descriptor.hits_addend.map(|hits| format!("+{hits}"));
    entries.chain(limit).chain(cost).collect::<Vec<_>>().join(" ")
}

async fn serve(stream: TcpStream, script: Script, told: mpsc::UnboundedSender<RateLimitRequest>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        assert_eq!(head.uri.path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
        // On this task, which drives the connection: a question is short, and often there with its head.
        let reading = tokio::spawn(read(body));
        let question = tokio::select! {
            question = reading => question.unwrap(),
            _ = std::future::poll_fn(|task| connection.poll_closed(task)) => return,
        };
        let _ = told.send(question.clone());
        match script(&question) {
            Reply::Silence => std::mem::forget(respond),
            Reply::GoAway => {
                connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                let _ = std::future::poll_fn(|task| connection.poll_closed(task)).await;
                return;
            }
            Reply::Raw(bytes, status) => send(respond, Bytes::from_static(bytes), status),
            Reply::Answer(answer) => {
                let mut frame = BytesMut::new();
                frame.put_u8(0);
                frame.put_u32(answer.encoded_len() as u32);
                answer.encode(&mut frame).unwrap();
                send(respond, frame.freeze(), "0");
            }
        }
    }
}

async fn read(mut body: RecvStream) -> RateLimitRequest {
    let mut read = BytesMut::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        read.extend_from_slice(&data);
    }
    RateLimitRequest::decode(&read[5..]).unwrap()
}

fn send(mut respond: server::SendResponse<Bytes>, bytes: Bytes, status: &'static str) {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    // The gateway may have left.
    let Ok(mut send) = respond.send_response(response, false) else { return };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let _ = send.send_data(bytes, false).and_then(|()| send.send_trailers(trailers));
}
