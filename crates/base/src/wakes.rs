//! Futures beside a stream of tokens: a timer, a signal. Which of them must be polled, and when a look is enough.

use std::task::{Context, Waker};

/// Whom a future beside a stream (a timer, a signal) wakes. Polled with every token, such futures would cost more than
/// the token; polled once per task, they only have to be looked at.
#[derive(Debug, Default)]
pub struct Wakes(Option<Waker>);

impl Wakes {
    /// Whether the future must be polled: it `is_due`, or it does not know the task of `cx` yet.
    pub fn must_poll(&mut self, cx: &Context<'_>, is_due: bool) -> bool {
        let is_known = self.0.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_known {
            self.0 = Some(cx.waker().clone());
        }
        is_due || !is_known
    }

    /// The future was set anew and wakes nobody until it is polled.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_future_is_polled_once_per_task_and_whenever_it_is_due() {
        let (one, other) = (Waker::from(Arc::new(Task)), Waker::from(Arc::new(Task)));
        let (one, other) = (Context::from_waker(&one), Context::from_waker(&other));
        let mut wakes = Wakes::default();
        assert!(wakes.must_poll(&one, false));
        assert!(!wakes.must_poll(&one, false));
        assert!(wakes.must_poll(&one, true));
        assert!(wakes.must_poll(&other, false), "another task");
        wakes.forget();
        assert!(wakes.must_poll(&other, false));
    }
}
