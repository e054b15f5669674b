//! One HTTP/1.1 connection and its requests, one after the other.

use http_body_util::BodyExt as _;

use super::*;
use crate::response_body::ResponseBody;

/// Answers with what it was sent: `/drop` without a look at it, `/part` after its first part.
fn echo(request: Request<ClientBody>) -> Answer {
    Box::pin(async move {
        let path = request.uri().path().to_owned();
        let mut body = request.into_body();
        let said = match path.as_str() {
            "/drop" => Bytes::from_static(b"unread"),
            "/part" => body.frame().await.unwrap().unwrap().into_data().unwrap(),
            _ => match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => error.to_string().into(),
            },
        };
        Response::new(ResponseBody::whole(said))
    })
}

async fn exchange(stream: &mut TcpStream, bytes: &str, end: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    until(stream, end).await
}

/// Reads until what came ends so.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        let byte = timeout(Duration::from_secs(20), stream.read_u8()).await;
        let Ok(Ok(byte)) = byte else { panic!("it ended with {:?}", String::from_utf8_lossy(&said)) };
        said.push(byte);
    }
    String::from_utf8(said).unwrap()
}

async fn connected() -> (Server<Stub>, TcpStream) {
    let server = server(echo);
    let stream = connect(listen(&server, ClientPolicy::default())).await;
    (server, stream)
}

#[tokio::test]
async fn bodies_of_every_framing_come_whole_and_leave_the_connection_as_it_was() {
    let (_server, mut stream) = connected().await;
    let long = "x".repeat(300 << 10);
    for body in ["one", &long] {
        let length = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert!(
            exchange(&mut stream, &length, &format!("\r\n\r\n{body}")).await.contains(&format!("content-length: {}", body.len()))
        );
        let chunked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x};a=b\r\n{body}\r\n0\r\nx: y\r\n\r\n",
            body.len()
        );
        exchange(&mut stream, &chunked, &format!("\r\n\r\n{body}")).await;
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let (_server, mut stream) = connected().await;
    let request = |body: &str| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n{body}");
    stream.write_all([request("1"), request("2"), request("3")].concat().as_bytes()).await.unwrap();
    for body in ["1", "2", "3"] {
        until(&mut stream, &format!("\r\n\r\n{body}")).await;
    }
}

#[tokio::test]
async fn a_client_that_asks_is_told_to_go_on_when_its_body_is_wanted() {
    let (_server, mut stream) = connected().await;
    let ask = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(exchange(&mut stream, &ask("/"), "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(exchange(&mut stream, "abc", "\r\n\r\nabc").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // One that does not wait is not told.
    assert!(exchange(&mut stream, &(ask("/") + "abc"), "\r\n\r\nabc").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // Whether it sends the body all the same is not known: nothing can follow on this connection.
    assert!(exchange(&mut stream, &ask("/drop"), "unread").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn a_body_that_nobody_reads_costs_the_connection_only_if_it_is_still_to_come() {
    let (_server, mut stream) = connected().await;
    let there = "POST /drop HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    exchange(&mut stream, there, "unread").await;
    exchange(&mut stream, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", "\r\n\r\nx").await;
    let to_come = "POST /drop HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
    exchange(&mut stream, to_come, "unread").await;
    // It is taken for what it was announced as, and not for a request.
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn nothing_is_read_behind_a_body_that_is_broken() {
    for (path, says) in [("/", "a chunk's size is no number"), ("/part", "abc")] {
        let (_server, mut stream) = connected().await;
        let broken = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n0\r\n\r\n");
        exchange(&mut stream, &format!("{broken}GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n"), says).await;
        assert!(rest(&mut stream).await.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn an_older_client_is_served_as_it_asks() {
    let (_server, mut stream) = connected().await;
    let keeps = "POST / HTTP/1.0\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi";
    assert!(exchange(&mut stream, keeps, "\r\n\r\nhi").await.contains("\r\nconnection: keep-alive\r\n"));
    let ends = exchange(&mut stream, "POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi", "\r\n\r\nhi").await;
    assert!(ends.starts_with("HTTP/1.0 200 OK\r\n") && ends.contains("\r\nconnection: close\r\n"), "{ends}");
    assert!(rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn what_is_no_request_is_told_why() {
    for (bytes, says) in [
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "invalid header name"),
        ("POST / HTTP/1.1\r\ncontent-length: 1, 2\r\n\r\n", "Content-Length is not one number"),
        ("\u{16}\u{3}\u{1}\u{2}", "invalid token"),
    ] {
        let (_server, mut stream) = connected().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let said = String::from_utf8(rest(&mut stream).await).unwrap();
        assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n") && said.contains("\r\nconnection: close\r\n"), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
