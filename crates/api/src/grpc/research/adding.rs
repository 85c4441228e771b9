//! Documents as a stream of them comes: what has come is taken together, and each is answered in order.
//!
//! One document at a time would wait for the disk once for each; a bound keeps a fast client from filling the memory.

use std::sync::Arc;

use base::{Code, Fault, Result};
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, Stream};
use proto::research::{AddDocumentsRequest, AddDocumentsResponse};
use research::knowledge::Added;
use research::{Knowledge, NewDocument, wire};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::Answers;

/// Documents that are taken together.
const MOST_TOGETHER: usize = 64;
/// And their bytes, beyond which no further one is added to them.
const MOST_BYTES: usize = 8 << 20;

type Told = Result<AddDocumentsResponse, Status>;

/// Adds what comes and answers it. All of it runs in the stream that is given back, so that dropping that ends it.
pub(super) fn serve(
    knowledge: Arc<dyn Knowledge>,
    incoming: Streaming<AddDocumentsRequest>,
    stop: CancellationToken,
) -> Answers<AddDocumentsResponse> {
    let adding = Adding { knowledge, incoming: Box::pin(incoming), held: None, is_over: false, stop };
    let batches = stream::unfold(adding, |mut adding| async move {
        let told = match adding.batch().await {
            Ok(batch) if batch.is_empty() => return None,
            Ok(batch) => adding.add(batch).await,
            Err(status) => Err(status),
        };
        if told.is_err() {
            (adding.is_over, adding.held) = (true, None);
        }
        Some((told.map_or_else(|status| vec![Err(status)], |told| told.into_iter().map(Ok).collect()), adding))
    });
    Box::pin(batches.flat_map(stream::iter::<Vec<Told>>))
}

/// What became of documents, each as a message; a fault of the call ends them.
pub(super) fn told(added: Result<Vec<Added>>) -> Vec<Told> {
    match added {
        Ok(added) => added.into_iter().map(|one| Ok(wire::added_to_wire(one))).collect(),
        Err(fault) => vec![Err(proto::to_status(&fault))],
    }
}

struct Adding<S> {
    knowledge: Arc<dyn Knowledge>,
    incoming: S,
    /// One that came and belongs to the next batch.
    held: Option<AddDocumentsRequest>,
    is_over: bool,
    stop: CancellationToken,
}

impl<S: Stream<Item = Result<AddDocumentsRequest, Status>> + Unpin + Send> Adding<S> {
    /// The next documents of one collection; empty when there are no more.
    async fn batch(&mut self) -> Result<Vec<AddDocumentsRequest>, Status> {
        let first = match self.held.take() {
            Some(held) => Some(held),
            None if self.is_over => None,
            None => self.next().await?,
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        let mut bytes = first.content.len();
        let mut batch = vec![first];
        while batch.len() < MOST_TOGETHER && bytes < MOST_BYTES && !self.is_over {
            let one = match self.incoming.next().now_or_never() {
                Some(Some(one)) => one?,
                Some(None) => {
                    self.is_over = true;
                    break;
                }
                None => break,
            };
            let is_other = batch.first().is_some_and(|first| first.collection != one.collection);
            if is_other || bytes + one.content.len() > MOST_BYTES {
                self.held = Some(one);
                break;
            }
            bytes += one.content.len();
            batch.push(one);
        }
        Ok(batch)
    }

    async fn next(&mut self) -> Result<Option<AddDocumentsRequest>, Status> {
        let Some(next) = self.stop.run_until_cancelled(self.incoming.next()).await else {
            let fault = Fault::unavailable("the server stops").hint("send what was not answered yet to another node");
            return Err(proto::to_status(&fault));
        };
        self.is_over = next.is_none();
        next.transpose()
    }

    /// Adds documents of one collection. What is wrong with one of them does not keep the others from being added.
    async fn add(&self, batch: Vec<AddDocumentsRequest>) -> Result<Vec<AddDocumentsResponse>, Status> {
        let named = batch.first().map(|first| first.collection.clone()).unwrap_or_default();
        let read = batch.into_iter().map(|one| {
            let source = one.source.clone();
            wire::new_document_from_wire(one).map_err(|fault| Box::new(wire::refused_to_wire(source, &fault)))
        });
        let read: Vec<Result<NewDocument, Box<AddDocumentsResponse>>> = read.collect();
        let good: Vec<NewDocument> = read.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        let added = async {
            let collection = wire::collection_from_wire(&named)?;
            if good.is_empty() { Ok(Vec::new()) } else { self.knowledge.add(collection, good).await }
        };
        let mut added = added.await.map_err(|fault| proto::to_status(&fault))?.into_iter();
        let answer = |one: Result<NewDocument, Box<AddDocumentsResponse>>| match one {
            Ok(_) => added.next().map(wire::added_to_wire).ok_or_else(|| {
                let fault = Fault::new(Code::Internal, "a document was not answered by the knowledge base");
                proto::to_status(&fault)
            }),
            Err(refused) => Ok(*refused),
        };
        read.into_iter().map(answer).collect()
    }
}
