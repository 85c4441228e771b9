//! The research service: the knowledge base over gRPC. Each call is one of `research::Knowledge`'s.

mod adding;
mod moving;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use base::{Fault, Result};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use proto::research as p;
use proto::research::research_server::Research as Rpc;
use research::knowledge::{Page, Said};
use research::{CollectionName, Document, Knowledge, bounds, wire};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::GrpcLimits;
use super::planning::who;
use crate::research::{self as shared, Asking, Told};
use crate::{Desk, trace};

/// Documents that an export reads at once.
const EXPORT_PAGE: u32 = 100;

pub(super) struct Service {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) limits: Arc<ArcSwap<GrpcLimits>>,
    /// Ends calls that only wait for their client, which would keep a stopping server waiting.
    pub(super) stop: CancellationToken,
}

type Answered<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answered<T>(result: Result<T>) -> Answered<T> {
    result.map(Response::new).map_err(|fault: Fault| proto::to_status(&fault))
}

impl Service {
    fn knowledge(&self) -> Result<Arc<dyn Knowledge>> {
        self.desk.research()
    }
}

#[tonic::async_trait]
impl Rpc for Service {
    async fn create_collection(
        &self,
        request: Request<p::CreateCollectionRequest>,
    ) -> Answered<p::CreateCollectionResponse> {
        let made = async {
            let new = wire::new_collection_from_wire(request.into_inner())?;
            let made = self.knowledge()?.create(new).await?;
            Ok(p::CreateCollectionResponse { collection: Some(wire::collection_to_wire(&made)) })
        };
        answered(made.await)
    }

    async fn list_collections(&self, _: Request<p::ListCollectionsRequest>) -> Answered<p::ListCollectionsResponse> {
        let listed = async {
            let all = self.knowledge()?.collections().await?;
            Ok(p::ListCollectionsResponse { collections: all.iter().map(wire::collection_to_wire).collect() })
        };
        answered(listed.await)
    }

    async fn delete_collection(
        &self,
        request: Request<p::DeleteCollectionRequest>,
    ) -> Answered<p::DeleteCollectionResponse> {
        let deleted = async {
            let name = wire::collection_from_wire(&request.into_inner().name)?;
            Ok(p::DeleteCollectionResponse { documents: self.knowledge()?.delete(name).await? })
        };
        answered(deleted.await)
    }

    type AddDocumentsStream = Answers<p::AddDocumentsResponse>;

    async fn add_documents(
        &self,
        request: Request<Streaming<p::AddDocumentsRequest>>,
    ) -> Answered<Self::AddDocumentsStream> {
        let begun = self.knowledge().map(|knowledge| adding::serve(knowledge, request.into_inner(), self.stop.clone()));
        answered(begun)
    }

    async fn list_documents(&self, request: Request<p::ListDocumentsRequest>) -> Answered<p::ListDocumentsResponse> {
        let listed = async {
            let page = wire::page_from_wire(request.into_inner())?;
            let found = self.knowledge()?.documents(page).await?;
            let documents = found.items.iter().map(wire::document_to_wire).collect();
            Ok(p::ListDocumentsResponse { documents, total: found.total, next: found.next.unwrap_or_default() })
        };
        answered(listed.await)
    }

    async fn get_document(&self, request: Request<p::GetDocumentRequest>) -> Answered<p::GetDocumentResponse> {
        let p::GetDocumentRequest { collection, document, start, end } = request.into_inner();
        let found = async {
            let knowledge = self.knowledge()?;
            let (document, text) = shared::document(&*knowledge, &collection, &document, (start, end)).await?;
            Ok(p::GetDocumentResponse { document: Some(wire::document_to_wire(&document)), text })
        };
        answered(found.await)
    }

    async fn remove_documents(
        &self,
        request: Request<p::RemoveDocumentsRequest>,
    ) -> Answered<p::RemoveDocumentsResponse> {
        let removed = async {
            let (collection, which) = wire::which_from_wire(request.into_inner())?;
            let removed = self.knowledge()?.remove(collection, which).await?;
            Ok(p::RemoveDocumentsResponse { removed: removed.removed, unknown: removed.unknown })
        };
        answered(removed.await)
    }

    type ExportStream = Answers<p::ExportResponse>;

    async fn export(&self, request: Request<p::ExportRequest>) -> Answered<Self::ExportStream> {
        let begun = async {
            let collection = wire::collection_from_wire(&request.into_inner().collection)?;
            let knowledge = self.knowledge()?;
            // A collection that is not there is a refusal of the call, not of its first piece.
            let first = knowledge.documents(page(&collection, String::new())).await?;
            let stopped = self.stop.clone().cancelled_owned();
            Ok(Box::pin(export(knowledge, collection, first).take_until(Box::pin(stopped))) as Self::ExportStream)
        };
        answered(begun.await)
    }

    async fn watch_folder(&self, request: Request<p::WatchFolderRequest>) -> Answered<p::WatchFolderResponse> {
        let watched = async {
            let folder = wire::folder_from_wire(request.into_inner().folder)?;
            let folder = self.knowledge()?.watch_folder(folder).await?;
            Ok(p::WatchFolderResponse { folder: Some(wire::folder_to_wire(&folder)) })
        };
        answered(watched.await)
    }

    async fn list_folders(&self, request: Request<p::ListFoldersRequest>) -> Answered<p::ListFoldersResponse> {
        let collection = request.into_inner().collection;
        let listed = async {
            let of = (!collection.is_empty()).then(|| wire::collection_from_wire(&collection)).transpose()?;
            let all = self.knowledge()?.folders(of).await?;
            Ok(p::ListFoldersResponse { folders: all.iter().map(wire::folder_to_wire).collect() })
        };
        answered(listed.await)
    }

    async fn unwatch_folder(&self, request: Request<p::UnwatchFolderRequest>) -> Answered<p::UnwatchFolderResponse> {
        let p::UnwatchFolderRequest { collection, node, path, keep_documents } = request.into_inner();
        let ended = async {
            let folder = p::Folder { collection, node, path, ..p::Folder::default() };
            let folder = wire::folder_from_wire(Some(folder))?;
            let removed = self.knowledge()?.unwatch_folder(folder, keep_documents).await?;
            Ok(p::UnwatchFolderResponse { removed })
        };
        answered(ended.await)
    }

    type AddUrlsStream = Answers<p::AddDocumentsResponse>;

    /// One page after the other, so that each is told when it is there.
    async fn add_urls(&self, request: Request<p::AddUrlsRequest>) -> Answered<Self::AddUrlsStream> {
        let p::AddUrlsRequest { collection, urls, meta } = request.into_inner();
        let begun = async {
            let (collection, meta) = (wire::collection_from_wire(&collection)?, wire::meta_from_wire(meta)?);
            bounds::urls(&urls)?;
            let knowledge = self.knowledge()?;
            let fetched = stream::iter(urls).then(move |url| {
                let (knowledge, collection, meta) = (knowledge.clone(), collection.clone(), meta.clone());
                async move { knowledge.add_urls(collection, vec![url], meta).await }
            });
            let told = fetched.flat_map(|fetched| stream::iter(adding::told(fetched)));
            let stopped = self.stop.clone().cancelled_owned();
            Ok(Box::pin(told.take_until(Box::pin(stopped))) as Self::AddUrlsStream)
        };
        answered(begun.await)
    }

    async fn search(&self, request: Request<p::SearchRequest>) -> Answered<p::SearchResponse> {
        let parent = proto::trace::extract(request.metadata()).into();
        let found = trace::within(parent, async {
            let search = wire::search_from_wire(request.into_inner())?;
            let begin = Instant::now();
            let found = self.knowledge()?.search(search).await?;
            let hits = found.hits.into_iter().map(wire::hit_to_wire).collect();
            Ok(p::SearchResponse { hits, search: found.search, seconds: begin.elapsed().as_secs_f64() })
        });
        answered(found.await)
    }

    type AskStream = Answers<p::AskResponse>;

    async fn ask(&self, request: Request<p::AskRequest>) -> Answered<Self::AskStream> {
        let parent = proto::trace::extract(request.metadata()).into();
        let begun = trace::within(parent, async {
            let question = wire::question_from_wire(request.into_inner())?;
            let asking = Asking::new(self.knowledge()?, question, self.limits.load().ask);
            Ok(Box::pin(asking.map(part)) as Self::AskStream)
        });
        answered(begun.await)
    }

    async fn start_loop(&self, request: Request<p::StartLoopRequest>) -> Answered<p::StartLoopResponse> {
        let who = who(&request, "");
        let started = async {
            let (order, key) = wire::order_from_wire(request.into_inner(), who)?;
            Ok(p::StartLoopResponse { job: self.knowledge()?.start_loop(order, key).await? })
        };
        answered(started.await)
    }

    async fn clusters(&self, request: Request<p::ClustersRequest>) -> Answered<p::ClustersResponse> {
        let p::ClustersRequest { collection, clusters, svg } = request.into_inner();
        let grouped = async {
            let collection = wire::collection_from_wire(&collection)?;
            bounds::clusters(clusters)?;
            Ok(wire::clusters_to_wire(self.knowledge()?.clusters(collection, clusters, svg).await?))
        };
        answered(grouped.await)
    }

    type MigrateStream = Answers<p::MigrateResponse>;

    async fn migrate(&self, request: Request<p::MigrateRequest>) -> Answered<Self::MigrateStream> {
        let begun = async {
            let to = wire::index_from_wire(&request.into_inner())?;
            let stopped = self.stop.clone().cancelled_owned();
            Ok(Box::pin(moving::stream(self.knowledge()?, to).take_until(Box::pin(stopped))) as Self::MigrateStream)
        };
        answered(begun.await)
    }

    async fn status(&self, _: Request<p::StatusRequest>) -> Answered<p::StatusResponse> {
        let told = async { Ok(wire::status_to_wire(self.knowledge()?.status().await?)) };
        answered(told.await)
    }
}

fn part(told: Told) -> Result<p::AskResponse, Status> {
    use p::ask_response::Part;
    let part = match told {
        Told::Said(Said::Doing(what)) => Part::Doing(what),
        Told::Said(Said::Delta(text)) => Part::Delta(text),
        Told::Answer(answer) => Part::Answer(Box::new(wire::answer_to_wire(*answer))),
        Told::Fault(fault) => return Err(proto::to_status(&fault)),
    };
    Ok(p::AskResponse { part: Some(part) })
}

fn page(collection: &CollectionName, after: String) -> Page {
    let collection = collection.clone();
    Page { collection, filter: Default::default(), state: String::new(), after, limit: EXPORT_PAGE }
}

/// All documents with their bytes, a page read at a time, a document's bytes one at a time.
fn export(
    knowledge: Arc<dyn Knowledge>,
    collection: CollectionName,
    first: research::knowledge::Documents,
) -> impl Stream<Item = Result<p::ExportResponse, Status>> + Send {
    struct State {
        knowledge: Arc<dyn Knowledge>,
        collection: CollectionName,
        items: std::vec::IntoIter<Document>,
        next: Option<String>,
    }
    async fn one(state: &mut State) -> Result<Option<(Document, Bytes)>> {
        loop {
            if let Some(document) = state.items.next() {
                let bytes = state.knowledge.original(document.clone()).await?;
                return Ok(Some((document, bytes)));
            }
            let Some(after) = state.next.take() else { return Ok(None) };
            let found = state.knowledge.documents(page(&state.collection, after)).await?;
            (state.items, state.next) = (found.items.into_iter(), found.next);
        }
    }
    let state = State { knowledge, collection, items: first.items.into_iter(), next: first.next };
    stream::try_unfold(state, |mut state| async move {
        let found = one(&mut state).await.map_err(|fault| proto::to_status(&fault))?;
        let response = |(document, content): (Document, Bytes)| p::ExportResponse {
            document: Some(wire::document_to_wire(&document)),
            content,
        };
        Ok(found.map(|found| (response(found), state)))
    })
}
