//! Watched folders as people ask for them, and the loop of the node that has them.
//!
//! Any node writes a folder's record; what may be watched is decided by the node that has it, whoever wrote. One folder is
//! looked through at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Code, Fault, NodeId, Result};
use store::{Entry, WatchEvent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Library;
use crate::blocking;
use crate::document::NewDocument;
use crate::folders::changes::Changes;
use crate::folders::due::Due;
use crate::folders::files::Patterns;
use crate::folders::{self, Watching};
use crate::intake::checks;
use crate::knowledge::Folder;
use crate::names::{CollectionName, DocId};
use crate::shelf::Known;
use crate::shelf::folders::{self as records, Watched};

/// The most folders of one node: each is looked through by itself.
const MOST_FOLDERS: usize = 100;
/// How a folder stands that nobody has looked at.
const WAITS: &str = "waits for its node to look at it";

/// The folders of this node, by the keys of their records.
type Folders = BTreeMap<String, Held>;

/// A folder that this node keeps a collection in step with.
struct Held {
    watched: Watched,
    due: Due,
    /// Whose changes the kernel tells, and which folder that was; another one may come to lie there.
    followed: Option<(PathBuf, u64)>,
    /// Why the kernel does not.
    blind: String,
}

impl Library {
    /// Keeps collections in step with the folders of this node, until `stop`.
    pub async fn keep_folders(&self, stop: CancellationToken) {
        let Some(watching) = &self.watching else { return stop.cancelled().await };
        stop.run_until_cancelled(self.keep(watching)).await;
    }

    async fn keep(&self, watching: &Watching) {
        let mut events = self.store.watch(&records::of_node(&self.node), None);
        let (changes, mut all) = (Arc::new(Changes::listen()), Folders::new());
        loop {
            let next = all.iter().min_by_key(|(_, held)| held.due.at()).map(|(key, held)| (key.clone(), held.due.at()));
            let is_due = async {
                match &next {
                    // What is removed depends on the records: before they were seen nothing is looked at.
                    Some((_, at)) => {
                        self.until_seen().await;
                        tokio::time::sleep_until(*at).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => apply(&mut all, event, &changes),
                    // The store closes only when the node stops.
                    None => std::future::pending().await,
                },
                touched = changes.next() => touch(&mut all, &touched),
                () = is_due => {
                    if let Some(held) = next.and_then(|(key, _)| all.get_mut(&key)) {
                        self.keep_one(watching, &changes, held).await;
                    }
                }
            }
        }
    }

    async fn keep_one(&self, watching: &Watching, changes: &Arc<Changes>, held: &mut Held) {
        let begun = Instant::now();
        let looked = self.look_at(watching, changes, held).await;
        held.due.looked(begun, Instant::now(), watching.scan_every);
        let state = match looked {
            Ok(None) => return,
            Ok(Some(told)) => told,
            Err(fault) => {
                tracing::warn!(error = %fault, folder = held.watched.folder.path, "could not look through a folder");
                let hint = fault.hint.as_deref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
                (format!("{}; its documents are left as they are{hint}", fault.full_message()), None)
            }
        };
        if let Err(fault) = self.tell(&held.watched, state).await {
            tracing::warn!(error = %fault, folder = held.watched.folder.path, "could not tell how a folder stands");
        }
    }

    /// Looks through a folder, if this node may; gives how it stands and what its sources begin with.
    async fn look_at(
        &self,
        watching: &Watching,
        changes: &Arc<Changes>,
        held: &mut Held,
    ) -> Result<Option<(String, Option<String>)>> {
        let root = real_root(watching, &held.watched.folder).await?;
        let below = folders::sources_below(&root).ok_or_else(|| not_utf_8(&root))?;
        // First, so that what changes while it is looked at is told.
        held.follow(changes, &root).await;
        if held.watched.folder.state == WAITS {
            // Also where its sources begin: whoever ends the watching meanwhile must know what belongs to it.
            self.tell(&held.watched, ("is looked through for the first time".to_owned(), Some(below.clone()))).await?;
        }
        let looked = self.look_through(watching, &held.watched, (root, below.clone()), &held.blind).await?;
        Ok(looked.map(|state| (state, Some(below))))
    }

    /// Writes down how a folder stands and where its sources begin, unless somebody wants something else of it by now.
    async fn tell(&self, watched: &Watched, (state, below): (String, Option<String>)) -> Result<()> {
        let Some((mut now, at)) = self.shelf.folder(&watched.key()).await? else { return Ok(()) };
        if now.asks_the_same(watched) {
            now.folder.state = state;
            now.below = below.unwrap_or(now.below);
            self.shelf.tell_folder(&now, at).await?;
        }
        Ok(())
    }

    /// Watches a folder from now on.
    pub(super) async fn watch(&self, mut folder: Folder) -> Result<Folder> {
        let node = self.node_of(&folder)?;
        self.check_node(&node)?;
        folder.node = node.to_string();
        folder.path = folders::plain_path(&folder.path)?;
        Patterns::parse(&folder.patterns)?;
        WAITS.clone_into(&mut folder.state);
        check_meta(&folder)?;
        let mut watched = Watched { folder, below: String::new() };
        if node == self.node {
            watched.below = self.check_folder(&watched.folder).await?;
        }
        self.check_count(&node, &watched.key()).await?;
        self.shelf.find_or_create(&watched.folder.collection).await?;
        self.shelf.put_folder(&watched).await?;
        Ok(watched.folder)
    }

    /// Refuses a node that nobody knows: its folder would never be looked at.
    fn check_node(&self, node: &NodeId) -> Result<()> {
        let mut names = self.neighbours.names();
        names.push(self.node.to_string());
        names.sort();
        if names.iter().any(|name| name == node.as_str()) {
            return Ok(());
        }
        let message = format!("there is no node `{node}` that keeps documents");
        Err(Fault::new(Code::NotFound, message).hint(format!("name one of {}", names.join(", "))))
    }

    async fn check_count(&self, node: &NodeId, key: &str) -> Result<()> {
        let all = self.shelf.folders().await?;
        let others = all.iter().filter(|one| one.folder.node == node.as_str() && one.key() != key);
        if others.count() < MOST_FOLDERS {
            return Ok(());
        }
        let message = format!("node `{node}` watches {MOST_FOLDERS} folders already");
        Err(Fault::new(Code::TooLarge, message).hint("watch one folder above several of them, or end one"))
    }

    /// Whether this node may watch it; gives what its sources begin with.
    async fn check_folder(&self, folder: &Folder) -> Result<String> {
        let Some(watching) = &self.watching else {
            return Err(Fault::new(Code::NotSupported, "this node watches no folders").hint("name another with `node`"));
        };
        let root = real_root(watching, folder).await?;
        let below = folders::sources_below(&root).ok_or_else(|| not_utf_8(&root))?;
        let others = self.shelf.folders().await?;
        let is_other = |other: &&Watched| {
            let (one, other_one) = (folder, &other.folder);
            other.below == below
                && one.path != other_one.path
                && (&one.node, &one.collection) == (&other_one.node, &other_one.collection)
        };
        match others.iter().find(is_other) {
            None => Ok(below),
            Some(other) => {
                let message = format!("`{}` is watched already, as `{}`", folder.path, other.folder.path);
                Err(Fault::new(Code::Conflict, message).hint("end that first, or choose another collection"))
            }
        }
    }

    /// The folders of a collection, or of all.
    pub(super) async fn watched(&self, collection: Option<CollectionName>) -> Result<Vec<Folder>> {
        let all = self.shelf.folders().await?.into_iter().map(|watched| watched.folder);
        Ok(all.filter(|folder| collection.as_ref().is_none_or(|name| folder.collection == *name)).collect())
    }

    /// Ends it; gives how many documents were removed with it.
    pub(super) async fn unwatch(&self, folder: Folder, keep_documents: bool) -> Result<u64> {
        let node = self.node_of(&folder)?;
        let path = folders::plain_path(&folder.path)?;
        let key = records::key(&node, &folder.collection, &path);
        let Some((watched, _)) = self.shelf.folder(&key).await? else {
            let message = format!("node `{node}` does not watch `{path}` for collection `{}`", folder.collection);
            return Err(
                Fault::new(Code::NotFound, message).hint("see `tmctl research folders` for those that are watched")
            );
        };
        self.shelf.forget_folders(&[key]).await?;
        if keep_documents || watched.below.is_empty() {
            return Ok(0);
        }
        let inner = inner_of(&watched, &self.shelf.folders().await?);
        let is_own = |source: &str| is_own(&watched.below, &inner, source);
        // Not as this node knows them: the last may have come a moment ago.
        let all = self.shelf.documents(&folder.collection).await?;
        let ids: Vec<DocId> = all.iter().filter(|one| is_own(&one.source)).map(|one| one.id).collect();
        self.shelf.remove(&folder.collection, &ids).await?;
        Ok(ids.len() as u64)
    }

    /// Refuses to remove what a watched folder would bring back, or keep away for as long as nobody touches the file.
    pub(super) async fn check_not_watched(
        &self,
        known: &Known,
        collection: &CollectionName,
        ids: &[DocId],
    ) -> Result<()> {
        let mut all = self.shelf.folders().await?;
        all.retain(|one| one.folder.collection == *collection && !one.below.is_empty());
        for document in ids.iter().filter_map(|id| known.document(collection, *id)) {
            let source = &document.value.source;
            if let Some(Watched { folder, .. }) = all.iter().find(|one| source.starts_with(&one.below)) {
                let message =
                    format!("`{source}` lies in the folder `{}`, which node `{}` watches", folder.path, folder.node);
                let unwatch = format!("tmctl research folders unwatch {} --node {}", folder.path, folder.node);
                return Err(Fault::new(Code::Conflict, message).hint(format!(
                    "take the file away, and the document goes with it; or end the watching first: \
                     `{unwatch} --collection {collection} --keep`"
                )));
            }
        }
        Ok(())
    }

    /// Ends the watching for a collection that goes.
    pub(super) async fn end_folders_of(&self, collection: &CollectionName) -> Result<()> {
        let all = self.shelf.folders().await?;
        let keys: Vec<String> =
            all.iter().filter(|watched| watched.folder.collection == *collection).map(Watched::key).collect();
        self.shelf.forget_folders(&keys).await
    }

    /// The node that has a folder.
    fn node_of(&self, folder: &Folder) -> Result<NodeId> {
        let name = folder.node.as_str();
        if name.is_empty() {
            return Ok(self.node.clone());
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(Fault::invalid(format!("`{}` is no node", name.escape_debug())).hint("see `tmctl nodes`"));
        }
        Ok(NodeId::new(name))
    }
}

/// Whether documents may be told of as the folder wants them to be.
fn check_meta(folder: &Folder) -> Result<()> {
    let meta = folder.meta();
    checks::check(&NewDocument { source: folder.path.clone(), meta, ..NewDocument::default() })
}

/// Folders of the same node and collection below this one, by what their sources begin with: their documents are theirs.
pub(super) fn inner_of(watched: &Watched, all: &[Watched]) -> Vec<String> {
    let is_inner = |other: &&Watched| {
        (&other.folder.node, &other.folder.collection) == (&watched.folder.node, &watched.folder.collection)
            && other.below.len() > watched.below.len()
            && other.below.starts_with(&watched.below)
    };
    all.iter().filter(is_inner).map(|other| other.below.clone()).collect()
}

/// Whether a document belongs to the folder whose sources begin with `below`.
pub(super) fn is_own(below: &str, inner: &[String], source: &str) -> bool {
    source.starts_with(below) && !inner.iter().any(|inner| source.starts_with(inner))
}

pub(super) fn not_utf_8(root: &Path) -> Fault {
    Fault::invalid(format!("the name of `{}` is not UTF-8", root.display())).hint("give it another one")
}

/// Takes a change of the records. What a node tells of a folder is no change of it.
fn apply(all: &mut Folders, event: WatchEvent, changes: &Changes) {
    match event {
        WatchEvent::Reset(listing) => {
            let keys: BTreeSet<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
            let gone: Vec<String> = all.keys().filter(|key| !keys.contains(key.as_str())).cloned().collect();
            gone.iter().for_each(|key| forget(all, key, changes));
            listing.entries.into_iter().for_each(|entry| put(all, entry));
        }
        WatchEvent::Put(entry) => put(all, entry),
        WatchEvent::Damaged(damaged) => forget(all, &damaged.key, changes),
        WatchEvent::Deleted { key, .. } => forget(all, &key, changes),
    }
}

fn put(all: &mut Folders, entry: Entry) {
    let watched = match records::read(&entry.key, &entry.value) {
        Ok(watched) => watched,
        Err(fault) => {
            tracing::error!(key = entry.key, error = %fault, "the record of a folder cannot be read");
            return;
        }
    };
    match all.get_mut(&entry.key) {
        Some(held) if held.watched.asks_the_same(&watched) => held.watched = watched,
        Some(held) => {
            held.watched = watched;
            held.due = Due::now(Instant::now());
        }
        None => {
            let due = Due::now(Instant::now());
            all.insert(entry.key, Held { watched, due, followed: None, blind: String::new() });
        }
    }
}

fn forget(all: &mut Folders, key: &str, changes: &Changes) {
    let followed = all.remove(key).and_then(|held| held.followed);
    if let Some((path, _)) = followed
        && !all.values().any(|held| held.followed.as_ref().is_some_and(|(other, _)| *other == path))
    {
        changes.forget(&path);
    }
}

fn touch(all: &mut Folders, touched: &BTreeSet<PathBuf>) {
    let now = Instant::now();
    for held in all.values_mut() {
        if held.followed.as_ref().is_some_and(|(path, _)| touched.contains(path)) {
            held.due.touch(now);
        }
    }
}

impl Held {
    /// Has the kernel tell of changes, anew where another folder lies there now.
    async fn follow(&mut self, changes: &Arc<Changes>, root: &Path) {
        let (changes, root, followed) = (changes.clone(), root.to_owned(), self.followed.clone());
        let follow = move || {
            // What is gone meanwhile is told by the look that follows.
            let Ok(about) = std::fs::metadata(&root) else { return Ok((None, String::new())) };
            let now = (root, about.ino());
            if followed.as_ref() == Some(&now) {
                return Ok((followed, String::new()));
            }
            let told = changes.follow(&now.0);
            Ok((told.is_ok().then_some(now), told.err().unwrap_or_default()))
        };
        match blocking(follow).await {
            Ok((followed, blind)) => (self.followed, self.blind) = (followed, blind),
            Err(fault) => self.blind = fault.full_message(),
        }
    }
}

/// Where a folder really is, if it may be watched.
async fn real_root(watching: &Watching, folder: &Folder) -> Result<PathBuf> {
    let (path, allowed) = (PathBuf::from(&folder.path), watching.allowed.clone());
    blocking(move || folders::real_root(&path, &allowed)).await
}
