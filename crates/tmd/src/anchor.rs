//! How far the journal has come, written to the store now and then: whoever writes a journal anew as a whole would have to
//! change the store, too.

use std::sync::Arc;
use std::time::Duration;

use net::audit::{Head, verify};
use store::Txn;

use crate::core::Core;

/// What was written before this long ago cannot be written anew unseen.
const EVERY: Duration = Duration::from_secs(60);
const ANCHORS: &str = "audit/";

/// Writes the head to the store until the node stops. While the store is away it only waits.
pub async fn keep(core: Arc<Core>) {
    compare(&core).await;
    let mut written = Head::default();
    loop {
        if let Some(head) = head(&core).await.filter(|head| head.n != written.n) {
            match write(&core, &head).await {
                Ok(()) => written = head,
                Err(error) => tracing::debug!(%error, "could not write the journal's head to the store"),
            }
        }
        tokio::select! {
            () = core.stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if let Some(head) = head(&core).await {
        // The next life compares with what was written last.
        let _ = write(&core, &head).await;
    }
    // Who runs it takes its end for a failure.
    std::future::pending::<()>().await;
}

/// Before the store learns anything new: where the journal is not the one that the store knows of, that is written into
/// it, and stays there for whoever looks.
async fn compare(core: &Core) {
    let Some(known) = known(core).await else { return };
    let audit = core.connector.audit().clone();
    let anchored = known.clone();
    let look = move || {
        let journal = audit.journal()?;
        let head = journal.flush().ok()?;
        let is_good = |known: &[Head]| verify(journal.dir(), known).is_ok_and(|found| found.bad.is_none());
        // What is wrong with the journal itself needs nobody to tell of it.
        (!is_good(&[head.clone(), anchored]) && is_good(&[head])).then_some(())
    };
    if let Ok(Some(())) = tokio::task::spawn_blocking(look).await {
        tracing::error!(entry = known.n, "the journal of connections is not the one that the store knows of");
        let complaint = format!("the journal was not the one of which the store knew entry {}", known.n);
        core.connector.audit().complain(complaint);
    }
}

/// The head that the store knows of this node, as far as it can be asked.
pub async fn known(core: &Core) -> Option<Head> {
    let entry = core.store.get(&key(core)).await.ok()??;
    serde_json::from_slice(&entry.value).ok()
}

async fn head(core: &Core) -> Option<Head> {
    let audit = core.connector.audit().clone();
    let flushed = tokio::task::spawn_blocking(move || audit.journal().and_then(|journal| journal.flush().ok()));
    flushed.await.ok()?
}

async fn write(core: &Core, head: &Head) -> base::Result<()> {
    let json = serde_json::to_vec(head)
        .map_err(|error| base::Fault::internal("could not write the journal's head").because(error))?;
    core.store.commit(Txn::new().put(key(core), json)).await?;
    Ok(())
}

fn key(core: &Core) -> String {
    format!("{ANCHORS}{}", core.node)
}
