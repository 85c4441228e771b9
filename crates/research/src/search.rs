//! Finding passages: by words and by vectors, each a list, and one order out of both.
//!
//! All of it works on snapshots and waits for nobody. What the order goes by is in `rank`, which is pure.

mod candidates;
mod diversity;
pub mod rank;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base::{Fault, Result};

use crate::blobs::Blobs;
use crate::chunk::Chunk;
use crate::filter::Filter;
use crate::hit::{Hit, Span, Why};
use crate::index::{Indexed, Snapshot};
use crate::knowledge::{Mode, Search};
use crate::names::BlobId;
use crate::outside::aside::Aside;
use crate::text::Terms;
use crate::{texts, vectors};
pub use candidates::Candidate;

/// The most hits of one search.
pub const MOST_HITS: u32 = 1_000;
/// Where nobody said how many.
pub const USUAL_HITS: u32 = 10;
/// The longest question, in bytes.
pub const MOST_QUESTION: usize = 8 << 10;
/// How deep both lists are looked at, at least.
const DEPTH: usize = 100;

/// What a search reads: one moment of a node's index.
pub struct Finder {
    /// Words and chunks.
    pub snapshot: Arc<Snapshot>,
    /// Vectors of the model in use, and the question's; `None` where there are none.
    pub dense: Option<Dense>,
    /// A server that gives candidates in place of this node's index; `None`: there is none, or it is not in step.
    pub aside: Option<Aside>,
    /// Texts.
    pub blobs: Blobs,
}

/// The side of the vectors.
pub struct Dense {
    /// Those of the chunks.
    pub vectors: Arc<vectors::Snapshot>,
    /// That of the question, of length 1.
    pub question: Vec<f32>,
}

/// A candidate with its place in the order.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// Which.
    pub candidate: Candidate,
    /// From 0 to 1 beside the others of the same search.
    pub score: f32,
    /// What smoothing added.
    pub lifted: f32,
}

/// What was found and cannot be shown, since its text cannot be read now.
#[derive(Debug, Default)]
pub struct LeftOut {
    count: usize,
    why: String,
}

impl LeftOut {
    /// One more, for that fault.
    pub fn add(&mut self, fault: &Fault) {
        tracing::warn!(error = fault.full_message(), "a text is left out");
        self.count += 1;
        self.why = fault.full_message();
    }

    /// What to tell of it, in words; `None`: nothing was left out.
    pub fn note(&self) -> Option<String> {
        (self.count > 0).then(|| format!("{} that cannot be read now left out: {}", self.count, self.why))
    }
}

impl Finder {
    /// The passages for a question that was checked, best first, and what is not among them. Blocks.
    pub fn search(&self, search: &Search) -> Result<(Vec<Hit>, LeftOut)> {
        let limit = if search.limit == 0 { USUAL_HITS } else { search.limit } as usize;
        let mut ranked = self.rank(&search.question, &search.filter, search.mode, limit)?;
        if search.diversity > 0.0 {
            ranked = diversity::spread(ranked, search.diversity, limit);
        }
        let mut words = self.words_of(&search.question);
        let mut open = OpenTexts::of(&self.blobs);
        let (mut hits, mut left_out) = (Vec::new(), LeftOut::default());
        for one in &ranked {
            if hits.len() == limit {
                break;
            }
            match self.hit(one, &mut words, search.neighbours, &mut open) {
                Ok(hit) => hits.push(hit),
                Err(fault) => left_out.add(&fault),
            }
        }
        Ok((hits, left_out))
    }

    /// The candidates for a question, best first, at least `limit` where there are as many.
    pub fn rank(&self, question: &str, filter: &Filter, mode: Mode, limit: usize) -> Result<Vec<Ranked>> {
        let depth = DEPTH.max(limit);
        let found = candidates::find(self, question, filter, mode, depth)?;
        Ok(rank::order(found))
    }

    /// A candidate as people see it.
    pub fn hit(
        &self,
        ranked: &Ranked,
        words: &mut AskedWords,
        neighbours: bool,
        open: &mut OpenTexts<'_>,
    ) -> Result<Hit> {
        let Candidate { indexed, place, text, text_rank, cosine, dense_rank, .. } = &ranked.candidate;
        let (document, at) = (&indexed.document, place.ordinal as usize);
        let chunk = chunk_of(ranked)?;
        let BareHit { start, end, headings, text: passage, .. } = Self::bare_hit(ranked, open)?;
        let text_of = |open: &mut OpenTexts<'_>, at: Option<usize>| match at.and_then(|at| indexed.chunks.get(at)) {
            Some(chunk) => open.passage(indexed, chunk.start..chunk.end),
            None => Ok(String::new()),
        };
        let said = words.said_in(&passage, &document.language);
        Ok(Hit {
            span: Span { document: document.id, version: document.version, start, end },
            collection: document.collection.clone(),
            source: document.source.clone(),
            title: document.meta.title.clone(),
            headings,
            page: chunk.page,
            ordinal: chunk.ordinal,
            before: if neighbours { text_of(open, at.checked_sub(1))? } else { String::new() },
            after: if neighbours { text_of(open, Some(at + 1))? } else { String::new() },
            text: passage,
            score: ranked.score,
            why: Why {
                text: *text,
                text_rank: *text_rank,
                dense: *cosine,
                dense_rank: *dense_rank,
                rerank: ranked.lifted,
                words: said,
            },
        })
    }

    /// The characters of a candidate, and where they stand.
    pub fn bare_hit(ranked: &Ranked, open: &mut OpenTexts<'_>) -> Result<BareHit> {
        let (indexed, chunk) = (&ranked.candidate.indexed, chunk_of(ranked)?);
        let text = open.passage(indexed, chunk.start..chunk.end)?;
        let start = open.chars_before(indexed, chunk.start)?;
        let end = start + text.chars().count() as u64;
        let first = chunk.page.map(|page| (0, page));
        let later = chunk.turns.iter().map(|(byte, page)| (byte.saturating_sub(chunk.start) as usize, *page));
        Ok(BareHit {
            start,
            end,
            headings: chunk.headings.clone(),
            pages: first.into_iter().chain(later).collect(),
            text,
        })
    }

    /// The telling words of a question, in all languages of the index.
    fn words_of(&self, question: &str) -> AskedWords {
        let (mut by_stem, mut of_language) = (HashMap::new(), HashMap::new());
        for language in self.languages() {
            let mut terms = Terms::new(&language);
            for (_, word) in crate::text::words(question) {
                if !crate::text::is_stop_word(&word, &language) {
                    by_stem.insert(terms.stem(&word).to_owned(), word.into_owned());
                }
            }
            of_language.insert(language, terms);
        }
        AskedWords { by_stem, terms: of_language }
    }

    fn languages(&self) -> Vec<String> {
        let mut languages: Vec<String> = self.snapshot.languages().map(str::to_owned).collect();
        if languages.is_empty() {
            languages.push(String::new());
        }
        languages
    }
}

/// The telling words of a question.
pub struct AskedWords {
    by_stem: HashMap<String, String>,
    /// By language; hits have many words in common.
    terms: HashMap<String, Terms>,
}

impl AskedWords {
    /// Those that a passage has, in its order.
    fn said_in(&mut self, passage: &str, language: &str) -> Vec<String> {
        let terms = self.terms.entry(language.to_owned()).or_insert_with(|| Terms::new(language));
        let mut said: Vec<String> = Vec::new();
        for (_, word) in crate::text::words(passage) {
            if let Some(asked) = self.by_stem.get(terms.stem(&word))
                && !said.contains(asked)
            {
                said.push(asked.clone());
            }
        }
        said
    }
}

/// The characters of a chunk.
pub struct BareHit {
    /// First character.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// The headings above it.
    pub headings: String,
    /// Where its pages begin, where there are pages: bytes of the text, page.
    pub pages: Vec<(usize, u32)>,
    /// The characters.
    pub text: String,
}

fn chunk_of(ranked: &Ranked) -> Result<&Chunk> {
    let Candidate { indexed, place, .. } = &ranked.candidate;
    let chunk = indexed.chunks.get(place.ordinal as usize);
    chunk.ok_or_else(|| Fault::internal("a hit is no chunk of its document"))
}

/// The texts that a search reads from, each opened once.
pub struct OpenTexts<'a> {
    blobs: &'a Blobs,
    open: HashMap<BlobId, texts::Open>,
    /// Those that could not be read, and were looked at as a whole.
    checked: HashSet<BlobId>,
}

impl<'a> OpenTexts<'a> {
    /// Opens from there.
    pub fn of(blobs: &'a Blobs) -> Self {
        Self { blobs, open: HashMap::new(), checked: HashSet::new() }
    }

    /// Characters of a document's text.
    pub fn passage(&mut self, indexed: &Indexed, bytes: std::ops::Range<u32>) -> Result<String> {
        self.read(indexed, |text| text.passage(bytes))
    }

    /// How many characters come before that byte.
    pub fn chars_before(&mut self, indexed: &Indexed, byte: u32) -> Result<u64> {
        self.read(indexed, |text| text.chars_before(byte))
    }

    /// Reads of a document's text. One that is damaged is taken away, so that it is fetched again.
    fn read<T>(&mut self, indexed: &Indexed, read: impl FnOnce(&mut texts::Open) -> Result<T>) -> Result<T> {
        let gone = || Fault::unavailable(format!("the text of `{}` is not on this node now", indexed.document.source));
        let id = indexed.document.text().ok_or_else(gone)?;
        let done = match self.open.entry(id) {
            Entry::Occupied(open) => read(open.into_mut()),
            Entry::Vacant(place) => match texts::Open::of(self.blobs, id) {
                Ok(open) => read(place.insert(open.ok_or_else(gone)?)),
                Err(fault) => Err(fault),
            },
        };
        if done.is_err() && self.checked.insert(id) && self.blobs.get(id)?.is_none() {
            self.open.remove(&id);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, State};
    use crate::index::Basis;
    use extract::Extracted;

    #[test]
    fn a_damaged_text_is_taken_away_when_it_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let file = texts::write(&Extracted { text: "Water.".into(), ..Extracted::default() }).unwrap();
        let id = blobs.put(&file).unwrap();
        let document = serde_json::json!({
            "id": "0b0b0b0b0b0b0b0b0b0b0b0b", "collection": "house", "source": "a", "version": 1, "original": id,
            "bytes": 1, "meta": {}, "language": "", "state": "ready", "text": id, "chars": 6, "notes": [],
            "added_ms": 0, "changed_ms": 0, "reader": 1,
        });
        let document: Document = serde_json::from_value(document).unwrap();
        assert!(matches!(document.state, State::Ready { .. }));
        let indexed = Indexed { document: Arc::new(document), basis: Basis::of(id, "", 1), chunks: [].into() };
        assert_eq!(OpenTexts::of(&blobs).passage(&indexed, 0..6).unwrap(), "Water.");
        // A passage that is none says nothing of the file.
        assert!(OpenTexts::of(&blobs).passage(&indexed, 0..99).is_err());
        assert!(blobs.has(id));
        let name = id.to_string();
        std::fs::write(dir.path().join(&name[..2]).join(&name[2..]), [&file[..file.len() - 2], b"\xff."].concat())
            .unwrap();
        let mut open = OpenTexts::of(&blobs);
        assert!(open.passage(&indexed, 0..6).is_err());
        assert!(!blobs.has(id));
        assert_eq!(open.passage(&indexed, 0..6).unwrap_err().code, base::Code::Unavailable);
    }
}
