//! Calls of the knowledge base from nodes that keep no documents to nodes that do, over `node.v1`.

use std::sync::{Arc, Weak};

use api::trace;
use base::report::ResearchReport;
use base::{BoxFuture, Code, Fault, NodeId, Result};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use proto::node::call_knowledge_response::Part;
use proto::node::{CallKnowledgeRequest, CallKnowledgeResponse, KnowledgeReply};
use research::Knowledge;
use research::knowledge::Said;
use research::knowledge::call::{Call, Carrier, Elsewhere, Listener, Progress, Reply};
use tokio::sync::mpsc;

use super::{alive, keeps_none};
use crate::core::Core;
use crate::features::Feature;
use crate::peers::{fault_of, was_lost};

/// What may wait to be told; who does not read holds the call up.
const WAITING: usize = 16;

/// The knowledge base of the house: this node's own part of it, or that of others where this one keeps no documents.
pub fn knowledge(core: &Arc<Core>) -> Result<Arc<dyn Knowledge>> {
    match core.library() {
        Ok(library) => Ok(library.clone()),
        Err(fault) if keepers(core).is_empty() => Err(fault),
        Err(_) => Ok(Arc::new(Elsewhere(Others(Arc::downgrade(core))))),
    }
}

/// Nodes that keep documents and understand such calls, the best one to ask first.
fn keepers(core: &Core) -> Vec<NodeId> {
    let Ok(view) = core.cluster().map(|cluster| cluster.view()) else { return Vec::new() };
    let routable = view.nodes.iter().filter(|node| node.member.node != view.me && node.state.is_routable());
    let told = routable.filter_map(|node| {
        let report = node.report.as_deref().filter(|report| Feature::Knowledge.is_known(report))?;
        Some((node.member.node.clone(), report.research?))
    });
    in_order(told.collect())
}

/// Who has seen all records and indexed most of them is asked first; among equals anybody, so that the work spreads.
fn in_order(mut told: Vec<(NodeId, ResearchReport)>) -> Vec<NodeId> {
    fastrand::shuffle(&mut told);
    told.sort_by_key(|(_, report)| (!report.seen_records, report.waiting));
    told.into_iter().map(|(node, _)| node).collect()
}

/// The other nodes.
struct Others(Weak<Core>);

impl Carrier for Others {
    /// A node that cannot be reached costs a call that may be repeated nothing but time, as long as another one is there.
    fn carry(&self, call: Call, files: Vec<Bytes>, listener: Listener) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            let call_json = serde_json::to_vec(&call)
                .map_err(|error| Fault::internal("could not write a call of the knowledge base").because(error))?;
            let traceparent = trace::parent().to_string();
            let request = CallKnowledgeRequest { call_json: call_json.into(), files, traceparent };
            let mut last = keeps_none(&core);
            for node in keepers(&core) {
                let mut is_told = false;
                match ask(&core, &node, request.clone(), &listener, &mut is_told).await {
                    Err(fault) if is_about_the_way(&fault) => last = fault,
                    answered => return answered,
                }
                if is_told {
                    return Err(last.hint("ask again; another node answers"));
                }
                if !call.is_repeatable() {
                    return Err(last.hint("look whether it was done before you do it again"));
                }
            }
            Err(last)
        })
    }

    fn node(&self) -> String {
        self.0.upgrade().map(|core| core.node.to_string()).unwrap_or_default()
    }
}

/// Whether a fault says nothing of the call, only that the node which had it went away.
fn is_about_the_way(fault: &Fault) -> bool {
    matches!(fault.code, Code::Unreachable | Code::EngineCut)
}

/// One attempt. `is_told` becomes true with the first piece of an answer's text, which cannot be taken back.
async fn ask(
    core: &Core,
    node: &NodeId,
    request: CallKnowledgeRequest,
    listener: &Listener,
    is_told: &mut bool,
) -> Result<Reply> {
    let (mut client, life) = core.peers.client_and_life(core, node)?;
    let answered = async {
        let called = client.call_knowledge(request).await.map_err(|status| fault_of(node, &status))?;
        let mut parts = called.into_inner();
        let mut answer = None;
        // What is told may come behind the reply, and is heard before it is given.
        while let Some(part) = parts.message().await.map_err(|status| fault_of(node, &status))? {
            match part.part {
                Some(Part::ProgressJson(json)) => {
                    // A newer release may tell more than is understood here; only the reply is owed.
                    let Ok(progress) = serde_json::from_slice(&json) else { continue };
                    *is_told |= matches!(progress, Progress::Said(Said::Delta(_)));
                    listener.hear(progress).await;
                }
                Some(Part::Reply(KnowledgeReply { json, file })) => answer = Some(Reply { json, file }),
                None => {}
            }
        }
        answer.ok_or_else(|| Fault::new(Code::Unreachable, format!("node `{node}` stopped before it had answered")))
    };
    tokio::select! {
        answered = answered => answered,
        () = life.cancelled() => Err(was_lost(node)),
    }
}

/// Answers a call of another node by what this one keeps. All of it runs in the stream, so that dropping that ends it.
pub fn answer_here(
    core: &Arc<Core>,
    request: CallKnowledgeRequest,
) -> Result<impl Stream<Item = Result<CallKnowledgeResponse>> + Send + use<>> {
    let library = core.library()?.clone();
    let CallKnowledgeRequest { call_json, files, traceparent } = request;
    let call: Call = serde_json::from_slice(&call_json).map_err(|error| {
        Fault::invalid("this node does not understand the call of another one")
            .because(error)
            .hint("run the same release of tmd on both nodes")
    })?;
    let (told, mut heard) = mpsc::channel(WAITING);
    let work = trace::within(traceparent.into(), async move { call.serve(&*library, files, &told).await });
    let told = stream::poll_fn(move |cx| heard.poll_recv(cx)).map(|progress| {
        let json = serde_json::to_vec(&progress)
            .map_err(|error| Fault::internal("could not write how far a call is").because(error))?;
        Ok(Part::ProgressJson(json.into()))
    });
    let reply = stream::once(work).map(|reply| {
        let Reply { json, file } = reply?;
        Ok(Part::Reply(KnowledgeReply { json, file }))
    });
    let parts = stream::select(told, Box::pin(reply));
    Ok(parts.map(|part: Result<Part>| part.map(|part| CallKnowledgeResponse { part: Some(part) })))
}
