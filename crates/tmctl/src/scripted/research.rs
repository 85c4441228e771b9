//! The research service of a script.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use proto::research::research_server::{Research, ResearchServer};
use proto::research::*;
use tonic::{Request, Response, Status, Streaming};

use super::Script;

/// The script as a service.
pub(super) fn serve(script: Script) -> ResearchServer<Script> {
    ResearchServer::new(script)
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All of a stream at once; what is missing of it is the script's wish.
fn all<T: Send + 'static>(told: Vec<Result<T, Status>>) -> Response<Answers<T>> {
    Response::new(Box::pin(stream::iter(told)))
}

macro_rules! scripted {
    ($($name:ident $request:ident $response:ident;)*) => {
        #[tonic::async_trait]
        impl Research for Script {
            type AddDocumentsStream = Answers<AddDocumentsResponse>;

            /// Each document is answered by the script; an error ends the stream.
            async fn add_documents(
                &self,
                request: Request<Streaming<AddDocumentsRequest>>,
            ) -> Result<Response<Self::AddDocumentsStream>, Status> {
                let script = self.clone();
                let answers = request.into_inner().map(move |document| {
                    script.answer::<AddDocumentsRequest, AddDocumentsResponse>(Request::new(document?))
                });
                Ok(Response::new(Box::pin(answers)))
            }

            type ExportStream = Answers<ExportResponse>;

            async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
                self.answer(request).map(all)
            }

            type AddUrlsStream = Answers<AddDocumentsResponse>;

            async fn add_urls(&self, request: Request<AddUrlsRequest>) -> Result<Response<Self::AddUrlsStream>, Status> {
                self.answer(request).map(all)
            }

            type MigrateStream = Answers<MigrateResponse>;

            async fn migrate(&self, request: Request<MigrateRequest>) -> Result<Response<Self::MigrateStream>, Status> {
                self.answer(request).map(all)
            }

            type AskStream = Answers<AskResponse>;

            async fn ask(&self, request: Request<AskRequest>) -> Result<Response<Self::AskStream>, Status> {
                self.answer(request).map(all)
            }

            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                self.answer(request).map(Response::new)
            })*
        }
    };
}

scripted! {
    create_collection CreateCollectionRequest CreateCollectionResponse;
    list_collections ListCollectionsRequest ListCollectionsResponse;
    delete_collection DeleteCollectionRequest DeleteCollectionResponse;
    list_documents ListDocumentsRequest ListDocumentsResponse;
    get_document GetDocumentRequest GetDocumentResponse;
    remove_documents RemoveDocumentsRequest RemoveDocumentsResponse;
    watch_folder WatchFolderRequest WatchFolderResponse;
    list_folders ListFoldersRequest ListFoldersResponse;
    unwatch_folder UnwatchFolderRequest UnwatchFolderResponse;
    search SearchRequest SearchResponse;
    start_loop StartLoopRequest StartLoopResponse;
    clusters ClustersRequest ClustersResponse;
    status StatusRequest StatusResponse;
}
