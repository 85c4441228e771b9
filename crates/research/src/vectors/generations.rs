//! Which embedder's vectors answer searches, and which are being made: another model changes over only when it has a
//! vector for every live chunk, and the old one answers until then.
//!
//! [`Plan`] decides, and is pure; [`Generations`] keeps a folder for each embedder of the plan and deletes all others.
//! The plan is on the disk before anything is done by it, so that a crash in between is made good when it is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::Seal;

use super::Vectors;
use super::durable::{disk, replace};
use crate::models::Embedder;
use crate::names::ChunkHash;

/// The plan, in the folder that holds those of the embedders.
const PLAN: &str = "generations.json";

/// Who answers, and who is to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose vectors answer searches.
    pub in_use: Option<Embedder>,
    /// Whose are made beside them, to take their place.
    pub next: Option<Embedder>,
}

impl Plan {
    /// The plan when that embedder is wanted. The first one is in use at once: few vectors are better than none. What
    /// was made for one that is not wanted any more is given up.
    pub fn want(&self, by: &Embedder) -> Result<Plan> {
        let known = [&self.in_use, &self.next].into_iter().flatten();
        if let Some(other) = known.into_iter().find(|known| known.model == by.model && known.dims != by.dims) {
            let message = format!("`{}` gives {} numbers where it gave {} before", by.model, by.dims, other.dims);
            return Err(Fault::new(Code::Conflict, message)
                .hint("this is another model under the same name: give it a name of its own"));
        }
        Ok(match &self.in_use {
            None => Plan { in_use: Some(by.clone()), next: None },
            Some(in_use) if in_use == by => Plan { in_use: self.in_use.clone(), next: None },
            Some(_) => Plan { in_use: self.in_use.clone(), next: Some(by.clone()) },
        })
    }

    /// The plan when the next embedder still misses so many of the live chunks.
    pub fn missing(&self, chunks: usize) -> Plan {
        match &self.next {
            Some(next) if chunks == 0 => Plan { in_use: Some(next.clone()), next: None },
            _ => self.clone(),
        }
    }

    /// Whose vectors are made.
    pub fn filled(&self) -> Option<&Embedder> {
        self.next.as_ref().or(self.in_use.as_ref())
    }

    fn embedders(&self) -> impl Iterator<Item = &Embedder> {
        self.in_use.iter().chain(&self.next)
    }
}

/// The vectors of the embedders of a plan.
#[derive(Debug)]
pub struct Generations {
    root: PathBuf,
    seal: Seal,
    current: ArcSwap<Current>,
    /// Held by who changes the plan.
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Current {
    plan: Plan,
    /// By the name of their folder.
    open: BTreeMap<String, Vectors>,
}

impl Current {
    fn of(&self, by: Option<&Embedder>) -> Option<Vectors> {
        self.open.get(&folder(by?)).cloned()
    }
}

impl Generations {
    /// Opens what is there.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_sealed(root, &Seal::default())
    }

    /// As [`Generations::open`], with vectors sealed where `seal` is on.
    pub fn open_sealed(root: &Path, seal: &Seal) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(|error| disk("open the folder of vectors", root, error))?;
        let plan = read_plan(&root.join(PLAN))?;
        let (current, changing) = (ArcSwap::default(), Mutex::default());
        let generations = Self { root: root.to_owned(), seal: seal.clone(), current, changing };
        generations.take(plan)?;
        Ok(generations)
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        self.current.load().plan.clone()
    }

    /// The vectors that answer searches.
    pub fn in_use(&self) -> Option<Vectors> {
        let current = self.current.load();
        current.of(current.plan.in_use.as_ref())
    }

    /// The vectors of that embedder, if the plan names it.
    pub fn of(&self, by: &Embedder) -> Option<Vectors> {
        [self.in_use(), self.filled()].into_iter().flatten().find(|vectors| vectors.embedder() == by)
    }

    /// The vectors that are made.
    pub fn filled(&self) -> Option<Vectors> {
        let current = self.current.load();
        current.of(current.plan.filled())
    }

    /// Says which embedder is wanted; where it is another one than before, its vectors begin to be made. What was made for
    /// another one that was to be next is deleted: say it of a wish that lasts, not of an engine that is away for a minute.
    pub fn want(&self, by: &Embedder) -> Result<()> {
        let _changing = self.changing();
        let plan = self.plan().want(by)?;
        self.change(plan)
    }

    /// Changes over to the next embedder if it misses none of the live chunks; whether it did.
    pub fn look<'a>(&self, live: impl IntoIterator<Item = &'a ChunkHash>) -> Result<bool> {
        let _changing = self.changing();
        let current = self.current.load_full();
        let Some(next) = current.of(current.plan.next.as_ref()) else { return Ok(false) };
        let plan = current.plan.missing(next.snapshot().missing(live, usize::MAX).len());
        let is_changed = plan != current.plan;
        self.change(plan)?;
        Ok(is_changed)
    }

    fn change(&self, plan: Plan) -> Result<()> {
        if plan == self.plan() {
            return Ok(());
        }
        let path = self.root.join(PLAN);
        let written = serde_json::to_vec(&plan).map_err(io::Error::from).and_then(|bytes| replace(&path, &bytes));
        written.map_err(|error| disk("write", &path, error))?;
        self.take(plan)
    }

    /// Opens what the plan names and is not open, publishes it, and deletes the folders that it does not name.
    fn take(&self, plan: Plan) -> Result<()> {
        let before = self.current.load_full();
        let mut open = BTreeMap::new();
        for by in plan.embedders() {
            let name = folder(by);
            let vectors = match before.open.get(&name) {
                Some(vectors) => vectors.clone(),
                None => Vectors::open_sealed(&self.root.join(&name), by.clone(), &self.seal)?,
            };
            open.insert(name, vectors);
        }
        if plan.in_use != before.plan.in_use {
            let name = |by: &Option<Embedder>| by.as_ref().map_or("none", |by| &by.model).to_owned();
            tracing::info!(
                model = name(&plan.in_use),
                before = name(&before.plan.in_use),
                "other vectors answer searches"
            );
        }
        let names: Vec<String> = open.keys().cloned().collect();
        self.current.store(Arc::new(Current { plan, open }));
        if names.is_empty() {
            // Nothing was ever planned here, or somebody took the plan away: that is no wish to lose the vectors.
            return Ok(());
        }
        delete_others(&self.root, &names).map_err(|error| disk("delete old vectors in", &self.root, error))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of an embedder: any name of a model may be part of it.
fn folder(by: &Embedder) -> String {
    let hash = Sha256::digest(format!("{} {}", by.dims, by.model));
    let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("embedder-{name}")
}

fn read_plan(path: &Path) -> Result<Plan> {
    match std::fs::read(path) {
        // Written in one go, so that this is no crash's doing.
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Fault::internal(format!("`{}` is damaged", path.display()))
                .because(error)
                .hint("delete it together with the folders beside it; the vectors are made anew")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Plan::default()),
        Err(error) => Err(disk("read", path, error)),
    }
}

/// Deletes the folders of embedders that are not named. Who still searches in one goes on: its files stay until then.
fn delete_others(root: &Path, named: &[String]) -> io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("embedder-") && !named.contains(&name) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::Allowed;

    fn by(model: &str) -> Embedder {
        Embedder { model: model.to_owned(), dims: 2 }
    }

    fn plan(in_use: &str, next: Option<&str>) -> Plan {
        Plan { in_use: Some(by(in_use)), next: next.map(by) }
    }

    fn hash(number: u32) -> ChunkHash {
        ChunkHash::of("", &number.to_string())
    }

    fn folders(root: &Path) -> usize {
        let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
        entries.filter(|entry| entry.path().is_dir()).count()
    }

    #[test]
    fn the_first_embedder_is_in_use_at_once_and_another_one_when_it_misses_nothing() {
        let first = Plan::default().want(&by("a")).unwrap();
        assert_eq!(first, plan("a", None));
        assert_eq!(first.missing(0), first);
        let beside = first.want(&by("b")).unwrap();
        assert_eq!((&beside, beside.filled()), (&plan("a", Some("b")), Some(&by("b"))));
        assert_eq!(beside.missing(1), beside);
        assert_eq!(beside.missing(0), plan("b", None));
        assert_eq!(beside.want(&by("a")).unwrap(), first);
        assert_eq!(beside.want(&by("c")).unwrap(), plan("a", Some("c")));
    }

    #[test]
    fn another_model_under_a_known_name_is_a_fault() {
        let beside = plan("a", Some("b"));
        for model in ["a", "b"] {
            let fault = beside.want(&Embedder { model: model.to_owned(), dims: 3 }).unwrap_err();
            assert_eq!(fault.code, Code::Conflict);
        }
    }

    proptest! {
        #[test]
        fn what_is_in_use_changes_only_to_one_that_misses_nothing(
            steps in prop::collection::vec(prop_oneof![
                prop::sample::select(vec!["a", "b", "c"]).prop_map(Ok),
                (0_usize..3).prop_map(Err),
            ], 1..40),
        ) {
            let mut plan = Plan::default();
            for step in steps {
                let before = plan.clone();
                plan = match step {
                    Ok(model) => before.want(&by(model)).unwrap(),
                    Err(missing) => before.missing(missing),
                };
                if before.in_use.is_some() && plan.in_use != before.in_use {
                    prop_assert_eq!(step, Err(0));
                    prop_assert_eq!(&plan.in_use, &before.next);
                }
                if let Ok(model) = step {
                    prop_assert_eq!(plan.filled(), Some(&by(model)));
                }
                prop_assert!(plan.next.is_none() || plan.next != plan.in_use);
            }
        }
    }

    #[test]
    fn the_old_vectors_answer_until_the_new_ones_are_complete_and_are_deleted_then() {
        let dir = tempfile::tempdir().unwrap();
        let live = [hash(0), hash(1), hash(2)];
        let generations = Generations::open(dir.path()).unwrap();
        assert!(generations.in_use().is_none() && generations.filled().is_none());
        generations.want(&by("old")).unwrap();
        generations.in_use().unwrap().insert(&live.map(|hash| (hash, vec![1.0, 0.0]))).unwrap();
        generations.want(&by("new")).unwrap();
        let filled = generations.filled().unwrap();
        filled.insert(&[(live[0], vec![0.0, 1.0])]).unwrap();
        assert!(!generations.look(&live).unwrap());
        drop((generations, filled));

        let generations = Generations::open(dir.path()).unwrap();
        assert_eq!(generations.plan(), plan("old", Some("new")));
        let old = generations.in_use().unwrap().snapshot();
        let filled = generations.filled().unwrap();
        filled.insert(&[(live[1], vec![0.0, 1.0])]).unwrap();
        filled.refuse(live[2], "too long").unwrap();
        assert!(generations.look(&live).unwrap());
        assert_eq!(generations.plan(), plan("new", None));
        assert_eq!(generations.in_use().unwrap().embedder(), &by("new"));
        assert_eq!(folders(dir.path()), 1);
        assert_eq!(old.nearest(&[1.0, 0.0], Allowed::All, 5).unwrap().len(), 3);
    }

    #[test]
    fn what_a_crash_left_of_a_change_is_deleted_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let generations = Generations::open(dir.path()).unwrap();
        generations.want(&by("new")).unwrap();
        drop(generations);
        drop(Vectors::open(&dir.path().join(folder(&by("old"))), by("old")).unwrap());
        assert_eq!(folders(dir.path()), 2);
        Generations::open(dir.path()).unwrap();
        assert_eq!(folders(dir.path()), 1);
    }

    #[test]
    fn a_plan_that_is_damaged_or_gone_deletes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(Vectors::open(&dir.path().join(folder(&by("a"))), by("a")).unwrap());
        std::fs::write(dir.path().join(PLAN), "{").unwrap();
        assert_eq!(Generations::open(dir.path()).unwrap_err().code, Code::Internal);
        assert_eq!(folders(dir.path()), 1);
        std::fs::remove_file(dir.path().join(PLAN)).unwrap();
        Generations::open(dir.path()).unwrap().want(&by("a")).unwrap();
        assert_eq!(folders(dir.path()), 1);
    }
}
