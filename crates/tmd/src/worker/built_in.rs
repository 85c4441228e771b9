//! The built-in engine of a node: where its program is, which models it has, and the worker around it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base::config::{Config, ModelStore, Worker};
use base::report::Backend as Kind;
use inference::backend::Backend;
use inference::backend::engine::{Engine, Settings};
use inference::machine::Sampler;
use inference::shelf::{Shelf, Store};

/// Name of the worker that `tmd --dev` makes for it.
pub const NAME: &str = "built-in";

/// The models of this node.
pub fn shelf(config: &Config) -> Shelf {
    let engine = &config.engine;
    let mut stores: Vec<Store> = engine.file.clone().map(|path| Store::File { path }).into_iter().collect();
    for store in &engine.stores {
        stores.extend(match store {
            ModelStore::Ollama => {
                Store::ollama(engine.ollama_models.as_deref().map(Path::as_os_str), engine.home.as_deref())
            }
            ModelStore::LmStudio => Store::lm_studio(engine.home.as_deref()),
        });
    }
    Shelf::new(engine.folder.clone(), stores)
}

/// The backend of `worker`.
pub fn open(config: &Config, worker: &Worker, shelf: Arc<Shelf>) -> Box<dyn Backend> {
    let memory_bytes = match worker.memory.0 {
        // Where GPUs have room of their own, theirs counts; the worker's actor knows it once it was measured.
        0 => Sampler::new(&config.engine.folder).read(Vec::new()).memory_bytes,
        configured => configured,
    };
    let settings = Settings {
        worker: worker.name.clone(),
        program: config.engine.program.to_string_lossy().into_owned(),
        folder: config.node.data_dir.join("engines"),
        context_tokens: config.engine.context,
        threads: config.engine.threads,
        slots: worker.slots,
        memory_bytes: (memory_bytes as f64 * (1.0 - config.routing.headroom)) as u64,
    };
    Box::new(Engine::new(settings, shelf))
}

/// A worker for it, as `tmd --dev` makes one.
pub fn worker() -> Worker {
    Worker {
        name: NAME.to_owned(),
        backend: Kind::Engine,
        url: "http://127.0.0.1".to_owned(),
        slots: 4,
        queue: 64,
        command: Vec::new(),
        models: Vec::new(),
        key_file: None,
        memory: base::ByteSize(0),
    }
}

/// Refuses a file that was named on the command line and cannot be served.
pub fn check_file(file: &Path) -> Result<()> {
    // A folder that is not there is an empty one.
    let folder = file.with_extension("none");
    let shelf = Shelf::new(folder, vec![Store::File { path: file.to_owned() }]);
    let model = shelf.look().into_iter().next();
    let model = model.with_context(|| format!("could not look at `{}`", file.display()))?;
    match &model.header {
        Err(why) => anyhow::bail!("cannot serve `{}`: {why}", file.display()),
        Ok(_) if !model.is_model() => anyhow::bail!("cannot serve `{}`: it is no model by itself", file.display()),
        Ok(_) => Ok(()),
    }
}

/// Where a program is: at its path, beside this one, or in one of the folders of `search`.
pub fn find(program: &Path, search: Option<&OsStr>) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(program)));
    let folders = search.map(std::env::split_paths).into_iter().flatten().map(|folder| folder.join(program));
    beside.into_iter().chain(folders).find(|path| path.is_file())
}
