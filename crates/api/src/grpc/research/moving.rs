//! The answers of a move of the index: how far it is, then what it came to. Who stops reading ends the watching.

use std::sync::Arc;

use base::{BoxFuture, Result};
use futures_util::stream::{self, Stream};
use proto::research as p;
use research::knowledge::{IndexKind, Migrated, Moving};
use research::{Knowledge, wire};
use tokio::sync::mpsc;
use tonic::Status;

/// Who reads slowly holds up the watching, which does nothing by itself.
const UNREAD: usize = 4;

struct State {
    told: mpsc::Receiver<Moving>,
    /// `None`: it ended.
    moving: Option<BoxFuture<'static, Result<Migrated>>>,
    ended: Option<Result<Migrated>>,
}

/// Moves the index.
pub(super) fn stream(
    knowledge: Arc<dyn Knowledge>,
    to: IndexKind,
) -> impl Stream<Item = Result<p::MigrateResponse, Status>> + Send {
    let (tell, told) = mpsc::channel(UNREAD);
    let moving: BoxFuture<'static, _> = Box::pin(async move { knowledge.migrate(to, tell).await });
    stream::unfold(State { told, moving: Some(moving), ended: None }, |mut state| async move {
        let next = state.next().await?;
        Some((next, state))
    })
}

impl State {
    /// What was told, all of it, then the end.
    async fn next(&mut self) -> Option<Result<p::MigrateResponse, Status>> {
        while let Some(moving) = &mut self.moving {
            tokio::select! {
                biased;
                Some(told) = self.told.recv() => return Some(Ok(wire::moving_to_wire(told))),
                ended = moving => {
                    self.ended = Some(ended);
                    self.moving = None;
                }
            }
        }
        if let Ok(told) = self.told.try_recv() {
            return Some(Ok(wire::moving_to_wire(told)));
        }
        let ended = self.ended.take()?;
        Some(ended.map(wire::migrated_to_wire).map_err(|fault| proto::to_status(&fault)))
    }
}
