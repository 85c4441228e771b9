//! Qdrant as the server of vectors, over its gRPC: one collection with a multivector `dense`, which has the vectors of a
//! chunk's parts, and a sparse vector `sparse`, whose stems the server weighs by how rare they are.
//!
//! Only the messages that are used are spoken (`proto/qdrant`); Qdrant's own client dials by itself and brings a TLS
//! provider that the house does not allow. The channel is made by the node, which is the only one that dials.

mod wire;

use std::time::Duration;

use base::{BoxFuture, Code, Fault, Result};
use proto::qdrant as q;
use proto::qdrant::collections_client::CollectionsClient;
use proto::qdrant::points_client::PointsClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::outside::{Near, Next, Placed, Point, PointId, Server, Wanted};
use wire::{DOCUMENT, HOUSE};

/// A search waits no longer; the node's own index answers then.
const SEARCH: Duration = Duration::from_secs(2);
/// No batch of points takes longer on a machine that works.
const WRITE: Duration = Duration::from_secs(30);
/// Making or deleting a collection.
const MAKE: Duration = Duration::from_secs(60);
/// Points of one page: some 200 bytes each.
const PAGE: u32 = 2_000;

/// A Qdrant.
pub struct Qdrant {
    address: String,
    prefix: String,
    channel: Channel,
    key: Option<MetadataValue<Ascii>>,
}

impl Qdrant {
    /// The one behind `channel`, which is at `address` for people; `key` is its API key.
    pub fn new(channel: Channel, address: String, prefix: String, key: Option<&str>) -> Result<Self> {
        let read = |key: &str| {
            key.trim().parse::<MetadataValue<Ascii>>().map_err(|error| {
                Fault::invalid("the API key of Qdrant has characters that no header may have")
                    .hint("look into the file that `research.qdrant.api_key_file` names")
                    .because(error)
            })
        };
        let mut key = key.map(read).transpose()?;
        if let Some(key) = &mut key {
            key.set_sensitive(true);
        }
        Ok(Self { address, prefix, channel, key })
    }

    fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone())
    }

    fn all(&self) -> CollectionsClient<Channel> {
        CollectionsClient::new(self.channel.clone())
    }

    fn request<T>(&self, message: T, within: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(within);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("api-key", key.clone());
        }
        request
    }

    /// The answer, or a fault that says who did not give it. The deadline holds here too: a frozen server keeps none.
    async fn answer<T>(&self, within: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
        match tokio::time::timeout(within, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.fault(&status)),
            Err(_) => Err(Fault::unavailable(format!("Qdrant at {} did not answer in {within:?}", self.address))
                .hint("look whether it works; searches go by the nodes' own indexes meanwhile")),
        }
    }

    fn fault(&self, status: &Status) -> Fault {
        let (code, hint) = match status.code() {
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
                (Code::Unauthenticated, "put its API key into the file that `research.qdrant.api_key_file` names")
            }
            tonic::Code::NotFound => (Code::NotFound, "it is filled anew by the node that writes; see its log"),
            tonic::Code::InvalidArgument | tonic::Code::Unimplemented => {
                (Code::NotSupported, "use a Qdrant of release 1.16 or later")
            }
            _ => (Code::Unavailable, "look whether it works; searches go by the nodes' own indexes meanwhile"),
        };
        let message: String = status.message().chars().take(300).collect();
        Fault::new(code, format!("Qdrant at {} refused: {message}", self.address)).hint(hint)
    }
}

impl Server for Qdrant {
    fn address(&self) -> &str {
        &self.address
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn make<'a>(&'a self, collection: &'a str, dims: Option<u32>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let exists = q::CollectionExistsRequest { collection_name: collection.to_owned() };
            let exists = self.answer(MAKE, self.all().collection_exists(self.request(exists, MAKE))).await?;
            if exists.result.is_some_and(|result| result.exists) {
                return Ok(());
            }
            let create = wire::collection(collection, dims);
            self.answer(MAKE, self.all().create(self.request(create, MAKE))).await?;
            for field in [HOUSE, DOCUMENT] {
                let index = q::CreateFieldIndexCollection {
                    collection_name: collection.to_owned(),
                    wait: Some(true),
                    field_name: field.to_owned(),
                    field_type: Some(q::FieldType::Keyword as i32),
                };
                self.answer(MAKE, self.points().create_field_index(self.request(index, MAKE))).await?;
            }
            Ok(())
        })
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let request = self.request(q::ListCollectionsRequest {}, MAKE);
            let listed = self.answer(MAKE, self.all().list(request)).await?;
            let names = listed.collections.into_iter().map(|one| one.name);
            Ok(names.filter(|name| wire::is_ours(name, &self.prefix)).collect())
        })
    }

    fn delete<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let request = self.request(q::DeleteCollection { collection_name: collection.to_owned() }, MAKE);
            self.answer(MAKE, self.all().delete(request)).await.map(drop)
        })
    }

    fn put<'a>(&'a self, collection: &'a str, version: u64, points: Vec<Point>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let request = self.request(wire::upsert(collection, version, points), WRITE);
            self.answer(WRITE, self.points().upsert(request)).await.map(drop)
        })
    }

    fn take<'a>(&'a self, collection: &'a str, version: u64, ids: Vec<PointId>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let request = self.request(wire::deletion(collection, version, &ids), WRITE);
            self.answer(WRITE, self.points().delete(request)).await.map(drop)
        })
    }

    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let count = q::CountPoints { collection_name: collection.to_owned(), exact: Some(true) };
            let counted = self.answer(WRITE, self.points().count(self.request(count, WRITE))).await?;
            Ok(counted.result.map_or(0, |result| result.count))
        })
    }

    fn page<'a>(&'a self, collection: &'a str, from: Next) -> BoxFuture<'a, Result<(Vec<Placed>, Next)>> {
        Box::pin(async move {
            let scroll = self.request(wire::scroll(collection, from, PAGE), WRITE);
            let found = self.answer(WRITE, self.points().scroll(scroll)).await?;
            let next = found.next_page_offset.map(|id| wire::id_from_wire(&id)).transpose()?;
            let placed = found.result.into_iter().map(|point| wire::placed(point.id, &point.payload));
            Ok((placed.collect::<Result<_>>()?, next))
        })
    }

    fn find<'a>(&'a self, collection: &'a str, wanted: &'a Wanted) -> BoxFuture<'a, Result<Near>> {
        Box::pin(async move {
            let (batch, by_words) = wire::query(collection, wanted);
            if batch.query_points.is_empty() {
                return Ok(Near::default());
            }
            let found = self.answer(SEARCH, self.points().query_batch(self.request(batch, SEARCH))).await?;
            let mut lists = found.result.into_iter().map(|list| {
                list.result.into_iter().map(|point| wire::placed(point.id, &point.payload)).collect::<Result<Vec<_>>>()
            });
            let mut next = |asked: bool| if asked { lists.next().transpose() } else { Ok(None) };
            let words = next(by_words)?.unwrap_or_default();
            Ok(Near { words, vectors: next(wanted.vector.is_some())?.unwrap_or_default() })
        })
    }
}
