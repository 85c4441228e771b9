//! The other nodes that keep documents, over `node.v1`.

use std::sync::Weak;
use std::time::Duration;

use base::report::ResearchReport;
use base::{BoxFuture, Fault, NodeId, Result};
use bytes::Bytes;
use proto::node::{FetchFileRequest, FetchVectorsRequest, KeepFileRequest};
use research::models::Embedder;
use research::neighbours::{Neighbours, VectorsOf};
use research::{BlobId, ChunkHash};

use super::{alive, keepers};
use crate::core::Core;
use crate::peers::within;

/// A file may be large and the house's network slow.
const FILE_WITHIN: Duration = Duration::from_secs(30);
/// Bound on a question for vectors.
const VECTORS_WITHIN: Duration = Duration::from_secs(10);

/// The other nodes that keep documents.
pub struct HouseNeighbours(pub Weak<Core>);

impl HouseNeighbours {
    /// Whether one of them can be asked now.
    pub fn are_at_hand(&self) -> Result<bool> {
        let core = alive(&self.0)?;
        Ok(!others(&core)?.reachable.is_empty())
    }
}

impl Neighbours for HouseNeighbours {
    fn keep(&self, files: Vec<Bytes>) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            let others = others(&core)?;
            let mut last = None;
            for node in &others.reachable {
                match keep_at(&core, node, &files).await {
                    Ok(()) => return Ok(true),
                    Err(fault) => last = Some(fault),
                }
            }
            match last {
                Some(fault) => Err(fault),
                None if others.known => Err(Fault::unavailable("no other node that keeps documents can be reached")),
                None => Ok(false),
            }
        })
    }

    fn fetch(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            let mut last = None;
            for node in others(&core)?.reachable {
                match fetch_from(&core, &node, id).await {
                    Ok(Some(file)) if BlobId::of(&file) == id => return Ok(Some(file)),
                    Ok(Some(_)) => tracing::warn!(%node, blob = %id, "a node sent another file than it was asked for"),
                    Ok(None) => {}
                    Err(fault) => last = Some(fault),
                }
            }
            last.map_or(Ok(None), Err)
        })
    }

    fn holders(&self) -> Vec<(String, String, ResearchReport)> {
        let Some(view) = self.0.upgrade().and_then(|core| core.cluster().map(|cluster| cluster.view()).ok()) else {
            return Vec::new();
        };
        let others = view.nodes.iter().filter(|node| node.member.node != view.me);
        let told = others.filter_map(|node| Some((node, node.report.as_ref()?.research?)));
        told.map(|(node, report)| (node.member.node.to_string(), node.state.to_string(), report)).collect()
    }

    fn names(&self) -> Vec<String> {
        let Some(view) = self.0.upgrade().and_then(|core| core.cluster().map(|cluster| cluster.view()).ok()) else {
            return Vec::new();
        };
        let keeps = |node: &&cluster::NodeView| {
            node.member.node != view.me && node.report.as_ref().is_none_or(|report| report.research.is_some())
        };
        view.nodes.iter().filter(keeps).map(|node| node.member.node.to_string()).collect()
    }

    fn vectors<'a>(&'a self, by: &'a Embedder, of: Vec<ChunkHash>) -> BoxFuture<'a, Result<VectorsOf>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            let (mut missing, mut found) = (of, Vec::new());
            for node in others(&core)?.reachable {
                if missing.is_empty() {
                    break;
                }
                match vectors_of(&core, &node, by, &missing).await {
                    Ok(vectors) => {
                        missing.retain(|hash| !vectors.iter().any(|(found, _)| found == hash));
                        found.extend(vectors);
                    }
                    Err(fault) => tracing::debug!(%node, error = %fault, "could not ask for vectors"),
                }
            }
            Ok(found)
        })
    }
}

/// Other nodes that keep documents.
struct Others {
    /// Whether there is any, reached or not.
    known: bool,
    /// Those that can be reached, beginning anywhere, so that copies spread over the house.
    reachable: Vec<NodeId>,
}

fn others(core: &Core) -> Result<Others> {
    let view = core.cluster()?.view();
    let mut others = view.nodes.iter().filter(|node| node.member.node != view.me);
    let known = others.any(|node| node.report.as_ref().is_none_or(|report| report.research.is_some()));
    let mut reachable: Vec<NodeId> = keepers(&view).map(|(node, ..)| node.member.node.clone()).collect();
    fastrand::shuffle(&mut reachable);
    Ok(Others { known, reachable })
}

async fn keep_at(core: &Core, node: &NodeId, files: &[Bytes]) -> Result<()> {
    let mut client = core.peers.client_of(core, node)?;
    for file in files {
        let kept = client.keep_file(KeepFileRequest { file: file.clone() });
        within(FILE_WITHIN, node, kept).await?;
    }
    Ok(())
}

async fn fetch_from(core: &Core, node: &NodeId, id: BlobId) -> Result<Option<Bytes>> {
    let mut client = core.peers.client_of(core, node)?;
    let sha256 = Bytes::copy_from_slice(&id.0);
    Ok(within(FILE_WITHIN, node, client.fetch_file(FetchFileRequest { sha256 })).await?.file)
}

async fn vectors_of(core: &Core, node: &NodeId, by: &Embedder, of: &[ChunkHash]) -> Result<VectorsOf> {
    let mut client = core.peers.client_of(core, node)?;
    let chunks = of.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect();
    let request = FetchVectorsRequest { model: by.model.clone(), dims: by.dims, chunks };
    let response = within(VECTORS_WITHIN, node, client.fetch_vectors(request)).await?;
    response.vectors.into_iter().map(|vector| read_vector(node, by, &vector)).collect()
}

fn read_vector(node: &NodeId, by: &Embedder, vector: &proto::node::Vector) -> Result<(ChunkHash, Vec<f32>)> {
    let wrong = || Fault::invalid(format!("node `{node}` sent a vector that is none"));
    let hash = ChunkHash(vector.chunk.as_ref().try_into().map_err(|_| wrong())?);
    let values: Vec<f32> = vector.values.chunks_exact(4).filter_map(read_f32).collect();
    if values.len() != by.dims as usize || vector.values.len() != 4 * values.len() {
        return Err(wrong());
    }
    Ok((hash, values))
}

fn read_f32(bytes: &[u8]) -> Option<f32> {
    bytes.try_into().ok().map(f32::from_le_bytes)
}
