//! Streams that stay open and silent.

use std::{io, rc::Rc};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

use super::{Plan, REQUEST_TIMEOUT, accepted};
use crate::http::Receiver;

/// Streams that are opened at a time.
const AT_A_TIME: usize = 32;

/// Opens so many streams and reads each to its first event; they stay open until dropped.
///
/// # Errors
/// A stream fails.
pub(crate) async fn hold(plan: &Plan, streams: u32) -> io::Result<Vec<TcpStream>> {
    let request: Rc<[u8]> = plan.request(0).bytes().into();
    let mut opening = JoinSet::new();
    let mut open = Vec::new();
    for _ in 0..streams {
        if opening.len() == AT_A_TIME {
            open.extend(joined(&mut opening).await?);
        }
        let (target, request) = (plan.target, request.clone());
        opening.spawn_local(async move { timeout(REQUEST_TIMEOUT, begin(target, &request)).await? });
    }
    while let Some(stream) = joined(&mut opening).await? {
        open.push(stream);
    }
    Ok(open)
}

async fn begin(target: std::net::SocketAddr, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(request).await?;
    let mut receiver = Receiver::new();
    let framing = accepted(&mut stream, &mut receiver).await?;
    receiver.skip_to_event(&mut stream, framing).await?;
    Ok(stream)
}

async fn joined(opening: &mut JoinSet<io::Result<TcpStream>>) -> io::Result<Option<TcpStream>> {
    match opening.join_next().await {
        Some(Ok(opened)) => opened.map(Some),
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Ok(None),
    }
}
