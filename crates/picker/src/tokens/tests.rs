//! Questions to a server that a test drives.

mod in_process;

use std::{borrow::Cow, net::Ipv4Addr};

use pailou_snapshot::{Address, Endpoint, EndpointRole, KvEvents, Pool, RoutingStrategy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{PickRequest, PoolState, exact_prefixes::choose, testing::pool};

/// A pool of one engine at two addresses, whose HTTP a test speaks. Nothing publishes events.
struct Setup {
    state: Arc<PoolState>,
    engine: TcpListener,
}

impl Setup {
    async fn new() -> Self {
        let engine = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a connection");
        let port = engine.local_addr().expect("an address").port();
        let events = KvEvents { port: 1, replay_port: None, ranks: 1, max_blocks: 10 };
        let pool = Arc::new(Pool { kv_events: Some(events), ..Pool::clone(&pool(RoutingStrategy::PrefixCache)) });
        let endpoints = [1, 2].map(|host| Endpoint {
            address: Address::Socket(([127, 0, 0, host], port).into()),
            name: format!("pod-{host}").into(),
            priority: 0,
            role: EndpointRole::Decode,
            context: None,
        });
        Self { state: PoolState::new(pool, &endpoints, &Handle::current()), engine }
    }

    /// Tokens of this prompt, while the engine answers the next question with this, if with anything.
    async fn tokens(&self, prompt: &str, answer: Option<&str>) -> Option<Vec<u32>> {
        let pieces = pieces(prompt);
        let question = TokenQuestion {
            model: "qwen",
            cache_salt: Some("tenant"),
            prompt: PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false },
            ..TokenQuestion::default()
        };
        let asked = self.state.prompt_tokens(&question);
        tokio::pin!(asked);
        let serve = async {
            let Some(answer) = answer else { return std::future::pending().await };
            self.next_question().await.write_all(answer.as_bytes()).await.expect("a connection");
            std::future::pending().await
        };
        let tokens = tokio::select! { tokens = &mut asked => tokens.ok(), () = serve => None }?;
        assert_eq!(tokens.prompt().cache_salt, Some(&b"tenant"[..]));
        Some(tokens.tokens().to_vec())
    }

    /// Connection of the next question that is under way.
    async fn next_question(&self) -> TcpStream {
        loop {
            let (mut stream, _) = self.engine.accept().await.expect("a connection");
            // Scrapes come too.
            if read_request(&mut stream).await.starts_with("POST /tokenize ") {
                return stream;
            }
        }
    }

    fn count(&self, outcome: &str) -> u64 {
        let exact = self.state.exact();
        exact.tokenizer.outcomes().find(|(name, _)| *name == outcome).expect("an outcome").1
    }
}

fn pieces(prompt: &str) -> [Cow<'_, [u8]>; 4] {
    ["{", "\"prompt\":", prompt, "}"].map(|piece| Cow::Borrowed(piece.as_bytes()))
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.expect("a connection");
        request.extend(&bytes[..count]);
        let text = String::from_utf8_lossy(&request);
        if count == 0 || text.contains("\r\n\r\n") && (text.starts_with("GET") || text.ends_with('}')) {
            return text.into_owned();
        }
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_answer_is_remembered_until_the_engine_counts_otherwise() {
    let setup = Setup::new().await;
    let body = answer("200 OK", r#"{"count": 3, "max_model_len": 100, "tokens": [1, 2, 4294967295], "token_strs": null}"#);
    assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![1, 2, u32::MAX]));
    assert_eq!(setup.tokens("\"a\"", None).await, Some(vec![1, 2, u32::MAX]));
    assert_eq!((setup.count("answered"), setup.count("remembered")), (1, 1));
    let exact = setup.state.exact();
    let asked = TokenQuestion {
        model: "qwen",
        prompt: PromptForm::Body { pieces: &pieces("\"a\""), message_ends: &[], is_converted: false },
        ..TokenQuestion::default()
    };
    for counted in [3, 4] {
        let tokens = setup.state.prompt_tokens(&asked).await.expect("remembered");
        let answer = tokens.asked().expect("an answer");
        assert_eq!(exact.tokenizer.verify(&answer, counted), None, "one says little");
    }
    assert_eq!(exact.tokenizer.mismatches(), 1);
    assert_eq!(setup.tokens("\"a\"", Some(&answer("404 Not Found", ""))).await, None);
}

#[tokio::test]
async fn failures_have_their_reasons_and_end_questions() {
    let setup = Setup::new().await;
    assert_eq!(setup.tokens("1", Some(&answer("401 Unauthorized", "{}"))).await, None);
    assert_eq!(setup.tokens("2", Some(&answer("200 OK", r#"{"count": 2, "tokens": [1]}"#))).await, None);
    assert_eq!(setup.count("standing_back"), 0);
    // The engine takes the connection and is silent: time goes on to the timeout at once.
    tokio::time::pause();
    assert_eq!(setup.tokens("3", None).await, None);
    while setup.state.exact().tokenizer.asking.questions.are_under_way() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let members = setup.state.members();
    let is_silent =
        |host: usize| setup.state.exact().tokenizer.silent().contains(members.endpoints[host].address, 7, Instant::now());
    assert!(is_silent(0) != is_silent(1), "the one that was asked");
    assert_eq!(setup.tokens("4", None).await, None);
    let counts = ["status", "malformed", "timeout", "standing_back"].map(|outcome| setup.count(outcome));
    assert_eq!(counts, [1; 4]);
}

#[tokio::test]
async fn questions_that_an_engine_refuses_do_not_end_those_of_others() {
    let setup = Setup::new().await;
    for (place, status) in ["400 Bad Request", "429 Too Many", "422 Unprocessable", "413 Too Large"].iter().enumerate() {
        assert_eq!(setup.tokens(&place.to_string(), Some(&answer(status, "{}"))).await, None);
    }
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7]));
    assert_eq!((setup.count("status"), setup.count("answered"), setup.count("standing_back")), (4, 1, 0));
}

#[tokio::test]
async fn a_late_answer_counts_for_requests_to_come_and_ends_no_questions() {
    let setup = Setup::new().await;
    let asking = &setup.state.exact().tokenizer.asking;
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    for question in 0..4 {
        let prompt = question.to_string();
        tokio::time::pause();
        assert_eq!(setup.tokens(&prompt, None).await, None, "the engine is silent at first");
        tokio::time::resume();
        let mut asked = setup.next_question().await;
        asked.write_all(body.as_bytes()).await.expect("a connection");
        while asking.questions.are_under_way() {
            tokio::task::yield_now().await;
        }
        assert_eq!(setup.tokens(&prompt, None).await, Some(vec![7]));
    }
    assert_eq!((setup.count("timeout"), setup.count("remembered"), setup.count("standing_back")), (4, 4, 0));
}

/// Each prompt that was new waited for 50 ms in vain.
#[tokio::test]
async fn where_all_answers_are_late_requests_do_not_wait_and_still_learn() {
    let setup = Setup::new().await;
    let asking = &setup.state.exact().tokenizer.asking;
    (0..8).for_each(|_| asking.lateness.lock().answered(true));
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    assert_eq!(setup.tokens("1", None).await, None, "the engine is silent, and nobody waits");
    let mut asked = setup.next_question().await;
    asked.write_all(body.as_bytes()).await.expect("a connection");
    while asking.questions.are_under_way() {
        tokio::task::yield_now().await;
    }
    assert_eq!(setup.tokens("1", None).await, Some(vec![7]));
    // That one was in time.
    assert_eq!(setup.tokens("2", Some(&body)).await, Some(vec![7]));
    assert_eq!(["standing_back", "remembered", "answered"].map(|outcome| setup.count(outcome)), [1; 3]);
}

#[tokio::test]
async fn requests_with_one_prompt_share_a_question() {
    let setup = Setup::new().await;
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    // One connection is answered; a second question would wait for ever.
    let (one, other) = tokio::join!(setup.tokens("1", Some(&body)), async {
        while !setup.state.exact().tokenizer.asking.questions.are_under_way() {
            tokio::task::yield_now().await;
        }
        setup.tokens("1", None).await
    });
    assert_eq!((one, other), (Some(vec![7]), Some(vec![7])));
    assert_eq!(setup.count("answered"), 2);
}

#[tokio::test]
async fn an_engine_without_a_tokenizer_is_asked_once_for_a_model() {
    let setup = Setup::new().await;
    for prompt in ["1", "2"] {
        assert_eq!(setup.tokens(prompt, Some(&answer("404 Not Found", "{}"))).await, None);
    }
    assert_eq!(setup.tokens("3", None).await, None, "neither of the two has one");
    assert_eq!((setup.count("status"), setup.count("standing_back")), (2, 1));
    // Another model may have one.
    let model = setup.state.exact().tokenizer.key_of_model("other");
    let members = setup.state.members();
    let exact = setup.state.exact();
    let silent = exact.tokenizer.silent();
    assert!(!silent.contains(members.endpoints[0].address, model, Instant::now()));
}

#[tokio::test]
async fn what_is_not_asked_is_no_probe() {
    let setup = Setup::new().await;
    let asking = &setup.state.exact().tokenizer.asking;
    let before = Instant::now() - Duration::from_secs(60);
    (0..3).for_each(|_| asking.stand_back.lock().end(stand_back::Question::Usual, stand_back::QuestionEnd::Failure, before));
    let all = asking.questions.take_all();
    assert_eq!(setup.tokens("1", None).await, None);
    drop(all);
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    assert_eq!(setup.tokens("2", Some(&body)).await, Some(vec![7]));
    assert_eq!((setup.count("busy"), setup.count("answered")), (1, 1));
}

/// A request's prompt went to engines that its filters had ruled out.
#[tokio::test]
async fn engines_are_asked_that_the_request_may_go_to() {
    let setup = Setup::new().await;
    let members = setup.state.members();
    let with_priorities = |priorities: [u8; 4]| -> Vec<Endpoint> {
        let endpoint = |(host, priority)| Endpoint {
            address: Address::Socket(([127, 0, 1, host], 9).into()),
            name: format!("pod-{host}").into(),
            priority,
            role: EndpointRole::Decode,
            context: None,
        };
        (0..).zip(priorities).map(endpoint).collect()
    };
    setup.state.update(Arc::clone(&members.pool), &with_priorities([0, 0, 1, 0]));
    let members = setup.state.members();
    let slot = |host: usize| members.endpoints[host].slot();
    let address = |host: usize| members.endpoints[host].address;
    let asked = |subset: Option<&[SocketAddr]>, avoided: &[bool]| {
        let question = TokenQuestion { subset, avoided, ..TokenQuestion::default() };
        let exact = setup.state.exact();
        let silent = exact.tokenizer.silent();
        let engines = (0..100).map(|_| choose(&members, &question, (&silent, 7)).map(|endpoint| endpoint.address));
        let found: Result<std::collections::BTreeSet<SocketAddr>, TokensOutcome> = engines.collect();
        found.map(|found| found.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(asked(None, &[]), Ok(vec![address(0), address(1), address(3)]));
    assert_eq!(asked(Some(&[address(0), address(3)]), &[]), Ok(vec![address(0), address(3)]));
    let mut avoided = vec![false; 4];
    avoided[slot(1)] = true;
    assert_eq!(asked(None, &avoided), Ok(vec![address(0), address(3)]));
    setup.state.exact().tokenizer.silent().add(address(1), Instant::now());
    assert_eq!(asked(None, &[]), Ok(vec![address(0), address(3)]), "one did not answer");
    setup.state.exact().tokenizer.silent().add(address(0), Instant::now());
    assert_eq!(asked(Some(&[address(0), address(1)]), &[]), Err(TokensOutcome::StandingBack));
    for subset in [&[address(0)][..], &[address(0), address(2)], &[]] {
        assert_eq!(asked(Some(subset), &[]), Err(TokensOutcome::Unneeded), "nothing to choose: {subset:?}");
    }
}

#[tokio::test]
async fn prompts_in_tokens_or_of_other_forms_are_not_asked_for() {
    let setup = Setup::new().await;
    let question = |prompt| TokenQuestion { model: "qwen", prompt, ..TokenQuestion::default() };
    let given = setup.state.prompt_tokens(&question(PromptForm::Tokens(&[7, 8]))).await;
    let given = given.expect("given");
    assert_eq!((given.tokens(), given.asked().is_none()), (&[7, 8][..], true));
    let request = PickRequest { tokens: Some(&given), ..PickRequest::default() };
    let held = setup.state.pick(&request).expect("an endpoint");
    assert_eq!(Arc::strong_count(&given.tokens), 2, "a request under way keeps none beside what is expected");
    drop(held);
    assert!(setup.state.prompt_tokens(&question(PromptForm::Other)).await.is_err());
    let long = [Cow::Owned(vec![b' '; MAX_QUESTION_BYTES + 1])];
    assert!(
        setup
            .state
            .prompt_tokens(&question(PromptForm::Body { pieces: &long, message_ends: &[], is_converted: false }))
            .await
            .is_err()
    );
    let salt = "s".repeat(MAX_SALT_BYTES + 1);
    let salted = TokenQuestion { cache_salt: Some(&salt), ..question(PromptForm::Tokens(&[7, 8])) };
    assert!(setup.state.prompt_tokens(&salted).await.is_err());
    assert_eq!((setup.count("given"), setup.count("unsupported")), (1, 3));
    let pool = Arc::new(Pool { kv_events: None, ..Pool::clone(&setup.state.members().pool) });
    assert!(setup.state.wants_tokens());
    setup.state.update(pool, &[]);
    assert!(!setup.state.wants_tokens());
}

/// Engines' reading of other forms is a guess: a wrong one must not cost chats their tokens.
#[tokio::test]
async fn doubts_about_other_forms_leave_chats_alone() {
    let setup = Setup::new().await;
    let exact = setup.state.exact();
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    for prompt in ["1", "2", "3"] {
        assert_eq!(setup.tokens(prompt, Some(&body)).await, Some(vec![7]));
        let pieces = pieces(prompt);
        let form = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: true };
        let question = TokenQuestion { model: "qwen", prompt: form, ..TokenQuestion::default() };
        let tokens = setup.state.prompt_tokens(&question).await.expect("remembered");
        exact.tokenizer.verify(&tokens.asked().expect("an answer"), 9);
    }
    let pieces = pieces("4");
    let form = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: true };
    assert!(setup.state.prompt_tokens(&TokenQuestion { model: "qwen", prompt: form, ..TokenQuestion::default() }).await.is_err());
    assert_eq!(setup.tokens("5", Some(&body)).await, Some(vec![7]));
    assert_eq!(setup.count("doubted"), 1);
}

#[test]
fn each_tokenizer_has_keys_of_its_own() {
    let [one, other] = [0; 2].map(|_| Tokenizer::default().key_of_model("qwen"));
    assert_ne!(one, other);
}

/// Question of a conversation with so many messages, and its answer: a token for each message, and two that open the answer.
fn turn(messages: u32) -> (String, Vec<usize>, Vec<u32>) {
    let (mut prompt, mut ends) = (String::from("["), Vec::new());
    for message in 0..messages {
        prompt.push_str(&message.to_string());
        ends.push(prompt.len());
        prompt.push(',');
    }
    prompt.pop();
    prompt.push(']');
    (prompt, ends, (0..messages * 40).chain([7, 8]).collect())
}

#[tokio::test]
async fn a_turn_is_known_by_the_one_before_it_once_that_was_verified() {
    let setup = Setup::new().await;
    let exact = setup.state.exact();
    let asking = &exact.tokenizer.asking;
    let model = exact.tokenizer.key_of_model("qwen");
    let (earlier_prompt, earlier_ends, earlier) = turn(2);
    let (prompt, ends, present) = turn(4);
    let keys = QuestionKeys::new(exact.tokenizer.seed, &pieces(&earlier_prompt), &earlier_ends);
    _ = asking.answers.lock().insert(keys.whole, earlier.clone().into());
    (0..2).for_each(|_| asking.templates.lock().compare(model, &earlier, &present));
    let pieces = pieces(&prompt);
    let question = TokenQuestion {
        model: "qwen",
        prompt: PromptForm::Body { pieces: &pieces, message_ends: &ends, is_converted: false },
        ..TokenQuestion::default()
    };
    let tokens = setup.state.prompt_tokens(&question).await.expect("those of the earlier turn");
    assert_eq!((tokens.tokens(), tokens.total()), (&earlier[..80], earlier.len() * ends[3] / ends[1]));
    assert_eq!((setup.count("continued"), tokens.source.is_none()), (1, true));
}
