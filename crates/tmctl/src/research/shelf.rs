//! `tmctl research list`, `remove`, `status`, `collections` and `folders`: what is there, and an end to it.

use base::time::{self, rfc3339};
use base::{Fault, Result};
use clap::Subcommand;
use proto::admin::View;
use proto::research::{
    Collection, CreateCollectionRequest, DeleteCollectionRequest, Document, Filter, Folder, ListCollectionsRequest,
    ListDocumentsRequest, ListFoldersRequest, RemoveDocumentsRequest, StatusRequest, StatusResponse,
    UnwatchFolderRequest,
};
use serde_json::{Value, json};

use super::narrow::Narrow;
use super::{HOUSE, walk};
use crate::client::{CALL_LIMIT, Connection, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, counted, filled, or_dash, visible};

/// A collection may have many documents to take away.
const REMOVE_LIMIT: std::time::Duration = std::time::Duration::from_secs(600);
/// Documents of one answer of the server.
const PAGE: u32 = 500;

/// Which documents to show.
#[derive(Debug, clap::Args)]
pub struct List {
    /// The collection
    #[arg(long, default_value = HOUSE, value_name = "NAME")]
    collection: String,
    /// Only in this state
    #[arg(long, value_parser = ["ready", "failed", "folded"])]
    state: Option<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// At most so many
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// What to remove.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// Files or folders of this machine, or sources or ids as list shows them
    #[arg(required_unless_present = "below", value_name = "PATH|SOURCE|ID")]
    what: Vec<String>,
    /// All whose source begins so
    #[arg(long, value_name = "PREFIX")]
    below: Option<String>,
    /// The collection
    #[arg(long, default_value = HOUSE, value_name = "NAME")]
    collection: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

/// What can be done with collections.
#[derive(Debug, Subcommand)]
pub enum CollectionVerb {
    /// Shows them
    List,
    /// Makes one
    Add {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// So many tokens a chunk is to have; a good number when left out
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "COUNT")]
        chunk_tokens: u32,
    },
    /// Deletes one with all its documents
    Delete {
        /// Its name
        name: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// What can be done with watched folders.
#[derive(Debug, Subcommand)]
pub enum FolderVerb {
    /// Shows them
    List {
        /// Only those of this collection
        #[arg(long, value_name = "NAME")]
        collection: Option<String>,
    },
    /// Keeps a collection in step with one no longer
    Unwatch {
        /// Its path on the node; one that does not begin with / is meant from here
        path: String,
        /// The collection
        #[arg(long, default_value = HOUSE, value_name = "NAME")]
        collection: String,
        /// The node that has it; the called one when left out
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Keep its documents
        #[arg(long)]
        keep: bool,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// Shows documents.
pub async fn list(servers: &Servers, screen: &mut Screen, list: List) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let filter = list.narrow.filter(Vec::new());
    let state = list.state.unwrap_or_default();
    let is_narrowed = !state.is_empty() || filter != Filter::default();
    let filter = Some(filter);
    let (mut all, mut after, mut total) = (Vec::new(), String::new(), 0);
    loop {
        let left = (list.limit as usize).saturating_sub(all.len());
        let limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        if limit == 0 {
            break;
        }
        let (collection, filter, state) = (list.collection.clone(), filter.clone(), state.clone());
        let request = ListDocumentsRequest { collection, filter, state, after, limit };
        let page = call(CALL_LIMIT, connection.research().list_documents(request)).await?;
        total = page.total;
        all.extend(page.documents);
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    let items = text::List::of_now(&connection.server, all.iter().map(document_item).collect());
    let empty = if is_narrowed {
        match state.as_str() {
            "" => "no document passes".to_owned(),
            state => format!("no documents are {state}"),
        }
    } else {
        "no documents; `tmctl research add PATH` adds some".to_owned()
    };
    screen.show(|style| documents(&all, &empty, style) + &text::told_by(&connection.server), &items)?;
    if !after.is_empty() {
        screen.note(&format!("{} of {total} documents; --limit shows more\n", all.len()));
    }
    Ok(Verdict::Done)
}

fn documents(all: &[Document], empty: &str, style: Style) -> String {
    let mut table = Table::new(["SOURCE", "TITLE", "STATE", "VERSION", "SIZE", "LANGUAGE", "CATEGORY", "CHANGED"]);
    for document in all {
        let meta = document.meta.clone().unwrap_or_default();
        let tone = match document.state.as_str() {
            "ready" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Odd,
        };
        table.row([
            document.source.as_str().into(),
            or_dash(&meta.title).into(),
            Cell::new(document.state.as_str(), tone),
            document.version.to_string().into(),
            text::size(document.bytes).into(),
            or_dash(&document.language).into(),
            or_dash(&meta.category).into(),
            text::clock(document.changed_ms).into(),
        ]);
    }
    let failed = all.iter().filter(|document| document.state == "failed");
    let why = failed.map(|document| {
        let hint = if document.hint.is_empty() { String::new() } else { format!("  hint: {}\n", document.hint) };
        visible(&format!("{}: {}\n{hint}", document.source, document.reason))
    });
    table.render(style, empty) + &why.collect::<String>()
}

/// A document's record.
pub fn document_item(document: &Document) -> Value {
    let meta = document.meta.clone().unwrap_or_default();
    json!({
        "id": document.id,
        "collection": document.collection,
        "source": document.source,
        "version": document.version,
        "state": document.state,
        "reason": filled(&document.reason),
        "hint": filled(&document.hint),
        "notes": document.notes,
        "title": filled(&meta.title),
        "media": filled(&meta.media),
        "category": filled(&meta.category),
        "tags": meta.tags,
        "licence": filled(&meta.licence),
        "dated": meta.dated_ms.map(rfc3339),
        "language": filled(&document.language),
        "bytes": document.bytes,
        "chars": document.chars,
        "sha256": document.original,
        "added": rfc3339(document.added_ms),
        "changed": rfc3339(document.changed_ms),
    })
}

/// Removes documents.
pub async fn remove(servers: &Servers, screen: &mut Screen, remove: Remove) -> Result<Verdict, Ended> {
    let (mut named, mut below) = (Vec::new(), remove.below.clone().unwrap_or_default());
    for what in &remove.what {
        match meant(what)? {
            (source, true) if below.is_empty() => below = source,
            (source, true) => {
                let fault = Fault::invalid(format!("`{source}` and `{below}` are two folders"));
                return Err(fault.hint("remove one after the other").into());
            }
            (source, false) => named.push(source),
        }
    }
    if !remove.yes {
        let all = [named.join(", "), below.clone()].into_iter().filter(|part| !part.is_empty());
        let below_it = if below.is_empty() { "" } else { " and all below the last" };
        let what =
            format!("would remove {}{below_it} from `{}`", all.collect::<Vec<_>>().join(", "), remove.collection);
        return Err(Fault::invalid(what).hint("add --yes to do it; `tmctl research export` keeps a copy").into());
    }
    let request =
        RemoveDocumentsRequest { collection: remove.collection.clone(), documents: named, below: below.clone() };
    let removed = call(REMOVE_LIMIT, servers.connect().await?.research().remove_documents(request)).await?;
    let json = json!({ "collection": remove.collection, "removed": removed.removed, "unknown": removed.unknown });
    let shown = || {
        let mut unknown = removed.unknown.iter().map(|one| format!("  not there: {one}\n")).collect::<String>();
        if removed.removed == 0 && !below.is_empty() {
            unknown.push_str(&format!("  nothing is below {below}; `tmctl research list` shows the sources\n"));
        }
        let count = counted(usize::try_from(removed.removed).unwrap_or(usize::MAX), "document");
        visible(&format!("removed {count} from {}\n{unknown}", remove.collection))
    };
    screen.show(|_| shown(), &json)?;
    let is_done = removed.unknown.is_empty() && removed.removed > 0;
    Ok(if is_done { Verdict::Done } else { Verdict::NotWell })
}

/// What a word of the command line means: a source, and whether all below it are meant.
fn meant(what: &str) -> Result<(String, bool)> {
    let path = std::path::Path::new(what);
    let is_id = what.len() == 24 && what.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_path = !is_id && (path.exists() || what.starts_with(['/', '.']));
    if !is_path {
        return Ok((what.to_owned(), false));
    }
    let source = walk::source(path)
        .ok_or_else(|| Fault::invalid(format!("`{what}` is not UTF-8")).hint("name the document by its id"))?;
    Ok(if path.is_dir() { (source.trim_end_matches('/').to_owned() + "/", true) } else { (source, false) })
}

/// Shows how the knowledge base stands.
pub async fn status(servers: &Servers, screen: &mut Screen) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let begin = time::unix_ms();
    let status = call(CALL_LIMIT, connection.research().status(StatusRequest {})).await?;
    let collections = call(CALL_LIMIT, connection.research().list_collections(ListCollectionsRequest {})).await?;
    let all = collections.collections;
    let text = |style| {
        let view = View { node: status.node.clone(), as_of_unix_ms: begin, stale_s: 0.0 };
        let seen = text::seen_by(Some(&view), time::unix_ms());
        status_text(&status, style) + "\n" + &collection_table(&all, style) + &seen
    };
    screen.show(text, &status_json(&status, &all))?;
    Ok(Verdict::Done)
}

fn status_text(status: &StatusResponse, style: Style) -> String {
    let writer = match status.writer.as_str() {
        "" => "nobody now; documents are taken, and folded and embedded later".to_owned(),
        writer => format!("{writer}, epoch {}", status.writer_epoch),
    };
    let embedder = if status.embedder.is_empty() { "none" } else { &status.embedder };
    let note = if status.embedder_note.is_empty() { String::new() } else { format!(" ({})", status.embedder_note) };
    let head = text::page(&[
        ("index", status.index.clone()),
        ("writer", writer),
        ("vectors", format!("{embedder}{note}")),
        ("chunks", format!("{}, {} with a vector", status.chunks, status.embedded)),
        ("waiting", counted(usize::try_from(status.waiting).unwrap_or(usize::MAX), "document")),
    ]);
    let mut table = Table::new(["NODE", "STATE", "DOCUMENTS", "SIZE"]);
    for holder in &status.holders {
        let cells = [holder.node.clone(), holder.state.clone(), holder.documents.to_string(), text::size(holder.bytes)];
        table.row(cells.map(Cell::from));
    }
    head + "\n" + &table.render(style, "no node holds documents")
}

fn status_json(status: &StatusResponse, collections: &[Collection]) -> Value {
    let holder = |holder: &proto::research::Holder| json!({ "node": holder.node, "state": holder.state, "documents": holder.documents, "bytes": holder.bytes });
    json!({
        "as_of": rfc3339(time::unix_ms()),
        "view_of": status.node,
        "index": status.index,
        "writer": filled(&status.writer),
        "writer_epoch": status.writer_epoch,
        "embedder": filled(&status.embedder),
        "embedder_note": filled(&status.embedder_note),
        "chunks": status.chunks,
        "embedded": status.embedded,
        "waiting": status.waiting,
        "holders": status.holders.iter().map(holder).collect::<Vec<_>>(),
        "collections": collections.iter().map(collection_item).collect::<Vec<_>>(),
    })
}

/// Shows, makes and deletes collections.
pub async fn collections(
    servers: &Servers,
    screen: &mut Screen,
    verb: Option<CollectionVerb>,
) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let mut research = connection.research();
    match verb.unwrap_or(CollectionVerb::List) {
        CollectionVerb::List => {
            let all = call(CALL_LIMIT, research.list_collections(ListCollectionsRequest {})).await?.collections;
            let items = text::List::of_now(&connection.server, all.iter().map(collection_item).collect());
            screen.show(|style| collection_table(&all, style) + &text::told_by(&connection.server), &items)?;
        }
        CollectionVerb::Add { name, description, chunk_tokens } => {
            let request = CreateCollectionRequest { name, description, chunk_tokens };
            let made = call(CALL_LIMIT, research.create_collection(request)).await?.collection.unwrap_or_default();
            screen.show(|_| visible(&format!("the collection {} is new\n", made.name)), &collection_item(&made))?;
        }
        CollectionVerb::Delete { name, yes: false } => {
            let all = call(CALL_LIMIT, research.list_collections(ListCollectionsRequest {})).await?.collections;
            let documents = all.iter().find(|one| one.name == name).map(|one| one.documents + one.failed + one.folded);
            let documents = documents.ok_or_else(|| {
                let fault = Fault::new(base::Code::NotFound, format!("there is no collection `{name}`"));
                fault.hint("`tmctl research collections` lists them")
            })?;
            let count = counted(usize::try_from(documents).unwrap_or(usize::MAX), "document");
            let watched = watched_for(&connection, &name).await?;
            let end = if watched.is_empty() {
                String::new()
            } else {
                format!(", and an end to the watching of {}", watched.join(", "))
            };
            let fault = Fault::invalid(format!("the collection `{name}` would be gone with {count}{end}"));
            return Err(fault
                .hint(format!("add --yes to do it; `tmctl research export DIR --collection {name}` keeps a copy"))
                .into());
        }
        CollectionVerb::Delete { name, .. } => {
            let watched = watched_for(&connection, &name).await?;
            let request = DeleteCollectionRequest { name: name.clone() };
            let documents = call(REMOVE_LIMIT, research.delete_collection(request)).await?.documents;
            let count = counted(usize::try_from(documents).unwrap_or(usize::MAX), "document");
            let json = json!({ "name": name, "documents": documents, "unwatched": watched });
            let mut text = format!("the collection {name} is gone with {count}\n");
            for folder in &watched {
                text.push_str(&format!("  {folder} is watched no longer\n"));
            }
            screen.show(|_| visible(&text), &json)?;
        }
    }
    Ok(Verdict::Done)
}

/// The folders that are watched for a collection.
async fn watched_for(connection: &Connection, collection: &str) -> Result<Vec<String>, Ended> {
    let request = ListFoldersRequest { collection: collection.to_owned() };
    let all = call(CALL_LIMIT, connection.research().list_folders(request)).await?.folders;
    Ok(all.iter().map(|one| format!("{} of {}", one.path, one.node)).collect())
}

fn collection_table(all: &[Collection], style: Style) -> String {
    let heading = [
        "COLLECTION",
        "DOCUMENTS",
        "FAILED",
        "FOLDED",
        "CHUNKS",
        "WITH VECTOR",
        "SIZE",
        "LANGUAGES",
        "CATEGORIES",
        "WHAT",
    ];
    let mut table = Table::new(heading);
    for one in all {
        table.row([
            one.name.as_str().into(),
            one.documents.to_string().into(),
            Cell::new(one.failed.to_string(), if one.failed == 0 { Tone::Plain } else { Tone::Odd }),
            one.folded.to_string().into(),
            one.chunks.to_string().into(),
            one.embedded.to_string().into(),
            text::size(one.bytes).into(),
            or_dash(&one.languages.join(", ")).into(),
            or_dash(&one.categories.join(", ")).into(),
            one.description.as_str().into(),
        ]);
    }
    table.render(style, "no collections; `tmctl research add PATH` makes `house`")
}

fn collection_item(one: &Collection) -> Value {
    json!({
        "name": one.name,
        "description": one.description,
        "chunk_tokens": one.chunk_tokens,
        "created": rfc3339(one.created_ms),
        "documents": one.documents,
        "failed": one.failed,
        "folded": one.folded,
        "chunks": one.chunks,
        "embedded": one.embedded,
        "bytes": one.bytes,
        "languages": one.languages,
        "categories": one.categories,
    })
}

/// Shows watched folders, and ends one.
pub async fn folders(servers: &Servers, screen: &mut Screen, verb: Option<FolderVerb>) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    match verb.unwrap_or(FolderVerb::List { collection: None }) {
        FolderVerb::List { collection } => {
            let request = ListFoldersRequest { collection: collection.unwrap_or_default() };
            let all = call(CALL_LIMIT, connection.research().list_folders(request)).await?.folders;
            let items = text::List::of_now(&connection.server, all.iter().map(folder_item).collect());
            screen.show(|style| folder_table(&all, style) + &text::told_by(&connection.server), &items)?;
        }
        FolderVerb::Unwatch { path, collection, node, keep, yes } => {
            let path = walk::whole(&path)?;
            if !keep && !yes {
                let request = ListFoldersRequest { collection: collection.clone() };
                let all = call(CALL_LIMIT, connection.research().list_folders(request)).await?.folders;
                let is_it = |one: &&Folder| one.path == path && node.as_ref().is_none_or(|node| one.node == *node);
                if !all.iter().any(|one| is_it(&one)) {
                    let message = format!("no folder `{path}` is watched for the collection `{collection}`");
                    let fault = Fault::new(base::Code::NotFound, message);
                    return Err(fault.hint("`tmctl research folders` shows those that are").into());
                }
                let fault = Fault::invalid(format!("the documents of `{path}` would be removed from `{collection}`"));
                return Err(fault.hint("add --yes to do it, or --keep to keep them").into());
            }
            let node = node.unwrap_or_default();
            let request = UnwatchFolderRequest { collection, node, path: path.clone(), keep_documents: keep };
            let removed = call(REMOVE_LIMIT, connection.research().unwatch_folder(request)).await?.removed;
            let count = counted(usize::try_from(removed).unwrap_or(usize::MAX), "document");
            let json = json!({ "path": path, "removed": removed });
            screen.show(|_| visible(&format!("{path} is watched no longer; removed {count}\n")), &json)?;
        }
    }
    Ok(Verdict::Done)
}

fn folder_table(all: &[Folder], style: Style) -> String {
    let mut table = Table::new(["PATH", "NODE", "COLLECTION", "PATTERNS", "STATE"]);
    for one in all {
        let patterns = one.patterns.join(", ");
        let cells = [&one.path, &one.node, &one.collection, or_dash(&patterns), or_dash(&one.state)];
        table.row(cells.map(Cell::from));
    }
    table.render(style, "no folders; `tmctl research add --watch PATH` watches one")
}

/// A folder that is watched.
pub fn folder_item(one: &Folder) -> Value {
    json!({
        "path": one.path,
        "node": one.node,
        "collection": one.collection,
        "patterns": one.patterns,
        "category": filled(&one.category),
        "tags": one.tags,
        "state": one.state,
    })
}
