//! Tells the service manager how the node is: it serves, it lives, it stops. Without one (no `NOTIFY_SOCKET`) nothing is
//! sent.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// The node serves.
pub fn serves(at: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(at)]);
}

/// The node reads its configuration again; [`serves`] tells when it has.
pub fn reloads() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reads its configuration again")]),
        Err(error) => tracing::warn!(%error, "could not read the clock that the service manager wants"),
    }
}

/// The node takes nothing new, and will end.
pub fn stops() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stops: takes nothing new")]);
}

/// Says that the node lives for as long as `answers` does in time: a runtime or a supervision tree that hangs says nothing,
/// and the service manager starts the node again. Never returns; does nothing where no watchdog is asked for.
pub async fn lives<F: Future<Output = bool>>(answers: impl Fn(Duration) -> F) -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let (pause, patience) = rhythm(limit);
    let mut beat = tokio::time::interval(pause);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        match answers(patience).await {
            true => tell(&[NotifyState::Watchdog]),
            false => {
                tracing::error!("the root of the actors does not answer; the service manager is not told that it lives")
            }
        }
    }
}

/// Between two signs of life, and how long each may take: one may be late without the limit being reached.
fn rhythm(limit: Duration) -> (Duration, Duration) {
    (limit / 3, limit / 3)
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not tell the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_that_is_as_late_as_may_be_comes_within_the_limit() {
        let limit = Duration::from_secs(30);
        let (pause, patience) = rhythm(limit);
        assert!(pause + patience < limit && !pause.is_zero());
    }
}
