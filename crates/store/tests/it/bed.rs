//! What the conformance suite runs on: a store, and what a person could do to it from outside.

use std::sync::Arc;

use store::{Seal, SharedStore, SledStore, Txn};
use tempfile::TempDir;

use crate::etcd_process::Cluster;

pub enum Bed {
    Sled { dir: TempDir, store: SharedStore },
    Etcd { cluster: Cluster, seal: Seal },
}

/// A key, and so values are sealed.
pub fn sealed() -> Seal {
    Seal::with_keys([7; 32], &[])
}

impl Bed {
    pub fn sled(seal: &Seal) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open_sealed(dir.path(), seal).unwrap().store);
        Bed::Sled { dir, store }
    }

    /// A store for one case. On sled it is shared, and the case's keys tell it from the others.
    pub fn store(&self, case: &str) -> SharedStore {
        match self {
            Bed::Sled { store, .. } => store.clone(),
            Bed::Etcd { cluster, seal } => cluster.sealed_store(&format!("/test/{case}"), seal),
        }
    }

    /// Forgets the history so far, where the store keeps one.
    pub async fn compact(&self, case: &str) {
        let Bed::Etcd { cluster, .. } = self else { return };
        let revision = self.store(case).list("none").await.unwrap().revision;
        // Compacting twice at one revision is an error of etcd's.
        let _twice = cluster.client().await.compact(revision.0.cast_signed(), None).await;
    }

    /// Puts an entry whose value cannot be read.
    pub async fn put_junk(&self, case: &str, key: &str) {
        match self {
            Bed::Sled { dir, store } => {
                store.commit(Txn::new().put(key, vec![7; 100_000])).await.unwrap();
                for file in std::fs::read_dir(dir.path().join("data/values")).unwrap() {
                    std::fs::write(file.unwrap().path(), b"junk").unwrap();
                }
            }
            Bed::Etcd { cluster, .. } => {
                let key = format!("/test/{case}/{key}");
                cluster.client().await.put(key, "junk", None).await.unwrap();
            }
        }
    }
}
