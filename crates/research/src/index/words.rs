//! Which words stand in which chunks: tantivy, with words cut and stemmed by ourselves in the language of each document.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use store::Seal;
use tantivy::collector::{FilterCollector, TopDocs};
use tantivy::columnar::Column;
use tantivy::indexer::LogMergePolicy;
use tantivy::query::{Bm25StatisticsProvider, BooleanQuery, BoostQuery, EnableScoring, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value};
use tantivy::{
    Directory, DocAddress, DocSet, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, SegmentReader, TERMINATED,
    TantivyDocument, TantivyError, Term,
};

use xxhash_rust::xxh3::xxh3_64;

use super::sealed::SealedDirectory;
use super::{Indexed, Kept, Whole};
use crate::text::{Spoken, Terms};

/// Segments of fewer chunks than this count as equally large, and eight of them become one. Eight full batches have a few
/// more: so each chunk is written anew once where it would be twice with tantivy's 10,000, and most of the work of a large
/// build is that.
const SMALL_SEGMENT: u32 = 4_000;
/// What the writer gathers in memory before it writes a segment.
const WRITER_BYTES: usize = 64 << 20;

/// What a stem in the headings weighs beside one anywhere, and what two side by side do.
pub(crate) const TITLE_WEIGHT: f32 = 0.3;
pub(crate) const PAIRS_WEIGHT: f32 = 0.2;

/// Between a language and a stem.
const TAG: char = ':';

const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// Which documents may be found, by their keys.
pub type Allowed = Arc<dyn Fn(u64) -> bool + Send + Sync>;

type Result<T, E = TantivyError> = std::result::Result<T, E>;

#[derive(Clone, Copy)]
struct Fields {
    /// The document's key.
    document: Field,
    /// The chunk's number in its document.
    ordinal: Field,
    /// The stems of its headings and its text.
    all: Field,
    /// The stems of its headings.
    title: Field,
    /// Stems that stand side by side.
    pairs: Field,
    /// The chunk itself.
    kept: Field,
}

/// The writer's side of the words.
pub struct Writer {
    fields: Fields,
    /// Stems of each language, which mostly come again.
    stems: HashMap<String, Terms>,
    reader: IndexReader,
    writer: IndexWriter,
}

/// The words of one moment.
#[derive(Clone)]
pub struct Words {
    fields: Fields,
    searcher: Searcher,
}

/// A chunk that was found by words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextHit {
    /// The key of its document.
    pub document: u64,
    /// Counts from 0 in it.
    pub ordinal: u32,
    /// BM25.
    pub score: f32,
}

impl Writer {
    /// Opens the words in `dir`, which exists.
    pub fn open(dir: &Path, seal: &Seal) -> Result<Self> {
        let (schema, fields) = schema();
        let files: Box<dyn Directory> = match seal.is_on() {
            true => Box::new(SealedDirectory::open(dir, seal.clone())?),
            false => Box::new(tantivy::directory::MmapDirectory::open(dir)?),
        };
        let index = Index::open_or_create(files, schema)?;
        let writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES)?;
        let mut merging = LogMergePolicy::default();
        merging.set_min_layer_size(SMALL_SEGMENT);
        writer.set_merge_policy(Box::new(merging));
        // What a commit had written when its process was killed would be in the way of the next one, under its names.
        writer.garbage_collect_files().wait()?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { fields, stems: HashMap::new(), reader, writer })
    }

    /// The words as of the last commit.
    pub fn reader(&self) -> Words {
        Words { fields: self.fields, searcher: self.reader.searcher() }
    }

    /// Every chunk that is kept, with the key of its document.
    pub fn chunks(&self) -> Result<Vec<(u64, Kept)>> {
        let searcher = self.reader.searcher();
        let mut all = Vec::new();
        for (segment, reader) in searcher.segment_readers().iter().enumerate() {
            let (store, keys) = (reader.get_store_reader(1)?, reader.fast_fields().u64("document")?);
            for at in reader.doc_ids_alive() {
                let document: TantivyDocument = store.get(at)?;
                let kept = document.get_first(self.fields.kept).and_then(|value| value.as_bytes());
                let kept = kept.and_then(|bytes| serde_json::from_slice(bytes).ok());
                all.push(keys.first(at).zip(kept).ok_or_else(|| damaged(segment))?);
            }
        }
        Ok(all)
    }

    /// Adds a document's chunks from one on; seen after the next commit. With the first, what has its key goes.
    pub fn put(&mut self, indexed: &Indexed, from: usize, texts: &[String]) -> Result<()> {
        let key = indexed.key();
        if from == 0 {
            self.remove(key);
        }
        let stems = self.stems.entry(indexed.document.language.clone());
        let stems = stems.or_insert_with(|| Terms::new(&indexed.document.language));
        for (chunk, text) in indexed.chunks.iter().skip(from).zip(texts) {
            let whole =
                || Whole { document: indexed.document.clone(), basis: indexed.basis, chunks: indexed.chunks.len() };
            let kept = Kept { chunk: chunk.clone(), of: (chunk.ordinal == 0).then(whole) };
            let kept = serde_json::to_vec(&kept).map_err(|error| TantivyError::InternalError(error.to_string()))?;
            let mut document = TantivyDocument::new();
            document.add_u64(self.fields.document, key);
            document.add_u64(self.fields.ordinal, chunk.ordinal.into());
            let (title, body) = (stems.telling(&chunk.headings), stems.telling(text));
            let side_by_side = pairs(&title).chain(pairs(&body)).map(|pair| short(&pair));
            let language = &indexed.document.language;
            let tagged = |stem: &String| tagged(language, stem);
            document.add_text(self.fields.pairs, spaced(side_by_side));
            document.add_text(self.fields.title, spaced(title.iter().map(tagged)));
            document.add_text(self.fields.all, spaced(title.iter().chain(&body).map(tagged)));
            document.add_bytes(self.fields.kept, &kept);
            self.writer.add_document(document).map_err(|error| cause_of(&mut self.writer, error))?;
        }
        Ok(())
    }

    /// Takes the chunks of a key out; seen after the next commit.
    pub fn remove(&mut self, key: u64) {
        self.writer.delete_term(Term::from_field_u64(self.fields.document, key));
    }

    /// Makes what was put and removed seen and durable.
    pub fn commit(&mut self) -> Result<()> {
        self.writer.commit()?;
        self.reader.reload()
    }
}

/// Why the writer's thread has ended: only its end knows, and not whoever finds it gone.
fn cause_of(writer: &mut IndexWriter, error: TantivyError) -> TantivyError {
    match writer.prepare_commit() {
        Err(cause) => cause,
        Ok(_) => error,
    }
}

impl Words {
    /// The best `limit` chunks that have any of the terms of their language. With `allowed`, only those of documents whose
    /// key it lets pass.
    pub fn search(&self, asked: &[Spoken], limit: usize, allowed: Option<Allowed>) -> Result<Vec<TextHit>> {
        let (query, frequencies) = (self.query(asked), self.frequencies(asked)?);
        let top = TopDocs::with_limit(limit.max(1)).order_by_score();
        let found = match allowed {
            None => self.searcher.search_with_statistics_provider(&query, &top, &frequencies)?,
            Some(allowed) => {
                let passes = move |key: u64| allowed(key);
                let top = FilterCollector::new("document".to_owned(), passes, top);
                self.searcher.search_with_statistics_provider(&query, &top, &frequencies)?
            }
        };
        let mut hits = self.hits(found)?;
        // Of equal ones tantivy puts first what was indexed first, which is another one on every node.
        hits.sort_by_key(|hit| (hit.document, hit.ordinal));
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(hits)
    }

    /// The scores of those chunks, by the keys of their documents and their numbers, that have any of the terms.
    /// Goes from chunk to chunk by the skips of each term, so that it costs little however many others have these words.
    pub fn scores(&self, asked: &[Spoken], wanted: &HashSet<(u64, u32)>) -> Result<Vec<TextHit>> {
        let frequencies = self.frequencies(asked)?;
        let scoring = EnableScoring::enabled_from_statistics_provider(&frequencies, &self.searcher);
        let mut weights = Vec::new();
        for (query, boost) in self.clauses(asked) {
            weights.push((query.weight(scoring)?, boost));
        }
        let mut hits = Vec::new();
        for (segment, reader) in self.searcher.segment_readers().iter().enumerate() {
            let mut here = self.stands(segment, reader, wanted)?;
            if here.is_empty() {
                continue;
            }
            here.sort_by_key(|(doc, _)| *doc);
            for (weight, boost) in &weights {
                let mut scorer = weight.scorer(reader, *boost)?;
                for (doc, hit) in &mut here {
                    if scorer.doc() < *doc {
                        scorer.seek(*doc);
                    }
                    if scorer.doc() == *doc {
                        hit.score += scorer.score();
                    }
                }
            }
            hits.extend(here.into_iter().map(|(_, hit)| hit).filter(|hit| hit.score > 0.0));
        }
        Ok(hits)
    }

    /// Which of those chunks stand in a segment, and where.
    fn stands(
        &self,
        segment: usize,
        reader: &SegmentReader,
        wanted: &HashSet<(u64, u32)>,
    ) -> Result<Vec<(tantivy::DocId, TextHit)>> {
        let (documents, ordinals) =
            (reader.inverted_index(self.fields.document)?, reader.fast_fields().u64("ordinal")?);
        let keys: HashSet<u64> = wanted.iter().map(|(key, _)| *key).collect();
        let mut here = Vec::new();
        for document in keys {
            let term = Term::from_field_u64(self.fields.document, document);
            let Some(mut chunks) = documents.read_postings(&term, IndexRecordOption::Basic)? else { continue };
            while chunks.doc() != TERMINATED {
                let doc = chunks.doc();
                let ordinal = ordinals.first(doc).ok_or_else(|| damaged(segment))? as u32;
                if wanted.contains(&(document, ordinal)) && !reader.is_deleted(doc) {
                    here.push((doc, TextHit { document, ordinal, score: 0.0 }));
                }
                chunks.advance();
            }
        }
        Ok(here)
    }

    /// In how many chunks of those languages a stem stands, of how many in all.
    pub fn frequency<'a>(&self, stem: &str, languages: impl Iterator<Item = &'a str>) -> Result<(u64, u64)> {
        let mut with = 0;
        for language in languages {
            with += self.searcher.doc_freq(&Term::from_field_text(self.fields.all, &tagged(language, stem)))?;
        }
        Ok((with, self.searcher.num_docs()))
    }

    fn query(&self, asked: &[Spoken]) -> BooleanQuery {
        let boosted =
            |(query, boost)| (Occur::Should, Box::new(BoostQuery::new(Box::new(query), boost)) as Box<dyn Query>);
        BooleanQuery::new(self.clauses(asked).into_iter().map(boosted).collect())
    }

    /// What gives a chunk its score, and what each weighs.
    fn clauses(&self, asked: &[Spoken]) -> Vec<(TermQuery, f32)> {
        let clause = |field, term: &str, weight| {
            (TermQuery::new(Term::from_field_text(field, term), IndexRecordOption::WithFreqs), weight)
        };
        let mut clauses = Vec::new();
        let mut paired: Vec<String> = Vec::new();
        for spoken in asked {
            let stems = spoken.stems();
            for stem in &stems {
                let term = tagged(&spoken.language, stem);
                clauses.push(clause(self.fields.all, &term, 1.0));
                clauses.push(clause(self.fields.title, &term, TITLE_WEIGHT));
            }
            // A pair is the same one in all languages, and counts once.
            let new: Vec<String> = pairs(&stems).filter(|pair| !paired.contains(pair)).collect();
            clauses.extend(new.iter().map(|pair| clause(self.fields.pairs, &short(pair), PAIRS_WEIGHT)));
            paired.extend(new);
        }
        clauses
    }

    /// How rare the words of a question are. A word is as rare in the few texts of one language as it is in all: of what the
    /// languages make of it, what has it in any counts.
    fn frequencies(&self, asked: &[Spoken]) -> Result<Frequencies<'_>> {
        let mut with = HashMap::new();
        if asked.len() > 1 {
            for field in [self.fields.all, self.fields.title] {
                let term = |language: &str, stem: &str| Term::from_field_text(field, &tagged(language, stem));
                let mut of_word: HashMap<&str, u64> = HashMap::new();
                for spoken in asked {
                    for (stem, word) in &spoken.terms {
                        *of_word.entry(word).or_default() += self.searcher.doc_freq(&term(&spoken.language, stem))?;
                    }
                }
                for spoken in asked {
                    let terms = spoken.terms.iter().map(|(stem, word)| (term(&spoken.language, stem), word.as_str()));
                    with.extend(terms.filter_map(|(term, word)| Some((term, *of_word.get(word)?))));
                }
            }
        }
        Ok(Frequencies { searcher: &self.searcher, with })
    }

    /// Where those chunks stand; the columns of a segment are opened once.
    fn hits(&self, found: Vec<(f32, DocAddress)>) -> Result<Vec<TextHit>> {
        let mut columns = HashMap::new();
        let mut hits = Vec::with_capacity(found.len());
        for (score, DocAddress { segment_ord, doc_id }) in found {
            let (documents, ordinals) = match columns.entry(segment_ord) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(place) => {
                    let fast = self.searcher.segment_reader(segment_ord).fast_fields();
                    place.insert((fast.u64("document")?, fast.u64("ordinal")?))
                }
            };
            let at = |column: &Column<u64>| column.first(doc_id).ok_or_else(|| damaged(segment_ord as usize));
            hits.push(TextHit { document: at(documents)?, ordinal: at(ordinals)? as u32, score });
        }
        Ok(hits)
    }
}

/// How rare terms are; for those in `with`, by that.
struct Frequencies<'a> {
    searcher: &'a Searcher,
    with: HashMap<Term, u64>,
}

impl Bm25StatisticsProvider for Frequencies<'_> {
    fn total_num_tokens(&self, field: Field) -> Result<u64> {
        self.searcher.total_num_tokens(field)
    }

    fn total_num_docs(&self) -> Result<u64> {
        self.searcher.total_num_docs()
    }

    fn doc_freq(&self, term: &Term) -> Result<u64> {
        self.with.get(term).map_or_else(|| self.searcher.doc_freq(term), |with| Ok(*with))
    }
}

/// A stem as it stands in the index: with the language of its text, since what one language makes of a word may be another
/// word's stem in the next.
fn tagged(language: &str, stem: &str) -> String {
    format!("{language}{TAG}{stem}")
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    // A term has no blanks.
    let indexing = TextFieldIndexing::default().set_tokenizer("whitespace").set_fieldnorms(true);
    let indexing = indexing.set_index_option(IndexRecordOption::WithFreqs);
    let words = TextOptions::default().set_indexing_options(indexing);
    let fields = Fields {
        document: schema.add_u64_field("document", FAST | INDEXED),
        ordinal: schema.add_u64_field("ordinal", FAST),
        all: schema.add_text_field("all", words.clone()),
        title: schema.add_text_field("title", words.clone()),
        pairs: schema.add_text_field("pairs", words),
        kept: schema.add_bytes_field("kept", STORED),
    };
    (schema.build(), fields)
}

/// Stems that stand side by side, as one term each.
pub(crate) fn pairs(terms: &[String]) -> impl Iterator<Item = String> {
    terms.windows(2).map(|pair| pair.join("_"))
}

/// A pair as it stands in the index: 36 bits of its hash. Nearly every pair is a term of its own, and a dictionary of short
/// ones is made in a fraction of the time; that one falls together with any of a million others is one in seventy thousand.
fn short(pair: &str) -> String {
    let hash = xxh3_64(pair.as_bytes());
    let digit = |at: u32| *DIGITS.get((hash >> (6 * at)) as usize % DIGITS.len()).unwrap_or(&b'-');
    (0..6).map(|at| char::from(digit(at))).collect()
}

/// Terms as one text.
fn spaced(terms: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for term in terms {
        text.push_str(&term);
        text.push(' ');
    }
    text
}

fn damaged(segment: usize) -> TantivyError {
    TantivyError::InternalError(format!("segment {segment} has a chunk that cannot be read"))
}
