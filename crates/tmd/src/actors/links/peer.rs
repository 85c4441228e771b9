//! The actor that other nodes reach: the only one with a message type that can cross the wire.
//! Owns: nothing. Supervised by `links`. Talks to: `links`. Never: believes who wrote a message; `links` judges that.
//!
//! Every field that comes from the wire is plain bytes, since ractor's conversions of anything else panic on bad input.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;

use super::LinksMessage;
use super::notice::Notice;

/// The process group that these actors of all nodes are in; names do not cross nodes, groups do.
pub(super) const GROUP: &str = "taskmaster.recovery";

/// What nodes say to each other. Variants go by their names on the wire: they are only added, never renamed.
#[derive(RactorClusterMessage)]
pub enum PeerMessage {
    /// A [`Notice`] of another node.
    Notice { bytes: Vec<u8> },
    /// Do you live?
    #[rpc]
    Ping { reply: RpcReplyPort<()> },
}

/// The actor.
pub struct Peer;

impl Actor for Peer {
    type Msg = PeerMessage;
    type State = ActorRef<LinksMessage>;
    type Arguments = ActorRef<LinksMessage>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        links: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        ractor::pg::join(GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(links)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        links: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PeerMessage::Notice { bytes } => match Notice::from_bytes(&bytes) {
                Some(notice) => links.cast(LinksMessage::Noticed(notice))?,
                None => tracing::debug!(bytes = bytes.len(), "could not read a notice"),
            },
            PeerMessage::Ping { reply } => {
                // The one that asked may have given up.
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}
