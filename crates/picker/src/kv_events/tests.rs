//! Subscribers against a publisher that a test drives, on real sockets.

mod publisher;

use std::{sync::Arc, time::Duration};

use pailou_snapshot::{Address, Endpoint, EndpointRole, KvEvents, Pool, RoutingStrategy};

use self::publisher::{Publisher, cleared, removed, stored};
use super::*;
use crate::{
    PickRequest, Picked, PoolState, PromptTokens,
    testing::{endpoints, pool, prompt, prompted},
};

/// Tokens of the prompts here.
const TOKENS: u32 = 65;

fn tokens() -> Vec<u32> {
    (0..TOKENS).collect()
}

/// An endpoint at whose address no publisher answers.
fn silent() -> Endpoint {
    Endpoint {
        address: Address::Socket(([127, 0, 0, 2], 10_000).into()),
        name: "other".into(),
        priority: 0,
        role: EndpointRole::Decode,
        context: None,
    }
}

/// A pool of one endpoint and its publisher.
struct Setup {
    state: Arc<PoolState>,
    publisher: Publisher,
}

impl Setup {
    async fn new(has_replay: bool) -> Self {
        let publisher = Publisher::start().await;
        let settings = KvEvents {
            port: publisher.port(),
            replay_port: has_replay.then(|| publisher.replay_port()),
            ranks: 1,
            max_blocks: 1000,
        };
        let pool = Arc::new(Pool { kv_events: Some(settings), ..Pool::clone(&pool(RoutingStrategy::PrefixCache)) });
        let state = PoolState::new(pool, &endpoints([0]), &tokio::runtime::Handle::current());
        Self { state, publisher }
    }

    fn cached(&self) -> Option<Cached> {
        let tokens = tokens();
        let prompt = Prompt { tokens: &tokens, ..Prompt::default() };
        self.state.kv_cache().cached_tokens(&prompt).of(0)
    }

    /// Waits until so many tokens are known to be cached, and whether that is all.
    async fn until(&self, tokens: u32, is_complete: bool) {
        let wanted = Some(Cached { tokens, is_complete });
        let reached = async {
            while self.cached() != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "{wanted:?} is not reached; it is {:?}", self.cached());
    }
}

#[tokio::test]
async fn a_subscriber_that_comes_late_learns_all_by_a_replay_and_goes_on_live() {
    let mut setup = Setup::new(true).await;
    setup.publisher.publish(&stored(0, 2)).await;
    setup.publisher.publish(&stored(2, 1)).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(48, true).await;
    setup.publisher.publish(&stored(3, 1)).await;
    setup.until(64, true).await;
    setup.publisher.publish(&removed(1)).await;
    setup.until(16, true).await;
}

#[tokio::test]
async fn a_batch_that_was_lost_is_asked_for() {
    let mut setup = Setup::new(true).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(0, true).await;
    setup.publisher.publish(&stored(0, 1)).await;
    setup.publisher.lose(&stored(1, 1));
    setup.publisher.publish(&stored(2, 1)).await;
    setup.publisher.serve_replay(1).await;
    setup.until(48, true).await;
}

#[tokio::test]
async fn blocks_of_an_engine_that_restarts_are_forgotten_with_its_connection() {
    let mut setup = Setup::new(true).await;
    setup.publisher.publish(&stored(0, 4)).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(64, true).await;
    setup.publisher.restart();
    setup.until(0, false).await;
    setup.publisher.publish(&stored(0, 1)).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(16, true).await;
}

#[tokio::test]
async fn without_a_replay_socket_all_is_known_once_the_engine_clears_its_cache() {
    let mut setup = Setup::new(false).await;
    setup.publisher.publish(&stored(0, 4)).await;
    setup.publisher.accept().await;
    setup.publisher.publish(&stored(0, 2)).await;
    setup.until(32, false).await;
    let estimated = prompt(1, 4096);
    drop(setup.state.pick(&prompted(&estimated)).expect("an endpoint"));
    assert!(setup.state.prefix_blocks() > 0);
    setup.publisher.publish(&cleared()).await;
    setup.until(0, true).await;
    assert_eq!(setup.state.prefix_blocks(), 0);
}

/// An engine's clear of long ago emptied, at each reconnection, what had been learned since.
#[tokio::test]
async fn a_clear_that_is_replayed_leaves_the_estimate_and_a_restart_empties_it() {
    let mut setup = Setup::new(true).await;
    let estimated = prompt(1, 4096);
    drop(setup.state.pick(&prompted(&estimated)).expect("an endpoint"));
    let learned = setup.state.prefix_blocks();
    assert!(learned > 0);
    setup.publisher.publish(&cleared()).await;
    setup.publisher.publish(&stored(0, 2)).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(32, true).await;
    assert_eq!(setup.state.prefix_blocks(), learned);
    setup.publisher.publish(&stored(2, 1)).await;
    setup.until(48, true).await;
    setup.publisher.forget_batches();
    setup.publisher.publish(&stored(0, 1)).await;
    setup.publisher.serve_replay(0).await;
    setup.until(16, true).await;
    assert_eq!(setup.state.prefix_blocks(), 0);
}

#[tokio::test]
async fn not_all_is_known_once_a_batch_cannot_be_read() {
    let mut setup = Setup::new(true).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.publisher.publish(&stored(0, 2)).await;
    setup.until(32, true).await;
    setup.publisher.publish(b"no batch").await;
    setup.until(32, false).await;
    setup.publisher.publish(&cleared()).await;
    setup.until(0, true).await;
    setup.publisher.send_odd_message().await;
    setup.until(0, false).await;
}

/// Each of a pod's endpoints followed all of its ranks, and seemed to have cached what the others have.
#[tokio::test]
async fn each_of_a_pods_endpoints_follows_the_publisher_of_its_place() {
    let mut setup = Setup::new(false).await;
    setup.publisher.accept().await;
    setup.publisher.publish(&stored(0, 2)).await;
    setup.until(32, true).await;
    let pool = Arc::clone(&setup.state.members().pool);
    let settings = KvEvents { ranks: 2, ..pool.kv_events.expect("settings") };
    let pool = Arc::new(Pool { kv_events: Some(settings), ..Pool::clone(&pool) });
    let at = |port: u16| Endpoint { address: Address::Socket(([127, 0, 0, 1], port).into()), ..endpoints([0]).remove(0) };
    setup.state.update(pool, &[at(10_001), at(10_000)]);
    setup.publisher.is_left().await;
    setup.publisher.accept().await;
    setup.publisher.publish(&stored(0, 1)).await;
    let slot_of = |port| setup.state.members().endpoints.iter().find(|it| it.address.port() == port).map(|it| it.slot);
    let cached = |port| {
        let tokens = tokens();
        let prompt = Prompt { tokens: &tokens, ..Prompt::default() };
        setup.state.kv_cache().cached_tokens(&prompt).of(slot_of(port).expect("an endpoint")).map(|cached| cached.tokens)
    };
    let reached = async {
        while cached(10_000) != Some(16) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("what the first rank has");
    assert_eq!(cached(10_001), Some(0));
    let publishers = setup.state.members().endpoints.len();
    assert_eq!(setup.state.kv_cache().known.read().publishers.len(), publishers);
}

#[tokio::test]
async fn an_endpoint_that_leaves_is_heard_no_more() {
    let mut setup = Setup::new(true).await;
    setup.publisher.publish(&stored(0, 4)).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(64, true).await;
    let pool = Arc::clone(&setup.state.members().pool);
    setup.state.update(pool, &[]);
    assert_eq!(setup.cached(), None);
    setup.publisher.is_left().await;
}

#[tokio::test]
async fn picks_know_what_is_cached_where_engines_tell() {
    let mut setup = Setup::new(true).await;
    setup.publisher.publish(&stored(0, 4)).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(64, true).await;
    // Nothing is known of the other.
    let other = silent();
    let pool = Arc::clone(&setup.state.members().pool);
    setup.state.update(pool, &[vec![other], endpoints([0])].concat());
    let (text, tokens) = (prompt(2, 400), tokens());
    let known = PromptTokens::new(tokens.into(), None, None);
    let pick = |known| -> Picked { setup.state.pick(&PickRequest { tokens: known, ..prompted(&text) }).expect("an endpoint") };
    for _ in 0..20 {
        assert_eq!(&*pick(Some(&known)).endpoint().endpoint().name, "pod-0");
    }
}

/// Requests of one new prefix went apart until the engine had told of its first blocks.
#[tokio::test]
async fn a_prompt_is_expected_where_it_was_sent_until_the_engine_tells() {
    let mut setup = Setup::new(true).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(0, true).await;
    let (text, tokens) = (prompt(2, 400), PromptTokens::new(tokens().into(), None, None));
    let exact = setup.state.exact();
    let cached = |now| exact.cached_tokens(&tokens, now).of(0).expect("a publisher").tokens;
    let now = std::time::Instant::now();
    assert_eq!(cached(now), 0);
    let request = PickRequest { tokens: Some(&tokens), ..prompted(&text) };
    drop(setup.state.pick_at(&request, now).expect("an endpoint"));
    assert_eq!((cached(now), cached(now + Duration::from_secs(1))), (64, 64));
    assert_eq!(cached(now + Duration::from_secs(2)), 0);
}

#[tokio::test]
async fn a_prompt_is_expected_where_its_request_failed_over_to() {
    let mut setup = Setup::new(true).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(0, true).await;
    let other = silent();
    let pool = Arc::clone(&setup.state.members().pool);
    setup.state.update(Arc::clone(&pool), &[vec![other], endpoints([0])].concat());
    let (text, tokens) = (prompt(2, 400), PromptTokens::new(tokens().into(), None, None));
    let exact = setup.state.exact();
    let now = std::time::Instant::now();
    let cached = || [0, 1].map(|slot| exact.cached_tokens(&tokens, now).of(slot).expect("a publisher").tokens);
    let mut picked = setup.state.pick_at(&PickRequest { tokens: Some(&tokens), ..prompted(&text) }, now).expect("an endpoint");
    let expected_at = |slot| [0, 1].map(|other| if other == slot { 64 } else { 0 });
    let first = picked.endpoint().slot;
    assert_eq!(cached(), expected_at(first));
    assert!(picked.fail_over_at(now));
    assert_eq!(cached(), expected_at(1 - first));
    assert!(!picked.fail_over_at(now));
    assert_eq!(cached(), [0, 0], "both have failed");
}

#[tokio::test]
async fn nothing_is_expected_of_an_engine_that_lost_its_cache() {
    let mut setup = Setup::new(true).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(0, true).await;
    let (text, tokens) = (prompt(2, 400), PromptTokens::new(tokens().into(), None, None));
    let exact = setup.state.exact();
    let now = std::time::Instant::now();
    drop(setup.state.pick_at(&PickRequest { tokens: Some(&tokens), ..prompted(&text) }, now).expect("an endpoint"));
    assert_eq!(exact.cached_tokens(&tokens, now).of(0).expect("a publisher").tokens, 64);
    setup.publisher.publish(&cleared()).await;
    let cleared = async {
        while setup.state.kv_cache().report().index.clears == 0
            || exact.cached_tokens(&tokens, now).of(0).is_some_and(|cached| cached.tokens > 0)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cleared).await.expect("nothing is expected");
}

/// Batches of a form that no reader knew left an index empty without a word.
#[tokio::test]
async fn a_publisher_of_which_nothing_is_understood_is_counted_as_mute() {
    let mut setup = Setup::new(true).await;
    setup.publisher.accept().await;
    setup.publisher.serve_replay(0).await;
    setup.until(0, true).await;
    let report = setup.state.kv_cache().report();
    assert_eq!((report.complete, report.mute), (1, 0));
    for _ in 0..8 {
        setup.publisher.publish(b"no batch").await;
    }
    let reached = async {
        while setup.state.kv_cache().report().mute == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("an alarm");
    let report = setup.state.kv_cache().report();
    assert_eq!((report.complete, report.incomplete, report.mute, report.events.malformed_batches), (0, 0, 1, 8));
    setup.publisher.publish(&stored(0, 1)).await;
    setup.until(16, false).await;
    assert_eq!(setup.state.kv_cache().report().mute, 0);
    assert!(setup.state.exact_figures().iter().any(|figure| figure.name == "pailou_kv_publishers"));
}
