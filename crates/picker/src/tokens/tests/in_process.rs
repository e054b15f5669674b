//! A tokenizer in this process, and engines behind it.

use super::*;

/// A tokenizer that gives this, for any prompt of its model.
struct Fixed(Result<Vec<u32>, TokenSourceError>);

impl PromptTokenizer for Fixed {
    fn tokens(&self, question: &[u8]) -> Result<Vec<u32>, TokenSourceError> {
        assert!(question.starts_with(b"{\"prompt\":") && question.ends_with(b"}"));
        self.0.clone()
    }
}

/// It has the files of `qwen` alone.
struct Qwen(Arc<Fixed>);

impl TokenSource for Qwen {
    fn tokenizer(&self, model: &str) -> Option<Arc<dyn PromptTokenizer>> {
        (model == "qwen").then(|| Arc::clone(&self.0) as _)
    }
}

async fn setup(answer: Result<Vec<u32>, TokenSourceError>) -> Setup {
    let setup = Setup::new().await;
    setup.state.set_token_source(Some(Arc::new(Qwen(Arc::new(Fixed(answer))))));
    setup
}

fn count(setup: &Setup, outcome: &str) -> u64 {
    let exact = setup.state.exact();
    exact.tokenizer.in_process_outcomes().find(|(name, _)| *name == outcome).expect("an outcome").1
}

#[tokio::test]
async fn a_tokenizer_in_this_process_goes_before_engines() {
    let setup = setup(Ok(vec![1, 2])).await;
    assert_eq!(setup.tokens("\"a\"", None).await, Some(vec![1, 2]));
    let long = format!("\"{}\"", "a".repeat(100_000));
    assert_eq!(setup.tokens(&long, None).await, Some(vec![1, 2]), "on another thread");
    assert_eq!((setup.count("computed"), count(&setup, "tokenized")), (2, 2));
    setup.state.set_token_source(None);
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7]));
}

#[tokio::test]
async fn an_engine_is_asked_where_the_files_are_of_no_use() {
    let errors = [(TokenSourceError::Loading, "loading"), (TokenSourceError::Files, "files"), (TokenSourceError::Prompt, "prompt")];
    for (error, reason) in errors {
        let setup = setup(Err(error)).await;
        let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
        assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7]));
        assert_eq!((setup.count("answered"), count(&setup, reason)), (1, 1), "{reason}");
    }
}

#[tokio::test]
async fn an_engine_is_asked_after_mismatches_in_a_row() {
    let setup = setup(Ok(vec![1, 2])).await;
    let pieces = pieces("\"a\"");
    let form = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false };
    for _ in 0..3 {
        let question = TokenQuestion { model: "qwen", prompt: form, ..TokenQuestion::default() };
        let tokens = setup.state.prompt_tokens(&question).await.expect("computed");
        setup.state.exact().tokenizer.verify(tokens.asked().expect("it is to be verified"), 3);
    }
    let body = answer("200 OK", r#"{"count": 3, "tokens": [7, 8, 9]}"#);
    assert_eq!(setup.tokens("\"a\"", Some(&body)).await, Some(vec![7, 8, 9]));
    assert_eq!((count(&setup, "doubted"), setup.state.exact().tokenizer.mismatches()), (1, 3));
}

#[tokio::test]
async fn a_thread_that_is_busy_leaves_the_prompt_to_an_engine() {
    let setup = setup(Ok(vec![1])).await;
    let exact = setup.state.exact();
    let all = exact.tokenizer.in_process.take_all();
    let long = format!("\"{}\"", "a".repeat(100_000));
    let body = answer("200 OK", r#"{"count": 1, "tokens": [7]}"#);
    assert_eq!(setup.tokens(&long, Some(&body)).await, Some(vec![7]));
    assert_eq!((count(&setup, "busy"), setup.tokens("\"a\"", None).await), (1, Some(vec![1])));
    drop(all);
}

#[tokio::test]
async fn nothing_is_computed_where_there_is_nothing_to_choose() {
    let setup = setup(Ok(vec![1])).await;
    let address = setup.state.members().endpoints[0].address;
    let pieces = pieces("\"a\"");
    let prompt = PromptForm::Body { pieces: &pieces, message_ends: &[], is_converted: false };
    let question = TokenQuestion { model: "qwen", prompt, subset: Some(&[address]), ..TokenQuestion::default() };
    assert!(setup.state.prompt_tokens(&question).await.is_none());
    assert_eq!((setup.count("unneeded"), count(&setup, "tokenized")), (1, 0));
}
