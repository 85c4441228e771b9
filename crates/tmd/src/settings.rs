//! What the whole cluster shares besides members: the mode and the API keys. Followed from the store, used from memory;
//! kept on the disk for a start while the store is away.

use std::sync::Arc;

use base::{Fault, Result};
use net::keys::{Key, KeyRecord};
use store::{Listing, SharedStore, Table, Txn, WatchEvent};

use crate::core::Core;
use crate::mode::SetMode;

const SETTINGS: &str = "settings/";
const COOKIE: &str = "settings/cookie";
const MODE: &str = "settings/mode";
const KEYS: &str = "settings/keys/";

/// Takes on what was known last, until the store tells: without it, a node that starts while the store is away would
/// refuse every key, and go by a mode that its owner has changed since.
pub fn recall(core: &Core) {
    match kept(&core.settings_kept) {
        Ok((keys, mode)) => {
            core.keys.store(Arc::new(keys));
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
            }
            WatchEvent::Damaged(damaged) => {
                tracing::error!(
                    key = damaged.key,
                    reason = damaged.reason,
                    "a setting is damaged; the last good one holds"
                );
            }
        }
        if let Err(error) = keep(&core.settings_kept, &core.keys.load_full(), &core.mode.get()).await {
            tracing::warn!(error = ?error, "could not keep the settings for a start without the store");
        }
    }
    // The store ends its watches only when the node stops.
    core.stop.cancelled().await;
}

/// Everything anew. The keys change places at once: in between, no client may find its key missing.
fn reset(core: &Core, listing: &Listing) {
    core.keys.store(Arc::new(keys_of(listing, &core.keys.load())));
    for entry in listing.entries.iter().filter(|entry| !entry.key.starts_with(KEYS)) {
        apply(core, &entry.key, &entry.value);
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
        _ => return,
    };
    if let Err(error) = applied {
        tracing::error!(key, %error, "a setting cannot be read; the last good one holds");
    }
}

/// Takes a mode on, here and at once.
pub fn mode_is(core: &Core, mode: SetMode) {
    let text = format!("is {}", mode.mode);
    if core.mode.set(mode) {
        tracing::info!(mode = text, "mode changed");
        // A connection that is kept open was checked by the mode before.
        for link in core.ports.values().filter_map(|port| port.backend.link()) {
            link.pool.close_idle();
        }
        core.happened("mode", core.node.as_str(), text);
        core.table_is_old.notify_one();
    }
}

fn change_keys(core: &Core, change: impl FnOnce(&mut Vec<KeyRecord>)) {
    let mut keys = Vec::clone(&core.keys.load());
    change(&mut keys);
    core.keys.store(Arc::new(keys));
}

/// Makes a mode durable for the whole cluster.
pub async fn save_mode(core: &Core, mode: &SetMode) -> Result<()> {
    core.store.commit(Txn::new().put(MODE, to_json(mode)?)).await?;
    Ok(())
}

/// The secret that links between supervisors need besides certificates: made by the first node, kept by all.
pub async fn cookie(core: &Core, local: &Table) -> Result<String> {
    if let Some(kept) = local.get(b"cookie")? {
        return Ok(String::from_utf8_lossy(&kept).into_owned());
    }
    // A key's text is as random as the cookie must be.
    let fresh = Key::generate("cookie")?.shown;
    let made =
        core.store.commit(Txn::new().when(store::Guard::Absent(COOKIE.to_owned())).put(COOKIE, fresh.clone())).await;
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

/// Makes a key durable; refused when the name is taken.
pub async fn save_key(store: &SharedStore, record: &KeyRecord) -> Result<()> {
    let key = format!("{KEYS}{}", record.name);
    let txn = Txn::new().when(store::Guard::Absent(key.clone())).put(key, to_json(record)?);
    match store.commit(txn).await {
        Ok(_) => Ok(()),
        Err(store::StoreError::Refused { .. }) => {
            let message = format!("a key named `{}` exists already", record.name);
            Err(Fault::new(base::Code::Conflict, message).hint("revoke it first, or choose another name"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses a name that no list or header should show.
pub fn check_key_name(name: &str) -> Result<()> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_fine) {
        return Err(Fault::invalid("the name of a key is empty, too long, or has odd characters")
            .hint("use up to 64 letters, digits, `-`, `_`, `.`, `@`"));
    }
    Ok(())
}

/// The keys as the store has them now. One that is damaged there is listed by its name, so that its owner can revoke it.
pub async fn load_keys(core: &Core) -> Result<Vec<KeyRecord>> {
    let listing = core.store.list(KEYS).await?;
    // Only its name is known; it was made at no time, and no key has this hash.
    let damaged = |key: &str| KeyRecord {
        name: key.strip_prefix(KEYS).unwrap_or(key).to_owned(),
        sha256: String::new(),
        created_ms: 0,
    };
    let read = listing.entries.iter();
    let read = read.map(|entry| serde_json::from_slice(&entry.value).unwrap_or_else(|_| damaged(&entry.key)));
    Ok(read.chain(listing.damaged.iter().map(|entry| damaged(&entry.key))).collect())
}

/// Makes a key worthless everywhere.
pub async fn remove_key(core: &Core, name: &str) -> Result<()> {
    let key = format!("{KEYS}{name}");
    match core.store.get(&key).await {
        // Revoking is how a damaged one is repaired.
        Ok(Some(_)) | Err(store::StoreError::Damaged(_)) => {}
        Ok(None) => {
            return Err(Fault::new(base::Code::NotFound, format!("there is no key named `{name}`"))
                .hint("`tmctl keys list` shows their names"));
        }
        Err(error) => return Err(error.into()),
    }
    core.store.commit(Txn::new().delete(key)).await?;
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Fault::internal("could not write a setting").because(error))
}

#[cfg(test)]
mod tests {
    use store::{Entry, Revision};

    use super::*;

    #[test]
    fn a_key_that_cannot_be_read_keeps_its_last_good_value() {
        let key =
            |name: &str, sha256: &str| KeyRecord { name: name.to_owned(), sha256: sha256.to_owned(), created_ms: 1 };
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
        let keys = [KeyRecord { name: "a".to_owned(), sha256: "0".to_owned(), created_ms: 1 }];
        let mode = SetMode { mode: base::config::Mode::ALL[0], since_ms: 1, set_by: "n".to_owned() };
        keep(&table, &keys, &mode).await.unwrap();
        assert_eq!(kept(&table).unwrap(), (keys.to_vec(), Some(mode.clone())));
        keep(&table, &keys, &SetMode { set_by: crate::mode::CONFIGURATION.to_owned(), ..mode }).await.unwrap();
        assert_eq!(kept(&table).unwrap(), (keys.to_vec(), None));
    }
}
