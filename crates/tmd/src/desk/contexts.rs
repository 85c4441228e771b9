//! Whose Ollama `context` is whose: tokens of a conversation that only the worker that made them understands.
//!
//! Clients get them at the end of an answer of `/api/generate` and send them with the next question. The node notes
//! which worker made which, and sends the next question there. Another node has not seen them and says so.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, Mutex, PoisonError};

use base::{Ask, Dialect, Fault, Result, WorkerId};
use memchr::memmem::Finder;
use serde::Deserialize;

/// Contexts that are remembered; a client that comes back with an older one starts anew.
const CONTEXTS_KEPT: usize = 4096;

static CONTEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"context\""));

/// The workers that made the latest contexts.
#[derive(Default)]
pub struct Contexts(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    workers: HashMap<u64, WorkerId>,
    oldest_first: VecDeque<u64>,
}

#[derive(Deserialize)]
struct WithContext {
    #[serde(default)]
    context: Option<Vec<i64>>,
}

impl Contexts {
    /// Looks for a context in what `worker` answers to an ask of `/api/generate`. `frame` holds whole lines.
    pub fn note(&self, frame: &[u8], worker: &WorkerId) {
        if CONTEXT.find(frame).is_none() {
            return;
        }
        for line in frame.split(|&byte| byte == b'\n') {
            let read = serde_json::from_slice(line);
            if let Ok(WithContext { context: Some(tokens) }) = read {
                self.keep(hash(&tokens), worker);
            }
        }
    }

    /// The worker that made the context that `ask` brings; `None` when it brings none.
    pub fn made_by(&self, ask: &Ask) -> Result<Option<WorkerId>> {
        if ask.head.dialect != Dialect::OllamaGenerate || CONTEXT.find(&ask.body).is_none() {
            return Ok(None);
        }
        let body: WithContext = serde_json::from_slice(&ask.body).map_err(|_| {
            Fault::invalid("field `context` is not a list of numbers")
                .hint("send the `context` of an earlier answer unchanged, or leave it out")
        })?;
        let Some(tokens) = body.context.filter(|tokens| !tokens.is_empty()) else { return Ok(None) };
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.workers.get(&hash(&tokens)).cloned().map(Some).ok_or_else(|| {
            Fault::invalid("this node does not know the `context`: another node gave it, or it is too old").hint(
                "send it to the node that gave it, or use /api/chat with the whole conversation, which any worker understands",
            )
        })
    }

    fn keep(&self, context: u64, worker: &WorkerId) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.workers.insert(context, worker.clone()).is_none() {
            kept.oldest_first.push_back(context);
        }
        if kept.oldest_first.len() > CONTEXTS_KEPT
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.workers.remove(&oldest);
        }
    }
}

fn hash(tokens: &[i64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    tokens.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use base::{AskHead, Code, Face, NodeId};
    use bytes::Bytes;

    use super::*;
    use crate::testing::head;

    fn ask(dialect: Dialect, body: &str) -> Ask {
        let seen = base::peek::peek(dialect, body.as_bytes()).unwrap();
        let head = AskHead {
            face: Face::Ollama,
            dialect,
            model: seen.model.into(),
            stream: seen.stream,
            sampling: seen.sampling,
            needs: seen.needs,
            ..head()
        };
        Ask { head, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn worker(name: &str) -> WorkerId {
        WorkerId::of(&NodeId::new("n"), name)
    }

    #[test]
    fn a_context_leads_back_to_the_worker_that_made_it() {
        let contexts = Contexts::default();
        contexts.note(b"{\"response\":\" a\"}\n{\"done\":true,\"context\":[1,2,3]}\n", &worker("a"));
        contexts.note(br#"{"response":"b","done":true,"context":[4]}"#, &worker("b"));
        contexts.note(br#"{"response":"\"context\":[9]","done":true}"#, &worker("b"));
        let made_by = |dialect, body: &str| contexts.made_by(&ask(dialect, body));
        let generate = |body: &str| made_by(Dialect::OllamaGenerate, body);
        assert_eq!(generate(r#"{"prompt":"x","context":[1, 2, 3]}"#).unwrap(), Some(worker("a")));
        assert_eq!(generate(r#"{"prompt":"x","context":[4]}"#).unwrap(), Some(worker("b")));
        for nothing in [r#"{"prompt":"\"context\""}"#, r#"{"context":null}"#, r#"{"context":[]}"#] {
            assert_eq!(generate(nothing).unwrap(), None, "{nothing}");
        }
        for unknown in [r#"{"context":[9]}"#, r#"{"context":"words"}"#] {
            let fault = generate(unknown).unwrap_err();
            assert!(fault.code == Code::InvalidArgument && fault.hint.is_some(), "{fault:?}");
        }
        assert_eq!(made_by(Dialect::OpenAiChat, r#"{"messages":[],"context":[9]}"#).unwrap(), None);
    }

    #[test]
    fn the_oldest_contexts_are_forgotten() {
        let contexts = Contexts::default();
        for context in 0..=CONTEXTS_KEPT {
            contexts.note(format!("{{\"context\":[{context}]}}").as_bytes(), &worker("a"));
        }
        let knows = |context: usize| {
            contexts.made_by(&ask(Dialect::OllamaGenerate, &format!("{{\"context\":[{context}]}}"))).is_ok()
        };
        assert!(!knows(0) && knows(1) && knows(CONTEXTS_KEPT));
    }
}
