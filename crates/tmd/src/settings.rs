//! What the whole cluster shares besides members: the mode and the API keys. Followed from the store, used from memory;
//! kept on the disk for a start while the store is away.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use base::config::Mode;
use base::time::unix_ms;
use base::{Fault, Result};
use net::audit::Fact;
use net::certificate::Revocation;
use net::keys::{Key, KeyRecord};
use store::{Guard, Listing, Table, Txn, WatchEvent};

use crate::certificates;
use crate::core::Core;
use crate::mode::history::History;
use crate::mode::{SetMode, Taken};

const SETTINGS: &str = "settings/";
const COOKIE: &str = "settings/cookie";
const MODE: &str = "settings/mode";
const MODES: &str = "settings/modes";
/// Below this are the API keys, each by its name.
pub const KEYS: &str = "settings/keys/";
const REVOKED: &str = "settings/revoked/";

/// Two that change the mode at a time are rare; more than two are a mistake.
const MODE_TRIES: usize = 5;

/// A home has few nodes; whoever revokes more has another trouble.
const REVOCATIONS_AT_MOST: usize = 1000;

/// Takes on what was known last, until the store tells: without it, a node that starts while the store is away would
/// refuse every key, and go by a mode that its owner has changed since.
pub fn recall(core: &Core) {
    match kept_revocations(&core.settings_kept) {
        Ok(revoked) => revoked_are(core, revoked),
        Err(error) => tracing::error!(error = ?error, "could not read which certificates were revoked"),
    }
    match kept(&core.settings_kept) {
        Ok((keys, mode)) => {
            core.keys.set(keys);
            if let Some(mode) = mode {
                mode_is(core, mode);
            }
        }
        // The store has them all; only until it answers, nobody is let in.
        Err(error) => tracing::error!(error = ?error, "could not read the settings of the last life"),
    }
}

fn kept(table: &Table) -> Result<(Vec<KeyRecord>, Option<SetMode>)> {
    let unread = |error| Fault::internal("could not read the settings that were kept").because(error);
    let keys = table.get(KEYS.as_bytes())?.map(|keys| serde_json::from_slice(&keys)).transpose().map_err(unread)?;
    let mode = table.get(MODE.as_bytes())?.map(|mode| serde_json::from_slice(&mode)).transpose().map_err(unread)?;
    Ok((keys.unwrap_or_default(), mode))
}

/// A mode out of the configuration is not kept: the next start reads it there, where it may have changed.
async fn keep(table: &Table, keys: &[KeyRecord], mode: &SetMode) -> Result<()> {
    match mode.is_configured() {
        true => table.remove(MODE.as_bytes())?,
        false => table.put(MODE.as_bytes(), &to_json(mode)?)?,
    }
    table.put_durable(KEYS.as_bytes(), &to_json(&keys)?).await?;
    Ok(())
}

/// Follows the settings until the store is closed. What was known last holds while the store is away.
pub async fn follow(core: Arc<Core>) {
    let mut watch = core.store.watch(SETTINGS, None);
    while let Some(event) = watch.next().await {
        match event {
            WatchEvent::Reset(listing) => reset(&core, &listing),
            WatchEvent::Put(entry) => apply(&core, &entry.key, &entry.value),
            WatchEvent::Deleted { key, .. } => {
                if let Some(name) = key.strip_prefix(KEYS) {
                    change_keys(&core, |keys| keys.retain(|key| key.name != name));
                }
                if let Some(name) = key.strip_prefix(REVOKED) {
                    change_revoked(&core, |revoked| revoked.retain(|one| one.key() != name));
                }
            }
            WatchEvent::Damaged(damaged) => {
                tracing::error!(
                    key = damaged.key,
                    reason = damaged.reason,
                    "a setting is damaged; the last good one holds"
                );
            }
        }
        let kept = keep(&core.settings_kept, &core.keys.records(), &core.mode.get()).await;
        if let Err(error) = kept.and(keep_revocations(&core.settings_kept, &core.revoked.load()).await) {
            tracing::warn!(error = ?error, "could not keep the settings for a start without the store");
        }
    }
    // The store ends its watches only when the node stops, and then this is not polled for long.
    std::future::pending().await
}

/// Everything anew. The keys change places at once: in between, no client may find its key missing.
fn reset(core: &Core, listing: &Listing) {
    core.keys.set(keys_of(listing, &core.keys.records()));
    let is_damaged = listing.damaged.iter().any(|damaged| damaged.key.starts_with(REVOKED));
    let revoked = listing.entries.iter().filter(|entry| entry.key.starts_with(REVOKED));
    match revoked.map(|entry| serde_json::from_slice(&entry.value)).collect::<Result<Vec<_>, _>>() {
        // Only a whole list may take a revocation back.
        Ok(revoked) if !is_damaged => revoked_are(core, revoked),
        _ => tracing::error!("a revocation of a certificate cannot be read; those that were known stay"),
    }
    let others = |key: &str| !key.starts_with(KEYS) && !key.starts_with(REVOKED);
    for entry in listing.entries.iter().filter(|entry| others(&entry.key)) {
        match entry.key.as_str() {
            MODE => match serde_json::from_slice::<SetMode>(&entry.value) {
                Ok(mode) => mode_was_taken(core, mode.mode, core.mode.set_anyway(mode)),
                Err(error) => tracing::error!(key = MODE, %error, "a setting cannot be read; the last good one holds"),
            },
            key => apply(core, key, &entry.value),
        }
    }
}

/// The keys of a listing; of one that cannot be read, the last good one.
fn keys_of(listing: &Listing, before: &[KeyRecord]) -> Vec<KeyRecord> {
    let last_good = |key: &str, reason: &str| {
        tracing::error!(key, reason, "a setting cannot be read; the last good one holds");
        before.iter().find(|known| key.strip_prefix(KEYS) == Some(&known.name)).cloned()
    };
    let entries = listing.entries.iter().filter(|entry| entry.key.starts_with(KEYS));
    let read = entries.filter_map(|entry| match serde_json::from_slice(&entry.value) {
        Ok(record) => Some(record),
        Err(error) => last_good(&entry.key, &error.to_string()),
    });
    let damaged = listing.damaged.iter().filter(|damaged| damaged.key.starts_with(KEYS));
    read.chain(damaged.filter_map(|damaged| last_good(&damaged.key, &damaged.reason))).collect()
}

fn apply(core: &Core, key: &str, value: &[u8]) {
    let applied = match key {
        MODE => serde_json::from_slice(value).map(|mode| mode_is(core, mode)),
        key if key.starts_with(KEYS) => serde_json::from_slice::<KeyRecord>(value).map(|record| {
            change_keys(core, |keys| {
                keys.retain(|key| key.name != record.name);
                keys.push(record);
            });
        }),
        key if key.starts_with(REVOKED) => serde_json::from_slice::<Revocation>(value).map(|revocation| {
            change_revoked(core, |revoked| {
                revoked.retain(|one| one.key() != revocation.key());
                revoked.push(revocation);
            });
        }),
        _ => return,
    };
    if let Err(error) = applied {
        tracing::error!(key, %error, "a setting cannot be read; the last good one holds");
    }
}

/// Takes a mode on, here and at once. A locked node notes what it does not follow.
pub fn mode_is(core: &Core, mode: SetMode) {
    mode_was_taken(core, mode.mode, core.mode.set(mode));
}

fn mode_was_taken(core: &Core, wanted: Mode, taken: Taken) {
    let not_followed =
        || format!("the cluster is set to {wanted}; this node is locked (privacy.lock) and stays local-only");
    core.degrade("mode", (taken == Taken::NotFollowed).then(not_followed));
    match taken {
        Taken::Same => {}
        Taken::NotFollowed => tracing::warn!(mode = %wanted, "a locked node does not follow the mode of the cluster"),
        Taken::Changed => {
            let SetMode { mode, local_percent, set_by, reason, .. } = core.mode.get();
            tracing::info!(%mode, local_percent, set_by, reason, "mode changed");
            core.connector.audit().fact(Fact::ModeSet { mode, local_percent, by: set_by, reason });
            close_idle(core);
            core.happened("mode", core.node.as_str(), format!("is {wanted}"));
            core.table_is_old.notify_one();
        }
    }
}

/// A connection that is kept open was checked by the rule before.
pub fn close_idle(core: &Core) {
    for link in core.ports.load().values().filter_map(|port| port.backend.link()) {
        link.pool.close_idle();
    }
}

fn change_keys(core: &Core, change: impl FnOnce(&mut Vec<KeyRecord>)) {
    let mut keys = core.keys.records();
    change(&mut keys);
    core.keys.set(keys);
}

fn kept_revocations(table: &Table) -> Result<Vec<Revocation>> {
    let unread = |error| Fault::internal("could not read the revocations that were kept").because(error);
    let revoked = table.get(REVOKED.as_bytes())?.map(|revoked| serde_json::from_slice(&revoked)).transpose();
    Ok(revoked.map_err(unread)?.unwrap_or_default())
}

async fn keep_revocations(table: &Table, revoked: &[Revocation]) -> Result<()> {
    table.put_durable(REVOKED.as_bytes(), &to_json(&revoked)?).await?;
    Ok(())
}

/// Keeps what is refused for a start without the store, now: who is refused itself must not forget it.
pub async fn keep_refusals(core: &Core) {
    if let Err(error) = keep_revocations(&core.settings_kept, &core.revoked.load()).await {
        tracing::error!(error = ?error, "could not keep which certificates were revoked");
    }
}

fn change_revoked(core: &Core, change: impl FnOnce(&mut Vec<Revocation>)) {
    let mut revoked = Vec::clone(&core.revoked.load());
    change(&mut revoked);
    revoked_are(core, revoked);
}

/// Refuses these certificates from now on, and no others.
fn revoked_are(core: &Core, revoked: Vec<Revocation>) {
    core.revoked.store(Arc::new(revoked.clone()));
    note_since(core, &revoked);
    let is_change = core.identity.as_ref().is_some_and(|identity| identity.revoke(revoked.clone()));
    if is_change {
        tracing::info!(revocations = revoked.len(), "other certificates are refused now");
        certificates::judge_own(core);
    }
}

fn note_since(core: &Core, revoked: &[Revocation]) {
    let now = Instant::now();
    let mut since = core.refused_since.lock().unwrap_or_else(PoisonError::into_inner);
    since.retain(|(one, _)| revoked.contains(one));
    for one in revoked {
        if !since.iter().any(|(known, _)| known == one) {
            since.push((one.clone(), now));
        }
    }
}

/// Makes revocations durable for the whole cluster; those from before `forget_s` are forgotten, their certificates have ended.
pub async fn save_revocations(core: &Core, fresh: &[Revocation], forget_s: i64) -> Result<usize> {
    let listing = core.store.list(REVOKED).await?;
    let is_old = |value: &[u8]| matches!(serde_json::from_slice::<Revocation>(value), Ok(one) if one.at_s() < forget_s);
    let (old, kept): (Vec<_>, Vec<_>) = listing.entries.iter().partition(|entry| is_old(&entry.value));
    let is_new = |one: &&Revocation| !kept.iter().any(|entry| entry.key.strip_prefix(REVOKED) == Some(&one.key()));
    let all = kept.len() + fresh.iter().filter(is_new).count();
    if all > REVOCATIONS_AT_MOST {
        return Err(Fault::new(
            base::Code::Conflict,
            format!("{REVOCATIONS_AT_MOST} certificates are revoked already"),
        )
        .hint("replace the CA instead: `tmctl ca init --next`"));
    }
    let mut txn = Txn::new();
    for entry in old {
        txn = txn.delete(entry.key.clone());
    }
    for revocation in fresh {
        txn = txn.put(format!("{REVOKED}{}", revocation.key()), to_json(revocation)?);
    }
    core.store.commit(txn).await?;
    Ok(all)
}

/// The modes that were set, as the store has them now, and the claim under which another one may be added. What is damaged
/// is repaired by setting a mode: until then the last good mode holds, and a history that cannot be read begins anew.
async fn load_modes(core: &Core) -> Result<(History, Guard)> {
    let listing = core.store.list(MODE).await?;
    let found = listing.get(MODES).map(|entry| entry.modified);
    let damaged = listing.damaged.iter().find(|damaged| damaged.key == MODES).map(|damaged| damaged.modified);
    let guard = match found.or(damaged) {
        Some(modified) => Guard::ModifiedAt(MODES.to_owned(), modified),
        None => Guard::Absent(MODES.to_owned()),
    };
    let history = match setting::<History>(&listing, MODES) {
        Ok(history) => history.unwrap_or_default(),
        Err(fault) => {
            tracing::error!(key = MODES, error = ?fault, "a setting cannot be read; the next mode begins it anew");
            History::default()
        }
    };
    let configured = || {
        let config = core.config.load();
        SetMode::configured(config.privacy.mode, config.privacy_local_percent, unix_ms())
    };
    let now = match setting::<SetMode>(&listing, MODE) {
        Ok(now) => now.unwrap_or_else(configured),
        Err(fault) => {
            tracing::error!(key = MODE, error = ?fault, "a setting cannot be read; the last good one holds");
            core.mode.get()
        }
    };
    Ok((history.holding(&now), guard))
}

/// A setting of a listing; `None` where there is none.
fn setting<T: serde::de::DeserializeOwned>(listing: &Listing, key: &str) -> Result<Option<T>> {
    if let Some(damaged) = listing.damaged.iter().find(|damaged| damaged.key == key) {
        return Err(Fault::internal(format!("`{key}` is damaged in the store: {}", damaged.reason)));
    }
    let read = listing.get(key).map(|entry| serde_json::from_slice(&entry.value)).transpose();
    read.map_err(|error| Fault::internal(format!("could not read `{key}` in the store")).because(error))
}

/// The modes that were set, as the store has them now.
pub async fn modes(core: &Core) -> Result<History> {
    Ok(load_modes(core).await?.0)
}

/// Makes another mode durable for the whole cluster, together with its place in the history: of two at a time, one comes
/// after the other. `change` may refuse, by what was set before.
pub async fn save_mode(core: &Core, mut change: impl FnMut(&mut History) -> Result<SetMode>) -> Result<SetMode> {
    for _ in 0..MODE_TRIES {
        let (mut history, guard) = load_modes(core).await?;
        let set = change(&mut history)?;
        let txn = Txn::new().when(guard).put(MODES, to_json(&history)?).put(MODE, to_json(&set)?);
        match core.store.commit(txn).await {
            Ok(_) => return Ok(set),
            Err(store::StoreError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::new(base::Code::Conflict, "others change the mode all the time").hint("look at it, and try again"))
}

/// The secret that links between supervisors need besides certificates: made by the first node, kept by all.
pub async fn cookie(core: &Core, local: &Table) -> Result<String> {
    if let Some(kept) = local.get(b"cookie")? {
        return Ok(String::from_utf8_lossy(&kept).into_owned());
    }
    // A key's text is as random as the cookie must be.
    let fresh = Key::generate("cookie")?.shown;
    let made = core.store.commit(Txn::new().when(Guard::Absent(COOKIE.to_owned())).put(COOKIE, fresh.clone())).await;
    let cookie = match made {
        Ok(_) => fresh,
        Err(store::StoreError::Refused { .. }) => {
            let entry = core.store.get(COOKIE).await?;
            let entry = entry.ok_or_else(|| Fault::unavailable("the cookie of the cluster is being changed"))?;
            String::from_utf8_lossy(&entry.value).into_owned()
        }
        Err(error) => return Err(error.into()),
    };
    local.put_durable(b"cookie", cookie.as_bytes()).await?;
    Ok(cookie)
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Fault::internal("could not write a setting").because(error))
}

#[cfg(test)]
mod tests {
    use store::{Entry, Revision};

    use super::*;

    fn record(name: &str, sha256: &str) -> KeyRecord {
        KeyRecord { sha256: sha256.to_owned(), ..Key::generate(name).unwrap().record }
    }

    #[test]
    fn a_key_that_cannot_be_read_keeps_its_last_good_value() {
        let key = |name: &str, sha256: &str| KeyRecord { created_ms: 1, ..record(name, sha256) };
        let entry = |name: &str, value: Vec<u8>| Entry {
            key: format!("{KEYS}{name}"),
            value: value.into(),
            created: Revision(1),
            modified: Revision(1),
            lease: None,
        };
        let entries = vec![entry("a", to_json(&key("a", "new")).unwrap()), entry("b", b"junk".to_vec())];
        let listing = Listing { entries, damaged: Vec::new(), revision: Revision(1) };
        let before = [key("a", "old"), key("b", "old"), key("revoked", "old")];
        assert_eq!(keys_of(&listing, &before), [key("a", "new"), key("b", "old")]);
    }

    #[tokio::test]
    async fn keys_and_mode_are_known_before_the_store_answers() {
        let dir = tempfile::tempdir().unwrap();
        let table = store::Local::open(dir.path()).unwrap().store.table("settings").unwrap();
        assert_eq!(kept(&table).unwrap(), (Vec::new(), None));
        let keys = [record("a", "0")];
        let mode = SetMode { set_by: "n".to_owned(), ..SetMode::configured(Mode::ALL[0], Some(80), 1) };
        keep(&table, &keys, &mode).await.unwrap();
        assert_eq!(kept(&table).unwrap(), (keys.to_vec(), Some(mode.clone())));
        keep(&table, &keys, &SetMode { set_by: crate::mode::CONFIGURATION.to_owned(), ..mode }).await.unwrap();
        assert_eq!(kept(&table).unwrap(), (keys.to_vec(), None));
    }
}
