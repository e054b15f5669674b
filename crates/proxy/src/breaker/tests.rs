use std::{
    sync::{Barrier, atomic::AtomicUsize},
    time::Duration,
};

use pailou_snapshot::{Fraction, RetryBudget};

use super::*;

fn limits_of(limit: u32) -> CircuitBreaker {
    CircuitBreaker {
        max_connections: limit,
        max_pending_requests: limit,
        max_parallel_requests: limit,
        max_parallel_retries: limit,
        ..CircuitBreaker::default()
    }
}

#[test]
fn with_a_limit_of_one_the_second_concurrent_request_is_refused() {
    let (breaker, limits) = (Arc::new(Breaker::default()), limits_of(1));
    let first = breaker.request(Some(&limits)).unwrap();
    assert_eq!(breaker.request(Some(&limits)).unwrap_err(), Overflow(Resource::Requests));
    assert_eq!((breaker.active(Resource::Requests), breaker.overflowed(Resource::Requests)), (1, 1));
    drop(first);
    assert!(breaker.request(Some(&limits)).is_ok());
}

#[test]
fn with_a_limit_of_zero_nothing_passes() {
    let (breaker, limits) = (Arc::new(Breaker::default()), limits_of(0));
    assert!(breaker.request(Some(&limits)).is_err());
    assert!(breaker.retry(Some(&limits)).is_err());
    assert!(breaker.pending(Some(&limits)).is_err());
    assert!(breaker.connection(Some(&limits)).is_err());
    for resource in Resource::ALL {
        assert_eq!((breaker.active(resource), breaker.overflowed(resource)), (0, 1), "{resource:?}");
    }
}

#[test]
fn without_limits_requests_are_counted_and_none_refused() {
    let breaker = Arc::new(Breaker::default());
    let held: Vec<_> = (0..2000).map(|_| breaker.request(None).unwrap()).collect();
    assert_eq!(breaker.active(Resource::Requests), 2000);
    // A rule that does set limits sees the others' requests.
    assert!(breaker.request(Some(&limits_of(2000))).is_err());
    drop(held);
    assert_eq!(breaker.active(Resource::Requests), 0);
}

#[test]
fn each_resource_is_counted_by_itself() {
    let (breaker, limits) = (Arc::new(Breaker::default()), limits_of(1));
    let _held = (
        breaker.request(Some(&limits)).unwrap(),
        breaker.retry(Some(&limits)).unwrap(),
        breaker.pending(Some(&limits)).unwrap(),
        breaker.connection(Some(&limits)).unwrap(),
    );
    assert!(Resource::ALL.iter().all(|&resource| breaker.active(resource) == 1));
}

#[test]
fn under_contention_the_limit_is_reached_but_never_exceeded_and_the_books_balance() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 2_000;
    let (breaker, limits) = (Arc::new(Breaker::default()), limits_of(3));
    let (inside, most, passed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..ROUNDS {
                    if let Ok(permit) = breaker.request(Some(&limits)) {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        passed.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(breaker.active(Resource::Requests), 0);
    let refused = breaker.overflowed(Resource::Requests) as usize;
    assert_eq!(passed.load(Ordering::SeqCst) + refused, THREADS * ROUNDS);
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_gets_the_next_one_closed() {
    let (breaker, limits) = (Arc::new(Breaker::default()), limits_of(1));
    let open = breaker.connection(Some(&limits)).unwrap();
    let waiter = tokio::spawn({
        let (breaker, limits) = (Arc::clone(&breaker), limits.clone());
        async move { breaker.connection_when_free(Some(&limits)).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiter.is_finished());
    drop(open);
    let permit = tokio::time::timeout(Duration::from_secs(5), waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(breaker.active(Resource::Connections), 1);
    drop(permit);
    assert!(breaker.connection_when_free(Some(&limits_of(0))).await.is_err());
}

#[test]
fn a_budget_allows_retries_in_proportion_to_requests() {
    let breaker = Arc::new(Breaker::default());
    let budget = RetryBudget { share: Fraction { numerator: 50, denominator: 100 }, min_concurrency: 1 };
    let limits = CircuitBreaker { retry_budget: Some(budget), max_parallel_retries: 0, ..CircuitBreaker::default() };
    let first = breaker.retry(Some(&limits)).unwrap();
    assert_eq!(breaker.retry(Some(&limits)).unwrap_err(), Overflow(Resource::Retries), "one is always allowed, and no more");
    let _requests: Vec<_> = (0..4).map(|_| breaker.request(Some(&limits)).unwrap()).collect();
    let _second = breaker.retry(Some(&limits)).unwrap();
    assert!(breaker.retry(Some(&limits)).is_err());
    drop(first);
    assert!(breaker.retry(Some(&limits)).is_ok());
}
