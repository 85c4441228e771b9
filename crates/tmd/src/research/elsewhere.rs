//! Calls of the knowledge base from nodes that keep no documents to nodes that do, over `node.v1`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::trace;
use base::config::Mode;
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
/// A node that says nothing for longer has forgotten the call.
const SILENCE: Duration = Duration::from_secs(600);
/// Who asks a node that has just started waits so long after its start until others are heard.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether they are.
const POLL: Duration = Duration::from_millis(50);

/// The knowledge base of the house: this node's own part of it, or that of others where this one keeps no documents.
pub fn knowledge(core: &Arc<Core>) -> Result<Arc<dyn Knowledge>> {
    match core.library() {
        Ok(library) => Ok(library.clone()),
        Err(fault) if keepers(core).is_empty() && !has_just_started(core) => Err(fault),
        Err(_) => Ok(Arc::new(Elsewhere(Others(Arc::downgrade(core))))),
    }
}

fn has_just_started(core: &Core) -> bool {
    core.started.elapsed() < HEARD_WITHIN
}

/// Nodes that keep documents and understand such calls, in the order in which this one asks them.
fn keepers(core: &Core) -> Vec<NodeId> {
    let Ok(view) = core.cluster().map(|cluster| cluster.view()) else { return Vec::new() };
    let routable = view.nodes.iter().filter(|node| node.member.node != view.me && node.state.is_routable());
    let told = routable.filter_map(|node| {
        let report = node.report.as_deref().filter(|report| Feature::Knowledge.is_known(report))?;
        Some((node.member.node.clone(), report.research?))
    });
    in_order(&core.node, told.collect())
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
            while keepers(&core).is_empty() && has_just_started(&core) {
                tokio::time::sleep(POLL).await;
            }
            let call_json = serde_json::to_vec(&call)
                .map_err(|error| Fault::internal("could not write a call of the knowledge base").because(error))?;
            let request = CallKnowledgeRequest {
                call_json: call_json.into(),
                files,
                traceparent: trace::parent().to_string(),
                local_only: core.mode.get().mode == Mode::LocalOnly,
            };
            let mut last = keeps_none(&core);
            for node in keepers(&core) {
                match after(attempt(&core, &node, request.clone(), &listener).await, call.is_repeatable()) {
                    ControlFlow::Break(answer) => return answer,
                    ControlFlow::Continue(fault) => last = fault,
                }
            }
            Err(last)
        })
    }

    fn node(&self) -> String {
        self.0.upgrade().map(|core| core.node.to_string()).unwrap_or_default()
    }
}

/// What became of a call at one node.
#[derive(Debug)]
enum Attempt {
    /// It was carried out, or ended with a fault of its own.
    Answered(Result<Reply>),
    /// Nothing of it was begun.
    NotTaken(Fault),
    /// The node went away with it. Of an answer that was begun to be told no second one is told behind it.
    Lost { fault: Fault, is_told: bool },
}

/// Whether the next node is asked: a call that may have been begun is made again only where that changes nothing.
fn after(attempt: Attempt, is_repeatable: bool) -> ControlFlow<Result<Reply>, Fault> {
    match attempt {
        Attempt::Answered(answer) => ControlFlow::Break(answer),
        Attempt::NotTaken(fault) => ControlFlow::Continue(fault),
        Attempt::Lost { fault, is_told: true } => {
            ControlFlow::Break(Err(fault.hint("ask again; another node answers")))
        }
        Attempt::Lost { fault, .. } if is_repeatable => {
            ControlFlow::Continue(fault.hint("try again; `tmctl nodes` shows which nodes are on"))
        }
        Attempt::Lost { fault, .. } => {
            ControlFlow::Break(Err(fault.hint("look whether it was done before you do it again")))
        }
    }
}

async fn attempt(core: &Core, node: &NodeId, request: CallKnowledgeRequest, listener: &Listener) -> Attempt {
    let (mut client, life) = match core.peers.client_and_life(core, node) {
        Ok(client) => client,
        Err(fault) => return Attempt::NotTaken(fault),
    };
    let mut is_told = false;
    let answered = async {
        let silent = || {
            let within = base::units::format_duration(SILENCE);
            Fault::new(Code::DeadlineExceeded, format!("node `{node}` said nothing for {within}"))
        };
        let called = tokio::time::timeout(SILENCE, client.call_knowledge(request)).await.map_err(|_| silent());
        let mut parts = match called {
            Ok(Ok(called)) => called.into_inner(),
            Ok(Err(status)) if proto::is_told(&status) => return Attempt::NotTaken(proto::from_status(&status)),
            Ok(Err(status)) if net::channel::cause(&status).is_some() => {
                return Attempt::NotTaken(fault_of(node, &status));
            }
            Ok(Err(status)) => return Attempt::Lost { fault: fault_of(node, &status), is_told },
            Err(fault) => return Attempt::Lost { fault, is_told },
        };
        let mut answer = None;
        // What is told may come behind the reply, and is heard before it is given.
        loop {
            let part = match tokio::time::timeout(SILENCE, parts.message()).await {
                Ok(Ok(Some(message))) => message.part,
                Ok(Ok(None)) => break,
                Ok(Err(status)) if proto::is_told(&status) => {
                    return Attempt::Answered(Err(proto::from_status(&status)));
                }
                Ok(Err(status)) => return Attempt::Lost { fault: fault_of(node, &status), is_told },
                Err(_) => return Attempt::Lost { fault: silent(), is_told },
            };
            match part {
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
        answer.map_or_else(|| Attempt::Lost { fault: stopped(), is_told }, |reply| Attempt::Answered(Ok(reply)))
    };
    let answered = tokio::select! {
        answered = answered => Some(answered),
        () = life.cancelled() => None,
    };
    answered.unwrap_or_else(|| Attempt::Lost { fault: was_lost(node), is_told })
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
    let running = Running::begin(core.clone());
    let work = trace::within(traceparent.into(), async move {
        let _running = running;
        call.serve(&*library, files, &told).await
    });
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

/// A call that this node answers for another one; a node that stops waits for it.
struct Running(Arc<Core>);

impl Running {
    fn begin(core: Arc<Core>) -> Self {
        core.calls_running.fetch_add(1, Ordering::Relaxed);
        Self(core)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls_running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names.iter().map(|name| NodeId::from(*name)).collect()
    }

    fn lost(is_told: bool) -> Attempt {
        Attempt::Lost { fault: Fault::new(Code::Unreachable, "gone"), is_told }
    }

    fn is_asked_on(attempt: Attempt, is_repeatable: bool) -> bool {
        after(attempt, is_repeatable).is_continue()
    }

    #[test]
    fn a_call_that_was_not_begun_goes_to_the_next_node_whatever_it_is() {
        let not_taken = || Attempt::NotTaken(Fault::unavailable("it stops"));
        assert!(is_asked_on(not_taken(), false) && is_asked_on(not_taken(), true));
    }

    #[test]
    fn a_call_that_went_lost_is_made_again_only_where_that_changes_nothing() {
        assert!(is_asked_on(lost(false), true));
        for (attempt, is_repeatable, hint) in [
            (lost(false), false, "look whether it was done"),
            (lost(true), true, "ask again"),
            (lost(true), false, "ask again"),
        ] {
            let ControlFlow::Break(Err(fault)) = after(attempt, is_repeatable) else { panic!("made again: {hint}") };
            assert!(fault.hint.unwrap().contains(hint));
        }
    }

    #[test]
    fn a_fault_of_the_call_itself_is_its_answer() {
        let broken = Attempt::Answered(Err(Fault::new(Code::EngineCut, "an engine broke")));
        let ControlFlow::Break(Err(fault)) = after(broken, true) else { panic!("made again") };
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
