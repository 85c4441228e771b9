//! The knowledge base between `research.v1` and the values here; the only such conversions.
//!
//! Reading refuses what is out of bounds and words that do not exist, with the field's name. Writing never fails.

mod answer;

use base::{Fault, Result};
use proto::research as wire;

use crate::bounds;
use crate::document::{Document, Meta, NewDocument, NewMeta, State};
use crate::filter::Filter;
use crate::hit::{Hit, Span, Why};
use crate::knowledge::{
    Added, Clusters, CollectionView, Folder, IndexKind, LoopOrder, Migrated, Mode, Moving, NewCollection, Outcome,
    Page, Question, Search, Status, Which, Writer,
};
use crate::names::{CollectionName, DocId};

pub use answer::answer_to_wire;

const MODES: &[(&str, Mode)] = &[("hybrid", Mode::Hybrid), ("text", Mode::Text), ("dense", Mode::Dense)];
const WRITERS: &[(&str, Writer)] =
    &[("auto", Writer::Auto), ("model", Writer::Model), ("extractive", Writer::Extractive)];
const OUTCOMES: &[(&str, Outcome)] = &[
    ("added", Outcome::Added),
    ("changed", Outcome::Changed),
    ("unchanged", Outcome::Unchanged),
    ("folded", Outcome::Folded),
    ("failed", Outcome::Failed),
    ("refused", Outcome::Refused),
];

/// A word of a table; empty is the table's first.
fn parse<T: Copy>(field: &str, text: &str, table: &[(&str, T)]) -> Result<T> {
    let found = match text {
        "" => table.first(),
        _ => table.iter().find(|(word, _)| *word == text),
    };
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
        bounds::unknown(field, text, &words)
    })
}

fn word<T: PartialEq>(value: &T, table: &[(&'static str, T)]) -> String {
    table.iter().find(|(_, one)| one == value).map_or("", |(word, _)| word).to_owned()
}

/// How to search; empty is `hybrid`.
pub fn mode_from_wire(text: &str) -> Result<Mode> {
    parse("mode", text, MODES)
}

/// Who writes an answer; empty is `auto`.
fn writer_from_wire(text: &str) -> Result<Writer> {
    parse("mode", text, WRITERS)
}

/// What became of a document, in a word.
fn outcome_word(outcome: Outcome) -> String {
    word(&outcome, OUTCOMES)
}

/// A collection's name, which must be there.
pub fn collection_from_wire(name: &str) -> Result<CollectionName> {
    if name.is_empty() {
        return Err(Fault::invalid("field `collection` is empty").hint("name the collection, such as `house`"));
    }
    CollectionName::parse(name)
}

/// A collection to be made.
pub fn new_collection_from_wire(wire: wire::CreateCollectionRequest) -> Result<NewCollection> {
    let wire::CreateCollectionRequest { name, description, chunk_tokens } = wire;
    Ok(NewCollection { name: collection_from_wire(&name)?, description, chunk_tokens })
}

/// Fields of a wire's `Meta` that can be taken away.
const CLEARED: &[&str] = &["title", "media", "category", "tags", "licence"];

/// What is told about a document: what is empty there is not said, unless it stands among those that are taken away.
pub fn meta_from_wire(wire: Option<wire::Meta>) -> Result<NewMeta> {
    let wire::Meta { title, media, category, tags, licence, dated_ms, cleared } = wire.unwrap_or_default();
    if let Some(odd) = cleared.iter().find(|one| !CLEARED.contains(&one.as_str())) {
        return Err(bounds::unknown("cleared", odd, CLEARED));
    }
    let is_cleared = |name: &str| cleared.iter().any(|one| one == name);
    let word = |name: &str, word: String| (!word.is_empty() || is_cleared(name)).then_some(word);
    let meta = NewMeta {
        title: word("title", title),
        media: word("media", media),
        category: word("category", category),
        tags: (!tags.is_empty() || is_cleared("tags")).then_some(tags),
        licence: word("licence", licence),
        dated_ms,
    };
    bounds::meta(&meta)?;
    Ok(meta)
}

fn meta_to_wire(meta: &Meta) -> wire::Meta {
    let Meta { title, media, category, tags, licence, dated_ms, told: _ } = meta.clone();
    wire::Meta { title, media, category, tags, licence, dated_ms, cleared: Vec::new() }
}

/// A document to be added; its collection stands beside it.
pub fn new_document_from_wire(wire: wire::AddDocumentsRequest) -> Result<NewDocument> {
    bounds::source(&wire.source)?;
    Ok(NewDocument { source: wire.source, meta: meta_from_wire(wire.meta)?, bytes: wire.content })
}

/// Which documents.
fn filter_from_wire(wire: Option<wire::Filter>) -> Result<Filter> {
    let wire::Filter { collections, categories, tags, path, languages, from_ms, until_ms, documents } =
        wire.unwrap_or_default();
    let collections = collections.iter().map(|name| CollectionName::parse(name)).collect::<Result<_>>()?;
    let documents = documents.iter().map(|id| DocId::parse(id)).collect::<Result<_>>()?;
    let filter = Filter { collections, categories, tags, path, languages, from_ms, until_ms, documents };
    bounds::filter(&filter)?;
    Ok(filter)
}

/// A page of documents.
pub fn page_from_wire(wire: wire::ListDocumentsRequest) -> Result<Page> {
    let wire::ListDocumentsRequest { collection, filter, state, after, limit } = wire;
    let (collection, filter) = (collection_from_wire(&collection)?, filter_from_wire(filter)?);
    let page = Page { collection, filter, state, after, limit };
    bounds::page(&page)?;
    Ok(page)
}

/// Documents to remove, in which collection.
pub fn which_from_wire(wire: wire::RemoveDocumentsRequest) -> Result<(CollectionName, Which)> {
    let wire::RemoveDocumentsRequest { collection, documents, below } = wire;
    bounds::documents(&documents)?;
    if documents.is_empty() && below.is_empty() {
        return Err(Fault::invalid("no document is named")
            .hint("give ids or sources in `documents`, or in `below` what sources begin with"));
    }
    Ok((collection_from_wire(&collection)?, Which { documents, below }))
}

/// A folder of a node.
pub fn folder_from_wire(wire: Option<wire::Folder>) -> Result<Folder> {
    let wire = wire.ok_or_else(|| Fault::invalid("field `folder` is missing").hint("say which folder"))?;
    let wire::Folder { collection, node, path, patterns, category, tags, state } = wire;
    let folder = Folder { collection: collection_from_wire(&collection)?, node, path, patterns, category, tags, state };
    bounds::folder(&folder)?;
    Ok(folder)
}

/// The other way.
pub fn folder_to_wire(folder: &Folder) -> wire::Folder {
    let Folder { collection, node, path, patterns, category, tags, state } = folder.clone();
    wire::Folder { collection: collection.into(), node, path, patterns, category, tags, state }
}

/// A search.
pub fn search_from_wire(wire: wire::SearchRequest) -> Result<Search> {
    let wire::SearchRequest { question, filter, limit, mode, diversity, neighbours } = wire;
    let (filter, mode) = (filter_from_wire(filter)?, mode_from_wire(&mode)?);
    let search = Search { question, filter, limit, mode, diversity, neighbours };
    bounds::search(&search)?;
    Ok(search)
}

/// A question.
pub fn question_from_wire(wire: wire::AskRequest) -> Result<Question> {
    let wire::AskRequest { question, context, filter, mode, sentences, passages } = wire;
    let (filter, mode) = (filter_from_wire(filter)?, writer_from_wire(&mode)?);
    let question = Question { question, context, filter, mode, sentences, passages };
    bounds::question(&question)?;
    Ok(question)
}

/// A research in rounds that `who` wants, and the key that makes it one job.
pub fn order_from_wire(wire: wire::StartLoopRequest, who: String) -> Result<(LoopOrder, Option<String>)> {
    let wire::StartLoopRequest { question, context, filter, max_iterations, deadline_s, mode, key } = wire;
    let (filter, mode) = (filter_from_wire(filter)?, writer_from_wire(&mode)?);
    let order = LoopOrder { question, context, filter, max_iterations, deadline_s, mode, who };
    bounds::order(&order)?;
    Ok((order, (!key.is_empty()).then_some(key)))
}

/// A collection.
pub fn collection_to_wire(view: &CollectionView) -> wire::Collection {
    wire::Collection {
        name: view.name.to_string(),
        description: view.description.clone(),
        chunk_tokens: view.chunk_tokens,
        created_ms: view.created_ms,
        documents: view.documents,
        failed: view.failed,
        folded: view.folded,
        chunks: view.chunks,
        embedded: view.embedded,
        bytes: view.bytes,
        languages: view.languages.clone(),
        categories: view.categories.clone(),
    }
}

/// A document's record.
pub fn document_to_wire(document: &Document) -> wire::Document {
    let hint = match &document.state {
        State::Failed { hint, .. } => hint.clone(),
        State::Ready { .. } | State::Folded { .. } => String::new(),
    };
    let (state, reason, notes, chars) = match &document.state {
        State::Ready { chars, notes, .. } => ("ready", String::new(), notes.clone(), *chars),
        State::Failed { reason, .. } => ("failed", reason.clone(), Vec::new(), 0),
        State::Folded { into, .. } => ("folded", into.to_string(), Vec::new(), 0),
    };
    wire::Document {
        id: document.id.to_string(),
        collection: document.collection.to_string(),
        source: document.source.clone(),
        version: document.version,
        original: document.original.to_string(),
        bytes: document.bytes,
        meta: Some(meta_to_wire(&document.meta)),
        language: document.language.clone(),
        state: state.to_owned(),
        reason,
        hint,
        notes,
        chars,
        added_ms: document.added_ms,
        changed_ms: document.changed_ms,
    }
}

/// What became of a document.
pub fn added_to_wire(added: Added) -> wire::AddDocumentsResponse {
    wire::AddDocumentsResponse {
        outcome: outcome_word(added.outcome),
        document: added.document.as_ref().map(document_to_wire),
        source: added.source,
        reason: added.reason,
        hint: added.hint,
        copies: added.copies,
    }
}

/// A document that was refused before anybody looked at it.
pub fn refused_to_wire(source: String, fault: &Fault) -> wire::AddDocumentsResponse {
    wire::AddDocumentsResponse {
        source,
        outcome: outcome_word(Outcome::Refused),
        reason: fault.full_message(),
        hint: fault.hint.clone().unwrap_or_default(),
        ..wire::AddDocumentsResponse::default()
    }
}

pub(super) fn span_to_wire(span: &Span) -> wire::Span {
    wire::Span { document: span.document.to_string(), version: span.version, start: span.start, end: span.end }
}

/// A passage that was found.
pub fn hit_to_wire(hit: Hit) -> wire::Hit {
    wire::Hit {
        span: Some(span_to_wire(&hit.span)),
        collection: hit.collection.to_string(),
        source: hit.source,
        title: hit.title,
        headings: hit.headings,
        page: hit.page,
        ordinal: hit.ordinal,
        text: hit.text,
        before: hit.before,
        after: hit.after,
        score: hit.score,
        why: Some(why_to_wire(hit.why)),
    }
}

fn why_to_wire(why: Why) -> wire::Why {
    let Why { text, text_rank, dense, dense_rank, rerank, words } = why;
    wire::Why { text, text_rank, dense, dense_rank, rerank, words }
}

/// Groups of documents.
pub fn clusters_to_wire(clusters: Clusters) -> wire::ClustersResponse {
    let one = |document: crate::knowledge::ClusterDocument| wire::ClusterDocument {
        id: document.id.to_string(),
        source: document.source,
        title: document.title,
        likeness: document.likeness,
    };
    let group = |cluster: crate::knowledge::Cluster| wire::Cluster {
        label: cluster.label,
        documents: cluster.documents.into_iter().map(one).collect(),
        cohesion: cluster.cohesion,
    };
    let groups = clusters.items.into_iter().map(group).collect();
    wire::ClustersResponse { clusters: groups, svg: clusters.svg, method: clusters.method }
}

/// Where searches shall take their candidates from.
pub fn index_from_wire(request: &wire::MigrateRequest) -> Result<IndexKind> {
    match request.to.as_str() {
        "qdrant" => Ok(IndexKind::Qdrant),
        "embedded" => Ok(IndexKind::Embedded),
        other => Err(Fault::invalid(format!("`{}` is no index", other.escape_debug())).hint("use qdrant or embedded")),
    }
}

/// How far a move is.
pub fn moving_to_wire(moving: Moving) -> wire::MigrateResponse {
    let Moving { doing, done, total } = moving;
    let progress = wire::MigrateProgress { doing, done, total };
    wire::MigrateResponse { part: Some(wire::migrate_response::Part::Progress(progress)) }
}

/// What a move came to.
pub fn migrated_to_wire(migrated: Migrated) -> wire::MigrateResponse {
    let Migrated { index, points, chunks, samples, overlap, notes } = migrated;
    let migrated = wire::Migrated { index, points, chunks, samples, overlap, notes };
    wire::MigrateResponse { part: Some(wire::migrate_response::Part::Migrated(migrated)) }
}

/// How the knowledge base stands.
pub fn status_to_wire(status: Status) -> wire::StatusResponse {
    let holder = |holder: crate::knowledge::Holder| wire::Holder {
        node: holder.node,
        state: holder.state,
        documents: holder.documents,
        bytes: holder.bytes,
    };
    wire::StatusResponse {
        node: status.node,
        writer: status.writer,
        writer_epoch: status.writer_epoch,
        embedder: status.embedder,
        embedder_note: status.embedder_note,
        chunks: status.chunks,
        embedded: status.embedded,
        waiting: status.waiting,
        holders: status.holders.into_iter().map(holder).collect(),
        index: status.index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_refused_with_the_good_ones() {
        let fault = mode_from_wire("fuzzy").unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("use hybrid, text, dense"));
        assert!(fault.message.contains("`mode`") && fault.message.contains("`fuzzy`"), "{fault:?}");
        assert_eq!(mode_from_wire("").unwrap(), Mode::Hybrid);
        assert_eq!(writer_from_wire("gpt").unwrap_err().hint.as_deref(), Some("use auto, model, extractive"));
        let list =
            wire::ListDocumentsRequest { collection: "house".into(), state: "lost".into(), ..Default::default() };
        assert_eq!(page_from_wire(list).unwrap_err().hint.as_deref(), Some("use ready, failed, folded"));
    }

    #[test]
    fn every_outcome_has_a_word() {
        for (expected, outcome) in OUTCOMES {
            assert_eq!(outcome_word(*outcome), *expected);
            assert_eq!(serde_json::to_value(outcome).unwrap(), *expected, "REST and gRPC use the same words");
        }
    }

    #[test]
    fn removing_nothing_is_a_mistake_and_not_everything() {
        let all = wire::RemoveDocumentsRequest { collection: "house".into(), ..Default::default() };
        assert!(which_from_wire(all).is_err());
    }

    #[test]
    fn a_document_keeps_its_state_on_the_wire() {
        let collection = CollectionName::parse("house").unwrap();
        let id = DocId::of(&collection, "a");
        let document = |state| Document {
            id,
            collection: collection.clone(),
            source: "a".into(),
            version: 2,
            original: crate::BlobId::of(b"a"),
            bytes: 1,
            meta: Meta { title: "A".into(), ..Meta::default() },
            language: "en".into(),
            state,
            added_ms: 1,
            changed_ms: 2,
            reader: 1,
        };
        let failed = document_to_wire(&document(State::Failed { reason: "no text".into(), hint: String::new() }));
        assert_eq!((failed.state.as_str(), failed.reason.as_str()), ("failed", "no text"));
        let text = crate::BlobId::of(b"t");
        let folded = document_to_wire(&document(State::Folded { into: id, text }));
        assert_eq!((folded.state.as_str(), folded.reason), ("folded", id.to_string()));
        let ready = document_to_wire(&document(State::Ready { text, chars: 7, notes: vec!["n".into()] }));
        assert_eq!((ready.state.as_str(), ready.chars, ready.notes.len(), ready.version), ("ready", 7, 1, 2));
    }
}
