//! Long prompts beside each other.

use super::*;

/// A tokenizer that does this with any prompt.
struct Does<F>(F);

impl<F: Fn() -> Result<Vec<u32>, TokenSourceError> + Send + Sync> PromptTokenizer for Does<F> {
    fn tokens(&self, _: &[u8]) -> Result<Vec<u32>, TokenSourceError> {
        (self.0)()
    }
}

type Answer = Result<Vec<u32>, TokenSourceError>;

/// Asks for the tokens of a prompt of this many bytes, for no longer than this.
async fn ask(
    state: &InProcess,
    permits: &PromptPermits,
    (is_chat, bytes): (bool, usize),
    patience: Duration,
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> Result<Arc<[u32]>, InProcessOutcome> {
    let local = LocalTokenizer { tokenizer: Arc::new(Does(answer)), permits: permits.clone() };
    let pieces = [Cow::Owned(vec![b'a'; bytes])];
    let question = LocalQuestion { pieces: &pieces, model: 7, is_chat, deadline: Instant::now() + patience };
    state.tokens(local, question, &Handle::current()).await
}

/// Prompts of this kind have been late until 2 s ago.
fn with_late((is_chat, bytes): (bool, usize)) -> InProcess {
    let (state, then) = (InProcess::default(), std::time::Instant::now().checked_sub(Duration::from_secs(2)).expect("a clock"));
    (0..2).for_each(|_| state.late_sizes.lock().ended(PromptKind::new(7, is_chat, bytes), true, then));
    state
}

const CHAT: (bool, usize) = (true, 20_000);
const LONG_CHAT: (bool, usize) = (true, 40_000);
const COMPLETION: (bool, usize) = (false, 20_000);
const MINUTE: Duration = Duration::from_secs(60);

/// Four late chats for which nobody waited had made all other prompts of the process busy.
#[tokio::test]
async fn late_prompts_leave_half_of_the_permits() {
    let (state, permits) = (with_late(LONG_CHAT), PromptPermits::new(4));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut outcomes = Vec::new();
    for kind in [LONG_CHAT, LONG_CHAT, LONG_CHAT, CHAT, CHAT, CHAT] {
        let held = Arc::clone(&held);
        let wait = move || {
            _ = held.lock().recv();
            Ok(vec![1])
        };
        outcomes.push(ask(&state, &permits, kind, Duration::ZERO, wait).await.expect_err("no tokens as yet"));
    }
    use InProcessOutcome::{Busy, Late, Timeout};
    assert_eq!(outcomes, [Late, Late, Busy, Timeout, Timeout, Busy]);
    drop(release);
}

/// The one try a second had been used up by a prompt for which there was no permit.
#[tokio::test]
async fn a_try_without_a_permit_is_none() {
    let state = with_late(COMPLETION);
    let answer = || Ok(vec![1]);
    let busy = ask(&state, &PromptPermits::new(0), COMPLETION, MINUTE, answer).await;
    assert_eq!(busy, Err(InProcessOutcome::Busy));
    let tokens = ask(&state, &PromptPermits::new(4), COMPLETION, MINUTE, answer).await;
    assert_eq!(tokens.as_deref(), Ok(&[1][..]));
}

/// A chat that its template refuses at once had made late ones hold up their requests again.
#[tokio::test]
async fn errors_say_nothing_of_lateness() {
    let (state, permits) = (with_late(CHAT), PromptPermits::new(4));
    let expected = || state.late_sizes.lock().expect(PromptKind::new(7, CHAT.0, CHAT.1), std::time::Instant::now());
    let answers: [fn() -> Answer; 3] =
        [|| Err(TokenSourceError::Prompt), || Err(TokenSourceError::Loading), || panic!("as a tokenizer with an error would")];
    for answer in answers {
        assert!(ask(&state, &permits, CHAT, MINUTE, answer).await.is_err());
        assert_eq!(expected(), Expectation::Late);
    }
    assert!(ask(&state, &permits, CHAT, MINUTE, || Ok(vec![1])).await.is_ok());
    assert_eq!(expected(), Expectation::InTime);
}
