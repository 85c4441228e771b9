//! The gate of a worker: as many asks at once as it has slots, the others wait in a bounded queue or are told to come back.
//!
//! A permit is a slot; dropping it lets the next one in. A waiting ask whose client left takes itself out of the queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{Code, Fault, ModelId, Priority, Result};
use routing::admission::{Queue, Readiness, Ticket};
use tokio::sync::oneshot;

/// Tells whether a model is in memory, or may be brought there while those in use stay.
pub trait Residency: Send + Sync + 'static {
    /// `in_use` are the models of running asks.
    fn readiness(&self, model: &ModelId, in_use: &[(ModelId, u32)]) -> Readiness;

    /// An ask of the model begins; with `is_swap`, others may have to go for it.
    fn begins(&self, _model: &ModelId, _in_use: &[(ModelId, u32)], _is_swap: bool) -> Presence {
        Presence::There
    }

    /// Somebody has just looked what is in memory.
    fn looked(&self, _in_use: &[(ModelId, u32)]) {}
}

/// Where the model of an ask was when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In memory.
    There,
    /// Not in memory: this ask makes the engine load it.
    Brought,
    /// Another ask made the engine load it a moment ago; nobody has looked whether it is there.
    Coming,
}

/// The gate of one worker.
pub struct Gate {
    name: String,
    slots: u32,
    has_queue: bool,
    residency: Box<dyn Residency>,
    inner: Mutex<Inner>,
}

struct Inner {
    busy: u32,
    in_use: Vec<(ModelId, u32)>,
    queue: Queue<Seeker>,
    is_closed: bool,
}

/// An ask that waits for a slot.
struct Seeker {
    model: ModelId,
    slot: oneshot::Sender<Permit>,
}

/// A slot of the worker, until it is dropped.
pub struct Permit {
    gate: Arc<Gate>,
    model: ModelId,
    presence: Presence,
}

impl Permit {
    /// Where the model was when the slot was given.
    pub fn presence(&self) -> Presence {
        self.presence
    }
}

impl Gate {
    /// A gate with `slots` and room for `queue` waiting asks.
    pub fn new(
        name: String,
        slots: u32,
        queue: u32,
        max_wait: Duration,
        swaps_per_minute: u32,
        residency: Box<dyn Residency>,
    ) -> Arc<Self> {
        let inner = Inner {
            busy: 0,
            in_use: Vec::new(),
            queue: Queue::new(queue as usize, max_wait, swaps_per_minute),
            is_closed: false,
        };
        Arc::new(Self { name, slots, has_queue: queue > 0, residency, inner: Mutex::new(inner) })
    }

    /// Goes by another patience and another number of swaps from now on.
    pub fn go_by(self: &Arc<Self>, max_wait: Duration, swaps_per_minute: u32) {
        self.lock().queue.go_by(max_wait, swaps_per_minute);
        self.pump();
    }

    /// Waits for a slot.
    pub async fn admit(
        self: &Arc<Self>,
        priority: Priority,
        client: &Arc<str>,
        model: &ModelId,
        deadline: Deadline,
    ) -> Result<Permit> {
        let waiting = match self.enter(priority, client, model)? {
            Entered::Free(permit) => return Ok(permit),
            Entered::Waits(waiting) => waiting,
        };
        match tokio::time::timeout_at(deadline.instant().into(), waiting.permit()).await {
            Ok(permit) => permit,
            Err(_) => {
                Err(Fault::new(Code::DeadlineExceeded, format!("no slot of worker `{}` got free in time", self.name))
                    .hint("allow more time with `x-tm-timeout`, or add a worker for this model"))
            }
        }
    }

    /// Running and waiting asks.
    pub fn counts(&self) -> (u32, u32) {
        let inner = self.lock();
        (inner.busy, u32::try_from(inner.queue.len()).unwrap_or(u32::MAX))
    }

    /// Lets in whoever can run now; called when something changed that the gate does not see (models in memory, time).
    pub fn pump(self: &Arc<Self>) {
        loop {
            let (sender, permit) = {
                let mut inner = self.lock();
                let Some((seeker, is_swap)) = self.next(&mut inner, Instant::now()) else { return };
                (seeker.slot, self.seat(&mut inner, seeker.model, is_swap))
            };
            // A receiver that is gone gives the permit back here, outside the lock, and the slot goes to the next.
            drop(sender.send(permit));
        }
    }

    /// What is in memory was looked at just now.
    pub fn looked(&self) {
        let inner = self.lock();
        self.residency.looked(&inner.in_use);
    }

    /// Lets nobody in any more (or again).
    pub fn set_closed(&self, is_closed: bool) {
        self.lock().is_closed = is_closed;
    }

    fn enter(self: &Arc<Self>, priority: Priority, client: &Arc<str>, model: &ModelId) -> Result<Entered> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(Fault::unavailable(format!("worker `{}` drains and takes nothing new", self.name)));
        }
        if inner.busy < self.slots && inner.queue.is_empty() {
            let readiness = self.residency.readiness(model, &inner.in_use);
            let may_begin = match readiness {
                Readiness::Ready => true,
                // Others that wait may go first; where nobody can wait, there is no other way in.
                Readiness::Swap => !self.has_queue && inner.queue.try_swap(Instant::now()),
                Readiness::Blocked => false,
            };
            if may_begin {
                let is_swap = readiness == Readiness::Swap;
                return Ok(Entered::Free(self.seat(&mut inner, model.clone(), is_swap)));
            }
        }
        let (slot, receiver) = oneshot::channel();
        let seeker = Seeker { model: model.clone(), slot };
        let ticket = inner.queue.push(priority, client, model.clone(), seeker, Instant::now()).map_err(|full| {
            Fault::new(Code::Overloaded, format!("worker `{}` has {} asks waiting", self.name, full.queued))
                .retry_after(full.retry_after)
                .hint("come back later, or add a worker for this model")
        })?;
        drop(inner);
        let waiting = Waiting { gate: self.clone(), ticket, receiver };
        self.pump();
        Ok(Entered::Waits(waiting))
    }

    /// Who begins now, and whether others have to go for its model.
    fn next(&self, inner: &mut Inner, now: Instant) -> Option<(Seeker, bool)> {
        if inner.busy >= self.slots || inner.queue.is_empty() {
            return None;
        }
        let Inner { queue, in_use, .. } = inner;
        let readiness = |model: &ModelId| self.residency.readiness(model, in_use);
        let seeker = queue.pop(now, readiness)?;
        let is_swap = readiness(&seeker.model) == Readiness::Swap;
        Some((seeker, is_swap))
    }

    /// Takes a slot.
    fn seat(self: &Arc<Self>, inner: &mut Inner, model: ModelId, is_swap: bool) -> Permit {
        let presence = self.residency.begins(&model, &inner.in_use, is_swap);
        inner.busy += 1;
        match inner.in_use.iter_mut().find(|(used, _)| *used == model) {
            Some((_, count)) => *count += 1,
            None => inner.in_use.push((model.clone(), 1)),
        }
        Permit { gate: self.clone(), model, presence }
    }

    /// The queue stays whole when a thread died: each operation on it is complete.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered {
    Free(Permit),
    Waits(Waiting),
}

/// A place in the queue; dropping it gives the place up.
struct Waiting {
    gate: Arc<Gate>,
    ticket: Ticket,
    receiver: oneshot::Receiver<Permit>,
}

impl Waiting {
    async fn permit(mut self) -> Result<Permit> {
        let gone = || Fault::unavailable("the worker stopped while the ask waited at it");
        (&mut self.receiver).await.map_err(|_| gone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let seeker = self.gate.lock().queue.remove(self.ticket);
        drop(seeker);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut inner = self.gate.lock();
            inner.busy = inner.busy.saturating_sub(1);
            if let Some((_, count)) = inner.in_use.iter_mut().find(|(model, _)| *model == self.model) {
                *count -= 1;
            }
            inner.in_use.retain(|(_, count)| *count > 0);
            if inner.queue.is_empty() {
                return;
            }
        }
        self.gate.pump();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Model `a` is in memory; another one would push it out.
    struct OnlyA;

    impl Residency for OnlyA {
        fn readiness(&self, model: &ModelId, in_use: &[(ModelId, u32)]) -> Readiness {
            match model.as_str() {
                "a" => Readiness::Ready,
                _ if in_use.is_empty() => Readiness::Swap,
                _ => Readiness::Blocked,
            }
        }
    }

    fn gate(slots: u32, queue: u32) -> Arc<Gate> {
        Gate::new("w".into(), slots, queue, Duration::from_secs(60), 10, Box::new(OnlyA))
    }

    async fn admit(gate: &Arc<Gate>, model: &str) -> Result<Permit> {
        let deadline = Deadline::after(Instant::now(), Duration::from_secs(5));
        gate.admit(Priority::Normal, &"".into(), &model.into(), deadline).await
    }

    #[tokio::test]
    async fn a_dropped_permit_lets_the_next_one_in() {
        let gate = gate(1, 4);
        let first = admit(&gate, "a").await.unwrap();
        let mut second = Box::pin(admit(&gate, "a"));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await.unwrap());
        assert_eq!(gate.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_client_that_leaves_gives_its_place_up() {
        let gate = gate(1, 4);
        let first = admit(&gate, "a").await.unwrap();
        {
            let mut waiting = Box::pin(admit(&gate, "a"));
            assert!(futures_util::poll!(&mut waiting).is_pending());
            assert_eq!(gate.counts(), (1, 1));
        }
        assert_eq!(gate.counts(), (1, 0));
        drop(first);
        assert_eq!(gate.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_back() {
        let gate = gate(1, 1);
        let _first = admit(&gate, "a").await.unwrap();
        let mut waiting = Box::pin(admit(&gate, "a"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let fault = admit(&gate, "a").await.err().unwrap();
        assert_eq!(fault.code, Code::Overloaded);
        assert!(fault.retry_after.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ask_whose_time_is_over_leaves_the_queue() {
        let gate = gate(1, 4);
        let _first = admit(&gate, "a").await.unwrap();
        assert_eq!(admit(&gate, "a").await.err().unwrap().code, Code::DeadlineExceeded);
        assert_eq!(gate.counts(), (1, 0));
    }

    #[tokio::test]
    async fn without_a_queue_another_model_still_gets_in() {
        let gate = gate(1, 0);
        let first = admit(&gate, "b").await.unwrap();
        assert_eq!(admit(&gate, "b").await.err().unwrap().code, Code::Overloaded);
        drop(first);
        assert_eq!(gate.counts(), (0, 0));
    }

    #[tokio::test]
    async fn another_model_waits_until_those_in_use_are_done() {
        let gate = gate(4, 4);
        let first = admit(&gate, "a").await.unwrap();
        let mut other = Box::pin(admit(&gate, "b"));
        assert!(futures_util::poll!(&mut other).is_pending());
        drop(first);
        assert!(other.await.is_ok());
    }
}
