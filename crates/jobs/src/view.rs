//! Following a job to its end, on any node.

use base::{Fault, Result};
use futures_util::Stream;
use futures_util::stream::unfold;
use store::{Entry, Watch, WatchEvent, framed};

use crate::progress::Progress;
use crate::record::Record;
use crate::{JobId, JobView, Jobs, fault, keys};

impl Jobs {
    /// The job as it is and whenever that changes, until it is finished. An item that is a fault is the last: there is
    /// no such job, it was removed, it cannot be read, or the store was closed.
    pub fn watch(&self, id: JobId) -> impl Stream<Item = Result<JobView>> + Send + use<> {
        let following = Following {
            id,
            records: self.store.watch(&keys::record(id), None),
            progress: self.store.watch(&keys::progress(id), None),
            record: None,
            latest: None,
            shown: None,
            is_over: false,
        };
        unfold(following, async |mut following| Some((following.next().await?, following)))
    }
}

struct Following {
    id: JobId,
    records: Watch,
    progress: Watch,
    record: Option<Record>,
    latest: Option<Progress>,
    /// What was given out last.
    shown: Option<JobView>,
    is_over: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Result<JobView>> {
        if self.is_over {
            return None;
        }
        let next = self.next_view().await;
        self.is_over = next.as_ref().map_or(true, |view| view.state.is_final());
        self.shown = next.as_ref().ok().cloned();
        Some(next)
    }

    async fn next_view(&mut self) -> Result<JobView> {
        loop {
            tokio::select! {
                event = self.records.next() => {
                    let entry = entry_of(event.ok_or_else(closed)?)?.ok_or_else(|| fault::unknown(self.id))?;
                    let record: Record = framed::read(&entry.key, &entry.value)?;
                    self.record = (!record.is_draft).then_some(record);
                }
                event = self.progress.next() => {
                    // Once the job has let go of its progress, the record has its last word.
                    if let Some(entry) = entry_of(event.ok_or_else(closed)?)? {
                        self.latest = framed::read(&entry.key, &entry.value)?;
                    }
                }
            }
            let view = self.record.as_ref().map(|record| record.view(self.id, self.latest.clone()));
            if let Some(view) = view.filter(|view| self.shown.as_ref() != Some(view)) {
                return Ok(view);
            }
        }
    }
}

/// The entry of the one key of a watch as of `event`.
fn entry_of(event: WatchEvent) -> Result<Option<Entry>> {
    match event {
        WatchEvent::Reset(mut listing) => match listing.damaged.pop() {
            Some(damaged) => Err(store::StoreError::Damaged(damaged).into()),
            None => Ok(listing.entries.pop()),
        },
        WatchEvent::Put(entry) => Ok(Some(entry)),
        WatchEvent::Deleted { .. } => Ok(None),
        WatchEvent::Damaged(damaged) => Err(store::StoreError::Damaged(damaged).into()),
    }
}

fn closed() -> Fault {
    Fault::unavailable("the store was closed").hint("the node stops; ask another one")
}
