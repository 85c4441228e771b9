//! Who sits where: slots with what each has in the cache, and the asks that wait. Knows nothing of llama.cpp.

use std::collections::VecDeque;

use base::Fault;
use llama_cpp_2::token::LlamaToken;

use super::run::Run;

/// Asks that the thread holds beyond its slots; the rest waits in the channel in front of it.
const WAITING: usize = 4;
/// A prompt that shares fewer tokens than this with another sequence takes a free slot rather than a copy.
const WORTH_COPYING: usize = 16;
/// Room in the cache, beside its prompt, that an ask finds when it begins.
const ROOM_TO_BEGIN: usize = 32;

/// All slots.
pub struct Slots {
    slots: Vec<Slot>,
    waiting: VecDeque<Run>,
    room: usize,
    /// Whether a beginning can be used again.
    shares: bool,
    /// Counts up with every ask that is seated; the lowest one came first.
    seated: u64,
    /// Asks that have ended in a slot.
    ended: u64,
}

#[derive(Default)]
struct Slot {
    run: Option<Run>,
    /// What the cache has of this sequence.
    cached: Vec<LlamaToken>,
    /// As it was before the step that is going on.
    cached_before: usize,
    seated: u64,
}

/// An ask that takes a slot.
pub struct Seat {
    pub slot: usize,
    pub sequence: i32,
    /// Tokens of its prompt that are in the cache.
    pub shared: usize,
    /// The sequence that has them, when it is another one.
    pub copies_from: Option<i32>,
}

/// Tokens of a slot for a step.
pub struct Feed {
    pub sequence: i32,
    pub position: usize,
    pub tokens: Vec<LlamaToken>,
    pub wanted_from: usize,
}

/// For the signs of life.
pub struct Counts {
    pub busy: u32,
    pub queued: u32,
    pub cached: u32,
}

impl Slots {
    /// `count` empty ones, with a cache of `room` tokens between them.
    pub fn new(count: usize, room: usize, shares: bool) -> Self {
        let slots = (0..count).map(|_| Slot::default()).collect();
        Self { slots, waiting: VecDeque::new(), room, shares, seated: 0, ended: 0 }
    }

    pub fn queue(&mut self, run: Run) {
        self.waiting.push_back(run);
    }

    pub fn has_room_to_wait(&self) -> bool {
        self.waiting.len() < WAITING
    }

    pub fn is_busy(&self) -> bool {
        self.slots.iter().any(|slot| slot.run.is_some())
    }

    pub fn is_writing(&self, slot: usize) -> bool {
        self.slots.get(slot).and_then(|slot| slot.run.as_ref()).is_some_and(Run::is_writing)
    }

    pub fn run(&mut self, slot: usize) -> Option<&mut Run> {
        self.slots.get_mut(slot)?.run.as_mut()
    }

    pub fn sequence(&self, slot: usize) -> Option<i32> {
        (slot < self.slots.len()).then(|| i32::try_from(slot).unwrap_or(i32::MAX))
    }

    pub fn cut_cached(&mut self, slot: usize, length: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.cached.truncate(length);
        }
    }

    /// Its ask is over; what it computed stays.
    pub fn end(&mut self, slot: usize) {
        self.ended += 1;
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.run = None;
        }
    }

    pub fn fail_all(&mut self, fault: &Fault) {
        for run in self.slots.iter_mut().filter_map(|slot| slot.run.take()) {
            run.fail(fault);
        }
    }

    /// Asks that nobody waits for any more go, wherever they are.
    pub fn drop_those_left(&mut self) {
        for slot in &mut self.slots {
            if let Some(run) = slot.run.take_if(|run| run.is_left()) {
                run.leave();
                self.ended += 1;
            }
        }
        self.waiting.retain(|run| {
            if run.is_left() {
                run.leave();
            }
            !run.is_left()
        });
    }

    /// Seats the ask that waits longest, if a slot and room in the cache are free.
    pub fn next_seat(&mut self) -> Option<Seat> {
        let first = self.waiting.front()?;
        let needed = first.path().len() + ROOM_TO_BEGIN;
        // Who was put back for lack of room would only be put back again before anybody has ended.
        let waits = self.in_use() + needed > self.room || first.waits_for() > self.ended;
        if self.is_busy() && waits {
            return None;
        }
        let free = |slot: &(usize, &Slot)| slot.1.run.is_none();
        let reusable = |cached: &[LlamaToken]| if self.shares { reusable(cached, first) } else { 0 };
        // The one with the longest shared beginning; among equals the one with least to lose, then the oldest.
        let key = |(_, slot): &(usize, &Slot)| {
            (reusable(&slot.cached), std::cmp::Reverse(slot.cached.len()), std::cmp::Reverse(slot.seated))
        };
        let (place, _) = self.slots.iter().enumerate().filter(free).max_by_key(key)?;
        let own = self.slots.get(place).map_or(0, |slot| reusable(&slot.cached));
        let other = self.slots.iter().enumerate().map(|(at, slot)| (reusable(&slot.cached), at)).max();
        let copied = other.filter(|(shared, at)| *at != place && *shared >= own + WORTH_COPYING);
        let run = self.waiting.pop_front()?;
        Some(self.seat(place, run, own, copied))
    }

    fn seat(&mut self, place: usize, mut run: Run, own: usize, copied: Option<(usize, usize)>) -> Seat {
        let shared = copied.map_or(own, |(shared, _)| shared);
        run.found_cached(shared);
        self.seated += 1;
        let kept = run.path().get(..shared).unwrap_or_default().to_vec();
        if let Some(slot) = self.slots.get_mut(place) {
            slot.cached = kept;
            slot.seated = self.seated;
            slot.run = Some(run);
        }
        let sequence = |slot: usize| i32::try_from(slot).unwrap_or(i32::MAX);
        Seat { slot: place, sequence: sequence(place), shared, copies_from: copied.map(|(_, from)| sequence(from)) }
    }

    /// Slots that write, and slots that read their prompt, each oldest first.
    pub fn in_order(&self) -> (Vec<usize>, Vec<usize>) {
        let mut busy: Vec<_> = (0..self.slots.len()).filter(|at| self.has_run(*at)).collect();
        busy.sort_by_key(|at| self.slots.get(*at).map_or(0, |slot| slot.seated));
        busy.into_iter().partition(|at| self.is_writing(*at))
    }

    fn has_run(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.run.is_some())
    }

    /// What of a slot is to be computed next, at most `room` tokens; `None` where nothing is.
    pub fn feed(&mut self, slot: usize, room: usize) -> Option<Feed> {
        let sequence = self.sequence(slot)?;
        let slot = self.slots.get_mut(slot)?;
        slot.cached_before = slot.cached.len();
        let run = slot.run.as_ref().filter(|run| !run.is_paused())?;
        let (position, wanted_from) = (slot.cached.len(), run.wanted_from());
        let todo = run.path().get(position..)?;
        let most = room.min((wanted_from + run.most_drafted()).saturating_sub(position));
        let tokens = todo.get(..most.min(todo.len()))?.to_vec();
        (!tokens.is_empty()).then_some(Feed { sequence, position, tokens, wanted_from })
    }

    pub fn has_fed(&mut self, slot: usize, feed: &Feed) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.cached.extend_from_slice(&feed.tokens);
        }
    }

    /// After a step that failed: slots with what the cache really has of them.
    pub fn taken_back(&self) -> Vec<(usize, usize)> {
        let changed = |(at, slot): (usize, &Slot)| {
            (slot.run.is_some() && slot.cached.len() > slot.cached_before).then_some((at, slot.cached_before))
        };
        self.slots.iter().enumerate().filter_map(changed).collect()
    }

    /// The slot without an ask that was used longest ago and still has something in the cache.
    pub fn idle_with_cache(&self) -> Option<usize> {
        let idle = |(_, slot): &(usize, &Slot)| slot.run.is_none() && !slot.cached.is_empty();
        self.slots.iter().enumerate().filter(idle).min_by_key(|(_, slot)| slot.seated).map(|(at, _)| at)
    }

    /// Lets the ask that came last wait again, in front; never the only one.
    pub fn put_back_youngest(&mut self) -> Option<usize> {
        let busy = self.slots.iter().filter(|slot| slot.run.is_some()).count();
        let (at, slot) = self
            .slots
            .iter_mut()
            .enumerate()
            .filter(|(_, slot)| slot.run.is_some())
            .max_by_key(|(_, slot)| slot.seated)?;
        if busy < 2 {
            return None;
        }
        let mut run = slot.run.take()?;
        run.wait_for(self.ended + 1);
        self.waiting.push_front(run);
        Some(at)
    }

    pub fn counts(&self) -> Counts {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Counts {
            busy: count(self.slots.iter().filter(|slot| slot.run.is_some()).count()),
            queued: count(self.waiting.len()),
            cached: count(self.slots.iter().map(|slot| slot.cached.len()).sum()),
        }
    }

    /// Tokens in the cache that asks need: a free slot's are given up when room is needed.
    fn in_use(&self) -> usize {
        let needs = |slot: &Slot| slot.run.as_ref().map(|run| run.path().len().max(slot.cached.len()));
        self.slots.iter().filter_map(needs).sum()
    }
}

/// How much of what is cached serves `run`; from where its choices begin, all is read for the logits.
fn reusable(cached: &[LlamaToken], run: &Run) -> usize {
    let shared = cached.iter().zip(run.path()).take_while(|(one, other)| one == other).count();
    shared.min(run.wanted_from())
}
