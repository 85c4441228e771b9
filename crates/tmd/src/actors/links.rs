//! Being written.
use super::children::AsksSnapshot;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
#[derive(RactorMessage)]
pub enum LinksMessage {
    Snapshot(RpcReplyPort<String>),
}
impl AsksSnapshot for LinksMessage {
    fn snapshot(reply: RpcReplyPort<String>) -> Self {
        Self::Snapshot(reply)
    }
}
pub struct Links;
#[derive(Clone)]
pub struct LinksArguments {}
impl Actor for Links {
    type Msg = LinksMessage;
    type State = ();
    type Arguments = LinksArguments;
    async fn pre_start(&self, _: ActorRef<Self::Msg>, _: LinksArguments) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
