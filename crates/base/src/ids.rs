//! Names of things, each with a type of its own so that two of them cannot be swapped by accident.
//!
//! String ids are reference counted: cloning one on the path of an ask costs an increment, not an allocation.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; what may be in it is checked where it enters (configuration, wire).
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text, for wires and people.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

string_id! {
    /// A machine that runs `tmd`, by its configured name, such as `grey-area`.
    NodeId
}
string_id! {
    /// A worker in the whole cluster: `node/worker`, such as `grey-area/ollama`.
    WorkerId
}
string_id! {
    /// The identity of a model in the catalogue. Only runs on equal identities may resume, cache or share vectors.
    ///
    /// Either `sha256:…` (the digest that an engine reports) or the `name` of a declared `[[models]]` entry.
    ModelId
}

impl WorkerId {
    /// The id of the worker `worker` on `node`.
    pub fn of(node: &NodeId, worker: &str) -> Self {
        Self::new(format!("{node}/{worker}"))
    }

    /// The node part: the text before the first `/`, or all of it when there is none.
    pub fn node(&self) -> NodeId {
        NodeId::new(self.0.split_once('/').map_or(&*self.0, |(node, _)| node))
    }

    /// The worker's own name: the text after the first `/`, or all of it when there is none.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, name)| name)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl $name {
            /// A new random id.
            pub fn random() -> Self {
                Self(fastrand::u128(..))
            }

            /// Reads what `Display` wrote; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let hex = text.strip_prefix($prefix)?;
                (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok().map(Self)).flatten()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// One inference request of a client; what `x-tm-ask` carries and `tmctl explain` takes.
    AskId, "ask-"
}
random_id! {
    /// One attempt of an ask on a worker.
    RunId, "run-"
}

/// The fencing number of a leadership: grows with every new leader, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Which life of a node this is: grows each time its `tmd` starts or re-joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_id_splits_into_node_and_name() {
        let id = WorkerId::of(&NodeId::from("grey-area"), "ollama");
        assert_eq!(id.as_str(), "grey-area/ollama");
        assert_eq!((id.node().as_str(), id.name()), ("grey-area", "ollama"));
    }

    #[test]
    fn ask_id_reads_back_what_it_wrote_and_nothing_else() {
        let id = AskId::random();
        assert_eq!(AskId::parse(&id.to_string()), Some(id));
        for bad in
            ["", "ask-", "ask-12", "run-00000000000000000000000000000000", "ask-zz000000000000000000000000000000"]
        {
            assert_eq!(AskId::parse(bad), None, "{bad}");
        }
    }
}
