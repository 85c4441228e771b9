//! Moving searches to a server of vectors and back: the wish is written down, the writer does it, and whoever asked
//! watches, counts, and does a sample of searches both ways.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base::time::unix_ms;
use base::{Code, Fault, Result};

use super::Library;
use crate::blocking;
use crate::filter::Filter;
use crate::index::{Indexed, Place, Snapshot};
use crate::knowledge::{IndexKind, Migrated, Mode, Moving, Tell};
use crate::outside::{Server, Standing};
use crate::search::{Finder, OpenTexts};

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// So many searches are done both ways …
const SAMPLES: usize = 20;
/// … with the first words of a chunk …
const SAMPLE_WORDS: usize = 12;
/// … and so many of their best hits are compared.
const COMPARED: usize = 10;
/// How often a wish is written again where others write at the same time.
const TRIES: usize = 10;

impl Library {
    pub(super) async fn move_index(&self, to: IndexKind, tell: Tell) -> Result<Migrated> {
        self.records().await?;
        match to {
            IndexKind::Qdrant => self.move_to_server(&tell).await,
            IndexKind::Embedded => self.move_back(&tell).await,
        }
    }

    async fn move_to_server(&self, tell: &Tell) -> Result<Migrated> {
        let server = self.server.clone().ok_or_else(|| {
            Fault::new(Code::NotSupported, "this node is told of no Qdrant")
                .hint("set `[research] qdrant = { url = \"http://HOST:6334\" }` on every node that keeps documents")
        })?;
        let asked_ms = unix_ms();
        self.wish(|standing| Standing { unwanted: false, asked_ms, filled: standing.filled }).await?;
        self.watch_it_fill(&*server, asked_ms, tell).await?;
        let snapshot = self.snapshot().await?;
        let points = server.count(&self.outside_collection(&*server)).await?;
        let mut moved = self.compared(&snapshot, tell).await?;
        (moved.index, moved.points) = (server.address().to_owned(), points);
        if points != moved.chunks {
            let changed = "they differ while documents are added, changed or removed";
            moved.notes.push(format!("Qdrant has {points} points for {} chunks: {changed}", moved.chunks));
        }
        Ok(moved)
    }

    /// Waits until the writer has compared all, and tells how far it is.
    async fn watch_it_fill(&self, server: &dyn Server, asked_ms: u64, tell: &Tell) -> Result<()> {
        loop {
            let collection = self.outside_collection(server);
            let standing = self.known.load().standing().clone();
            // What this node knows may still be what was before the wish.
            if standing.unwanted && standing.asked_ms >= asked_ms {
                return Err(Fault::new(Code::Conflict, "somebody moved the index back meanwhile"));
            }
            if standing.filled.is_some_and(|filled| filled.collection == collection && filled.asked_ms >= asked_ms) {
                return Ok(());
            }
            let (doing, done) = match (self.who_writes().await, server.count(&collection).await) {
                (None, _) => ("waits for a node that writes".to_owned(), 0),
                (Some((node, _)), Ok(points)) => (format!("{node} puts chunks into Qdrant"), points),
                (Some(_), Err(fault)) if fault.code == Code::NotFound => ("makes a collection in Qdrant".to_owned(), 0),
                (Some(_), Err(fault)) => (fault.full_message(), 0),
            };
            let total = self.snapshot().await?.chunk_count() as u64;
            say(tell, Moving { doing, done, total }).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn move_back(&self, tell: &Tell) -> Result<Migrated> {
        let snapshot = self.snapshot().await?;
        let mut moved = self.compared(&snapshot, tell).await?;
        moved.notes.extend(self.not_indexed());
        self.wish(|standing| Standing { unwanted: true, filled: None, ..standing }).await?;
        moved.notes.push(match &self.server {
            Some(_) => "the node that writes deletes the collections in Qdrant, when it reaches it".to_owned(),
            None => {
                "this node is told of no Qdrant; if there is one, a writer that is told of it deletes its collections"
                    .to_owned()
            }
        });
        Ok(Migrated { index: "embedded".to_owned(), ..moved })
    }

    async fn wish(&self, change: impl Fn(Standing) -> Standing) -> Result<()> {
        for _ in 0..TRIES {
            let (standing, had) = self.shelf.standing().await?;
            if self.shelf.put_standing(&change(standing), had, None).await? {
                return Ok(());
            }
        }
        Err(Fault::new(Code::Conflict, "the index is being moved by somebody else")
            .hint("look at the status, and ask again"))
    }

    /// A sample of searches, done both ways.
    async fn compared(&self, snapshot: &Arc<Snapshot>, tell: &Tell) -> Result<Migrated> {
        let chunks = snapshot.chunk_count() as u64;
        let mut moved =
            Migrated { index: String::new(), points: 0, chunks, samples: 0, overlap: 1.0, notes: Vec::new() };
        let (of, blobs) = (snapshot.clone(), self.blobs.clone());
        let questions = blocking(move || {
            let mut open = OpenTexts::of(&blobs);
            Ok(sample(&of).iter().filter_map(|indexed| question(indexed, &mut open)).collect::<Vec<_>>())
        });
        let questions = questions.await?;
        let mut overlaps = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            let doing = "searches both ways".to_owned();
            say(tell, Moving { doing, done: at as u64, total: questions.len() as u64 }).await?;
            let (finder, how) = self.finder(question, Mode::Hybrid).await?;
            let Some(aside) = finder.aside.clone() else {
                moved.notes.push(format!("searches were not compared: they go {how}"));
                break;
            };
            let question = question.clone();
            let overlap = blocking(move || both_ways(finder, &question)).await?;
            if let Some(why) = aside.fell_back() {
                moved.notes.push(format!("searches were not compared: {why}"));
                break;
            }
            overlaps.push(overlap);
        }
        moved.samples = overlaps.len() as u32;
        if !overlaps.is_empty() {
            moved.overlap = overlaps.iter().sum::<f64>() / overlaps.len() as f64;
        }
        Ok(moved)
    }
}

async fn say(tell: &Tell, moving: Moving) -> Result<()> {
    let gone = |_| Fault::new(Code::Cancelled, "nobody watches the move any more");
    tell.send(moving).await.map_err(gone)
}

/// Documents from all over the index, always the same ones.
fn sample(snapshot: &Snapshot) -> Vec<Arc<Indexed>> {
    let mut all: Vec<&Arc<Indexed>> = snapshot.documents().filter(|one| !one.chunks.is_empty()).collect();
    all.sort_by_key(|one| one.document.id);
    let count = all.len().min(SAMPLES);
    (0..count).filter_map(|at| all.get(at * all.len() / count).copied().cloned()).collect()
}

/// The first words of a chunk in the middle. `None`: its text is not here now.
fn question(indexed: &Indexed, open: &mut OpenTexts<'_>) -> Option<String> {
    let chunk = indexed.chunks.get(indexed.chunks.len() / 2)?;
    let passage = open.passage(indexed, chunk.start..chunk.end).ok()?;
    let words: Vec<&str> = passage.split_whitespace().take(SAMPLE_WORDS).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// How many of the best hits of this node's own index are among the server's, of all. Blocks.
fn both_ways(mut finder: Finder, question: &str) -> Result<f64> {
    let best = |finder: &Finder| -> Result<HashSet<Place>> {
        let ranked = finder.rank(question, &Filter::default(), Mode::Hybrid, COMPARED)?;
        Ok(ranked.iter().take(COMPARED).map(|one| one.candidate.place).collect())
    };
    let beside = best(&finder)?;
    finder.aside = None;
    let own = best(&finder)?;
    if own.is_empty() {
        return Ok(if beside.is_empty() { 1.0 } else { 0.0 });
    }
    Ok(own.intersection(&beside).count() as f64 / own.len() as f64)
}
