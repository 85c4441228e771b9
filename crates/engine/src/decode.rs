//! The thread that owns the context: all asks that write are decoded together, one step at a time.
//!
//! A step is one batch: first the next token of every answer that is being written, then pieces of prompts as far as the
//! step stays short. Between steps asks join, leave, and are cancelled. What a sequence has in the cache stays there when
//! its ask ends, so that the next ask with the same beginning need not read it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::{Code, Fault, Result};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::{DecodeError, LlamaContextLoadError};
use tokio::sync::{mpsc, oneshot};

use crate::model::Loaded;
use crate::pulse::Pulse;
use run::{Next, Run};
use slots::Slots;

pub mod run;
mod slots;

/// Tokens of one step at most.
const BATCH: usize = 512;
/// Least piece of a prompt that a step takes.
const LEAST_PIECE: usize = 32;
/// A step that answers wait for is to be no longer than this; it is also what a cancelled ask still costs.
const STEP_BESIDE: Duration = Duration::from_millis(200);
/// The same for a step with prompts alone.
const STEP_ALONE: Duration = Duration::from_millis(1000);
/// While every answer waits for its reader, the thread looks again after this.
const PAUSE: Duration = Duration::from_millis(2);

/// Everything of the thread.
pub struct Decoder<'a> {
    loaded: &'a Loaded,
    context: LlamaContext<'a>,
    batch: LlamaBatch<'a>,
    inbox: mpsc::Receiver<Run>,
    slots: Slots,
    pulse: Arc<Pulse>,
}

/// The rows of logits of a step that belong to one slot.
struct Rows {
    slot: usize,
    /// Place in the batch of the first one.
    first: i32,
    /// Place in the sequence of the first one.
    position: usize,
    count: usize,
}

/// Computes until nobody sends asks any more; `made` hears whether there was room for a context.
pub fn run(loaded: &Loaded, inbox: mpsc::Receiver<Run>, pulse: Arc<Pulse>, made: oneshot::Sender<Result<()>>) {
    let context = match context(loaded) {
        Ok(context) => context,
        Err(fault) => {
            // Who started the thread waits for this.
            let _ = made.send(Err(fault));
            return;
        }
    };
    let _ = made.send(Ok(()));
    // A running state cannot be shared or taken back to an earlier place.
    let shares = !(loaded.model.is_recurrent() || loaded.model.is_hybrid());
    let slots = Slots::new(loaded.slots as usize, loaded.context_tokens as usize, shares);
    let batch = LlamaBatch::new(BATCH, 1);
    let mut decoder = Decoder { loaded, context, batch, inbox, slots, pulse };
    while decoder.take_asks() {
        decoder.step();
    }
}

/// A context for all slots, in one cache that they share.
fn context(loaded: &Loaded) -> Result<LlamaContext<'_>> {
    let params = LlamaContextParams::default()
        .with_n_ctx(std::num::NonZeroU32::new(loaded.context_tokens))
        .with_n_batch(BATCH as u32)
        .with_n_ubatch(BATCH as u32)
        .with_n_seq_max(loaded.slots)
        .with_kv_unified(true)
        .with_n_threads(loaded.threads.cast_signed())
        .with_n_threads_batch(loaded.threads.cast_signed());
    let mut context = loaded.model.new_context(&loaded.backend, params).map_err(|error| no_context(&error))?;
    if let Some(adapter) = &loaded.adapter {
        let mut held = adapter.adapter.lock().map_err(|_| Fault::internal("the adapter was lost"))?;
        context.lora_adapter_set(&mut held, adapter.scale).map_err(|error| {
            Fault::new(Code::EngineFailed, "could not put the adapter on the model")
                .because(error)
                .hint("check that it fits")
        })?;
    }
    Ok(context)
}

fn no_context(error: &LlamaContextLoadError) -> Fault {
    Fault::new(Code::EngineFailed, format!("could not make room for the context: {error}"))
        .hint("give a shorter context (engine.context), or a machine with more memory")
}

impl Decoder<'_> {
    /// Seats new asks in free slots; waits for one when there is nothing to do. `false` when none can come.
    fn take_asks(&mut self) -> bool {
        loop {
            self.slots.drop_those_left();
            while self.slots.has_room_to_wait() {
                match self.inbox.try_recv() {
                    Ok(run) => self.slots.queue(run),
                    Err(_) => break,
                }
            }
            self.seat();
            self.report();
            if self.slots.is_busy() {
                return true;
            }
            match self.inbox.blocking_recv() {
                Some(run) => self.slots.queue(run),
                None => return false,
            }
        }
    }

    /// Gives waiting asks a slot each, with what of their prompt is in the cache already.
    fn seat(&mut self) {
        while let Some(seat) = self.slots.next_seat() {
            if let Some(from) = seat.copies_from {
                let copied = self.context.kv_cache_seq_rm(seat.sequence, None, None).is_ok()
                    && self.context.kv_cache_seq_cp(from, seat.sequence, None, Some(seat.shared as u32)).is_ok();
                if !copied {
                    self.forget(seat.slot);
                    continue;
                }
            } else {
                self.trim(seat.slot, seat.shared);
            }
        }
    }

    /// Takes a sequence back to its first `length` tokens. Models with a running state cannot: they begin anew.
    fn trim(&mut self, slot: usize, length: usize) {
        let Some(sequence) = self.slots.sequence(slot) else { return };
        if self.context.kv_cache_seq_rm(sequence, Some(length as u32), None).is_ok() {
            self.slots.cut_cached(slot, length);
        } else {
            self.forget(slot);
        }
    }

    fn forget(&mut self, slot: usize) {
        if let Some(sequence) = self.slots.sequence(slot) {
            // Removing a whole sequence never fails.
            let _ = self.context.kv_cache_seq_rm(sequence, None, None);
            self.slots.cut_cached(slot, 0);
        }
    }

    /// One batch, and what follows from it.
    fn step(&mut self) {
        let rows = self.fill_batch();
        if self.batch.n_tokens() == 0 {
            // Every answer waits for its reader.
            std::thread::park_timeout(PAUSE);
            return;
        }
        let fed = self.batch.n_tokens() as usize;
        self.pulse.step_begins();
        let decoded = self.context.decode(&mut self.batch);
        let written = rows.iter().filter(|rows| rows.count == 1 && self.slots.is_writing(rows.slot)).count();
        match decoded {
            Ok(()) => {
                for rows in &rows {
                    self.choose(rows);
                }
                self.pulse.step_ended(fed - written.min(fed), written);
            }
            Err(error) => {
                self.pulse.step_ended(0, 0);
                self.could_not_decode(&error);
            }
        }
    }

    /// Tokens of all slots for one step; gives where the wanted logits will be.
    fn fill_batch(&mut self) -> Vec<Rows> {
        self.batch.clear();
        let mut rows = Vec::new();
        let (writing, reading) = self.slots.in_order();
        let most = self.most_tokens(writing.len());
        for slot in writing.into_iter().chain(reading) {
            let room = most.saturating_sub(self.batch.n_tokens() as usize);
            let Some(feed) = self.slots.feed(slot, room) else { continue };
            let first_wanted = feed.wanted_from.max(feed.position);
            for (place, token) in (feed.position..).zip(&feed.tokens) {
                let wanted = place >= first_wanted;
                if self.batch.add(*token, place as i32, &[feed.sequence], wanted).is_err() {
                    break;
                }
            }
            let end = feed.position + feed.tokens.len();
            if end > first_wanted {
                let count = end - first_wanted;
                rows.push(Rows { slot, first: self.batch.n_tokens() - count as i32, position: first_wanted, count });
            }
            self.slots.has_fed(slot, &feed);
        }
        rows
    }

    /// How many tokens a step may have so that it stays short, by the speed that was measured.
    fn most_tokens(&self, writing: usize) -> usize {
        let step = if writing > 0 { STEP_BESIDE } else { STEP_ALONE };
        match self.pulse.prompt_tok_s() {
            0.0 => BATCH / 4,
            speed => ((speed * step.as_secs_f64()) as usize).clamp(writing + LEAST_PIECE, BATCH),
        }
    }

    /// Lets the ask of a slot choose by its logits; what was fed beyond its choice is taken back.
    fn choose(&mut self, rows: &Rows) {
        for place in 0..rows.count {
            let Some(run) = self.slots.run(rows.slot) else { return };
            let logits = self.context.get_logits_ith(rows.first + place as i32);
            let position = rows.position + place;
            match run.choose(self.loaded, logits, position) {
                Ok(Next::Goes) => {}
                Ok(Next::Otherwise) => return self.trim(rows.slot, position + 1),
                Ok(Next::Ended) => return self.slots.end(rows.slot),
                Err(fault) => {
                    run.fail(&fault);
                    return self.slots.end(rows.slot);
                }
            }
        }
    }

    /// The cache is full: idle sequences go first, then the ask that came last waits again. Any other error ends all
    /// asks of the step: nobody knows which one it was.
    fn could_not_decode(&mut self, error: &DecodeError) {
        let slots = self.slots.taken_back();
        for (slot, length) in slots {
            self.trim(slot, length);
        }
        if !matches!(error, DecodeError::NoKvCacheSlot) {
            let fault = Fault::new(Code::EngineFailed, format!("llama.cpp could not compute the step: {error}"))
                .hint("ask again; the engine's log says more");
            self.slots.fail_all(&fault);
            return;
        }
        if let Some(slot) = self.slots.idle_with_cache().or_else(|| self.slots.put_back_youngest()) {
            self.forget(slot);
        } else {
            self.slots.fail_all(&crate::model::too_long("the ask with its answer", self.loaded.context_tokens));
        }
    }

    fn report(&self) {
        let counts = self.slots.counts();
        self.pulse.slots_busy.store(counts.busy, Ordering::Relaxed);
        self.pulse.queued.store(counts.queued + self.inbox.len() as u32, Ordering::Relaxed);
        self.pulse.cache_tokens.store(counts.cached, Ordering::Relaxed);
    }
}

/// Whether the time of an ask is over.
fn is_late(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= Instant::now())
}
