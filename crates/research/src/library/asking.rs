//! Searches and answers of this node: what they read is gathered here, what is made of it is decided elsewhere.

pub(super) mod gathering;

use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{Code, Fault, Result};

use super::Library;
use super::serve::no_collection;
use crate::answer::extractive::{LOOKED_AT, USUAL_SENTENCES};
use crate::answer::written::prompt::{self, USUAL_PASSAGES};
use crate::answer::written::{self, Draft};
use crate::answer::{Answer, Evidence, Passage, compose};
use crate::blocking;
use crate::bounds;
use crate::chunk::embed_text;
use crate::document::Document;
use crate::filter::Filter;
use crate::hit::Hit;
use crate::knowledge::{Found, Mode, Question, Say, Search, Writer};
use crate::models::Doing;
use crate::search::rank::dot;
use crate::search::{self, Dense, Finder};
use crate::vectors::unit;

/// The most sentences and passages that one answer is asked for.
pub(crate) const MOST_SENTENCES: u32 = 20;
pub(crate) const MOST_PASSAGES: u32 = 50;
/// The most bytes of what a question is asked for, and how many of them help to find.
pub(crate) const MOST_CONTEXT: usize = 64 << 10;
const HELPING_CONTEXT: usize = 300;
/// How often a model is asked for one answer.
const TRIES: usize = 2;

/// So many of the best are reranked, where a model does that.
const RERANKED: u32 = 30;

/// A question that is not embedded by then is looked for by its words; hits that are not reranked by then stay as they are.
const EMBEDDED_WITHIN: Duration = Duration::from_secs(10);

/// How a search without vectors is called.
const BY_WORDS: &str = "by words alone";

impl Library {
    /// What a search reads, and how it goes, in words.
    pub(super) async fn finder(&self, question: &str, mode: Mode) -> Result<(Finder, String)> {
        let snapshot = self.snapshot().await?;
        let finder = |snapshot, dense, aside| Finder { snapshot, dense, aside, blobs: self.blobs.clone() };
        if mode == Mode::Text {
            let (aside, beside) = self.aside(&snapshot).await?;
            return Ok((finder(snapshot, None, aside), format!("{BY_WORDS}, as asked{beside}")));
        }
        let (dense, note) = match (mode, self.dense(question).await) {
            (Mode::Dense, Ok(Some((dense, model)))) => (Some(dense), format!("by vectors of {model} alone, as asked")),
            (_, Ok(Some((dense, model)))) => (Some(dense), format!("by words and vectors of {model}")),
            (Mode::Dense, Ok(None)) => {
                return Err(Fault::new(Code::ModelNotFound, "there are no vectors to search by")
                    .hint("add an embedding model to an engine, or search by words"));
            }
            (Mode::Dense, Err(fault)) => return Err(fault),
            (_, Ok(None)) => (None, format!("{BY_WORDS}: no model of the cluster embeds")),
            (_, Err(fault)) => (None, format!("{BY_WORDS}: {}", fault.full_message())),
        };
        let (aside, beside) = self.aside(&snapshot).await?;
        Ok((finder(snapshot, dense, aside), note + &beside))
    }

    /// The vectors in use with the question's own; `None`: there are none.
    async fn dense(&self, question: &str) -> Result<Option<(Dense, String)>> {
        let Some(vectors) = self.vectors.in_use() else { return Ok(None) };
        let model = vectors.embedder().model.clone();
        let name = self.models.name_of(&model);
        let embedded = within("embed the question", self.models.embed_now(&model, vec![question.to_owned()])).await?;
        let question = embedded.vectors.into_iter().next().unwrap_or_default();
        let question = unit(&question, vectors.embedder().dims).map_err(|unfit| {
            Fault::new(Code::EngineFailed, format!("`{name}` gave a vector for the question that is none"))
                .because(unfit)
                .hint("look at the engine that serves this model")
        })?;
        Ok(Some((Dense { vectors: vectors.snapshot(), question }, name)))
    }

    /// What of the documents a search cannot find yet, in words.
    pub(super) fn not_indexed(&self) -> Option<String> {
        let waiting = self.progress.waiting.load(Ordering::Relaxed);
        match waiting {
            0 => None,
            1 => Some("1 document is not indexed on this node yet".to_owned()),
            more => Some(format!("{more} documents are not indexed on this node yet")),
        }
    }

    /// What a search finds. Where a model of the cluster reranks, the best are put in its order.
    pub(super) async fn found(&self, finder: Finder, search: Search, note: String) -> Result<Found> {
        let Search { question, limit, .. } = search.clone();
        let limit = if limit == 0 { search::USUAL_HITS } else { limit };
        let is_reranked = search.mode == Mode::Hybrid && search.diversity == 0.0 && self.models.reranks();
        let wanted = Search { limit: if is_reranked { limit.max(RERANKED) } else { limit }, ..search };
        let (mut hits, left_out) = blocking(move || finder.search(&wanted)).await?;
        let left_out = left_out.note().into_iter().chain(self.not_indexed());
        let note = left_out.fold(note, |note, left_out| format!("{note}; {left_out}"));
        if !is_reranked {
            return Ok(Found { hits, search: note });
        }
        let texts = hits.iter().take(RERANKED as usize).map(|hit| embed_text(&hit.headings, &hit.text)).collect();
        let reranked = within("rerank", self.models.rerank(&question, texts)).await;
        let note = match reranked {
            Ok(Some(scores)) => {
                put_in_order(&mut hits, &scores);
                format!("{note}, the best in the order of a reranker")
            }
            Ok(None) => note,
            Err(fault) => format!("{note}; not reranked: {}", fault.full_message()),
        };
        hits.truncate(limit as usize);
        Ok(Found { hits, search: note })
    }

    /// Awaits work while whoever gave the models looks on.
    pub(super) async fn seen<T: Send>(&self, doing: Doing, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let mut told = None;
        let done = async {
            told = Some(work.await?);
            Ok(())
        };
        self.models.during(doing, Box::pin(done)).await?;
        told.ok_or_else(|| Fault::internal("work that was looked at was not done"))
    }

    /// Refuses a filter that names what is not there: it would only ever find nothing.
    pub(super) async fn check_filter(&self, filter: &Filter) -> Result<()> {
        if filter.collections.is_empty() {
            return Ok(());
        }
        let known = self.records().await?;
        for name in &filter.collections {
            if known.collection(name).is_none() {
                return Err(no_collection(name));
            }
        }
        Ok(())
    }

    /// Why a filter lets no document pass that can be found; `None`: it does.
    pub(super) fn excluded(&self, filter: &Filter) -> Option<String> {
        let known = self.known.load();
        let all: Vec<&Document> =
            known.all_documents().map(|record| &*record.value).filter(|one| one.text().is_some()).collect();
        filter.excludes_all(&all)
    }

    /// An answer, step by step.
    pub(crate) async fn answer(&self, question: Question, say: Say) -> Result<Answer> {
        bounds::question(&question)?;
        self.check_filter(&question.filter).await?;
        say.doing("searching").await;
        let (mut evidence, embedder) = self.evidence(&question).await?;
        let most = if question.sentences == 0 { USUAL_SENTENCES } else { question.sentences } as usize;
        if let Some(model) = &embedder {
            say.doing("comparing sentences").await;
            self.measure_sentences(&question.question, &mut evidence, model).await;
        }
        let nobody = match question.mode {
            Writer::Extractive => None,
            Writer::Auto | Writer::Model if evidence.passages.is_empty() => None,
            Writer::Auto | Writer::Model => {
                match self.written(&question, &evidence, embedder.as_deref(), &say).await? {
                    Ok(answer) => return Ok(answer),
                    Err(why) => Some(why),
                }
            }
        };
        say.doing("choosing sentences").await;
        if let Some(why) = nobody {
            evidence.notes.push(format!("no model wrote this: {why}"));
        }
        evidence.notes.extend(self.not_indexed());
        let excluded = evidence.passages.is_empty().then(|| self.excluded(&question.filter)).flatten();
        let mut answer = blocking(move || Ok(compose::extracted(&question.question, &evidence, most))).await?;
        // No word of the question was looked for anywhere.
        if let Some(why) = excluded {
            answer.notes = vec![why];
        }
        for (at, sentence) in answer.sentences.iter().enumerate() {
            let blank = if at == 0 { "" } else { " " };
            say.delta(format!("{blank}{}", compose::with_numbers(sentence))).await;
        }
        Ok(answer)
    }

    /// What the answer to a question is made from, and the embedder, where sentences may be compared by its vectors.
    async fn evidence(&self, question: &Question) -> Result<(Evidence, Option<String>)> {
        let looked_for = looked_for(question);
        let (finder, mut search) = self.finder(&looked_for, Mode::Hybrid).await?;
        let aside = finder.aside.clone();
        let embedder = self.vectors.in_use().map(|vectors| vectors.embedder().model.clone());
        let embedder = embedder.filter(|model| finder.dense.is_some() && is_fitted_for(&self.models.name_of(model)));
        let passages = if question.passages == 0 { USUAL_PASSAGES } else { question.passages } as usize;
        let (asked, filter) = (question.question.clone(), question.filter.clone());
        let gather = move || gathering::gather(&finder, &looked_for, &asked, &filter, passages.max(LOOKED_AT));
        let evidence = blocking(gather).await?;
        search.extend(aside.map(|aside| aside.told()));
        Ok((Evidence { search, ..evidence }, embedder))
    }

    /// Gives the sentences that may be cited their nearness to the question. Where that fails, words decide.
    async fn measure_sentences(&self, question: &str, evidence: &mut Evidence, model: &str) {
        let looked_at = evidence.passages.iter().take(evidence.first_round.min(LOOKED_AT));
        let counts: Vec<usize> = looked_at.clone().map(|passage| passage.statements.len()).collect();
        let of_passage = |passage: &Passage| {
            let texts = passage.statements.iter().map(|range| passage.of(range).to_owned());
            texts.collect::<Vec<_>>()
        };
        let mut texts: Vec<String> = vec![question.to_owned()];
        texts.extend(looked_at.flat_map(of_passage));
        match self.models.embed_now(model, texts).await {
            Ok(embedded) => {
                let mut vectors = embedded.vectors.into_iter();
                let asked = vectors.next().unwrap_or_default();
                let mut cosines = vectors.map(|vector| dot(&asked, &vector));
                evidence.nearness = counts.into_iter().map(|count| cosines.by_ref().take(count).collect()).collect();
            }
            Err(fault) => {
                evidence.notes.push(format!("sentences were compared by words alone: {}", fault.full_message()));
            }
        }
    }

    /// An answer that a model wrote, looked up; or why there is none. A fault where only a model would do.
    async fn written(
        &self,
        question: &Question,
        evidence: &Evidence,
        embedder: Option<&str>,
        say: &Say,
    ) -> Result<Result<Answer, String>> {
        let most = if question.passages == 0 { USUAL_PASSAGES } else { question.passages } as usize;
        let shown = prompt::fitting(&evidence.passages, most.min(evidence.passages.len()));
        let passages = evidence.passages.get(..shown).unwrap_or_default();
        let mut wrong: Option<String> = None;
        for _ in 0..TRIES {
            say.doing("a model is asked to read the passages").await;
            let prompt = prompt::prompt(&question.question, &question.context, passages, wrong.as_deref());
            let reply = match self.models.ask(prompt).await {
                Ok(reply) => reply,
                Err(fault) if fault.code == Code::Cancelled || question.mode == Writer::Model => return Err(fault),
                Err(fault) => return Ok(Err(fault.full_message())),
            };
            match written::read(&reply, shown) {
                Ok(draft) => {
                    say.doing("looking every sentence up").await;
                    let answer = self.looked_up(question, evidence, (draft, shown), embedder, &reply.model).await?;
                    for sentence in &answer.sentences {
                        say.delta(format!("{} ", compose::with_numbers(sentence))).await;
                    }
                    return Ok(Ok(answer));
                }
                Err(why) => wrong = Some(why),
            }
        }
        let why = format!("its answer could not be taken: {}", wrong.unwrap_or_default());
        match question.mode {
            Writer::Model => Err(Fault::new(Code::EngineFailed, format!("the model wrote no usable answer; {why}"))
                .hint("ask again without a model, or see `tmctl models` for a larger one under [roles] research")),
            _ => Ok(Err(why)),
        }
    }

    async fn looked_up(
        &self,
        question: &Question,
        evidence: &Evidence,
        (draft, shown): (Draft, usize),
        embedder: Option<&str>,
        model: &str,
    ) -> Result<Answer> {
        let of = evidence.clone();
        let mut notes = draft.notes.clone();
        if shown < evidence.passages.len() {
            notes.push(format!("the model was shown {shown} of {} passages", evidence.passages.len()));
        }
        let mut looked = blocking(move || Ok(written::look_up(&draft, &of, shown))).await?;
        let pairs = written::to_compare(&looked, evidence);
        if let Some(embedder) = embedder.filter(|_| !pairs.is_empty()) {
            let (mut places, mut texts) = (Vec::new(), Vec::new());
            for (at, sentence, source) in pairs {
                places.push(at);
                texts.extend([sentence, source]);
            }
            match self.models.embed_now(embedder, texts).await {
                Ok(embedded) => {
                    let cosine = |pair: &[Vec<f32>]| pair.first().zip(pair.last()).map_or(0.0, |(a, b)| dot(a, b));
                    let cosines = embedded.vectors.chunks(2).map(cosine);
                    written::settle(&mut looked, &places.into_iter().zip(cosines).collect::<Vec<_>>());
                }
                Err(fault) => notes.push(format!("sentences were looked up by words alone: {}", fault.full_message())),
            }
        }
        let (asked, evidence, model) = (question.question.clone(), evidence.clone(), model.to_owned());
        blocking(move || {
            let (sentences, told) = written::finish(looked);
            notes.extend(told);
            Ok(compose::written(&asked, &evidence, &model, (sentences, notes)))
        })
        .await
    }
}

/// What a model does for a search, or a fault where it takes too long.
async fn within<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(EMBEDDED_WITHIN, work).await.unwrap_or_else(|_| {
        let within = EMBEDDED_WITHIN.as_secs();
        Err(Fault::new(Code::DeadlineExceeded, format!("the model did not {what} within {within} s")))
    })
}

/// The question, with a little of what it is asked for, which helps to find.
fn looked_for(question: &Question) -> String {
    let context = question.context.trim();
    let end = context.floor_char_boundary(HELPING_CONTEXT.min(context.len()));
    format!("{} {}", question.question, context.get(..end).unwrap_or_default()).trim().to_owned()
}

/// Whether cosines of sentences mean what the fits of answers take them for: those were made with all-MiniLM-L6-v2.
fn is_fitted_for(model: &str) -> bool {
    model.to_lowercase().contains("minilm")
}

/// Puts the first hits in the order of their scores; the others stay behind them.
fn put_in_order(hits: &mut Vec<Hit>, scores: &[f32]) {
    let rest = hits.split_off(scores.len().min(hits.len()));
    let mut scored: Vec<(f32, Hit)> = scores.iter().copied().zip(hits.drain(..)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    hits.extend(scored.into_iter().map(|(_, hit)| hit).chain(rest));
}
