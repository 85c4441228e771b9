//! An answer that comes from another node: its gRPC stream polled in place.

use std::pin::Pin;
use std::task::{Context, Poll};

use base::{Code, Fault, Frames, NodeId, Result, RunSummary};
use bytes::Bytes;
use futures_util::Stream;
use proto::node::RunResponse;
use proto::node::run_response::Part;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Streaming;

use super::{fault_of, was_lost};

/// Frames out of a peer's stream. Dropping it resets the stream, which ends the run over there.
pub struct PeerFrames {
    node: NodeId,
    parts: Streaming<RunResponse>,
    lost: Pin<Box<WaitForCancellationFutureOwned>>,
    summary: Option<RunSummary>,
}

impl PeerFrames {
    /// The rest of a stream whose start was read; `life` ends it.
    pub fn new(node: NodeId, parts: Streaming<RunResponse>, life: CancellationToken) -> Self {
        Self { node, parts, lost: Box::pin(life.cancelled_owned()), summary: None }
    }
}

impl Frames for PeerFrames {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let message = match Pin::new(&mut self.parts).poll_next(cx) {
                Poll::Ready(message) => message,
                // Only a stream that is silent can be one of a node that is gone.
                Poll::Pending if self.lost.as_mut().poll(cx).is_ready() => {
                    return Poll::Ready(Some(Err(was_lost(&self.node))));
                }
                Poll::Pending => return Poll::Pending,
            };
            match message {
                Some(Ok(RunResponse { part: Some(Part::Frames(bytes)) })) => return Poll::Ready(Some(Ok(bytes))),
                Some(Ok(RunResponse { part: Some(Part::Summary(summary)) })) => match summary.try_into() {
                    Ok(summary) => self.summary = Some(summary),
                    Err(fault) => return Poll::Ready(Some(Err(fault))),
                },
                Some(Ok(_)) => {}
                Some(Err(status)) => return Poll::Ready(Some(Err(fault_of(&self.node, &status)))),
                None if self.summary.is_some() => return Poll::Ready(None),
                None => {
                    let message = format!("node `{}` ended its answer without saying how it went", self.node);
                    return Poll::Ready(Some(Err(Fault::new(Code::EngineCut, message))));
                }
            }
        }
    }

    fn summary(&self) -> Option<RunSummary> {
        self.summary
    }
}
