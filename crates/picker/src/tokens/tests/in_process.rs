//! A tokenizer in this process, and engines behind it.

use std::sync::{Condvar, Mutex as StdMutex};

use super::*;

/// A tokenizer that gives this, for any prompt of its model.
struct Fixed(Result<Vec<u32>, TokenSourceError>);

impl PromptTokenizer for Fixed {
    fn tokens(&self, question: &[u8]) -> Result<Vec<u32>, TokenSourceError> {
        assert!(question.starts_with(b"{\"prompt\":") && question.ends_with(b"}"));
        self.0.clone()
    }
}

/// A tokenizer that gives no tokens before it may.
#[derive(Default)]
struct Held(StdMutex<bool>, Condvar);

impl Held {
    fn release(&self) {
        *self.0.lock().expect("no panic") = true;
        self.1.notify_all();
    }
}

impl PromptTokenizer for Held {
    fn tokens(&self, _: &[u8]) -> Result<Vec<u32>, TokenSourceError> {
        let held = self.0.lock().expect("no panic");
        drop(self.1.wait_while(held, |may| !*may).expect("no panic"));
        Ok(vec![1])
    }
}

/// It has the files of `qwen` alone.
struct Qwen(Arc<dyn PromptTokenizer>, PromptPermits);

impl TokenSource for Qwen {
    fn tokenizer(&self, model: &str) -> Option<Arc<dyn PromptTokenizer>> {
        (model == "qwen").then(|| Arc::clone(&self.0))
    }

    fn permits(&self) -> PromptPermits {
        self.1.clone()
    }
}

async fn setup(answer: Result<Vec<u32>, TokenSourceError>) -> Setup {
    setup_with(Arc::new(Fixed(answer)), PromptPermits::new(4)).await
}

async fn setup_with(tokenizer: Arc<dyn PromptTokenizer>, permits: PromptPermits) -> Setup {
    let setup = Setup::new().await;
    setup.state.set_token_source(Some(Arc::new(Qwen(tokenizer, permits))));
    setup
}

/// A prompt that is tokenized on another thread.
fn long_prompt(letter: char) -> String {
    format!("\"{}\"", letter.to_string().repeat(100_000))
}

fn count(setup: &Setup, outcome: &str) -> u64 {
    let exact = setup.state.exact();
    exact.tokenizer.in_process_outcomes().find(|(name, _)| *name == outcome).expect("an outcome").1
}

#[tokio::test]
async fn a_tokenizer_in_this_process_goes_before_engines() {
    let setup = setup(Ok(vec![1, 2])).await;
    assert_eq!(setup.tokens("\"a\"", None).await, Some(vec![1, 2]));
    assert_eq!(setup.tokens(&long_prompt('a'), None).await, Some(vec![1, 2]), "on another thread");
    assert_eq!((setup.count("computed"), count(&setup, "tokenized")), (2, 2));
    setup.state.set_token_source(None);
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7]));
}

#[tokio::test]
async fn an_engine_is_asked_where_the_files_are_of_no_use() {
    let errors = [
        (TokenSourceError::Loading, "loading"),
        (TokenSourceError::Files, "files"),
        (TokenSourceError::Prompt, "prompt"),
        (TokenSourceError::TooLong, "too_long"),
    ];
    for (error, reason) in errors {
        let setup = setup(Err(error)).await;
        let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
        assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7]));
        assert_eq!((setup.count("answered"), count(&setup, reason)), (1, 1), "{reason}");
        let pieces = pieces("\"a\"");
        let prompt = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false };
        let question = TokenQuestion { model: "qwen", prompt, ..TokenQuestion::default() };
        let tokens = setup.state.prompt_tokens(&question).await.expect("remembered");
        let way = tokens.way().expect("there is one");
        assert_eq!((way.by(), way.result(), way.in_process()), ("engine", "remembered", Some(reason)));
        let request = PickRequest { tokens: Some(&tokens), tokens_way: Some(way), ..PickRequest::default() };
        assert_eq!(setup.state.pick(&request).expect("an endpoint").receipt().tokens_way, Some(way));
    }
}

#[tokio::test]
async fn an_engine_is_asked_after_mismatches_in_a_row() {
    let setup = setup(Ok(vec![1, 2])).await;
    let pieces = pieces("\"a\"");
    let form = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false };
    let mut doubted = None;
    for _ in 0..3 {
        let question = TokenQuestion { model: "qwen", prompt: form, ..TokenQuestion::default() };
        let tokens = setup.state.prompt_tokens(&question).await.expect("computed");
        doubted = setup.state.exact().tokenizer.verify(&tokens.asked().expect("it is to be verified"), 3);
    }
    assert_eq!(doubted, Some(TokenizerPlace::InProcess));
    let body = answer("200 OK", r#"{"count": 3, "tokens": [7, 8, 9]}"#);
    assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7, 8, 9]));
    assert_eq!((count(&setup, "doubted"), setup.state.exact().tokenizer.mismatches()), (1, 3));
}

/// Doubts about chats had cost completions their tokens.
#[tokio::test]
async fn doubts_about_one_kind_of_questions_leave_the_others_alone() {
    let setup = setup(Ok(vec![1, 2])).await;
    let exact = setup.state.exact();
    let pieces =
        ["{", "\"prompt\":", "\"a\"", ",\"chat_template_kwargs\":", "{}", "}"].map(|piece| Cow::Borrowed(piece.as_bytes()));
    let prompt = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false };
    for _ in 0..3 {
        let question = TokenQuestion { model: "qwen", prompt, ..TokenQuestion::default() };
        let tokens = setup.state.prompt_tokens(&question).await.expect("computed");
        exact.tokenizer.verify(&tokens.asked().expect("it is to be verified"), 3);
    }
    assert_eq!(setup.tokens("\"a\"", None).await, Some(vec![1, 2]));
    assert_eq!(count(&setup, "doubted"), 0);
}

#[tokio::test]
async fn threads_that_are_busy_for_any_pool_leave_the_prompt_to_an_engine() {
    let permits = PromptPermits::new(4);
    let tokenizer: Arc<dyn PromptTokenizer> = Arc::new(Fixed(Ok(vec![1])));
    let setups = [setup_with(Arc::clone(&tokenizer), permits.clone()).await, setup_with(tokenizer, permits.clone()).await];
    let all = [(); 4].map(|()| permits.try_acquire(false).expect("a permit"));
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    for setup in &setups {
        assert_eq!(setup.tokens(&long_prompt('a'), Some(&body)).await, Some(vec![7]));
        assert_eq!((count(setup, "busy"), setup.tokens("\"a\"", None).await), (1, Some(vec![1])));
    }
    drop(all);
}

/// An 8 MiB prompt took 400 MB.
#[tokio::test]
async fn a_prompt_that_is_too_long_is_left_to_an_engine() {
    let setup = setup(Ok(vec![1])).await;
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    let long = format!("\"{}\"", "a".repeat(2 << 20));
    assert_eq!(setup.tokens(&long, Some(&body)).await, Some(vec![7]));
    assert_eq!(count(&setup, "too_long"), 1);
}

/// Each such prompt had waited for 50 ms, and no engine was asked.
#[tokio::test]
async fn prompts_that_are_always_late_are_left_to_an_engine_at_once() {
    let held = Arc::new(Held::default());
    let setup = setup_with(Arc::clone(&held) as _, PromptPermits::new(4)).await;
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    for (letter, timeouts) in [('a', 1), ('b', 2)] {
        tokio::time::pause();
        let prompt = long_prompt(letter);
        // No blocking thread lets the clock of a test go on by itself.
        let (late, ()) = tokio::join!(setup.tokens(&prompt, None), async {
            while setup.state.exact().tokenizer.asking.questions.are_under_way() || count(&setup, "timeout") < timeouts {
                tokio::time::advance(REQUEST_TIMEOUT / 4).await;
                if count(&setup, "timeout") == timeouts {
                    return;
                }
            }
        });
        tokio::time::resume();
        assert_eq!(late, None);
        let mut asked = setup.next_question().await;
        asked.write_all(body.as_bytes()).await.expect("a connection");
        while setup.state.exact().tokenizer.asking.questions.are_under_way() {
            tokio::task::yield_now().await;
        }
        assert_eq!(setup.count("timeout"), timeouts);
    }
    assert_eq!(setup.tokens(&long_prompt('c'), Some(&body)).await, Some(vec![7]), "nothing is tried, and an engine has the time");
    assert_eq!((count(&setup, "late"), setup.count("answered")), (1, 1));
    assert_eq!(setup.tokens(&long_prompt('a'), None).await, Some(vec![7]), "the late answer is remembered");
    held.release();
}

#[tokio::test]
async fn nothing_is_computed_where_there_is_nothing_to_choose() {
    let setup = setup(Ok(vec![1])).await;
    let address = setup.state.members().endpoints[0].address;
    let pieces = pieces("\"a\"");
    let prompt = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false };
    let question = TokenQuestion { model: "qwen", prompt, subset: Some(&[address]), ..TokenQuestion::default() };
    assert!(setup.state.prompt_tokens(&question).await.is_err());
    assert_eq!((setup.count("unneeded"), count(&setup, "tokenized")), (1, 0));
}
