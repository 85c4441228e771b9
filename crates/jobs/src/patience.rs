//! Waiting for a store that is away: work that is done must not be lost because its result could not be written at
//! once.

use std::time::Duration;

use base::retry::Backoff;
use tokio::time::Instant;

use crate::STORE_PATIENCE;

/// Between tries.
const PAUSE: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(2), jitter: 0.5 };

/// Calls until it succeeds, fails for a reason that does not pass, or [`STORE_PATIENCE`] is over.
pub(crate) async fn patiently<T, E, F>(is_passing: impl Fn(&E) -> bool, mut call: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut tries = 0;
    loop {
        match call().await {
            Err(error) if is_passing(&error) && started.elapsed() < STORE_PATIENCE => {
                tokio::time::sleep(PAUSE.delay(tries, fastrand::f64())).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use store::StoreError;

    use super::*;

    fn away() -> StoreError {
        StoreError::Unavailable { why: "no".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for() {
        let mut failures = 100;
        let answer = patiently(StoreError::is_transient, || {
            failures -= 1;
            std::future::ready(if failures > 0 { Err(away()) } else { Ok(7) })
        });
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let started = Instant::now();
        patiently(StoreError::is_transient, || std::future::ready(Err::<(), _>(away()))).await.unwrap_err();
        assert!(started.elapsed() >= STORE_PATIENCE && started.elapsed() < STORE_PATIENCE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_not_repeated() {
        let mut calls = 0;
        let answer = patiently(StoreError::is_transient, || {
            calls += 1;
            std::future::ready(Err::<(), _>(StoreError::Failed { why: "broken".to_owned() }))
        });
        answer.await.unwrap_err();
        assert_eq!(calls, 1);
    }
}
