//! The knowledge base's ports into the node: models of the house by this node's router, other nodes by `node.v1`.

pub mod elsewhere;
mod embeds;
mod models;
mod neighbours;
mod pages;

use std::sync::{Arc, Weak};

use ::research::folders::Watching;
use ::research::library::{Library, Parts};
use ::research::outside::Server;
use anyhow::Context as _;
use base::config::{Config, ConfigFault, ConfigFaults, Role};
use base::report::{NodeReport, ResearchReport};
use base::{Fault, Result};
use cluster::{ClusterView, NodeView};
use extract::child::Reader;

use crate::core::Core;
use models::HouseModels;
pub use neighbours::HouseNeighbours;
use pages::Pages;
use store::Local;

/// The node, which may have stopped.
fn alive(core: &Weak<Core>) -> Result<Arc<Core>> {
    core.upgrade().ok_or_else(|| Fault::unavailable("the node has stopped"))
}

/// Documents that are read at once on this node, by parsers that may take much memory.
const READ_AT_ONCE: usize = 4;

/// Opens what this node keeps of the knowledge base.
pub fn open(core: &Arc<Core>, local: &Local) -> anyhow::Result<Library> {
    let program = std::env::current_exe().context("could not find this program, which reads documents as a child")?;
    let reader = Reader::new(program, vec!["read-document".into()], READ_AT_ONCE);
    let weak = Arc::downgrade(core);
    let parts = Parts {
        node: core.node.clone(),
        dir: core.config.load().node.data_dir.join("research"),
        store: core.store.clone(),
        reader,
        models: Arc::new(HouseModels(weak.clone())),
        neighbours: Arc::new(HouseNeighbours(weak)),
        server: qdrant(core)?,
    };
    let library = Library::open_sealed(parts, &core.seal).map_err(|fault| anyhow::anyhow!(fault.full_message()))?;
    let config = core.config.load_full();
    let config = &config.research;
    let seen = local.table("seen_files")?;
    let watching = Watching { allowed: config.folders.clone(), scan_every: config.scan_every, seen };
    Ok(library
        .watching(watching)
        .fetching(Arc::new(Pages::new(core.connector.clone(), core.config.load().research.pages.clone()))))
}

/// Refuses what this build cannot do.
pub fn check(config: &Config) -> Result<(), ConfigFaults> {
    match &config.research.qdrant {
        Some(qdrant) if cfg!(not(feature = "qdrant")) => Err(ConfigFaults(vec![ConfigFault {
            field: "research.qdrant".to_owned(),
            value: qdrant.url.clone(),
            problem: "this build of tmd cannot use a Qdrant".to_owned(),
            hint: "build it with `--features qdrant`, or take the setting out: each node has an index of its own"
                .to_owned(),
        }])),
        _ => Ok(()),
    }
}

/// The Qdrant that is configured.
#[cfg(feature = "qdrant")]
fn qdrant(core: &Core) -> anyhow::Result<Option<Arc<dyn Server>>> {
    let config = core.config.load_full();
    let Some(told) = &config.research.qdrant else { return Ok(None) };
    let key = told.api_key_file.as_deref().map(crate::node::read_key).transpose()?;
    let channels = net::Channels::new(core.connector.clone());
    let opened = channels.channel(net::Purpose::Qdrant, &told.url, None).and_then(|channel| {
        ::research::qdrant::Qdrant::new(channel, told.url.clone(), told.prefix.clone(), key.as_deref())
    });
    let opened = opened.map_err(|fault| anyhow::anyhow!(fault.full_message()))?;
    Ok(Some(Arc::new(opened)))
}

/// None; [`check`] has refused one that is configured.
#[cfg(not(feature = "qdrant"))]
fn qdrant(_: &Core) -> anyhow::Result<Option<Arc<dyn Server>>> {
    Ok(None)
}

/// Other nodes that keep documents and can be reached, with what they report.
fn keepers(view: &ClusterView) -> impl Iterator<Item = (&NodeView, &NodeReport, ResearchReport)> {
    let routable = view.nodes.iter().filter(|node| node.state.is_routable());
    routable.filter_map(|node| {
        let report = node.report.as_deref()?;
        Some((node, report, report.research?))
    })
}

/// The refusal of a node that keeps no documents; it names those that do. While there are nodes that are not heard it is
/// no last word.
pub fn keeps_none(core: &Core) -> Fault {
    let view = core.cluster().map_or_else(|_| ClusterView::alone(core.node.clone()).into(), |cluster| cluster.view());
    let keepers: Vec<_> =
        keepers(&view).map(|(node, ..)| (node.member.node.as_str(), &*node.member.grpc_address)).collect();
    let mut others = view.nodes.iter().filter(|node| node.member.node != view.me);
    let code = match others.all(|node| node.state.is_routable() && node.report.is_some()) {
        true => base::Code::NotSupported,
        false => base::Code::Unavailable,
    };
    Fault::new(code, format!("node `{}` keeps no documents", core.node)).hint(hint_of(&keepers))
}

/// Where to go instead; nodes by name and client-facing gRPC.
fn hint_of(keepers: &[(&str, &str)]) -> String {
    const ROLE: &str = "give it the role `research` under node.roles";
    let is_local = |at: &str| at.parse::<std::net::SocketAddr>().is_ok_and(|at| at.ip().is_loopback());
    let named = |(name, at): &(&str, &str)| match is_local(at) {
        true => format!("`{name}` (its grpc.listen is on loopback: ask there)"),
        false => format!("`{name}`"),
    };
    match keepers {
        [] => format!("{ROLE}; no node that has it can be reached now"),
        keepers => {
            let names: Vec<_> = keepers.iter().map(named).collect();
            format!("ask a node that does: {}; or {ROLE}", names.join(", "))
        }
    }
}

/// Whether this node keeps documents.
pub fn keeps_documents(core: &Core) -> bool {
    core.config.load().node.roles.contains(&Role::Research)
}

#[cfg(test)]
mod tests {
    use base::config::Sources;

    use super::*;

    #[test]
    fn a_refusal_names_the_nodes_that_keep_documents() {
        assert!(hint_of(&[]).contains("no node that has it can be reached"));
        let hint = hint_of(&[("nas", "0.0.0.0:3002"), ("laptop", "127.0.0.1:3002")]);
        assert!(hint.starts_with("ask a node that does: `nas`, `laptop` (its grpc.listen is on loopback"), "{hint}");
    }

    #[test]
    fn a_qdrant_is_refused_by_a_build_that_has_none() {
        let text = "[research]\nqdrant = { url = \"http://127.0.0.1:6334\" }\n";
        let sources = Sources { file: Some(("tmd.toml".into(), text.to_owned())), ..Sources::default() };
        let checked = check(&Config::resolve(&sources).unwrap());
        assert_eq!(checked.is_ok(), cfg!(feature = "qdrant"), "{checked:?}");
        assert!(check(&Config::resolve(&Sources::default()).unwrap()).is_ok());
    }
}
