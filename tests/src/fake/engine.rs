//! The state of a fake engine: models in memory, slots, settings, and what it has seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::fake::control::{Change, Fail, Settings};
use crate::fake::options::Options;
use crate::fake::refusal::Refusal;

/// Bodies of asks that are kept for assertions.
const BODIES_KEPT: usize = 64;
/// Prompts whose computed state an engine keeps.
const PROMPTS_KEPT: usize = 8;

/// Everything that outlives an ask.
#[derive(Debug)]
pub struct Engine {
    /// As it was started.
    pub options: Options,
    slots: Arc<Semaphore>,
    /// One model loads at a time.
    loading: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
    /// Counts how often a way to fail was given: what hangs in its middle goes on then.
    let_go: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    load: Duration,
    slots: usize,
    /// Slots that were taken away while an ask ran in them; they end with it.
    slots_to_end: usize,
    /// Prompts that were read lately; what a new one shares with them costs no time.
    prompts: VecDeque<String>,
    /// Until when asks are refused as still loading.
    loading_until: Option<Instant>,
    /// Models that it has.
    models: Vec<String>,
    /// Models in memory, least recently used first.
    loaded: Vec<Loaded>,
    stats: Stats,
}

/// A model in memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name.
    pub model: String,
    /// When it leaves; never when `None`.
    pub expires: Option<Instant>,
}

#[derive(Debug, Default)]
struct Stats {
    asks: u64,
    waiting: usize,
    running: usize,
    max_running: usize,
    tokens_generated: u64,
    cancelled: u64,
    finished: u64,
    loads: u64,
    unloads: u64,
    by_model: BTreeMap<String, u64>,
    seen: VecDeque<(String, Bytes)>,
    traceparent: String,
}

impl Engine {
    /// An engine that serves nobody yet.
    pub fn new(options: Options) -> Arc<Self> {
        let preloaded = match options.speak {
            speak if speak.loads_on_demand() => 0,
            speak if speak.holds_one_model() => 1,
            _ => options.models.len(),
        };
        let loaded = options.models.iter().take(preloaded).map(|model| Loaded { model: model.clone(), expires: None });
        let settings = Settings {
            ttft: options.ttft,
            token: options.token,
            tokens: options.tokens,
            thinking: options.thinking,
            prefill_rate: options.prefill_rate,
            queue: options.queue,
            fail: Fail::None,
            fail_count: None,
        };
        let inner = Inner {
            settings,
            load: options.load,
            slots: options.slots,
            loading_until: None,
            slots_to_end: 0,
            models: options.models.clone(),
            prompts: VecDeque::new(),
            loaded: loaded.collect(),
            stats: Stats::default(),
        };
        let slots = Arc::new(Semaphore::new(options.slots));
        Arc::new(Self {
            slots,
            loading: tokio::sync::Mutex::new(()),
            inner: Mutex::new(inner),
            options,
            let_go: watch::Sender::default(),
        })
    }

    /// Changes settings. Slots that are taken away while an ask runs in them end with it.
    pub fn change(&self, change: &Change) {
        let mut inner = self.inner();
        inner.settings.apply(change);
        if let Some(ms) = change.load_ms {
            inner.load = Duration::from_secs_f64((ms / 1e3).max(0.0));
        }
        if let Some(Fail::LoadingMs(ms)) = change.fail {
            inner.loading_until = Some(Instant::now() + Duration::from_millis(ms));
        }
        if change.fail.is_some() {
            self.let_go.send_modify(|count| *count += 1);
        }
        if let Some(slots) = change.slots {
            match slots.checked_sub(inner.slots) {
                Some(more) => {
                    let kept = more.min(inner.slots_to_end);
                    inner.slots_to_end -= kept;
                    self.slots.add_permits(more - kept);
                }
                None => {
                    let fewer = inner.slots - slots;
                    inner.slots_to_end += fewer - self.slots.forget_permits(fewer);
                }
            }
            inner.slots = slots;
        }
    }

    /// Notes an ask and says how it fails, and with which settings it is answered.
    pub fn note_ask(&self, path: &str, body: &Bytes, traceparent: &str) -> (Fail, Settings) {
        let mut inner = self.inner();
        inner.stats.asks += 1;
        traceparent.clone_into(&mut inner.stats.traceparent);
        if inner.stats.seen.len() == BODIES_KEPT {
            inner.stats.seen.pop_front();
        }
        inner.stats.seen.push_back((path.to_owned(), body.clone()));
        inner.end_loading();
        let fail = match inner.settings.fail {
            Fail::LoadingMs(_) | Fail::LoadFail(_) => inner.settings.fail.clone(),
            _ => inner.settings.take_fail(),
        };
        (fail, inner.settings.clone())
    }

    /// How a route that is not an ask fails.
    pub fn fail_of_the_rest(&self) -> Fail {
        let mut inner = self.inner();
        inner.end_loading();
        inner.settings.fail_of_the_rest()
    }

    /// Models that it has.
    pub fn models(&self) -> Vec<String> {
        self.inner().models.clone()
    }

    /// The full name of `model`, if the engine has it; Ollama's `:latest` may be left out.
    pub fn find(&self, model: &str) -> Option<String> {
        let is_it = |name: &&String| *name == model || name.strip_suffix(":latest") == Some(model);
        self.inner().models.iter().find(is_it).cloned()
    }

    /// Has `model` from now on.
    pub fn add_model(&self, model: &str) {
        if self.find(model).is_none() {
            self.inner().models.push(model.to_owned());
        }
    }

    /// No longer has `model`.
    pub fn remove_model(&self, model: &str) {
        self.unload(model);
        self.inner().models.retain(|name| name != model);
    }

    /// Brings `model` into memory, unless it is there; others leave when there is no room.
    pub async fn load(&self, model: &str, keep: Option<Duration>) -> Result<(), Refusal> {
        let _one_at_a_time = self.loading.lock().await;
        if self.touch(model, keep) {
            return Ok(());
        }
        let (duration, refused) = {
            let mut inner = self.inner();
            let refused = matches!(&inner.settings.fail, Fail::LoadFail(name) if name == model);
            if refused {
                inner.settings.take_fail();
            }
            (inner.load, refused)
        };
        tokio::time::sleep(duration).await;
        if refused {
            return Err(Refusal::load_failed(model));
        }
        let mut inner = self.inner();
        let room = (self.options.vram.0 / self.options.model_memory.0.max(1)).max(1);
        let room = if self.options.speak.holds_one_model() { 1 } else { room };
        while inner.loaded.len() as u64 >= room {
            inner.loaded.remove(0);
            inner.stats.unloads += 1;
        }
        inner.stats.loads += 1;
        inner.loaded.push(Loaded { model: model.to_owned(), expires: keep.map(|keep| Instant::now() + keep) });
        Ok(())
    }

    /// Marks `model` as used now, if it is in memory.
    fn touch(&self, model: &str, keep: Option<Duration>) -> bool {
        let mut inner = self.inner();
        inner.drop_expired();
        let Some(at) = inner.loaded.iter().position(|loaded| loaded.model == model) else { return false };
        let mut used = inner.loaded.remove(at);
        used.expires = keep.map(|keep| Instant::now() + keep);
        inner.loaded.push(used);
        true
    }

    /// Takes `model` out of memory; says whether it was there.
    pub fn unload(&self, model: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.loaded.len();
        inner.loaded.retain(|loaded| loaded.model != model);
        let gone = before - inner.loaded.len();
        inner.stats.unloads += gone as u64;
        gone > 0
    }

    /// Models in memory.
    pub fn loaded(&self) -> Vec<Loaded> {
        let mut inner = self.inner();
        inner.drop_expired();
        inner.loaded.clone()
    }

    /// Waits for a slot; refuses when too many wait.
    pub async fn admit(self: &Arc<Self>, model: &str, most_waiting: usize) -> Result<Running, Refusal> {
        let permit = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queue(most_waiting).await?,
        };
        let mut inner = self.inner();
        let stats = &mut inner.stats;
        stats.running += 1;
        stats.max_running = stats.max_running.max(stats.running);
        *stats.by_model.entry(model.to_owned()).or_default() += 1;
        Ok(Running { engine: self.clone(), is_done: false, permit: Some(permit), let_go: self.let_go.subscribe() })
    }

    async fn queue(&self, most_waiting: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let _waiting = Waiting::enter(self, most_waiting).ok_or_else(Refusal::queue_full)?;
        self.slots.clone().acquire_owned().await.map_err(|_closed| Refusal::queue_full())
    }

    /// Bytes of `prompt` that were read before; keeps it for the next one.
    pub fn read_prompt(&self, prompt: &str) -> usize {
        let prompts = &mut self.inner().prompts;
        let shared = |old: &String| old.bytes().zip(prompt.bytes()).take_while(|(a, b)| a == b).count();
        let most = prompts.iter().map(shared).max().unwrap_or(0);
        if prompts.len() == PROMPTS_KEPT {
            prompts.pop_front();
        }
        prompts.push_back(prompt.to_owned());
        most
    }

    /// What `GET /fake/stats` shows.
    pub fn stats(&self) -> Value {
        let inner = self.inner();
        let stats = &inner.stats;
        let body = |body: &Bytes| {
            serde_json::from_slice::<Value>(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
        };
        json!({
            "label": self.options.label,
            "asks": stats.asks,
            "waiting": stats.waiting,
            "running": stats.running,
            "max_running": stats.max_running,
            "finished": stats.finished,
            "cancelled": stats.cancelled,
            "tokens_generated": stats.tokens_generated,
            "loads": stats.loads,
            "unloads": stats.unloads,
            "loaded": inner.loaded.iter().map(|loaded| loaded.model.as_str()).collect::<Vec<_>>(),
            "by_model": stats.by_model,
            "paths": stats.seen.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            "bodies": stats.seen.iter().map(|(_, bytes)| body(bytes)).collect::<Vec<_>>(),
            "traceparent": stats.traceparent,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end_loading(&mut self) {
        if self.loading_until.is_some_and(|until| until <= Instant::now()) {
            self.loading_until = None;
            self.settings.fail = Fail::None;
        }
    }

    fn drop_expired(&mut self) {
        let (before, now) = (self.loaded.len(), Instant::now());
        self.loaded.retain(|loaded| loaded.expires.is_none_or(|expires| expires > now));
        self.stats.unloads += (before - self.loaded.len()) as u64;
    }
}

/// An ask that waits for a slot; counted until dropped.
struct Waiting<'a>(&'a Engine);

impl<'a> Waiting<'a> {
    fn enter(engine: &'a Engine, most: usize) -> Option<Self> {
        let stats = &mut engine.inner().stats;
        (stats.waiting < most).then(|| {
            stats.waiting += 1;
            Self(engine)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.inner().stats.waiting -= 1;
    }
}

/// An ask in a slot; one that is dropped before it is done counts as cancelled.
#[derive(Debug)]
pub struct Running {
    engine: Arc<Engine>,
    is_done: bool,
    permit: Option<OwnedSemaphorePermit>,
    let_go: watch::Receiver<u64>,
}

impl Running {
    /// Waits until a way to fail was given since it began.
    pub fn let_go(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut let_go = self.let_go.clone();
        async move { drop(let_go.changed().await) }
    }

    /// Counts tokens as generated.
    pub fn generated(&self, tokens: usize) {
        self.engine.inner().stats.tokens_generated += tokens as u64;
    }

    /// Nothing more will be generated.
    pub fn done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let inner = &mut *self.engine.inner();
        if inner.slots_to_end > 0 {
            inner.slots_to_end -= 1;
            self.permit.take().into_iter().for_each(OwnedSemaphorePermit::forget);
        }
        let stats = &mut inner.stats;
        stats.running -= 1;
        if self.is_done {
            stats.finished += 1;
        } else {
            stats.cancelled += 1;
        }
    }
}
