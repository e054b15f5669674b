//! The load by HTTP/2: a few connections, each with requests at the same time.

use std::{io, rc::Rc};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{AFTER_FAILURE, Pace, Plan, REQUEST_TIMEOUT, Shared};
use crate::request::Request;

/// Requests at a time on one connection.
const STREAMS: u32 = 8;

/// A request's head and body as they are sent.
type Message = (http::Request<()>, Bytes);

/// Starts all connections.
pub(super) fn start(shared: &Rc<Shared>, connections: &mut JoinSet<()>) {
    for connection in 0..shared.plan.connections / STREAMS {
        connections.spawn_local(shared.clone().run_http2(connection * STREAMS));
    }
}

/// Sends one request on a connection of its own.
pub(super) async fn probe(plan: &Plan) -> io::Result<()> {
    let mut driver = JoinSet::new();
    let sender = connect(plan, &mut driver).await?;
    exchange(sender, &message(plan.request(0))?).await
}

impl Shared {
    async fn run_http2(self: Rc<Self>, first_slot: u32) {
        loop {
            let Err(error) = self.clone().connection(first_slot).await else { continue };
            self.tally.borrow_mut().failed(&error);
            sleep(AFTER_FAILURE).await;
        }
    }

    /// Sends requests on one connection until one fails.
    async fn connection(self: Rc<Self>, first_slot: u32) -> io::Result<()> {
        let mut driver = JoinSet::new();
        let sender = connect(&self.plan, &mut driver).await?;
        let messages: Rc<[Message]> = self.plan.requests().iter().map(message).collect::<io::Result<_>>()?;
        let mut slots = JoinSet::new();
        for slot in first_slot..first_slot + STREAMS {
            slots.spawn_local(self.clone().slot(slot, sender.clone(), messages.clone()));
        }
        match slots.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Ok(()),
        }
    }

    async fn slot(self: Rc<Self>, slot: u32, sender: SendRequest<Bytes>, messages: Rc<[Message]>) -> io::Result<()> {
        let mut pace = Pace::new(slot);
        loop {
            pace.wait(&self).await;
            let started = Instant::now();
            timeout(REQUEST_TIMEOUT, exchange(sender.clone(), &messages[self.plan.next_place()])).await??;
            self.tally.borrow_mut().answered(started.elapsed());
        }
    }
}

/// A new connection, which is driven until `driver` is dropped.
async fn connect(plan: &Plan, driver: &mut JoinSet<()>) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(plan.target).await?;
    stream.set_nodelay(true)?;
    let handshake = timeout(REQUEST_TIMEOUT, h2::client::handshake(stream)).await?;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    driver.spawn_local(async move {
        // An error that ends the connection also ends its requests, which report it.
        let _ = connection.await;
    });
    Ok(sender)
}

fn message(request: &Request) -> io::Result<Message> {
    let mut builder = http::Request::builder().method(request.method).uri(format!("http://{}{}", request.host, request.path));
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let head = builder.header("content-length", request.body.len()).body(()).map_err(io::Error::other)?;
    Ok((head, request.body.clone()))
}

async fn exchange(sender: SendRequest<Bytes>, (head, body): &Message) -> io::Result<()> {
    let mut sender = sender.ready().await.map_err(io::Error::other)?;
    let mut request = http::Request::new(());
    *request.method_mut() = head.method().clone();
    *request.uri_mut() = head.uri().clone();
    *request.headers_mut() = head.headers().clone();
    let (response, mut stream) = sender.send_request(request, body.is_empty()).map_err(io::Error::other)?;
    if !body.is_empty() {
        stream.send_data(body.clone(), true).map_err(io::Error::other)?;
    }
    let response = response.await.map_err(io::Error::other)?;
    if response.status() != 200 {
        return Err(io::Error::other(format!("answered with {}", response.status())));
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let length = data.map_err(io::Error::other)?.len();
        body.flow_control().release_capacity(length).map_err(io::Error::other)?;
    }
    Ok(())
}
