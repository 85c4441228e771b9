//! The canary of a sealed store in etcd: `canary`, which is there where values are sealed, and opens with the right key.
//!
//! It is looked at before the first write, and again where etcd went back in its history: so plain and sealed values are
//! never mixed, whichever node comes first. What is read needs no canary: a value's own format tells.

use etcd_client::{GetOptions, KeyValue};

use super::{PAGE_KEYS, Shared, end_of_prefix};
use crate::sealing::{Seal, SealError};
use crate::{Guard, Result, StoreError, Txn, entry, envelope};

const CANARY: &str = "canary";

const GO_BACK: &str = "set store.encryption and store.key_file as on the other nodes";
const OTHER_KEY: &str = "give the key of the other nodes; a key that was replaced belongs into store.old_key_files";
const SEAL_IT: &str = "take a backup with `tmctl backup`, choose an empty store.prefix, and `tmctl restore` it there";

/// What the canary says of the store.
enum Found {
    /// As this node would write.
    Fits,
    /// Sealed under an old key of this node's.
    IsOld(KeyValue),
    /// There is none: the store is plain, or empty, or a copy without it.
    Missing,
}

/// Refuses a store that is not sealed as this node seals; an empty one gets a canary.
pub(super) async fn check(shared: &Shared) -> Result<()> {
    let history = shared.seen.history();
    if shared.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some_and(|known| known == history) {
        return Ok(());
    }
    match (find(shared).await?, shared.seal.is_on()) {
        (Found::Fits, _) | (Found::Missing, false) => {}
        (Found::IsOld(kv), _) => {
            let unchanged = Guard::ModifiedAt(CANARY.to_owned(), crate::Revision(kv.mod_revision().cast_unsigned()));
            put(shared, unchanged).await?;
        }
        (Found::Missing, true) => {
            refuse_plain_values(shared).await?;
            put(shared, Guard::Absent(CANARY.to_owned())).await?;
        }
    }
    *shared.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(history);
    Ok(())
}

async fn find(shared: &Shared) -> Result<Found> {
    let key = shared.full_key(CANARY).into_bytes();
    let mut page = shared.range(key, GetOptions::new(), shared.deadline()).await?;
    let Some(kv) = page.kvs.pop() else { return Ok(Found::Missing) };
    if !shared.seal.is_on() {
        return Err(mixed("the values in etcd are sealed, and store.encryption is off", GO_BACK));
    }
    match envelope::sealed_part(kv.value()).map(|sealed| (sealed, opens(&shared.seal, kv.value()))) {
        Some((sealed, Ok(()))) if shared.seal.is_old(sealed) => Ok(Found::IsOld(kv)),
        Some((_, Ok(()))) => Ok(Found::Fits),
        Some((_, Err(why))) => {
            Err(mixed(format!("the key in store.key_file does not open etcd's values: {why}"), OTHER_KEY))
        }
        None => Err(mixed("etcd's canary is damaged, by which keys are told apart", "delete its key `canary` by hand")),
    }
}

fn opens(seal: &Seal, value: &[u8]) -> Result<(), String> {
    envelope::open(seal, &entry::place(CANARY.as_bytes()), bytes::Bytes::copy_from_slice(value)).map(drop)
}

/// A store without a canary is sealed only where it has no plain value.
async fn refuse_plain_values(shared: &Shared) -> Result<()> {
    let end = end_of_prefix(shared.prefix.as_bytes());
    let mut start = shared.prefix.clone().into_bytes();
    loop {
        let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE_KEYS);
        let page = shared.range(start, options, shared.deadline()).await?;
        if page.kvs.iter().any(|kv| envelope::is_plain(kv.value())) {
            return Err(mixed("the values in etcd are plain, and store.encryption is on", SEAL_IT));
        }
        let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(()) };
        start = [last.key(), b"\0"].concat();
    }
}

async fn put(shared: &Shared, guard: Guard) -> Result<()> {
    let txn = Txn::new().when(guard).put(CANARY, CANARY);
    match super::commit::unchecked(shared, txn).await {
        // Another node was faster: what it put is looked at like any other.
        Err(StoreError::Refused { .. }) => match find(shared).await? {
            Found::Missing => Err(StoreError::Unavailable { why: "etcd's canary comes and goes".to_owned() }),
            Found::Fits | Found::IsOld(_) => Ok(()),
        },
        done => done.map(drop),
    }
}

fn mixed(why: impl Into<String>, hint: &'static str) -> StoreError {
    StoreError::Mixed { why: why.into(), hint }
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> Self {
        StoreError::failed(error)
    }
}
