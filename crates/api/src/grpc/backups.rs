//! The service of backups: carries the frames of the desk's, and looks into none.

use std::pin::Pin;
use std::sync::Arc;

use base::Fault;
use futures_util::{Stream, StreamExt, stream};
use proto::backup::backups_server::Backups;
use proto::backup::{ExportRequest, ExportResponse, ImportRequest, ImportResponse};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::Desk;

/// The service over a desk.
pub(super) struct Service {
    pub(super) desk: Arc<dyn Desk>,
    /// Ends a backup that would keep a stopping server waiting.
    pub(super) stop: CancellationToken,
}

fn status(fault: Fault) -> Status {
    proto::to_status(&fault)
}

#[tonic::async_trait]
impl Backups for Service {
    type ExportStream = Pin<Box<dyn Stream<Item = Result<ExportResponse, Status>> + Send>>;

    async fn export(&self, _: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let frames = self.desk.backups().map_err(status)?.export();
        let frames = frames.map(|piece| piece.map(|frames| ExportResponse { frames }).map_err(status));
        // What is cut off here has no end, and so is no backup.
        Ok(Response::new(Box::pin(frames.take_until(self.stop.clone().cancelled_owned()))))
    }

    async fn import(&self, request: Request<Streaming<ImportRequest>>) -> Result<Response<ImportResponse>, Status> {
        let backups = self.desk.backups().map_err(status)?;
        let mut pieces = request.into_inner();
        let Some(first) = pieces.message().await? else {
            return Err(status(Fault::invalid("nothing was sent").hint("send a backup")));
        };
        if first.dry_run {
            return backups.may_import().await.map(Response::new).map_err(status);
        }
        let rest = pieces.map(|piece| match piece {
            Ok(piece) => Ok(piece.frames),
            Err(status) => Err(proto::from_status(&status)),
        });
        let frames = stream::once(std::future::ready(Ok(first.frames))).chain(rest);
        backups.import(Box::pin(frames)).await.map(Response::new).map_err(status)
    }
}
