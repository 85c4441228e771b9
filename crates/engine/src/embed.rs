//! The thread that owns the context of a model that makes vectors or scores: whole texts, many in one batch.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Code, Fault, Result};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::{mpsc, oneshot};

use crate::model::Loaded;
use crate::pulse::Pulse;

/// Texts of one batch.
const TEXTS_AT_ONCE: u32 = 16;

/// Texts whose vectors (or scores, as vectors of one number) are wanted.
pub struct Job {
    /// Tokens of each text, none longer than the context.
    pub texts: Vec<Vec<LlamaToken>>,
    /// Gets one vector for each.
    pub answer: oneshot::Sender<Result<Vec<Vec<f32>>>>,
}

/// Computes until nobody sends jobs any more.
pub fn run(loaded: &Loaded, mut inbox: mpsc::Receiver<Job>, pulse: &Arc<Pulse>, made: oneshot::Sender<Result<()>>) {
    let mut context = match context(loaded) {
        Ok(context) => context,
        Err(fault) => {
            // Who started the thread waits for this.
            let _ = made.send(Err(fault));
            return;
        }
    };
    let _ = made.send(Ok(()));
    let most = loaded.context_tokens as usize;
    let mut batch = LlamaBatch::new(most, 1);
    while let Some(Job { texts, answer }) = inbox.blocking_recv() {
        pulse.slots_busy.store(1, Ordering::Relaxed);
        let mut vectors = Vec::with_capacity(texts.len());
        let mut failed = None;
        for group in groups(&texts, most) {
            // Nobody waits for the rest.
            if answer.is_closed() {
                break;
            }
            let tokens = group.iter().map(Vec::len).sum();
            pulse.step_begins();
            let computed = compute(&mut context, &mut batch, group);
            pulse.step_ended(tokens, 0);
            match computed {
                Ok(more) => vectors.extend(more),
                Err(fault) => {
                    failed = Some(fault);
                    break;
                }
            }
        }
        pulse.slots_busy.store(0, Ordering::Relaxed);
        let _ = answer.send(failed.map_or(Ok(vectors), Err));
    }
}

/// A text must be in one batch whole, so that each of its tokens sees all others.
fn context(loaded: &Loaded) -> Result<LlamaContext<'_>> {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(loaded.context_tokens))
        .with_n_batch(loaded.context_tokens)
        .with_n_ubatch(loaded.context_tokens)
        .with_n_seq_max(TEXTS_AT_ONCE)
        .with_kv_unified(true)
        .with_embeddings(true)
        .with_n_threads(loaded.threads.cast_signed())
        .with_n_threads_batch(loaded.threads.cast_signed());
    loaded.model.new_context(&loaded.backend, params).map_err(|error| {
        Fault::new(Code::EngineFailed, "could not make room for the context")
            .because(error)
            .hint("give a shorter context (engine.context), or a machine with more memory")
    })
}

/// Neighbours that fit into one batch together.
fn groups(texts: &[Vec<LlamaToken>], most: usize) -> Vec<&[Vec<LlamaToken>]> {
    let mut groups = Vec::new();
    let (mut from, mut tokens) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        let is_full = tokens + text.len() > most || at - from == TEXTS_AT_ONCE as usize;
        if is_full && at > from {
            groups.extend(texts.get(from..at));
            (from, tokens) = (at, 0);
        }
        tokens += text.len();
    }
    groups.extend(texts.get(from..).filter(|rest| !rest.is_empty()));
    groups
}

fn compute(
    context: &mut LlamaContext<'_>,
    batch: &mut LlamaBatch<'_>,
    texts: &[Vec<LlamaToken>],
) -> Result<Vec<Vec<f32>>> {
    batch.clear();
    context.clear_kv_cache();
    let failed = |error: &dyn std::error::Error| {
        Fault::new(Code::EngineFailed, format!("llama.cpp could not compute the vectors: {error}"))
            .hint("ask again; the engine's log says more")
    };
    for (sequence, text) in (0..).zip(texts) {
        for (position, token) in (0..).zip(text) {
            batch.add(*token, position, &[sequence], true).map_err(|error| failed(&error))?;
        }
    }
    context.decode(batch).map_err(|error| failed(&error))?;
    let vector = |sequence| context.embeddings_seq_ith(sequence).map(<[f32]>::to_vec).map_err(|error| failed(&error));
    (0..).zip(texts).map(|(sequence, _)| vector(sequence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_group_and_no_group_is_too_large() {
        let text = |length: usize| vec![LlamaToken(1); length];
        let texts: Vec<_> = [5, 5, 9, 10, 1, 1].into_iter().map(text).chain((0..40).map(|_| text(0))).collect();
        let groups = groups(&texts, 10);
        assert_eq!(groups.iter().map(|group| group.len()).sum::<usize>(), texts.len());
        for group in groups {
            assert!(group.len() <= TEXTS_AT_ONCE as usize && group.iter().map(Vec::len).sum::<usize>() <= 10);
        }
    }
}
