//! The records of API keys in the store: made, given a new text, listed, removed. Nodes follow them with the settings.

use std::time::Duration;

use base::grant::MOST_MODELS;
use base::time::unix_ms;
use base::{Code, Fault, KeyLimits, Result, Scope};
use net::keys::{Key, KeyRecord};
use proto::admin::{self, CreateKeyRequest};
use store::{Guard, SharedStore, StoreError, Txn};

use crate::settings::KEYS;

/// Every call looks at all of them.
const MOST_KEYS: usize = 1000;
/// Of the name of a model.
const MOST_NAME_BYTES: usize = 256;
/// Who wants a key for longer wants one without an end.
const LONGEST_LIFE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The key that is asked for, not kept yet.
pub fn wanted(request: &CreateKeyRequest) -> Result<Key> {
    check_name(&request.name)?;
    let mut key = Key::generate(&request.name)?;
    key.record.scopes = scopes(&request.scopes)?;
    key.record.models = models(&request.models)?;
    key.record.expires_ms = expires_ms(request.lives_s, key.record.created_ms)?;
    key.record.limits = request.limits.map(limits).unwrap_or_default();
    Ok(key)
}

fn scopes(words: &[String]) -> Result<Vec<Scope>> {
    if words.is_empty() {
        return Ok(Scope::CLIENTS.to_vec());
    }
    let mut scopes = Vec::new();
    for word in words {
        let scope = Scope::parse(word).ok_or_else(|| {
            let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
            Fault::invalid(format!("`{}` is no scope", shown(word))).hint(format!("use {}", all.join(", ")))
        })?;
        scopes.push(scope);
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn models(names: &[String]) -> Result<Vec<String>> {
    if names.len() > MOST_MODELS {
        return Err(Fault::invalid(format!("{} models are named, and a key names at most {MOST_MODELS}", names.len()))
            .hint("leave them out: then it may ask all of them"));
    }
    for name in names {
        let is_role = name == "auto" || base::config::ROLES.contains(&name.as_str());
        if is_role || name.trim().is_empty() || name.len() > MOST_NAME_BYTES {
            return Err(Fault::invalid(format!("`{}` is no name of a model", shown(name)))
                .hint("name models or their aliases; a role is answered by those of its models that the key may ask"));
        }
    }
    Ok(names.iter().map(|name| name.trim().to_owned()).collect())
}

fn expires_ms(lives_s: u64, now_ms: u64) -> Result<Option<u64>> {
    match Duration::from_secs(lives_s) {
        Duration::ZERO => Ok(None),
        life if life <= LONGEST_LIFE => Ok(Some(now_ms + lives_s * 1000)),
        _ => {
            Err(Fault::invalid("the key would live for more than 100 years")
                .hint("leave its end out: then it has none"))
        }
    }
}

/// A limit of nothing would be a key for nothing; the wire has 0 for none.
fn limits(wire: admin::KeyLimits) -> KeyLimits {
    KeyLimits {
        asks_per_hour: Some(wire.asks_per_hour).filter(|&limit| limit > 0),
        tokens_per_hour: Some(wire.tokens_per_hour).filter(|&limit| limit > 0),
        asks_per_minute: Some(wire.asks_per_minute).filter(|&limit| limit > 0),
        at_once: Some(wire.at_once).filter(|&limit| limit > 0),
    }
}

/// The limits as the wire has them.
pub fn limits_to_wire(limits: KeyLimits) -> admin::KeyLimits {
    admin::KeyLimits {
        asks_per_hour: limits.asks_per_hour.unwrap_or(0),
        tokens_per_hour: limits.tokens_per_hour.unwrap_or(0),
        asks_per_minute: limits.asks_per_minute.unwrap_or(0),
        at_once: limits.at_once.unwrap_or(0),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(100).collect()
}

/// Refuses a name that no list or header should show.
pub fn check_name(name: &str) -> Result<()> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_fine) {
        return Err(Fault::invalid("the name of a key is empty, too long, or has odd characters")
            .hint("use up to 64 letters, digits, `-`, `_`, `.`, `@`"));
    }
    Ok(())
}

/// Makes a key durable; refused when the name is taken.
pub async fn save(store: &SharedStore, record: &KeyRecord) -> Result<()> {
    let listing = store.list(KEYS).await?;
    if listing.entries.len() + listing.damaged.len() >= MOST_KEYS {
        return Err(Fault::new(Code::Conflict, format!("there are {MOST_KEYS} keys already"))
            .hint("revoke those that nobody uses: `tmctl keys list`"));
    }
    let key = place(&record.name);
    let txn = Txn::new().when(Guard::Absent(key.clone())).put(key, to_json(record)?);
    match store.commit(txn).await {
        Ok(_) => Ok(()),
        Err(StoreError::Refused { .. }) => {
            let message = format!("a key named `{}` exists already", record.name);
            Err(Fault::new(Code::Conflict, message).hint("revoke it first, rotate it, or choose another name"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives the key `name` a new text, which is shown this once.
pub async fn rotate(store: &SharedStore, name: &str) -> Result<String> {
    let entry = store.get(&place(name)).await?.ok_or_else(|| unknown(name))?;
    let before: KeyRecord = serde_json::from_slice(&entry.value).map_err(|error| {
        Fault::new(Code::Conflict, format!("the record of key `{name}` cannot be read"))
            .because(error)
            .hint("revoke it, and make a new one")
    })?;
    if before.is_expired(unix_ms()) {
        return Err(Fault::new(Code::Conflict, format!("key `{name}` has come to its end"))
            .hint("revoke it, and make a new one with an end of its own"));
    }
    let Key { shown, record } = Key::generate(name)?;
    let record = KeyRecord { sha256: record.sha256, created_ms: record.created_ms, ..before };
    let key = place(name);
    let txn = Txn::new().when(Guard::ModifiedAt(key.clone(), entry.modified)).put(key, to_json(&record)?);
    match store.commit(txn).await {
        Ok(_) => Ok(shown),
        Err(StoreError::Refused { .. }) => {
            Err(Fault::new(Code::Conflict, format!("somebody else has just changed key `{name}`"))
                .hint("look at `tmctl keys list`, and try again"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The keys as the store has them now. One that is damaged there is listed by its name, so that its owner can revoke it.
pub async fn load(store: &SharedStore) -> Result<Vec<KeyRecord>> {
    let listing = store.list(KEYS).await?;
    // Only its name is known; it was made at no time, and no key has this hash.
    let damaged = |key: &str| KeyRecord {
        name: key.strip_prefix(KEYS).unwrap_or(key).to_owned(),
        sha256: String::new(),
        created_ms: 0,
        scopes: Vec::new(),
        models: Vec::new(),
        expires_ms: None,
        limits: KeyLimits::default(),
    };
    let read = listing.entries.iter();
    let read = read.map(|entry| serde_json::from_slice(&entry.value).unwrap_or_else(|_| damaged(&entry.key)));
    Ok(read.chain(listing.damaged.iter().map(|entry| damaged(&entry.key))).collect())
}

/// Makes a key worthless everywhere.
pub async fn remove(store: &SharedStore, name: &str) -> Result<()> {
    let key = place(name);
    match store.get(&key).await {
        // Revoking is how a damaged one is repaired.
        Ok(Some(_)) | Err(StoreError::Damaged(_)) => {}
        Ok(None) => return Err(unknown(name)),
        Err(error) => return Err(error.into()),
    }
    store.commit(Txn::new().delete(key)).await?;
    Ok(())
}

fn place(name: &str) -> String {
    format!("{KEYS}{name}")
}

fn unknown(name: &str) -> Fault {
    Fault::new(Code::NotFound, format!("there is no key named `{}`", shown(name)))
        .hint("`tmctl keys list` shows their names")
}

fn to_json(record: &KeyRecord) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|error| Fault::internal("could not write the record of a key").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut CreateKeyRequest)) -> CreateKeyRequest {
        let mut request = CreateKeyRequest { name: "phone".to_owned(), ..CreateKeyRequest::default() };
        change(&mut request);
        request
    }

    #[test]
    fn a_key_that_nothing_is_said_of_is_for_clients_without_an_end() {
        let record = wanted(&request(|_| {})).unwrap().record;
        assert_eq!(record.scopes, Scope::CLIENTS);
        assert_eq!((record.models.len(), record.expires_ms, record.limits), (0, None, KeyLimits::default()));
    }

    #[test]
    fn what_is_asked_for_is_kept_in_order_and_once() {
        let record = wanted(&request(|request| {
            request.scopes = ["read", "infer", "read"].map(str::to_owned).to_vec();
            request.models = vec![" llama3.1:8b ".to_owned()];
            request.lives_s = 60;
            request.limits = Some(admin::KeyLimits { at_once: 2, ..admin::KeyLimits::default() });
        }));
        let record = record.unwrap().record;
        assert_eq!(record.scopes, [Scope::Infer, Scope::Read]);
        assert_eq!(record.models, ["llama3.1:8b"]);
        assert_eq!(record.expires_ms, Some(record.created_ms + 60_000));
        assert_eq!(record.limits, KeyLimits { at_once: Some(2), ..KeyLimits::default() });
        assert_eq!(limits(limits_to_wire(record.limits)), record.limits);
    }

    #[test]
    fn what_no_key_can_have_is_refused_with_a_hint() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (what, request) in [
            ("name", request(|request| request.name = "a b".to_owned())),
            ("scope", request(|request| request.scopes = texts(&["infer", "fly"]))),
            ("role", request(|request| request.models = texts(&["main"]))),
            ("auto", request(|request| request.models = texts(&["auto"]))),
            ("empty", request(|request| request.models = texts(&[" "]))),
            ("many", request(|request| request.models = vec!["m".to_owned(); MOST_MODELS + 1])),
            ("for ever", request(|request| request.lives_s = u64::MAX)),
        ] {
            let fault = wanted(&request).err().unwrap_or_else(|| panic!("{what} was taken"));
            assert!(fault.code == Code::InvalidArgument && fault.hint.is_some(), "{what}: {fault:?}");
        }
    }
}
