//! Memory of what endpoint pickers hold back.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use pailou_envoy_proto::ext_proc::{processing_request::Request as Part, processing_response::Response as Answer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use crate::support::{
    picked::{LIMIT, TO_POOL, gateway, post},
    picker::{choosing, picker, setting, streamed, unchanged},
};

const HELD: &str = "pailou_request_body_bytes{process=\"pailou\"}";
/// Of all tests' gateways.
const ROOM: f64 = (64 << 20) as f64;
const LENGTH: usize = 5 << 20;

/// An engine with long answers.
async fn talkative() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"}") && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {LENGTH}\r\n\r\n");
                let _ = stream.write_all(&[head.as_bytes(), &vec![b'x'; LENGTH]].concat()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn responses_that_pickers_hold_back_take_room_and_wait_beyond_it() {
    const REQUESTS: usize = 20;
    let engine = talkative().await;
    let (release, released) = watch::channel(false);
    let at = picker(move |mut talk| {
        let mut released = released.clone();
        async move {
            talk.headers().await;
            talk.body().await;
            talk.say(choosing(&engine.to_string()));
            talk.say(Answer::RequestBody(unchanged()));
            // It reads the response, and says nothing to its pieces.
            let read = async {
                while let Some(message) = talk.next().await {
                    if let Some(Part::ResponseHeaders(_)) = message.request {
                        talk.say(Answer::ResponseHeaders(setting(&[])));
                    }
                }
            };
            tokio::select! {
                () = read => {}
                _ = released.wait_for(|released| *released) => talk.close(),
            }
        }
    })
    .await;
    let gateway = std::sync::Arc::new(gateway(&[engine], at, "FailClose", TO_POOL));
    let clients: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move { post(&gateway, "{}").await })
        })
        .collect();
    let filled = async {
        // The last of it goes to whoever comes first: a piece may be larger than what is left.
        while gateway.metric(HELD) < ROOM * 0.95 {
            // A question in vain counts for a moment.
            assert!(gateway.metric(HELD) <= ROOM + f64::from(1 << 20));
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, filled).await.expect("what is held back counts");
    release.send(true).unwrap();
    for client in clients {
        let answer = client.await.unwrap();
        let (length, begin) = (answer.matches('x').count(), &answer[..answer.len().min(500)]);
        assert!(length >= LENGTH, "all of it comes once the pickers have gone, and not {length}: {begin}");
    }
    let freed = async {
        while gateway.metric(HELD) > 0.0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, freed).await.expect("the room is given back");
}

#[tokio::test]
async fn a_body_that_a_picker_makes_takes_room_too() {
    const GROWN: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = listener.local_addr().unwrap();
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&engine.to_string()));
        talk.body().await;
        talk.say(Answer::RequestBody(streamed(Bytes::from(vec![b'x'; GROWN]), true)));
        while talk.next().await.is_some() {}
    })
    .await;
    let gateway = gateway(&[engine], at, "FailClose", TO_POOL);
    let client = async {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head =
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let _stream = client.await;
    // The engine takes connections, and answers nothing.
    let counted = async {
        while gateway.metric(HELD) < GROWN as f64 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, counted).await.expect("the picker's body counts");
}
