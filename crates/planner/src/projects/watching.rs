//! Following a tag, on any node.

use base::{Code, Fault, Result};
use futures_util::Stream;
use futures_util::stream::unfold;
use store::{Entry, Watch, WatchEvent};

use super::{Projects, names, record};

impl Projects {
    /// The name of a tag, and its revision as it is and whenever that changes. An item that is a fault is the last: the tag
    /// is gone or called otherwise, its record cannot be read, or the store was closed.
    pub async fn watch(
        &self,
        project: &str,
        tag: &str,
    ) -> Result<(String, impl Stream<Item = Result<u64>> + Send + use<>)> {
        // One that is not there is told at once, with what to do about it.
        let tag = self.tag(project, tag).await?.name;
        let key = names::tag_key(project, &tag);
        let watch = self.store.watch(&key, None);
        let following =
            Following { project: project.to_owned(), tag: tag.clone(), key, watch, shown: None, is_over: false };
        Ok((tag, unfold(following, async |mut following| Some((following.next().await?, following)))))
    }
}

struct Following {
    project: String,
    tag: String,
    key: String,
    watch: Watch,
    /// The revision that was given out last.
    shown: Option<u64>,
    is_over: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Result<u64>> {
        if self.is_over {
            return None;
        }
        let next = self.next_revision().await;
        self.is_over = next.is_err();
        self.shown = next.as_ref().ok().copied();
        Some(next)
    }

    async fn next_revision(&mut self) -> Result<u64> {
        loop {
            let closed = || Fault::new(Code::Unavailable, "the store was closed");
            let entry = match self.watch.next().await.ok_or_else(closed)? {
                // Tags whose names only begin like this one's come along.
                WatchEvent::Put(entry) if entry.key == self.key => entry,
                WatchEvent::Reset(all) => match all.entries.into_iter().find(|entry| entry.key == self.key) {
                    Some(entry) => entry,
                    None => return Err(self.gone()),
                },
                WatchEvent::Deleted { key, .. } if key == self.key => return Err(self.gone()),
                WatchEvent::Damaged(damaged) if damaged.key == self.key => {
                    let what = format!("could not read record `{}`: {}", damaged.key, damaged.reason);
                    return Err(Fault::internal(what).hint("restore it from a backup or an export of the project"));
                }
                _ => continue,
            };
            // The record has more in it than tasks.
            if let Some(revision) = self.revision(&entry)? {
                return Ok(revision);
            }
        }
    }

    fn revision(&self, entry: &Entry) -> Result<Option<u64>> {
        let revision = record::tag(&self.tag, entry)?.revision;
        Ok(Some(revision).filter(|revision| self.shown != Some(*revision)))
    }

    fn gone(&self) -> Fault {
        let Self { project, tag, .. } = self;
        Fault::new(Code::NotFound, format!("project `{project}` has no tag `{tag}` any more"))
            .hint("it was deleted or has another name; `tmctl tasks tags` lists them")
    }
}
