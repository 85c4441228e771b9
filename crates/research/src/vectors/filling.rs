//! The queue that gives chunks their vectors: asks the embedder for batches, and adds what it gives.
//!
//! What to do about a fault is decided by [`after`], which is pure. An embedder that is away is waited for a few times, then
//! told of; a batch that it refuses is halved until the one text is found that it does not take, which is then remembered
//! with the reason.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::retry::Backoff;
use base::{Code, Fault, Result};
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{Vectors, unit};
use crate::blocking;
use crate::models::{Embedded, Models};
use crate::names::ChunkHash;

/// The most texts of a batch.
pub const MOST_TEXTS: usize = 32;
/// The most bytes of a batch of more than one text, which are about 8,000 tokens.
pub const MOST_BYTES: usize = 24_000;
/// So long a batch that has a text waits for each further one, which has to be read first.
const MORE_WITHIN: Duration = Duration::from_millis(20);
/// Between tries of an embedder that is away.
const PAUSE: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(30), jitter: 0.5 };
/// How often the same texts are tried before somebody is told why they wait.
const MOST_TRIES: u32 = 6;
/// How often an embedder may fail at the same texts before they are suspected.
const TRIES_BEFORE_SUSPICION: u32 = 3;
/// A text that every embedder takes.
const HARMLESS: &str = "water";

/// What is done about a fault of an embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same again, later, as often as it makes sense.
    Wait,
    /// Each half by itself.
    Halve,
    /// The text gets no vector.
    Refuse,
    /// If the embedder takes another text now, it is about this one; else it is about the embedder.
    Suspect,
    /// It is not about the texts, and waiting does not help.
    End,
}

/// Decides about a fault at so many texts that was met so many times in a row.
fn after(code: Code, texts: usize, times: u32) -> Next {
    let is_too_long = matches!(code, Code::ContextExceeded | Code::TooLarge);
    // Engines say of a text that is too long that the request is wrong, that they failed, or never come to its end.
    let is_failure = matches!(code, Code::EngineFailed | Code::EngineCut | Code::DeadlineExceeded);
    let is_suspicious = code == Code::InvalidArgument || (is_failure && times >= TRIES_BEFORE_SUSPICION);
    match texts {
        0 | 1 if is_too_long => Next::Refuse,
        0 | 1 if is_suspicious => Next::Suspect,
        _ if is_too_long || is_suspicious => Next::Halve,
        _ if is_passing(code) => Next::Wait,
        _ => Next::End,
    }
}

/// Whether waiting may cure it. A model that no worker offers now may come back with its node.
fn is_passing(code: Code) -> bool {
    code.is_retriable() || code == Code::ModelNotFound
}

/// Texts that go to the embedder together.
type Batch = Vec<(ChunkHash, String)>;

/// Gives a vector to every text that has none, until there are no more or it is told to stop. A fault is one that waiting
/// does not cure, such as a model that is another one under the same name, or that a little waiting did not cure; what was
/// added stays.
pub async fn fill(
    models: &dyn Models,
    vectors: &Vectors,
    wanted: impl Stream<Item = (ChunkHash, String)> + Send + Unpin,
    stop: &CancellationToken,
) -> Result<()> {
    let filling = Filling { models, vectors };
    stop.run_until_cancelled(filling.all(wanted)).await.unwrap_or(Ok(()))
}

struct Filling<'a> {
    models: &'a dyn Models,
    vectors: &'a Vectors,
}

impl Filling<'_> {
    async fn all(&self, mut wanted: impl Stream<Item = (ChunkHash, String)> + Send + Unpin) -> Result<()> {
        let mut left_over = None;
        while let Some(batch) = self.gather(&mut wanted, &mut left_over).await {
            let mut batches = VecDeque::from([batch]);
            while let Some(batch) = batches.pop_front() {
                for half in self.embed(batch).await?.into_iter().rev() {
                    batches.push_front(half);
                }
            }
        }
        Ok(())
    }

    /// The next batch: waits for its first text, and a moment for each further one. `None` at the end.
    async fn gather(
        &self,
        wanted: &mut (impl Stream<Item = (ChunkHash, String)> + Send + Unpin),
        left_over: &mut Option<(ChunkHash, String)>,
    ) -> Option<Batch> {
        let mut batch = Batch::new();
        let mut bytes = 0;
        while batch.len() < MOST_TEXTS {
            let next = match left_over.take() {
                Some(text) => Some(text),
                None if batch.is_empty() => wanted.next().await,
                None => tokio::time::timeout(MORE_WITHIN, wanted.next()).await.ok().flatten(),
            };
            let Some((hash, text)) = next else { break };
            let snapshot = self.vectors.snapshot();
            let is_done = snapshot.contains(&hash) || snapshot.refused(&hash).is_some();
            if is_done || batch.iter().any(|(other, _)| *other == hash) {
                continue;
            }
            if !batch.is_empty() && bytes + text.len() > MOST_BYTES {
                *left_over = Some((hash, text));
                break;
            }
            bytes += text.len();
            batch.push((hash, text));
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Embeds a batch and adds its vectors; gives the halves of one that was refused.
    async fn embed(&self, mut batch: Batch) -> Result<Vec<Batch>> {
        let mut times = 0;
        loop {
            let fault = match self.ask(batch.iter().map(|(_, text)| text.clone()).collect()).await {
                Ok(found) => return self.add(batch, found).await.map(|()| Vec::new()),
                Err(fault) => fault,
            };
            times += 1;
            let next = match after(fault.code, batch.len(), times) {
                Next::Suspect => self.whose_fault().await?,
                next => next,
            };
            match next {
                Next::End => return Err(fault),
                Next::Wait | Next::Suspect => self.wait(fault, times).await?,
                Next::Halve => {
                    let second = batch.split_off(batch.len() / 2);
                    return Ok(vec![batch, second]);
                }
                Next::Refuse => {
                    for (hash, _) in batch {
                        self.refuse(hash, &fault.full_message()).await?;
                    }
                    return Ok(Vec::new());
                }
            }
        }
    }

    /// Whether a suspected text is to blame, or the embedder: a broken one would have every text refused for good.
    async fn whose_fault(&self) -> Result<Next> {
        match self.ask(vec![HARMLESS.to_owned()]).await {
            Ok(_) => Ok(Next::Refuse),
            Err(fault) if is_passing(fault.code) => Ok(Next::Wait),
            Err(fault) => Err(fault),
        }
    }

    /// One call of the embedder, with its answer looked at.
    async fn ask(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>> {
        let by = self.vectors.embedder();
        let asked = texts.len();
        let Embedded { by: found, vectors } = self.models.embed(&by.model, texts).await?;
        if found != *by {
            let message = format!(
                "`{}` with {} numbers answered where `{}` with {} was asked",
                found.model, found.dims, by.model, by.dims
            );
            return Err(Fault::new(Code::Conflict, message)
                .hint("give the other model a name of its own: vectors of different models are never mixed"));
        }
        if vectors.len() != asked {
            let message = format!("`{}` gave {} vectors for {asked} texts", by.model, vectors.len());
            return Err(Fault::new(Code::EngineFailed, message).hint("look at the engine that serves this model"));
        }
        if let Some(other) = vectors.iter().find(|vector| vector.len() != by.dims as usize) {
            let message = format!("`{}` gave {} numbers where it gave {} before", by.model, other.len(), by.dims);
            return Err(Fault::new(Code::Conflict, message)
                .hint("the engine serves another model under this name: give it a name of its own"));
        }
        Ok(vectors)
    }

    /// Adds vectors; a text whose vector points nowhere is refused.
    async fn add(&self, batch: Batch, found: Vec<Vec<f32>>) -> Result<()> {
        let mut good = Vec::with_capacity(batch.len());
        for ((hash, _), vector) in batch.into_iter().zip(found) {
            match unit(&vector, self.vectors.embedder().dims) {
                Ok(vector) => good.push((hash, vector)),
                Err(unfit) => self.refuse(hash, &format!("the vector that the embedder gave is none: {unfit}")).await?,
            }
        }
        let good = Arc::new(good);
        let mut times = 0;
        loop {
            let (vectors, good) = (self.vectors.clone(), good.clone());
            match blocking(move || vectors.insert(&good)).await {
                Err(fault) if fault.code == Code::StorageFull => {
                    times += 1;
                    self.wait(fault, times).await?;
                }
                ended => return ended,
            }
        }
    }

    async fn refuse(&self, hash: ChunkHash, reason: &str) -> Result<()> {
        tracing::warn!(chunk = %hash, model = self.vectors.embedder().model, reason, "the embedder does not take a text");
        let (vectors, reason) = (self.vectors.clone(), reason.to_owned());
        blocking(move || vectors.refuse(hash, &reason)).await
    }

    /// Waits before the next try of what was tried so often; gives the fault where that was the last one.
    async fn wait(&self, fault: Fault, times: u32) -> Result<()> {
        if times >= MOST_TRIES {
            return Err(fault);
        }
        tracing::debug!(error = fault.full_message(), "waits for the embedder");
        let pause = PAUSE.delay(times.saturating_sub(1), fastrand::f64());
        tokio::time::sleep(fault.retry_after.unwrap_or(pause).min(PAUSE.most)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
