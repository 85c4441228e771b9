//! A future beside a stream of tokens: a timer, a signal.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A future that is asked with every token and seldom has something to say. Polled each time it would cost more than the
/// token; polled once, it knows whom to wake, and then only has to be looked at.
#[derive(Debug)]
pub struct Beside<F> {
    future: Pin<Box<F>>,
    wakes: Option<Waker>,
}

impl<F: Future> Beside<F> {
    /// Nobody is woken until it is polled.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: None }
    }

    /// Whether it is done. It is polled when it `is_due`, or does not know the task of `cx` yet.
    pub fn poll(&mut self, cx: &mut Context<'_>, is_due: impl FnOnce(&F) -> bool) -> Poll<F::Output> {
        let is_known = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_known && !is_due(&self.future) {
            return Poll::Pending;
        }
        if !is_known {
            self.wakes = Some(cx.waker().clone());
        }
        self.future.as_mut().poll(cx)
    }

    /// Sets it anew; it wakes nobody until it is polled again.
    pub fn set(&mut self, anew: impl FnOnce(Pin<&mut F>)) {
        anew(self.future.as_mut());
        self.wakes = None;
    }

    /// The future itself, to be looked at.
    pub fn get(&self) -> &F {
        &self.future
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

    /// Counts how often it is polled, and is never done.
    struct Counted(u32);

    impl Future for Counted {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            self.0 += 1;
            Poll::Pending
        }
    }

    #[test]
    fn a_future_is_polled_once_per_task_and_whenever_it_is_due() {
        let (one, other) = (Waker::from(Arc::new(Task)), Waker::from(Arc::new(Task)));
        let mut beside = Beside::new(Counted(0));
        let polls = |beside: &mut Beside<Counted>, waker: &Waker, is_due| {
            let before = beside.get().0;
            assert!(beside.poll(&mut Context::from_waker(waker), |_| is_due).is_pending());
            beside.get().0 > before
        };
        assert!(polls(&mut beside, &one, false));
        assert!(!polls(&mut beside, &one, false));
        assert!(polls(&mut beside, &one, true));
        assert!(polls(&mut beside, &other, false), "another task");
        beside.set(|_| ());
        assert!(polls(&mut beside, &other, false));
    }
}
