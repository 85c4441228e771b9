//! `tmctl research add`: files and folders of this machine, pages, standard input and tasks become documents.
//!
//! Documents go out as a stream and come back one by one. When the server goes away, what it has not answered is sent to
//! the next: what was taken already is recognised by its bytes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Code, Fault, Result};
use bytes::Bytes;
use futures_util::stream;
use proto::research::{AddDocumentsRequest, AddDocumentsResponse, AddUrlsRequest, Folder, Meta, WatchFolderRequest};
use serde_json::{Value, json};
use tonic::Streaming;

use super::walk::{self, Found};
use super::{HOUSE, narrow};
use crate::client::{CALL_LIMIT, Servers, call, is_worth_another_server, told};
use crate::file;
use crate::progress::{Live, News, PAUSE};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, counted, visible};

/// Until a server says its first word about a document; it may have to read a large one.
const FIRST_LIMIT: Duration = Duration::from_secs(600);
/// Servers that are tried one after the other without one document more.
const MOST_TRIES: usize = 5;

/// What to add, and what is told about it.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// Files, folders, addresses of pages (http:// or https://), or - for standard input
    #[arg(required_unless_present = "task", value_name = "PATH|URL|-")]
    what: Vec<String>,
    /// Where they go; it is made if it does not exist
    #[arg(long, default_value = HOUSE, value_name = "NAME")]
    collection: String,
    /// Their category, such as domain_expertise; as it was when left out, '' takes it away, and so for the next ones
    #[arg(long, value_name = "WORD")]
    category: Option<String>,
    /// A tag; several times for several
    #[arg(long, value_name = "WORD")]
    tag: Vec<String>,
    /// What it is called; as it says itself when left out
    #[arg(long, conflicts_with = "task")]
    title: Option<String>,
    /// Under which terms it may be used
    #[arg(long, value_name = "TERMS")]
    licence: Option<String>,
    /// Its media type, such as text/markdown; found out when left out
    #[arg(long, value_name = "TYPE", conflicts_with = "task")]
    media: Option<String>,
    /// What a single document is called as a source, instead of its path; standard input needs it
    #[arg(long, value_name = "SOURCE", conflicts_with = "task")]
    source: Option<String>,
    /// A task with its details and notes, instead of a file or beside it
    #[arg(long, value_name = "PROJECT/ID")]
    task: Vec<String>,
    /// Keep the collection in step with a folder of the called node, instead of adding it once
    #[arg(long, conflicts_with_all = ["task", "source", "title", "licence", "media"])]
    watch: bool,
    /// With --watch: the node that has the folder; the called one when left out
    #[arg(long, requires = "watch", value_name = "NAME")]
    node: Option<String>,
    /// With --watch: only these files, as .gitignore writes them; several times for several
    #[arg(long, requires = "watch", value_name = "PATTERN")]
    pattern: Vec<String>,
}

/// Where a document's bytes are until they are sent.
enum Content {
    File(PathBuf),
    Bytes(Bytes),
}

/// A document that waits to be sent.
pub(super) struct Waiting {
    source: String,
    meta: Meta,
    content: Content,
    /// Its bytes when it was sent.
    size: usize,
}

impl Waiting {
    fn new(source: String, meta: Meta, content: Content) -> Self {
        Self { source, meta, content, size: 0 }
    }

    /// A text that is there already.
    pub(super) fn text(source: String, meta: Meta, text: String) -> Self {
        Self::new(source, meta, Content::Bytes(text.into()))
    }
}

/// What became of everything.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) answers: Vec<AddDocumentsResponse>,
    hidden: u64,
    odd: u64,
    ignored: u64,
}

/// Adds, and says what became of it.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Add) -> Result<Verdict, Ended> {
    if args.watch {
        return watch(servers, screen, args).await;
    }
    let (urls, paths): (Vec<String>, Vec<String>) = args.what.iter().cloned().partition(|what| is_url(what));
    let mut summary = Summary::default();
    let mut waiting = waiting(&args, &paths, &mut summary)?;
    for named in &args.task {
        let task = narrow::task(servers, named).await?;
        let meta = Meta { title: task.title.clone(), media: "text/markdown".into(), ..args.meta() };
        waiting.push(Waiting::text(format!("task:{named}"), meta, narrow::markdown(&task)));
    }
    if args.source.is_some() && !urls.is_empty() {
        let fault = Fault::invalid("--source names no page: its address is its source");
        return Err(fault.hint("leave it out; --title says what the page is called").into());
    }
    if args.source.is_some() && waiting.len() != 1 {
        let fault = Fault::invalid(format!("--source names one document, and there are {}", waiting.len()));
        return Err(fault.hint("leave it out, or add them one by one").into());
    }
    if !waiting.is_empty() {
        summary.answers.extend(send(servers, screen, &args.collection, waiting).await?);
    }
    if !urls.is_empty() {
        let request = AddUrlsRequest { collection: args.collection.clone(), urls, meta: Some(args.meta()) };
        summary.answers.extend(fetch(servers, screen, request).await?);
    }
    screen.show(|_| summary.text(&args.collection), &summary.json(&args.collection))?;
    Ok(if summary.count(&["failed", "refused"]) == 0 { Verdict::Done } else { Verdict::NotWell })
}

fn is_url(what: &str) -> bool {
    what.starts_with("http://") || what.starts_with("https://")
}

impl Add {
    /// What is told. What was left out stays as it was; what is given empty is taken away.
    fn meta(&self) -> Meta {
        let words =
            [("title", &self.title), ("media", &self.media), ("category", &self.category), ("licence", &self.licence)];
        let is_cleared = |word: &Option<String>| word.as_ref().is_some_and(String::is_empty);
        let mut cleared: Vec<String> =
            words.iter().filter(|(_, word)| is_cleared(word)).map(|(name, _)| (*name).to_owned()).collect();
        let tags: Vec<String> = self.tag.iter().filter(|tag| !tag.is_empty()).cloned().collect();
        if tags.is_empty() && !self.tag.is_empty() {
            cleared.push("tags".to_owned());
        }
        Meta {
            cleared,
            tags,
            title: self.title.clone().unwrap_or_default(),
            media: self.media.clone().unwrap_or_default(),
            category: self.category.clone().unwrap_or_default(),
            licence: self.licence.clone().unwrap_or_default(),
            dated_ms: None,
        }
    }
}

/// The documents of paths and of standard input. What cannot be one is told with the others, not left out.
fn waiting(args: &Add, paths: &[String], summary: &mut Summary) -> Result<Vec<Waiting>> {
    let mut all = Vec::new();
    let mut found = Found::default();
    for path in paths {
        if path == "-" {
            let source = args.source.clone().ok_or_else(|| {
                Fault::invalid("standard input has no name").hint("say what to call it, as with --source note:nas")
            })?;
            let content = Content::Bytes(file::read_document(Path::new("-"))?.into());
            all.push(Waiting::new(source, args.meta(), content));
        } else {
            check_path(path)?;
            walk::walk(Path::new(path), &mut found)?;
        }
    }
    for path in found.files {
        match args.source.clone().or_else(|| walk::source(&path)) {
            Some(source) => all.push(Waiting::new(source, args.meta(), Content::File(path))),
            None => found.failed.push((path.display().to_string(), "its name is not UTF-8".to_owned())),
        }
    }
    (summary.hidden, summary.odd, summary.ignored) = (found.hidden, found.odd, found.ignored);
    summary.answers.extend(found.failed.into_iter().map(|(source, why)| failed(source, &Fault::invalid(why))));
    Ok(all)
}

/// Refuses what was meant as the address of a page and is none.
fn check_path(path: &str) -> Result<()> {
    if Path::new(path).exists() {
        return Ok(());
    }
    if path.contains("://") {
        let fault = Fault::invalid(format!("`{path}` is no address that is fetched"));
        return Err(fault.hint("addresses of pages begin with http:// or https://; files are named by their paths"));
    }
    let host = path.split('/').next().unwrap_or_default();
    let is_like_a_host = host.split('.').count() > 1 && host.split('.').all(|part| !part.is_empty());
    if is_like_a_host && path.contains('/') && !Path::new(host).exists() {
        let fault = Fault::new(Code::NotFound, format!("there is no file `{path}`"));
        return Err(fault.hint("if it is a page, write it with http:// or https:// in front"));
    }
    Ok(())
}

fn failed(source: String, fault: &Fault) -> AddDocumentsResponse {
    AddDocumentsResponse {
        source,
        outcome: "failed".to_owned(),
        reason: fault.full_message(),
        hint: fault.hint.clone().unwrap_or_default(),
        ..AddDocumentsResponse::default()
    }
}

/// Sends documents until all are answered, by another server where one goes away.
pub(super) async fn send(
    servers: &Servers,
    screen: &mut Screen,
    collection: &str,
    waiting: Vec<Waiting>,
) -> Result<Vec<AddDocumentsResponse>, Ended> {
    let mut sending = Sending {
        collection: collection.to_owned(),
        whole: waiting.len() as u64,
        waiting: Arc::new(Mutex::new(waiting.into())),
        underway: Arc::default(),
        unread: Arc::default(),
        answers: Vec::new(),
        live: screen.progress(PAUSE),
    };
    sending.run(servers).await?;
    let unread = std::mem::take(&mut *locked(&sending.unread));
    sending.answers.extend(unread);
    Ok(sending.answers)
}

/// Documents on their way.
struct Sending<'a> {
    collection: String,
    whole: u64,
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
    /// Sent and not answered, oldest first.
    underway: Arc<Mutex<VecDeque<Waiting>>>,
    /// Those that this machine could not read.
    unread: Arc<Mutex<Vec<AddDocumentsResponse>>>,
    answers: Vec<AddDocumentsResponse>,
    live: Live<'a>,
}

/// Nothing here panics while it holds the lock; if something did, what is behind it is whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Sending<'_> {
    async fn run(&mut self, servers: &Servers) -> Result<(), Ended> {
        let mut tries = 0;
        while !locked(&self.waiting).is_empty() {
            let before = self.answers.len();
            let fault = match self.attempt(servers).await {
                Ok(()) => Fault::unavailable("the server stopped before it had answered everything"),
                Err(Ended::Fault(fault)) if is_worth_another_server(fault.code) => fault,
                Err(Ended::Fault(fault)) if fault.code == Code::TooLarge && self.leave_out_largest(&fault) => {
                    self.take_back();
                    continue;
                }
                Err(ended) => return Err(ended),
            };
            self.take_back();
            if locked(&self.waiting).is_empty() {
                break;
            }
            tries = if self.answers.len() > before { 1 } else { tries + 1 };
            if tries >= MOST_TRIES {
                return Err(fault.hint("add the same again: what was taken already is recognised").into());
            }
            self.live.note(&format!("{}; trying again\n", fault.full_message()));
            tokio::time::sleep(crate::client::PATIENCE.pause.delay(tries as u32, fastrand::f64())).await;
        }
        Ok(())
    }

    /// A message that is too large for the server ends the stream without saying which it was: of those on their way it
    /// is the largest. The others are sent again.
    fn leave_out_largest(&self, fault: &Fault) -> bool {
        let mut underway = locked(&self.underway);
        let largest = (0..underway.len()).max_by_key(|at| underway.get(*at).map(|one| one.size));
        let Some(one) = largest.and_then(|at| underway.remove(at)) else { return false };
        let told =
            Fault::new(fault.code, format!("it has {}, more than the server takes", text::size(one.size as u64)));
        let told = told.hint("split it, or raise `body` under [limits] of the server");
        locked(&self.unread).push(failed(one.source, &told));
        true
    }

    /// What was sent and not answered waits again.
    fn take_back(&self) {
        let mut waiting = locked(&self.waiting);
        while let Some(one) = locked(&self.underway).pop_back() {
            waiting.push_front(one);
        }
    }

    async fn attempt(&mut self, servers: &Servers) -> Result<(), Ended> {
        let mut research = servers.connect().await?.research();
        let (requests, _live) = self.requests();
        let mut answers: Streaming<AddDocumentsResponse> = call(FIRST_LIMIT, research.add_documents(requests)).await?;
        loop {
            let next = tokio::time::timeout(FIRST_LIMIT, answers.message()).await;
            let next = next.map_err(|_| Fault::unavailable("the server fell silent").hint("add the same again"))?;
            let Some(answer) = next.map_err(|status| told(&status))? else { return Ok(()) };
            locked(&self.underway).pop_front();
            self.show(&answer.source);
            self.answers.push(answer);
        }
    }

    fn show(&mut self, source: &str) {
        let done = self.answers.len() as u64 + 1 + locked(&self.unread).len() as u64;
        let name = source.rsplit('/').next().unwrap_or(source);
        let figures = format!("{done} of {}", self.whole);
        self.live.show(&News { status: name, done, whole: self.whole, figures });
    }

    /// Each document when the connection has room for it; files are read only then. A connection that was given up takes
    /// no further one: it ends with the token beside it.
    fn requests(&self) -> (impl futures_util::Stream<Item = AddDocumentsRequest> + Send + 'static, Arc<()>) {
        let live = Arc::new(());
        let is_live = Arc::downgrade(&live);
        let (waiting, underway, unread) = (self.waiting.clone(), self.underway.clone(), self.unread.clone());
        let collection = self.collection.clone();
        let requests = std::iter::from_fn(move || {
            loop {
                is_live.upgrade()?;
                let one = locked(&waiting).pop_front()?;
                let read = match &one.content {
                    Content::File(path) => file::read_document(path).map(Bytes::from),
                    Content::Bytes(bytes) => Ok(bytes.clone()),
                };
                match read {
                    Ok(content) => {
                        let request = AddDocumentsRequest {
                            collection: collection.clone(),
                            source: one.source.clone(),
                            meta: Some(one.meta.clone()),
                            content,
                        };
                        locked(&underway).push_back(Waiting { size: request.content.len(), ..one });
                        return Some(request);
                    }
                    Err(fault) => locked(&unread).push(failed(one.source, &fault)),
                }
            }
        });
        (stream::iter(requests), live)
    }
}

async fn fetch(
    servers: &Servers,
    screen: &mut Screen,
    request: AddUrlsRequest,
) -> Result<Vec<AddDocumentsResponse>, Ended> {
    let whole = request.urls.len() as u64;
    let mut research = servers.connect().await?.research();
    let mut news = call(FIRST_LIMIT, research.add_urls(request)).await?;
    let mut live = screen.progress(PAUSE);
    let mut answers = Vec::new();
    while let Some(answer) = news.message().await.map_err(|status| told(&status))? {
        let done = answers.len() as u64 + 1;
        live.show(&News { status: &answer.source, done, whole, figures: format!("{done} of {whole}") });
        answers.push(answer);
    }
    if answers.len() as u64 >= whole {
        return Ok(answers);
    }
    let fault = Fault::unavailable("the server stopped before it had fetched everything");
    Err(fault.hint("add the same addresses again").into())
}

async fn watch(servers: &Servers, screen: &mut Screen, args: Add) -> Result<Verdict, Ended> {
    let mut watched = Vec::new();
    let connection = servers.connect().await?;
    for what in &args.what {
        if is_url(what) || what == "-" {
            return Err(Fault::invalid(format!("`{what}` is no folder"))
                .hint("--watch takes folders of a node")
                .into());
        }
        // It lies on the node, which may be another machine.
        let path = walk::whole(what)?;
        let folder = Folder {
            collection: args.collection.clone(),
            node: args.node.clone().unwrap_or_default(),
            path,
            patterns: args.pattern.clone(),
            category: args.category.clone().unwrap_or_default(),
            tags: args.tag.clone(),
            state: String::new(),
        };
        let request = WatchFolderRequest { folder: Some(folder) };
        watched.extend(call(CALL_LIMIT, connection.research().watch_folder(request)).await?.folder);
    }
    let items: Vec<Value> = watched.iter().map(super::shelf::folder_item).collect();
    let line =
        |folder: &Folder| format!("{} keeps `{}` in step with {}\n", folder.node, folder.collection, folder.path);
    let text = || visible(&watched.iter().map(line).collect::<String>());
    screen.show(|_| text(), &text::List::of_now(&connection.server, items))?;
    Ok(Verdict::Done)
}

/// Outcomes in the order in which they are told.
const OUTCOMES: [&str; 6] = ["added", "changed", "unchanged", "folded", "failed", "refused"];

impl Summary {
    fn count(&self, outcomes: &[&str]) -> usize {
        self.answers.iter().filter(|answer| outcomes.contains(&answer.outcome.as_str())).count()
    }

    /// How many of each, and every one that is not as it should be with its reason.
    fn text(&self, collection: &str) -> String {
        let each = OUTCOMES.iter().map(|outcome| (self.count(&[outcome]), outcome)).filter(|(count, _)| *count > 0);
        let each: Vec<String> = each.map(|(count, outcome)| format!("{count} {outcome}")).collect();
        let each = if each.is_empty() { "nothing was found to add".to_owned() } else { each.join(", ") };
        let copies = self.answers.iter().filter(|answer| answer.copies > 0).map(|answer| answer.copies).min();
        let copies = copies.map_or(String::new(), |copies| format!("; on {}", counted(copies as usize, "node")));
        let mut text = format!("{collection}: {each}{copies}\n");
        for answer in
            self.answers.iter().filter(|answer| ["folded", "failed", "refused"].contains(&answer.outcome.as_str()))
        {
            let (source, reason) = (text::name(&answer.source), text::name(&answer.reason));
            text.push_str(&format!("  {} {source}: {reason}\n", answer.outcome));
            if !answer.hint.is_empty() {
                text.push_str(&format!("    hint: {}\n", answer.hint));
            }
        }
        for answer in &self.answers {
            for note in answer.document.iter().flat_map(|document| &document.notes) {
                text.push_str(&format!("  note on {}: {}\n", text::name(&answer.source), text::name(note)));
            }
        }
        if self.hidden > 0 {
            text.push_str(&format!("  left out, for a dot in front of the name: {}\n", self.hidden));
        }
        if self.ignored > 0 {
            text.push_str(&format!("  left out, since .gitignore names them: {}\n", self.ignored));
        }
        if self.odd > 0 {
            text.push_str(&format!("  left out, since they are links or devices: {}\n", self.odd));
        }
        visible(&text)
    }

    fn json(&self, collection: &str) -> Value {
        let each: serde_json::Map<String, Value> =
            OUTCOMES.iter().map(|outcome| ((*outcome).to_owned(), self.count(&[outcome]).into())).collect();
        let item = |answer: &AddDocumentsResponse| {
            json!({
                "source": answer.source,
                "outcome": answer.outcome,
                "reason": text::filled(&answer.reason),
                "hint": text::filled(&answer.hint),
                "copies": answer.copies,
                "id": answer.document.as_ref().map(|document| document.id.as_str()),
                "version": answer.document.as_ref().map(|document| document.version),
                "notes": answer.document.as_ref().map(|document| document.notes.as_slice()).unwrap_or_default(),
            })
        };
        json!({
            "collection": collection,
            "counts": each,
            "hidden": self.hidden,
            "ignored": self.ignored,
            "odd": self.odd,
            "documents": self.answers.iter().map(item).collect::<Vec<_>>(),
        })
    }
}
