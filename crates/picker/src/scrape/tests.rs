use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use pailou_snapshot::{Address, ModelServer::Vllm, RoutingStrategy};

use super::*;
use crate::{
    PoolState,
    testing::{endpoints, load, pool, standard},
};

const PAGE: &str = "vllm:num_requests_waiting 3\n";

fn after(readings: &[Figures]) -> Reading {
    let successor = |last: Reading, figures: &Figures| {
        last.successor(Some(figures.clone()), Level::default(), Duration::from_millis(100), Instant::now())
    };
    readings.iter().fold(Reading::default(), successor)
}

#[test]
fn a_queue_that_stands_shows_how_many_run() {
    let shown = |readings: &[(f32, f32)]| {
        let readings: Vec<_> = readings.iter().map(|(waiting, running)| load(*waiting, *running, 0.0)).collect();
        after(&readings).slots
    };
    assert_eq!(shown(&[(0.0, 300.0)]), None);
    assert_eq!(shown(&[(2.0, 1.0), (0.0, 3.0)]), None, "they had just arrived");
    assert_eq!(shown(&[(2.0, 10.0), (2.0, 12.0)]), None, "it is still filling");
    assert_eq!(shown(&[(2.0, 32.0), (9.0, 32.0)]), Some(32));
    assert_eq!(shown(&[(2.0, 32.0), (9.0, 32.0), (0.0, 20.0)]), Some(32));
    assert_eq!(shown(&[(2.0, 32.0), (9.0, 32.0), (0.0, 40.0)]), Some(40));
}

#[test]
fn a_restart_shows_in_the_start_time_or_in_counts_that_fell() {
    let figures = |started, served| Figures { started, served, ..load(0.0, 0.0, 0.0) };
    let before = after(&[figures(Some(100.0), Some(50.0))]);
    assert!(!before.restarted(&figures(Some(100.0), Some(50.0))));
    assert!(!before.restarted(&figures(None, None)));
    assert!(before.restarted(&figures(Some(200.0), Some(60.0))));
    assert!(before.restarted(&figures(None, Some(0.0))));
    assert!(!Reading::default().restarted(&figures(Some(1.0), Some(0.0))));
}

#[test]
fn a_restart_forgets_how_many_ran() {
    let figures = |started| Figures { started: Some(started), ..load(9.0, 32.0, 0.0) };
    let before = [figures(100.0), figures(100.0)];
    assert_eq!(after(&before).slots, Some(32));
    let [first, second] = before;
    assert_eq!(after(&[first, second, figures(200.0)]).slots, None);
}

/// Serves one connection after the other: each of its requests is answered with the next text.
async fn server(connections: Vec<Vec<String>>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answers in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                read_head(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    Client::new(address)
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"GET /metrics HTTP/1.1\r\n"));
}

fn answer(page: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len())
}

#[tokio::test]
async fn a_connection_is_kept_and_replaced_when_it_was_closed() {
    let mut client = server(vec![vec![answer(PAGE); 3], vec![answer(PAGE)]]).await;
    for _ in 0..4 {
        assert_eq!(client.scrape(Vllm, None).await.unwrap().unwrap().waiting, 3.0);
    }
}

#[tokio::test]
async fn a_page_that_ends_with_the_connection_is_read() {
    let page = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{PAGE}");
    let mut client = server(vec![vec![page.clone()], vec![page]]).await;
    for _ in 0..2 {
        assert_eq!(client.scrape(Vllm, None).await.unwrap().unwrap().waiting, 3.0);
    }
}

#[tokio::test]
async fn an_endpoint_without_metrics_has_no_figures() {
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
    let mut client = server(vec![vec![missing], vec![answer("up 1\n")]]).await;
    assert!(client.scrape(Vllm, None).await.unwrap().is_none());
    assert!(client.scrape(Vllm, None).await.unwrap().is_none());
}

#[tokio::test]
async fn pages_without_end_and_silence_are_errors() {
    let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"#\n".repeat(3 << 20);
    let mut client = server(vec![vec![endless]]).await;
    assert!(client.scrape(Vllm, None).await.is_err());
    let mut client = server(vec![vec![String::new(), String::new()]]).await;
    assert!(client.scrape(Vllm, None).await.is_err());
}

/// A pool of one endpoint that gives every request this answer, and the number of requests.
async fn counted(answer: String) -> (Arc<PoolState>, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoints = endpoints([0]);
    endpoints[0].address = Address::Socket(listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answer, counter) = (answer.clone(), Arc::clone(&counter));
            tokio::spawn(async move {
                while stream.read_u8().await.is_ok() {
                    let mut last = [0; 3];
                    while !last.ends_with(b"\n\r\n") {
                        last = [last[1], last[2], stream.read_u8().await.unwrap()];
                    }
                    counter.fetch_add(1, SeqCst);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (PoolState::new(pool(RoutingStrategy::Load), &endpoints, &Handle::current()), count)
}

async fn traffic(state: &PoolState, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        drop(state.pick(&standard()).unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn traffic_is_followed_closely_and_wakes_an_idle_pool() {
    let (state, count) = counted(answer(PAGE)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let idle = count.swap(0, SeqCst);
    assert!((1..=6).contains(&idle), "{idle} scrapes while idle");
    traffic(&state, Duration::from_millis(500)).await;
    let busy = count.load(SeqCst);
    assert!((3..=13).contains(&busy), "{busy} scrapes with traffic");
    assert!(state.snapshot()[0].fresh);
    drop(state);
    tokio::time::sleep(Duration::from_millis(100)).await;
    count.store(0, SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(count.load(SeqCst), 0, "nothing is scraped for a pool that is gone");
}

#[tokio::test]
async fn an_endpoint_without_metrics_is_not_asked_ever_again_at_once() {
    let (state, count) = counted("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    traffic(&state, Duration::from_millis(1_000)).await;
    let asked = count.load(SeqCst);
    assert!((1..=8).contains(&asked), "{asked} scrapes");
}
