//! What the work of a job sees: its steps, its progress, and whether it shall stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Code, Fault, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use store::{Guard, StoreError, Txn};

use crate::patience::patiently;
use crate::progress::Progress;
use crate::run::Run;
use crate::{JobId, MAX_NAME_BYTES, MAX_RESULT_BYTES, MAX_STEPS, fault, keys, large};

/// A run of a job, for the work that does it. Clones are the same; after the run's end every step of any of them fails.
#[derive(Clone)]
pub struct Context(pub(crate) Arc<Run>);

impl Context {
    /// Which job.
    pub fn id(&self) -> JobId {
        self.0.id
    }

    /// The recorded result of step `name`, of whichever run; else does `work` and records what it gives. A fault is not
    /// recorded. Whatever the work waits for is dropped once the run shall end: the job was cancelled, this node lost it,
    /// or it stops. Several steps may be under way at once; what a step does beside its result may happen again after a
    /// crash, its result is accepted once. The work chooses the same names and the same steps for the same input.
    pub async fn step<T, W, F>(&self, name: impl Into<String>, work: W) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        W: FnOnce() -> F,
        F: Future<Output = Result<T>>,
    {
        let name = name.into();
        tokio::select! {
            biased;
            () = self.0.ending.cancelled() => Err(self.0.why_it_ended()),
            result = self.step_to_its_end(&name, work) => result,
        }
    }

    /// Says how far the job is; cheap, written at most twice a second, and the last word always.
    pub fn progress(&self, done: u64, total: u64, current: impl Into<String>) {
        let ran = self.0.ran.load(Ordering::Relaxed);
        let progress = Progress::new(done, total, current.into(), ran, self.0.started.elapsed());
        self.0.progress.send_replace(Some(progress));
    }

    async fn step_to_its_end<T, W, F>(&self, name: &str, work: W) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        W: FnOnce() -> F,
        F: Future<Output = Result<T>>,
    {
        self.check(name)?;
        if let Some(recorded) = self.recorded(name).await? {
            return read(name, &recorded);
        }
        let result = work().await?;
        let json = to_raw_value(&result).map_err(|error| unreadable(name, error))?;
        // What could not be read back would fail every run to come; so that is found out now.
        let result = read(name, &json)?;
        match self.record(name, &json).await? {
            Recorded::Now => Ok(result),
            Recorded::Before => match self.recorded(name).await? {
                Some(recorded) => read(name, &recorded),
                None => Err(fault::lost(self.id())),
            },
        }
    }

    fn check(&self, name: &str) -> Result<()> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            return Err(Fault::invalid(format!("`{}` cannot be the name of a step", name.escape_debug())));
        }
        if self.0.asked.fetch_add(1, Ordering::Relaxed) >= MAX_STEPS {
            let fault = Fault::new(Code::TooLarge, format!("job `{}` has more than {MAX_STEPS} steps", self.id()));
            return Err(fault.hint("split it into several jobs"));
        }
        Ok(())
    }

    async fn recorded(&self, name: &str) -> Result<Option<Box<RawValue>>> {
        let key = keys::step(self.id(), name);
        patiently(|fault: &Fault| fault.code.is_retriable(), || large::read(&*self.0.store, &key)).await
    }

    async fn record(&self, name: &str, json: &RawValue) -> Result<Recorded> {
        if json.get().len() > MAX_RESULT_BYTES {
            return Err(fault::too_large(&format!("the result of step `{name}`"), json.get().len(), MAX_RESULT_BYTES));
        }
        let key = keys::step(self.id(), name);
        // Parts of an attempt that came to nothing are never taken for those of this one.
        let below = format!("{}{:016x}", keys::step_parts(self.id()), fastrand::u64(..));
        let large = large::cut(&key, &below, json)?;
        self.0.put_parts(large.parts).await?;
        let txn = Txn::new().when(Guard::Absent(key.clone())).put(key, large.head);
        match self.0.commit(self.0.with_advance(txn)?).await {
            Ok(_) => {
                self.0.ran.fetch_add(1, Ordering::Relaxed);
                Ok(Recorded::Now)
            }
            // By a step of the same name beside this one, or by this one, although the answer got lost.
            Err(StoreError::Refused { guard: Guard::Absent(_) }) => Ok(Recorded::Before),
            Err(error) => Err(self.0.explain(error)),
        }
    }
}

enum Recorded {
    Now,
    Before,
}

fn read<T: DeserializeOwned>(name: &str, json: &RawValue) -> Result<T> {
    serde_json::from_str(json.get()).map_err(|error| unreadable(name, error))
}

fn unreadable(name: &str, error: serde_json::Error) -> Fault {
    Fault::internal(format!("the result of step `{name}` cannot be written and read again")).because(error)
}
