//! Calls of the knowledge base from nodes that keep no documents to nodes that do, over `node.v1`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::trace;
use base::config::Mode;
use base::report::ResearchReport;
use base::{BoxFuture, Code, Fault, NodeId, Result};
use bytes::Bytes;
use cluster::ClusterView;
use futures_util::stream::{self, Stream, StreamExt};
use proto::node::call_knowledge_response::Part;
use proto::node::{CallKnowledgeRequest, CallKnowledgeResponse, KnowledgeReply};
use research::Knowledge;
use research::knowledge::Said;
use research::knowledge::call::{Call, Carrier, Elsewhere, Listener, Progress, Reply};
use tokio::sync::mpsc;
use tonic::Status;

use super::{alive, keepers, keeps_none};
use crate::core::Core;
use crate::features::Feature;
use crate::peers::{fault_of, was_lost};

/// What may wait to be told; who does not read holds the call up.
const WAITING: usize = 16;
/// A node that says nothing for longer has forgotten the call.
const SILENCE: Duration = Duration::from_secs(600);
/// Who asks a node that has just started waits so long after its start until others are heard.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// The knowledge base of the house: this node's own part of it, or that of others where this one keeps no documents.
pub fn knowledge(core: &Arc<Core>) -> Result<Arc<dyn Knowledge>> {
    if let Some(library) = core.own_library() {
        return Ok(library.clone());
    }
    if to_be_asked(core).is_empty() && core.started.elapsed() >= HEARD_WITHIN {
        return Err(keeps_none(core));
    }
    Ok(Arc::new(Elsewhere(Others(Arc::downgrade(core)))))
}

/// Nodes that keep documents and understand such calls, in the order in which this one asks them.
fn to_be_asked(core: &Core) -> Vec<NodeId> {
    core.cluster().map_or_else(|_| Vec::new(), |cluster| in_order(&core.node, able(&cluster.view())))
}

fn able(view: &ClusterView) -> Vec<(NodeId, ResearchReport)> {
    let able = keepers(view).filter(|(_, report, _)| Feature::Knowledge.is_known(report));
    able.map(|(node, _, research)| (node.member.node.clone(), research)).collect()
}

/// Waits until somebody can be asked, while this node has only just started.
async fn until_heard(core: &Core) {
    let Ok(cluster) = core.cluster() else { return };
    let mut views = cluster.subscribe();
    let heard = views.wait_for(|view| !able(view).is_empty());
    let _ = tokio::time::timeout(HEARD_WITHIN.saturating_sub(core.started.elapsed()), heard).await;
}

/// Always the same one first, so that whoever adds a document finds it with the next call; other nodes begin elsewhere.
fn in_order(own: &NodeId, mut told: Vec<(NodeId, ResearchReport)>) -> Vec<NodeId> {
    let place = |node: &NodeId| {
        let mut hasher = DefaultHasher::new();
        (own.as_str(), node.as_str()).hash(&mut hasher);
        hasher.finish()
    };
    told.sort_by_key(|(node, report)| (!report.seen_records, place(node)));
    told.into_iter().map(|(node, _)| node).collect()
}

/// The other nodes.
struct Others(Weak<Core>);

impl Carrier for Others {
    fn carry(&self, call: Call, files: Vec<Bytes>, listener: Listener) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            until_heard(&core).await;
            let call_json = serde_json::to_vec(&call)
                .map_err(|error| Fault::internal("could not write a call of the knowledge base").because(error))?;
            let request = CallKnowledgeRequest {
                call_json: call_json.into(),
                files,
                traceparent: trace::parent().to_string(),
                local_only: core.mode.get().mode == Mode::LocalOnly,
            };
            let mut last = None;
            for node in to_be_asked(&core) {
                let answered = attempt(&core, &node, request.clone(), &listener).await;
                match answered.map_err(|failed| failed.next(call.is_repeatable())) {
                    Ok(reply) => return Ok(reply),
                    Err(ControlFlow::Break(fault)) => return Err(fault),
                    Err(ControlFlow::Continue(fault)) => last = Some(fault),
                }
            }
            Err(last.unwrap_or_else(|| keeps_none(&core)))
        })
    }

    fn node(&self) -> String {
        self.0.upgrade().map(|core| core.node.to_string()).unwrap_or_default()
    }
}

/// Why a node gave no reply.
#[derive(Debug)]
enum Failed {
    /// The call itself did.
    Itself(Fault),
    /// Nothing of it was begun.
    NotTaken(Fault),
    /// The node went away with it.
    Lost(Fault),
    /// It did so behind the first pieces of an answer, of which no second one is told.
    LostHalfway(Fault),
}

impl Failed {
    /// Whether the next node is asked: a call that may have been begun is made again only where that changes nothing.
    fn next(self, is_repeatable: bool) -> ControlFlow<Fault, Fault> {
        match self {
            Self::Itself(fault) => ControlFlow::Break(fault),
            Self::NotTaken(fault) => ControlFlow::Continue(fault),
            Self::LostHalfway(fault) => ControlFlow::Break(fault.hint("ask again")),
            Self::Lost(fault) if is_repeatable => {
                ControlFlow::Continue(fault.hint("try again; `tmctl nodes` shows which nodes are on"))
            }
            Self::Lost(fault) => ControlFlow::Break(fault.hint("look whether it was done before you do it again")),
        }
    }
}

async fn attempt(
    core: &Core,
    node: &NodeId,
    request: CallKnowledgeRequest,
    listener: &Listener,
) -> Result<Reply, Failed> {
    let (mut client, life) = core.peers.client_and_life(core, node).map_err(Failed::NotTaken)?;
    let mut is_told = false;
    let answered = async {
        let called = in_time(node, client.call_knowledge(request)).await?;
        let mut parts = called.map_err(|status| not_begun(node, &status))?.into_inner();
        let mut answer = None;
        // What is told may come behind the reply, and is heard before it is given.
        while let Some(part) = in_time(node, parts.message()).await?.map_err(|status| broken(node, &status))? {
            match part.part {
                Some(Part::ProgressJson(json)) => {
                    // A newer release may tell more than is understood here; only the reply is owed.
                    let Ok(progress) = serde_json::from_slice(&json) else { continue };
                    is_told |= matches!(progress, Progress::Said(Said::Delta(_)));
                    listener.hear(progress).await;
                }
                Some(Part::Reply(KnowledgeReply { json, file })) => answer = Some(Reply { json, file }),
                None => {}
            }
        }
        let stopped = || Fault::new(Code::Unreachable, format!("node `{node}` stopped before it had answered"));
        answer.ok_or_else(|| Failed::Lost(stopped()))
    };
    let answered = tokio::select! {
        answered = answered => answered,
        () = life.cancelled() => Err(Failed::Lost(was_lost(node))),
    };
    answered.map_err(|failed| match failed {
        Failed::Lost(fault) if is_told => Failed::LostHalfway(fault),
        failed => failed,
    })
}

async fn in_time<T>(node: &NodeId, said: impl Future<Output = T>) -> Result<T, Failed> {
    tokio::time::timeout(SILENCE, said).await.map_err(|_| {
        let within = base::units::format_duration(SILENCE);
        Failed::Lost(Fault::new(Code::DeadlineExceeded, format!("node `{node}` said nothing for {within}")))
    })
}

/// A status in place of an answer's beginning.
fn not_begun(node: &NodeId, status: &Status) -> Failed {
    match () {
        () if proto::is_told(status) => Failed::NotTaken(proto::from_status(status)),
        () if net::channel::cause(status).is_some() => Failed::NotTaken(fault_of(node, status)),
        () => Failed::Lost(fault_of(node, status)),
    }
}

/// A status after it.
fn broken(node: &NodeId, status: &Status) -> Failed {
    match proto::is_told(status) {
        true => Failed::Itself(proto::from_status(status)),
        false => Failed::Lost(fault_of(node, status)),
    }
}

/// Answers a call of another node by what this one keeps. All of it runs in the stream, so that dropping that ends it. A
/// node that stops takes no new one, and gives those that run as long as asks have.
pub fn answer_here(
    core: &Arc<Core>,
    request: CallKnowledgeRequest,
) -> Result<impl Stream<Item = Result<CallKnowledgeResponse>> + Send + use<>> {
    let library = core.library()?.clone();
    let CallKnowledgeRequest { call_json, files, traceparent, local_only } = request;
    if core.stop.is_cancelled() {
        return Err(Fault::unavailable(format!("node `{}` stops", core.node)).hint("ask another node"));
    }
    let mode = core.mode.get().mode;
    if local_only && mode != Mode::LocalOnly {
        let message = format!(
            "node `{}` may send out of the house what it is asked (its mode is {mode}), and the asking node is local-only",
            core.node
        );
        return Err(Fault::new(Code::PermissionDenied, message)
            .hint(format!("ask node `{}` itself, or set it to local-only as well", core.node)));
    }
    let call: Call = serde_json::from_slice(&call_json).map_err(|error| {
        Fault::invalid(format!("node `{}` does not understand the call", core.node))
            .because(error)
            .hint("run the same release of tmd on both nodes")
    })?;
    let (told, mut heard) = mpsc::channel(WAITING);
    let served = async move { call.serve(&*library, files, &told).await };
    let work = core.calls.track_future(trace::within(traceparent.into(), served));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names.iter().map(|name| NodeId::from(*name)).collect()
    }

    fn gone() -> Fault {
        Fault::new(Code::Unreachable, "gone")
    }

    /// The hint of the fault that ends the search for a node; `None` where the next one is asked.
    fn ends_with(failed: Failed, is_repeatable: bool) -> Option<String> {
        match failed.next(is_repeatable) {
            ControlFlow::Break(fault) => Some(fault.hint.unwrap_or_default()),
            ControlFlow::Continue(_) => None,
        }
    }

    #[test]
    fn a_call_that_was_not_begun_goes_to_the_next_node_whatever_it_is() {
        assert_eq!(ends_with(Failed::NotTaken(gone()), false), None);
        assert_eq!(ends_with(Failed::NotTaken(gone()), true), None);
    }

    #[test]
    fn a_call_that_went_lost_is_made_again_only_where_that_changes_nothing() {
        assert_eq!(ends_with(Failed::Lost(gone()), true), None);
        assert!(ends_with(Failed::Lost(gone()), false).unwrap().contains("look whether it was done"));
        for is_repeatable in [false, true] {
            assert!(ends_with(Failed::LostHalfway(gone()), is_repeatable).unwrap().contains("ask again"));
        }
    }

    #[test]
    fn a_fault_of_the_call_itself_is_its_answer() {
        let broken = Failed::Itself(Fault::new(Code::EngineCut, "an engine broke"));
        let ControlFlow::Break(fault) = broken.next(true) else { panic!("made again") };
        assert_eq!((fault.code, fault.hint), (Code::EngineCut, None));
    }

    #[test]
    fn each_node_begins_with_the_same_keeper_each_time_and_not_all_with_the_same() {
        let seen = ResearchReport { seen_records: true, ..ResearchReport::default() };
        let told = || nodes(&["x", "y", "z"]).into_iter().map(|node| (node, seen)).collect::<Vec<_>>();
        let own: Vec<NodeId> = (0..32).map(|at| NodeId::from(format!("gateway-{at}").as_str())).collect();
        let first = |own: &NodeId| in_order(own, told())[0].clone();
        assert!(own.iter().all(|own| first(own) == first(own)));
        let firsts: std::collections::BTreeSet<NodeId> = own.iter().map(first).collect();
        assert_eq!(firsts.len(), 3);
        let mut late = told();
        late[0].1 = ResearchReport { waiting: 7, ..ResearchReport::default() };
        assert!(own.iter().all(|own| in_order(own, late.clone())[2].as_str() == "x"), "it has not seen all records");
    }
}
