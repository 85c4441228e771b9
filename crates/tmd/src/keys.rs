//! Who is let in: the keys of the cluster as this node knows them, and what their holders have asked for.

pub mod records;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::desk::Caller;
use arc_swap::ArcSwap;
use base::time::{rfc3339, unix_ms};
use base::{Code, Fault, Grant, Result, Scope};
use net::Audit;
use net::audit::Fact;
use net::keys::{Guesses, KeyRecord, audit_refusal, verify};
use tokio_util::sync::CancellationToken;

use crate::spending::Spending;

/// Nothing stays open for so long; timers reach no further than some years.
const LONGEST_SLEEP: Duration = Duration::from_secs(365 * 86_400);

const HOW_TO_SEND: &str = "make one with `tmctl keys create NAME` and send it as `Authorization: Bearer KEY`";

/// The keys of the cluster.
#[derive(Default)]
pub struct Keys {
    known: ArcSwap<Vec<Known>>,
    guesses: Mutex<Guesses>,
    audit: Audit,
    /// What was asked for with them.
    pub spending: Spending,
}

#[derive(Clone)]
struct Known {
    record: KeyRecord,
    grant: Arc<Grant>,
    /// Cancelled when the key is worthless.
    ended: CancellationToken,
}

/// Why somebody is not let in.
struct No {
    fault: Fault,
    name: Option<String>,
    is_guess: bool,
}

impl Keys {
    /// None yet; who is turned away is written into `audit`.
    pub fn new(audit: Audit) -> Self {
        Self { audit, ..Self::default() }
    }

    /// Every key.
    pub fn records(&self) -> Vec<KeyRecord> {
        self.known.load().iter().map(|known| known.record.clone()).collect()
    }

    /// Whether there is a key of that name.
    pub fn has(&self, name: &str) -> bool {
        self.known.load().iter().any(|known| known.record.name == name)
    }

    /// These and no others from now on, all at once. What was opened with a key that is gone or changed ends.
    pub fn set(&self, records: Vec<KeyRecord>) {
        let before = self.known.load_full();
        let kept = |record: &KeyRecord| before.iter().find(|known| known.record == *record).cloned();
        let fresh = |record: KeyRecord| Known { grant: record.grant(), record, ended: CancellationToken::new() };
        let now: Vec<Known> =
            records.into_iter().map(|record| kept(&record).unwrap_or_else(|| fresh(record))).collect();
        let is_gone = |known: &&Known| !now.iter().any(|now| now.record == known.record);
        let gone: Vec<CancellationToken> = before.iter().filter(is_gone).map(|known| known.ended.clone()).collect();
        self.known.store(Arc::new(now));
        gone.iter().for_each(CancellationToken::cancel);
    }

    /// Who calls, where that may do what `needs` opens.
    pub fn authenticate(&self, caller: &Caller<'_>, needs: Option<Scope>) -> Result<Arc<Grant>> {
        match self.judge(caller, needs, unix_ms()) {
            Ok(grant) => Ok(grant),
            Err(no) => Err(self.refused(no, caller.from, caller.call)),
        }
    }

    /// Whether `grant`, with which a call began, opens `scope`, and its key is still good.
    pub fn authorize(&self, grant: &Grant, scope: Scope, call: &str) -> Result<()> {
        let known = self.known.load();
        let is_there = known.iter().any(|known| *known.grant == *grant && !known.record.is_expired(unix_ms()));
        let checked = match is_there {
            true => grant.check(scope),
            false => Err(Fault::new(Code::Unauthenticated, format!("the API key `{}` is no longer good", grant.name))
                .hint(HOW_TO_SEND)),
        };
        checked.map_err(|fault| {
            self.refused(No { fault, name: Some(grant.name.to_string()), is_guess: false }, None, call)
        })
    }

    /// Ends when the key of `grant` does, revoked or by its own time.
    pub fn until_ended(&self, grant: &Grant) -> impl Future<Output = ()> + Send + use<> {
        let known = self.known.load();
        let found = known.iter().find(|known| *known.grant == *grant);
        let found = found.map(|known| (known.ended.clone(), known.record.expires_ms));
        async move {
            let Some((ended, expires_ms)) = found else { return };
            let Some(expires_ms) = expires_ms else { return ended.cancelled().await };
            let left = Duration::from_millis(expires_ms.saturating_sub(unix_ms())).min(LONGEST_SLEEP);
            let _ = tokio::time::timeout(left, ended.cancelled()).await;
        }
    }

    /// The same work for every key, known or not.
    fn judge(&self, caller: &Caller<'_>, needs: Option<Scope>, now_ms: u64) -> Result<Arc<Grant>, No> {
        let no = |fault, name: Option<&str>, is_guess| No { fault, name: name.map(str::to_owned), is_guess };
        let unauthenticated = |message: String| Fault::new(Code::Unauthenticated, message).hint(HOW_TO_SEND);
        let known = self.known.load();
        let found = caller.key.and_then(|shown| verify(shown, known.iter().map(|known| &known.record)));
        let found = found.and_then(|at| known.get(at));
        if caller.has_key_in_address {
            let fault = Fault::new(Code::Unauthenticated, "a key in an address is not taken")
                .hint("addresses are written down on their way: send the key as `Authorization: Bearer KEY`, and revoke a real one");
            return Err(no(fault, found.map(|known| known.record.name.as_str()), false));
        }
        let Some(Known { record, grant, .. }) = found else {
            return Err(match caller.key {
                Some(_) => no(unauthenticated("the API key is not known".to_owned()), None, true),
                None => no(unauthenticated("an API key is needed".to_owned()), None, false),
            });
        };
        if record.is_expired(now_ms) {
            let end = rfc3339(record.expires_ms.unwrap_or_default());
            let fault = unauthenticated(format!("the API key `{}` was good until {end}", record.name));
            return Err(no(fault, Some(&record.name), false));
        }
        match needs.map_or(Ok(()), |scope| grant.check(scope)) {
            Ok(()) => Ok(grant.clone()),
            Err(fault) => Err(no(fault, Some(&record.name), false)),
        }
    }

    /// Notes it; what the client is told.
    fn refused(&self, no: No, from: Option<IpAddr>, call: &str) -> Fault {
        let No { fault, name, is_guess } = no;
        let source = from.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let refusal = {
            let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            guesses.refused(source, is_guess, Instant::now())
        };
        if refusal.is_told {
            audit_refusal(name.as_deref(), from, call, &fault.message);
        }
        // The journal counts what repeats.
        let key = name.map(|name| format!(", key {name}")).unwrap_or_default();
        self.audit.fact(Fact::SignInRefused { from: format!("{source}{key}"), reason: fault.message.clone() });
        match refusal.too_many {
            Some(stay_away) => Fault::new(Code::Overloaded, "too many wrong API keys came from this address")
                .retry_after(stay_away)
                .hint("a right key is taken at any time; `tmctl keys list` shows which there are"),
            None => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use net::keys::Key;

    use super::*;

    fn caller(key: Option<&str>) -> Caller<'_> {
        Caller { key, has_key_in_address: false, from: Some(IpAddr::from([10, 0, 0, 6])), call: "/v1/models" }
    }

    fn keys(change: impl Fn(&mut KeyRecord)) -> (Keys, String) {
        let Key { shown, mut record } = Key::generate("phone").unwrap();
        change(&mut record);
        let keys = Keys::default();
        keys.set(vec![record]);
        (keys, shown)
    }

    fn code(keys: &Keys, key: Option<&str>, needs: Option<Scope>) -> Option<Code> {
        keys.authenticate(&caller(key), needs).err().map(|fault| fault.code)
    }

    #[test]
    fn each_kind_of_wrong_key_is_refused_with_its_code_and_a_hint() {
        let (keys, shown) = keys(|record| record.scopes = vec![Scope::Infer]);
        assert_eq!(code(&keys, Some(&shown), Some(Scope::Infer)), None);
        assert_eq!(code(&keys, Some(&shown), None), None);
        assert_eq!(code(&keys, Some(&shown), Some(Scope::Admin)), Some(Code::PermissionDenied));
        for wrong in [None, Some(""), Some("tm-"), Some("phone"), Some(&shown[..45])] {
            let fault = keys.authenticate(&caller(wrong), None).unwrap_err();
            assert_eq!(fault.code, Code::Unauthenticated, "{wrong:?}");
            assert!(fault.hint.is_some());
        }
        let in_address = Caller { has_key_in_address: true, ..caller(Some(&shown)) };
        assert_eq!(keys.authenticate(&in_address, None).unwrap_err().code, Code::Unauthenticated);
    }

    #[test]
    fn a_key_is_good_until_its_end() {
        let (keys, shown) = keys(|record| record.expires_ms = Some(5000));
        assert!(keys.judge(&caller(Some(&shown)), None, 4999).is_ok());
        let no = keys.judge(&caller(Some(&shown)), None, 5000).err().unwrap();
        assert_eq!((no.fault.code, no.is_guess), (Code::Unauthenticated, false));
        assert!(no.fault.message.contains("1970-01-01"), "{}", no.fault.message);
    }

    #[test]
    fn a_right_key_is_taken_from_an_address_that_guesses() {
        let (keys, shown) = keys(|_| {});
        let refused: Vec<Code> = (0..100).filter_map(|_| code(&keys, Some("tm-wrong"), None)).collect();
        assert_eq!(refused[0], Code::Unauthenticated);
        assert_eq!(refused[99], Code::Overloaded);
        assert_eq!(code(&keys, Some(&shown), None), None);
        // Without a key a page still learns that it has to ask for one.
        assert_eq!(code(&keys, None, None), Some(Code::Unauthenticated));
    }

    #[tokio::test]
    async fn what_was_opened_with_a_key_ends_with_it_and_with_no_other() {
        let (keys, shown) = keys(|_| {});
        let grant = keys.authenticate(&caller(Some(&shown)), None).unwrap();
        let mut ended = Box::pin(keys.until_ended(&grant));
        let other = Key::generate("other").unwrap();
        keys.set([keys.records(), vec![other.record.clone()]].concat());
        assert!(futures_util::poll!(&mut ended).is_pending());
        assert!(keys.authorize(&grant, Scope::Tasks, "call").is_ok());
        keys.set(vec![other.record]);
        assert!(futures_util::poll!(&mut ended).is_ready());
        assert_eq!(keys.authorize(&grant, Scope::Tasks, "call").unwrap_err().code, Code::Unauthenticated);
    }
}
