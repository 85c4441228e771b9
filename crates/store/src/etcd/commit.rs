//! A transaction on etcd whose outcome stays known although an answer may get lost.
//!
//! After an attempt without an answer, the first put is read back: its envelope carries the number of the transaction
//! that wrote it. Only when it is not there is the transaction sent again; where a guard refuses it then, and the value
//! is not ours, somebody may have overwritten it already: that alone is reported as unclear.

use std::time::Instant;

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, TxnOp, TxnOpResponse, TxnResponse};

use super::members::{self, Failure};
use super::seen::Mark;
use super::{Shared, canary};
use crate::envelope::{self, WriteId};
use crate::{Guard, LeaseId, Result, Revision, StoreError, Txn, entry};

/// Commits `txn` within the store's deadline, where the store is sealed as this node seals.
pub(super) async fn commit(shared: &Shared, txn: Txn) -> Result<Revision> {
    txn.check()?;
    canary::check(shared).await?;
    unchecked(shared, txn).await
}

/// Commits `txn` whatever the store is like.
pub(super) async fn unchecked(shared: &Shared, txn: Txn) -> Result<Revision> {
    let write = WriteId::random();
    let committer = Committer { shared, request: request(shared, &txn, write)?, txn: &txn, write };
    let done = shared.seen.note(committer.run(shared.deadline()).await);
    if done.is_ok() && !txn.puts.is_empty() {
        shared.seen.had_room();
    }
    done
}

struct Committer<'a> {
    shared: &'a Shared,
    txn: &'a Txn,
    request: etcd_client::Txn,
    write: WriteId,
}

enum Outcome {
    Done(Revision),
    Refused(Guard),
}

impl Committer<'_> {
    async fn run(&self, deadline: Instant) -> Result<Revision> {
        let mut tries = self.shared.members.tries(deadline);
        let mut unanswered = None;
        let mut why = "no time was left".to_owned();
        while let Some((member, limit)) = tries.next().await {
            if unanswered.is_some()
                && let Some(revision) = self.read_back(deadline).await?
            {
                return Ok(revision);
            }
            let mark = self.shared.seen.mark();
            let request = |client| {
                let request = self.request.clone();
                async move { members::kv(&client).txn(request).await }
            };
            match self.shared.members.attempt(member, limit, request).await {
                Ok(answer) => match self.outcome(mark, &answer)? {
                    Outcome::Done(revision) => return Ok(revision),
                    Outcome::Refused(guard) => return self.explain_refusal(guard, unanswered, deadline).await,
                },
                Err(Failure::Answered(error)) => return Err(self.with_lease(error)),
                Err(Failure::NotSent(cause)) => why = cause,
                Err(Failure::NoAnswer(cause)) => unanswered = Some(cause),
            }
        }
        match unanswered {
            Some(why) => Err(StoreError::Unclear { why }),
            None => Err(StoreError::Unavailable { why }),
        }
    }

    /// The revision at which this very transaction happened, if its first put still is the value of its key.
    async fn read_back(&self, deadline: Instant) -> Result<Option<Revision>> {
        let Some(put) = self.txn.puts.first() else { return Ok(None) };
        let key = self.shared.full_key(&put.key).into_bytes();
        let page = match self.shared.range(key, GetOptions::new(), deadline).await {
            Err(StoreError::Unavailable { why }) => return Err(StoreError::Unclear { why }),
            page => page?,
        };
        let Some(kv) = page.kvs.first() else { return Ok(None) };
        let place = entry::place(put.key.as_bytes());
        let found = envelope::open(&self.shared.seal, &place, kv.value().to_vec().into());
        let is_ours = found.is_ok_and(|(_, write)| write == self.write);
        Ok(is_ours.then(|| Revision(kv.mod_revision().cast_unsigned())))
    }

    async fn explain_refusal(&self, guard: Guard, unanswered: Option<String>, deadline: Instant) -> Result<Revision> {
        let Some(why) = unanswered else { return Err(StoreError::Refused { guard }) };
        match self.read_back(deadline).await? {
            Some(revision) => Ok(revision),
            None => Err(StoreError::Unclear { why }),
        }
    }

    fn outcome(&self, mark: Mark, answer: &TxnResponse) -> Result<Outcome> {
        let revision = self.shared.seen.answered(mark, answer.header())?;
        if answer.succeeded() {
            return Ok(Outcome::Done(revision));
        }
        let found = answer.op_responses();
        let broken = self.txn.guards.iter().zip(&found).find(|(guard, found)| !guard.holds(revisions(found)));
        match broken {
            Some((guard, _)) => Ok(Outcome::Refused(guard.clone())),
            None => Err(StoreError::failed("etcd refused a transaction whose guards hold")),
        }
    }

    /// etcd does not say which lease it is that it does not know.
    fn with_lease(&self, error: StoreError) -> StoreError {
        match (error, self.txn.puts.iter().find_map(|put| put.lease)) {
            (StoreError::LeaseLost { .. }, Some(lease)) => StoreError::LeaseLost { lease },
            (error, _) => error,
        }
    }
}

fn revisions(found: &TxnOpResponse) -> Option<(Revision, Revision)> {
    let TxnOpResponse::Get(found) = found else { return None };
    let kv = found.kvs().first()?;
    Some((Revision(kv.create_revision().cast_unsigned()), Revision(kv.mod_revision().cast_unsigned())))
}

/// etcd's form of `txn`; where a guard does not hold, it answers with what the guarded keys are.
fn request(shared: &Shared, txn: &Txn, write: WriteId) -> Result<etcd_client::Txn> {
    let compare = |guard: &Guard| {
        let key = shared.full_key(guard.key());
        match guard {
            Guard::Absent(_) => Compare::version(key, CompareOp::Equal, 0),
            Guard::ModifiedAt(_, at) => Compare::mod_revision(key, CompareOp::Equal, at.0.cast_signed()),
            Guard::CreatedAt(_, at) => Compare::create_revision(key, CompareOp::Equal, at.0.cast_signed()),
        }
    };
    let look = |guard: &Guard| TxnOp::get(shared.full_key(guard.key()), Some(GetOptions::new().with_keys_only()));
    let mut operations = Vec::with_capacity(txn.puts.len() + txn.deletes.len());
    for put in &txn.puts {
        let lease = put.lease.map_or(0, |LeaseId(id)| id.cast_signed());
        let value = envelope::seal(&shared.seal, &entry::place(put.key.as_bytes()), &put.value, write)?;
        operations.push(TxnOp::put(shared.full_key(&put.key), value, Some(PutOptions::new().with_lease(lease))));
    }
    operations.extend(txn.deletes.iter().map(|key| TxnOp::delete(shared.full_key(key), None)));
    Ok(etcd_client::Txn::new()
        .when(txn.guards.iter().map(compare).collect::<Vec<_>>())
        .and_then(operations)
        .or_else(txn.guards.iter().map(look).collect::<Vec<_>>()))
}
