//! What the holder of an API key may do: which doors, which models, how much. Values only: `net` keeps them, `tmd` counts.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::ask::words;
use crate::error::{Code, Fault, Result};

/// What the text of every key begins with.
pub const PREFIX: &str = "tm-";
/// Letters behind it: 256 bits.
const LETTERS: usize = 43;

/// Models that one key may name, at most.
pub const MOST_MODELS: usize = 64;

words! {
    /// What a key opens. Every call of every face needs exactly one; `api/scopes.rs` says which.
    Scope {
        /// Asking models, and seeing which there are.
        Infer "infer",
        /// Projects, tasks, plans and jobs.
        Tasks "tasks",
        /// Documents, and questions that they answer.
        Research "research",
        /// Looking at the cluster: nodes, workers, asks, failures, metrics.
        Read "read",
        /// Everything: what the others open, and changing the cluster, its models, certificates and keys.
        Admin "admin",
    }
}

impl Scope {
    /// What a key opens when nobody says: all that clients need, and nothing that changes the cluster.
    pub const CLIENTS: [Self; 4] = [Self::Infer, Self::Tasks, Self::Research, Self::Read];
}

/// How much a key may ask for; `None` is without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// Asks within an hour, in the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks_per_hour: Option<u64>,
    /// Tokens of questions and answers within an hour, in the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_hour: Option<u64>,
    /// Asks within a minute, at each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks_per_minute: Option<u32>,
    /// Asks that run or wait at once, at each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
}

/// What one caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the key is called; empty where keys are off.
    pub name: Arc<str>,
    /// The hash of the key; empty where keys are off.
    pub id: Arc<str>,
    /// The doors that it opens.
    pub scopes: Vec<Scope>,
    /// The models that it may ask, by any of their names; all of them when empty.
    pub models: Vec<String>,
    /// How much it may ask for.
    pub limits: KeyLimits,
}

impl Grant {
    /// Of a caller where keys are off, and of the node itself.
    pub fn everything() -> &'static Arc<Self> {
        static ALL: LazyLock<Arc<Grant>> = LazyLock::new(|| {
            let scopes = Scope::ALL.to_vec();
            Arc::new(Grant { name: "".into(), id: "".into(), scopes, models: Vec::new(), limits: KeyLimits::default() })
        });
        &ALL
    }

    /// It, where it belongs to a key, whose use is counted.
    pub fn of_key(self: Arc<Self>) -> Option<Arc<Self>> {
        (!self.id.is_empty()).then_some(self)
    }

    /// Whether it opens such a door.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Refuses what it does not open.
    pub fn check(&self, scope: Scope) -> Result<()> {
        if self.may(scope) {
            return Ok(());
        }
        let has: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let message = format!("key `{}` is for {}, and this needs `{scope}`", self.name, has.join(", "));
        Err(Fault::new(Code::PermissionDenied, message)
            .hint(format!("use a key that was made with `tmctl keys create NAME --scope {scope}`")))
    }
}

/// Whether `text` has the form of a key, so that it must not stand where texts are written down by the way.
pub fn looks_like_a_key(text: &str) -> bool {
    let letters = text.strip_prefix(PREFIX).unwrap_or_default();
    letters.len() == LETTERS && letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_opens_every_door_and_the_others_only_their_own() {
        let of = |scope| Grant { scopes: vec![scope], ..Grant::clone(Grant::everything()) };
        for &has in Scope::ALL {
            for &wanted in Scope::ALL {
                let grant = of(has);
                assert_eq!(grant.may(wanted), has == wanted || has == Scope::Admin, "{has} {wanted}");
                assert_eq!(grant.check(wanted).is_ok(), grant.may(wanted));
            }
        }
        let fault = of(Scope::Read).check(Scope::Admin).unwrap_err();
        assert_eq!(fault.code, Code::PermissionDenied);
        assert!(fault.hint.unwrap().contains("--scope admin"));
    }

    #[test]
    fn a_key_for_clients_cannot_change_the_cluster() {
        let clients = Grant { scopes: Scope::CLIENTS.to_vec(), ..Grant::clone(Grant::everything()) };
        let may: Vec<Scope> = Scope::ALL.iter().copied().filter(|&scope| clients.may(scope)).collect();
        assert_eq!(may, Scope::CLIENTS);
    }

    #[test]
    fn a_key_is_told_by_its_form() {
        let key = format!("tm-{}", "aB3-_".repeat(9).get(..43).unwrap());
        assert!(looks_like_a_key(&key));
        for other in ["", "tm-", "tm-wrong", &key[..45], &key[3..], &format!("{key}x"), &key.replace('B', "%")] {
            assert!(!looks_like_a_key(other), "{other}");
        }
    }
}
