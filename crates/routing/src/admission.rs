//! The queue at a worker's gate: who runs next when a slot is free, and who is told to come back. Pure.
//!
//! Order: the most urgent class first, within it the clients in turn, each client's asks as they came. Two things bend
//! it, both bounded: an ask of a lower class that waited long takes every fifth turn, so that batch work ends; and asks
//! whose model is in memory go before one that needs a load, until that one has waited for `max_wait`. A model that was
//! just loaded is kept for as long, because under overload everybody has waited and each ask would cost a load.
//!
//! Swaps of models are bounded per minute, and that bound can contradict `max_wait`: with one swap a minute and 10 s of
//! patience, one of two models must break one of them. The wait wins, because a client feels it and the bound is there to
//! prevent thrash, which the rule above does already: who has waited for `max_wait` is loaded for although the swaps are
//! spent, once the model in memory has had as long. So there are more swaps than the setting only where `max_wait` is
//! below a minute, and then at most one more per `max_wait`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ModelId, Priority};

/// An ask of a lower class counts as old after this.
const OLD_AFTER: Duration = Duration::from_secs(30);
/// Turns of the more urgent classes before an old ask gets one.
const TURNS_BEFORE_OLD: u32 = 4;
/// From this share of the limit on, a client with more than its share is refused, so that others still get in.
const CROWDED: f64 = 0.75;
/// How far a search for an ask with its model in memory looks into a client's line.
const LOOK_AHEAD: usize = 256;
/// Weight of the newest gap between two departures in their moving mean.
const GAP_WEIGHT: f64 = 0.2;

/// Swaps are counted over this.
const SWAP_WINDOW: Duration = Duration::from_secs(60);

/// Stands for one waiting ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The queue is full (or the client's share of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue is full with {queued} asks")]
pub struct Full {
    /// Asks that wait.
    pub queued: usize,
    /// When there is likely room.
    pub retry_after: Duration,
}

/// What it would take to begin an ask of a model now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its model is in memory, or there is room for it beside the others.
    Ready,
    /// Another model would have to go.
    Swap,
    /// Models that are in use would have to go.
    Blocked,
}

/// Asks that wait at a worker.
#[derive(Debug)]
pub struct Queue<T> {
    classes: [Class<T>; 3],
    limit: usize,
    max_wait: Duration,
    next_ticket: u64,
    turns_since_old: u32,
    last_pop: Option<Instant>,
    swaps_per_minute: usize,
    /// The last swaps, as many as one minute may have.
    swaps: VecDeque<Instant>,
    mean_gap_s: f64,
}

#[derive(Debug)]
struct Class<T> {
    /// In turn: the front client is next.
    lines: VecDeque<Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    client: Arc<str>,
    asks: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: Ticket,
    since: Instant,
    model: ModelId,
    item: T,
}

/// Where an ask stands: class, line, place in the line.
type Place = (usize, usize, usize);

impl<T> Queue<T> {
    /// A queue for `limit` asks, where none waits longer than `max_wait` because of another model, and where models are
    /// swapped so often only if that would be broken.
    pub fn new(limit: usize, max_wait: Duration, swaps_per_minute: u32) -> Self {
        let class = || Class { lines: VecDeque::new() };
        Self {
            classes: [class(), class(), class()],
            limit,
            max_wait,
            next_ticket: 0,
            turns_since_old: 0,
            last_pop: None,
            // With none at all, a model that is not in memory could never be had.
            swaps_per_minute: (swaps_per_minute as usize).max(1),
            swaps: VecDeque::new(),
            mean_gap_s: 1.0,
        }
    }

    /// Goes by another patience and another number of swaps from now on; who waits keeps its place.
    pub fn go_by(&mut self, max_wait: Duration, swaps_per_minute: u32) {
        self.max_wait = max_wait;
        self.swaps_per_minute = (swaps_per_minute as usize).max(1);
        // The newest count; with fewer allowed, the oldest are forgotten.
        let superfluous = self.swaps.len().saturating_sub(self.swaps_per_minute);
        self.swaps.drain(..superfluous);
    }

    /// Takes a waiting ask in, or says when to come back.
    pub fn push(
        &mut self,
        priority: Priority,
        client: &Arc<str>,
        model: ModelId,
        item: T,
        now: Instant,
    ) -> Result<Ticket, Full> {
        self.check_room(client)?;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let waiting = Waiting { ticket, since: now, model, item };
        let lines = &mut self.classes[priority as usize].lines;
        match lines.iter_mut().find(|line| line.client == *client) {
            Some(line) => line.asks.push_back(waiting),
            None => lines.push_back(Line { client: Arc::clone(client), asks: VecDeque::from([waiting]) }),
        }
        Ok(ticket)
    }

    /// The ask that begins now that a slot is free; `None` when none can.
    pub fn pop(&mut self, now: Instant, readiness: impl Fn(&ModelId) -> Readiness) -> Option<T> {
        let (head, is_old) = self.head(now)?;
        let place = self.instead_of(head, now, &readiness)?;
        if self.at(place).is_some_and(|waiting| readiness(&waiting.model) == Readiness::Swap) {
            self.note_swap(now);
        }
        // Only a turn that a lower class had to stand back for is one that it is owed.
        let others_stand_back = self.classes.iter().skip(head.0 + 1).any(|class| !class.lines.is_empty());
        self.turns_since_old = if is_old || !others_stand_back { 0 } else { self.turns_since_old.saturating_add(1) };
        if let Some(last) = self.last_pop.replace(now) {
            let gap_s = now.saturating_duration_since(last).as_secs_f64();
            self.mean_gap_s += GAP_WEIGHT * (gap_s - self.mean_gap_s);
        }
        self.take(place)
    }

    /// Notes the swap of an ask that begins without having waited; `false` when too many went lately.
    pub fn try_swap(&mut self, now: Instant) -> bool {
        let may_swap = self.may_swap(now);
        if may_swap {
            self.note_swap(now);
        }
        may_swap
    }

    /// Takes an ask out whose client left; `None` when it began already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let place = self.places().find(|&place| self.at(place).is_some_and(|waiting| waiting.ticket == ticket))?;
        self.take(place)
    }

    /// Asks that wait.
    pub fn len(&self) -> usize {
        self.classes.iter().flat_map(|class| &class.lines).map(|line| line.asks.len()).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.lines.is_empty())
    }

    /// Every waiting ask, in no useful order.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelId, &T)> {
        let asks = self.classes.iter().flat_map(|class| &class.lines).flat_map(|line| &line.asks);
        asks.map(|waiting| (&waiting.model, &waiting.item))
    }

    fn check_room(&self, client: &Arc<str>) -> Result<(), Full> {
        let queued = self.len();
        let is_crowded = queued as f64 >= self.limit as f64 * CROWDED;
        if !is_crowded {
            return Ok(());
        }
        let lines = || self.classes.iter().flat_map(|class| &class.lines);
        let own: usize = lines().filter(|line| line.client == *client).map(|line| line.asks.len()).sum();
        // One that is alone leaves room for those that may come; without keys, all are one client.
        let is_alone = own == queued && !client.is_empty();
        let is_over_share = own > 0 && (is_alone || (own < queued && own * lines().count() > queued));
        if queued < self.limit && !is_over_share {
            return Ok(());
        }
        let wait_s = (self.mean_gap_s * (queued as f64 / 4.0).max(1.0)).clamp(1.0, 60.0);
        Err(Full { queued, retry_after: Duration::from_secs_f64(wait_s) })
    }

    /// Whose turn it is, models aside, and whether it is the turn of an old ask of a lower class.
    fn head(&self, now: Instant) -> Option<(Place, bool)> {
        let mut waiting = (0..self.classes.len()).filter(|&class| !self.classes[class].lines.is_empty());
        let first = waiting.next()?;
        if self.turns_since_old >= TURNS_BEFORE_OLD {
            let is_old = |class: &usize| {
                let front = self.at((*class, 0, 0));
                front.is_some_and(|front| now.saturating_duration_since(front.since) >= OLD_AFTER)
            };
            if let Some(old) = waiting.find(is_old) {
                return Some(((old, 0, 0), true));
            }
        }
        Some(((first, 0, 0), false))
    }

    fn may_swap(&self, now: Instant) -> bool {
        let is_within = |oldest: &Instant| now.saturating_duration_since(*oldest) < SWAP_WINDOW;
        self.swaps.len() < self.swaps_per_minute || !self.swaps.front().is_some_and(is_within)
    }

    fn note_swap(&mut self, now: Instant) {
        if self.swaps.len() >= self.swaps_per_minute {
            self.swaps.pop_front();
        }
        self.swaps.push_back(now);
    }

    /// The head, or the first ask in order that can begin without a swap while the head has patience.
    fn instead_of(&self, head: Place, now: Instant, readiness: &impl Fn(&ModelId) -> Readiness) -> Option<Place> {
        let waiting = self.at(head)?;
        let state = readiness(&waiting.model);
        if state == Readiness::Ready {
            return Some(head);
        }
        // Under overload everybody has waited long; a model that was just loaded still gets its time, else each ask
        // would cost a load.
        let is_within = |since: Instant| now.saturating_duration_since(since) < self.max_wait;
        let is_patient = is_within(waiting.since) || self.swaps.back().copied().is_some_and(is_within);
        if is_patient {
            // Nothing less urgent passes the head for the sake of its model.
            let may_pass = |place: Place| place.0 <= head.0 && place.2 < LOOK_AHEAD;
            let is_ready = |&place: &Place| {
                may_pass(place) && self.at(place).is_some_and(|other| readiness(&other.model) == Readiness::Ready)
            };
            if let Some(place) = self.places().find(is_ready) {
                return Some(place);
            }
        }
        (state == Readiness::Swap && (!is_patient || self.may_swap(now))).then_some(head)
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.classes.iter().enumerate().flat_map(|(class, lines)| {
            let lines = lines.lines.iter().enumerate();
            lines.flat_map(move |(line, asks)| (0..asks.asks.len()).map(move |ask| (class, line, ask)))
        })
    }

    fn at(&self, (class, line, ask): Place) -> Option<&Waiting<T>> {
        self.classes.get(class)?.lines.get(line)?.asks.get(ask)
    }

    fn take(&mut self, (class, line, ask): Place) -> Option<T> {
        let lines = &mut self.classes.get_mut(class)?.lines;
        let mut of_client = lines.remove(line)?;
        let waiting = of_client.asks.remove(ask);
        if !of_client.asks.is_empty() {
            lines.push_back(of_client);
        }
        waiting.map(|waiting| waiting.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limit: usize) -> Queue<u32> {
        Queue::new(limit, Duration::from_secs(30), 6)
    }

    fn push(queue: &mut Queue<u32>, priority: Priority, client: &str, item: u32, now: Instant) -> Result<Ticket, Full> {
        queue.push(priority, &Arc::from(client), ModelId::from("m"), item, now)
    }

    fn drain(queue: &mut Queue<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(now, |_| Readiness::Ready)).collect()
    }

    #[test]
    fn an_interactive_ask_starts_next_behind_a_thousand_batch_asks() {
        let start = Instant::now();
        let mut queue = queue(2000);
        for item in 0..1000 {
            push(&mut queue, Priority::Batch, "jobs", item, start).unwrap();
        }
        let later = start + Duration::from_secs(3600);
        assert_eq!(queue.pop(later, |_| Readiness::Ready), Some(0));
        push(&mut queue, Priority::Interactive, "person", 5000, later).unwrap();
        assert_eq!(queue.pop(later, |_| Readiness::Ready), Some(5000));
    }

    #[test]
    fn batch_ends_although_interactive_asks_keep_coming() {
        let start = Instant::now();
        let mut queue = queue(100);
        push(&mut queue, Priority::Batch, "jobs", 7, start).unwrap();
        let mut popped = Vec::new();
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            push(&mut queue, Priority::Interactive, "person", 100, now).unwrap();
            popped.extend(queue.pop(now, |_| Readiness::Ready));
        }
        assert!(popped.contains(&7));
        assert!(popped[..30].iter().all(|&item| item == 100), "not before it is old");
    }

    #[test]
    fn clients_of_a_class_take_turns() {
        let now = Instant::now();
        let mut queue = queue(300);
        for item in 0..100 {
            push(&mut queue, Priority::Normal, "loud", item, now).unwrap();
        }
        push(&mut queue, Priority::Normal, "quiet", 500, now).unwrap();
        push(&mut queue, Priority::Normal, "quiet", 501, now).unwrap();
        assert_eq!(drain(&mut queue, now)[..5], [0, 500, 1, 501, 2]);
    }

    #[test]
    fn a_loud_client_cannot_keep_others_out() {
        let now = Instant::now();
        let mut queue = queue(100);
        push(&mut queue, Priority::Normal, "quiet", 0, now).unwrap();
        let taken = (0..1000).filter(|&item| push(&mut queue, Priority::Normal, "loud", item, now).is_ok()).count();
        assert!(taken < 100);
        assert!(push(&mut queue, Priority::Normal, "third", 1, now).is_ok());
        let full = push(&mut queue, Priority::Normal, "loud", 1, now).unwrap_err();
        assert!(full.retry_after >= Duration::from_secs(1) && full.retry_after <= Duration::from_secs(60));
    }

    #[test]
    fn a_key_that_is_alone_leaves_room_for_others_and_a_house_without_keys_has_it_all() {
        let now = Instant::now();
        for (client, most) in [("loud", 75), ("", 100)] {
            let mut queue = queue(100);
            let taken = (0..1000).filter(|&item| push(&mut queue, Priority::Normal, client, item, now).is_ok()).count();
            assert_eq!(taken, most, "`{client}`");
            assert_eq!(push(&mut queue, Priority::Normal, "quiet", 1, now).is_ok(), most < 100);
        }
    }

    #[test]
    fn asks_of_the_model_in_memory_go_first_until_the_other_waited_long() {
        let start = Instant::now();
        let mut queue = queue(100);
        let client: Arc<str> = Arc::from("");
        let mut push = |model: &str, item| queue.push(Priority::Normal, &client, model.into(), item, start).unwrap();
        push("cold", 0);
        for item in 1..=5 {
            push("warm", item);
        }
        let readiness = |model: &ModelId| if model.as_str() == "warm" { Readiness::Ready } else { Readiness::Swap };
        assert_eq!(queue.pop(start, readiness), Some(1));
        assert_eq!(queue.pop(start + Duration::from_secs(29), readiness), Some(2));
        assert_eq!(queue.pop(start + Duration::from_secs(30), readiness), Some(0));
        let blocked = |_: &ModelId| Readiness::Blocked;
        assert_eq!(queue.pop(start + Duration::from_secs(60), blocked), None);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_model_that_was_just_loaded_is_kept_for_a_while_even_when_everybody_waited_long() {
        let start = Instant::now();
        let mut queue = queue(100);
        let client: Arc<str> = Arc::from("");
        for (item, model) in ["a", "b", "a", "b", "a"].into_iter().enumerate() {
            queue.push(Priority::Normal, &client, model.into(), item as u32, start).unwrap();
        }
        let mut loaded = ModelId::from("none");
        let mut swaps = 0;
        let mut order = Vec::new();
        for second in 100..105 {
            let now = start + Duration::from_secs(second);
            let readiness = |model: &ModelId| if *model == loaded { Readiness::Ready } else { Readiness::Swap };
            let item = queue.pop(now, readiness).unwrap();
            let model = ModelId::from(if item.is_multiple_of(2) { "a" } else { "b" });
            swaps += u32::from(model != loaded);
            loaded = model;
            order.push(item);
        }
        assert_eq!((order, swaps), (vec![0, 2, 4, 1, 3], 2));
    }

    #[test]
    fn batch_does_not_pass_an_interactive_ask_because_its_model_is_there() {
        let now = Instant::now();
        let mut queue = queue(100);
        let client: Arc<str> = Arc::from("");
        queue.push(Priority::Batch, &client, "warm".into(), 1, now).unwrap();
        queue.push(Priority::Interactive, &client, "cold".into(), 2, now).unwrap();
        let readiness = |model: &ModelId| if model.as_str() == "warm" { Readiness::Ready } else { Readiness::Swap };
        assert_eq!(queue.pop(now, readiness), Some(2));
    }

    #[test]
    fn who_left_is_not_served() {
        let now = Instant::now();
        let mut queue = queue(10);
        let ticket = push(&mut queue, Priority::Normal, "a", 1, now).unwrap();
        push(&mut queue, Priority::Normal, "a", 2, now).unwrap();
        assert_eq!(queue.remove(ticket), Some(1));
        assert_eq!(queue.remove(ticket), None);
        assert_eq!(drain(&mut queue, now), [2]);
        assert!(queue.is_empty());
    }

    /// Two clients, each with one ask at a time for a model that pushes the other's out, at a worker with one slot. Gives
    /// the longest wait and the times of all swaps.
    fn flip_flop(turns: u32, max_wait: Duration, swaps_per_minute: u32) -> (Duration, Vec<Instant>) {
        const RUN: Duration = Duration::from_millis(500);
        let models = [ModelId::from("left"), ModelId::from("right")];
        let clients: [Arc<str>; 2] = ["l".into(), "r".into()];
        let mut queue = Queue::new(10, max_wait, swaps_per_minute);
        let mut now = Instant::now();
        let mut asked = [now; 2];
        for side in [0, 1] {
            queue.push(Priority::Normal, &clients[side], models[side].clone(), side, now).unwrap();
        }
        let (mut loaded, mut longest, mut swaps) = (0, Duration::ZERO, Vec::new());
        while (swaps.len() as u32) < turns {
            let readiness = |model: &ModelId| if *model == models[loaded] { Readiness::Ready } else { Readiness::Swap };
            let Some(side) = queue.pop(now, readiness) else {
                now += Duration::from_millis(10);
                continue;
            };
            longest = longest.max(now - asked[side]);
            if side != loaded {
                (loaded, _) = (side, swaps.push(now));
            }
            now += RUN;
            asked[side] = now;
            queue.push(Priority::Normal, &clients[side], models[side].clone(), side, now).unwrap();
        }
        (longest, swaps)
    }

    #[test]
    fn two_models_that_do_not_fit_together_neither_thrash_nor_starve() {
        // Swaps alone would allow less than the wait demands, more, and just as much.
        for (per_minute, max_wait_s) in [(1, 10), (1, 1), (6, 60), (6, 10), (2, 30), (600, 5), (1, 60), (3, 45)] {
            let max_wait = Duration::from_secs(max_wait_s);
            let (longest, swaps) = flip_flop(100, max_wait, per_minute);
            let most = per_minute as usize + 60 / max_wait_s as usize * usize::from(max_wait_s < 60);
            for (at, first) in swaps.iter().enumerate() {
                let within = swaps[at..].iter().take_while(|swap| **swap - *first < Duration::from_secs(60)).count();
                assert!(within <= most, "{per_minute} a minute, {max_wait:?}: {within} swaps in one");
            }
            // A run that goes on is not ended for the sake of another.
            let most = max_wait + Duration::from_secs(1);
            assert!(longest <= most, "{per_minute} a minute, {max_wait:?}: waited for {longest:?}");
        }
    }

    #[test]
    fn swaps_that_are_spent_hold_back_who_has_not_waited_long() {
        let start = Instant::now();
        let mut queue = Queue::new(10, Duration::from_secs(10), 1);
        let client: Arc<str> = Arc::from("");
        let cold = |_: &ModelId| Readiness::Swap;
        let at = |second| start + Duration::from_secs(second);
        queue.push(Priority::Normal, &client, "a".into(), 1, start).unwrap();
        queue.push(Priority::Normal, &client, "b".into(), 2, start).unwrap();
        queue.push(Priority::Normal, &client, "c".into(), 3, start).unwrap();
        assert_eq!(queue.pop(start, cold), Some(1));
        assert_eq!(queue.pop(at(9), cold), None);
        assert_eq!(queue.pop(at(10), cold), Some(2));
        // Everybody has waited, and still there is one swap per wait.
        assert_eq!(queue.pop(at(19), cold), None);
        assert_eq!(queue.pop(at(20), cold), Some(3));
    }

    #[test]
    fn who_waits_goes_by_another_patience_and_another_number_of_swaps_at_once() {
        let start = Instant::now();
        let mut queue = Queue::new(10, Duration::from_secs(60), 2);
        let client: Arc<str> = Arc::from("");
        let cold = |_: &ModelId| Readiness::Swap;
        for (item, model) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            queue.push(Priority::Normal, &client, model.into(), item, start).unwrap();
        }
        assert_eq!((queue.pop(start, cold), queue.pop(start, cold)), (Some(1), Some(2)));
        let later = start + Duration::from_secs(5);
        assert_eq!(queue.pop(later, cold), None, "the swaps are spent");
        queue.go_by(Duration::from_secs(60), 3);
        assert_eq!(queue.pop(later, cold), Some(3));
        assert_eq!(queue.pop(later, cold), None);
        queue.go_by(Duration::from_secs(1), 1);
        assert_eq!(queue.pop(later + Duration::from_secs(1), cold), Some(4));
    }
}
