//! Loading: the file is opened once and stays open, so that what was checked is what is mapped.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use base::{Code, Fault, Result};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use proto::engine::Task;

use crate::Arguments;
use crate::grammar::Grammars;
use crate::model::{Adapter, Loaded};
use crate::template::Template;

/// An open model file, as it was when it was opened.
pub struct ModelFile {
    path: PathBuf,
    file: File,
    opened: (u64, i64, i64),
}

impl ModelFile {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| {
            Fault::new(Code::NotFound, format!("could not open the model `{}`", path.display()))
                .because(error)
                .hint("check the path, and that this user may read it")
        })?;
        let metadata =
            file.metadata().map_err(|error| Fault::internal("could not look at the model").because(error))?;
        Ok(Self { path: path.to_owned(), file, opened: stamp(&metadata) })
    }

    /// The same file through the descriptor: a file that takes its name later is not meant.
    fn through_descriptor(&self) -> PathBuf {
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        if by_descriptor.exists() { by_descriptor } else { self.path.clone() }
    }

    /// Whether it is still what was loaded.
    pub fn check(&self) -> Result<()> {
        match self.file.metadata() {
            Ok(metadata) if stamp(&metadata) == self.opened => Ok(()),
            _ => Err(Fault::new(
                Code::EngineFailed,
                format!("the model `{}` was changed while it was in use", self.path.display()),
            )
            .hint("put a new model beside the old one instead of over it")),
        }
    }

    /// Its size.
    pub const fn bytes(&self) -> u64 {
        self.opened.0
    }
}

fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// The processors that this process may use (affinity and cgroup quota count), without one for everything else.
fn default_threads() -> u32 {
    let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(usable).unwrap_or(1).saturating_sub(1).max(1)
}

/// The variants for processors lie beside the program where it is installed, else where it was built.
#[cfg(feature = "dynamic")]
fn load_variants() {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    match beside.filter(|folder| folder.join("libggml-cpu-x64.so").exists()) {
        Some(folder) => llama_cpp_2::llama_backend::load_backends_from_path(&folder),
        None => llama_cpp_2::llama_backend::load_backends(),
    }
}

/// Loads the model, its template and its vocabulary.
pub fn load(arguments: &Arguments) -> Result<Loaded> {
    #[cfg(feature = "dynamic")]
    load_variants();
    let backend = LlamaBackend::init().map_err(|error| Fault::internal("could not start llama.cpp").because(error))?;
    let file = ModelFile::open(&arguments.model)?;
    let params = pin!(LlamaModelParams::default().with_n_gpu_layers(arguments.gpu_layers));
    let mut model = LlamaModel::load_from_file(&backend, file.through_descriptor(), &params).map_err(|error| {
        Fault::new(Code::EngineFailed, format!("could not load the model `{}`", arguments.model.display()))
            .because(error)
            .hint("the lines above say why; a cut or damaged file must be fetched again")
    })?;
    let adapter = load_adapter(arguments, &mut model)?;
    let trained = model.n_ctx_train();
    let context_tokens = if arguments.context == 0 { trained } else { arguments.context.min(trained) }.max(1);
    let threads = if arguments.threads == 0 { default_threads() } else { arguments.threads };
    let task = task_of(&model);
    let template = Template::of(&model).transpose();
    let grammars = (task == Task::Generate).then(|| Grammars::new(&model)).transpose()?;
    Ok(Loaded {
        backend,
        model: Arc::new(model),
        adapter,
        file,
        task,
        template,
        grammars,
        context_tokens,
        trained_context_tokens: trained,
        slots: arguments.slots,
        threads,
    })
}

fn load_adapter(arguments: &Arguments, model: &mut LlamaModel) -> Result<Option<Adapter>> {
    let Some(path) = &arguments.adapter else { return Ok(None) };
    let fault = |why: &str| {
        Fault::new(Code::EngineFailed, format!("could not load the adapter `{}`: {why}", path.display()))
            .hint("it must be a GGUF adapter that was made for this model")
    };
    if !path.exists() {
        return Err(fault("there is no such file"));
    }
    let adapter = model.lora_adapter_init(path).map_err(|error| fault("it does not fit").because(error))?;
    Ok(Some(Adapter { adapter: std::sync::Mutex::new(adapter), scale: arguments.adapter_scale }))
}

/// A model that says how it pools makes vectors, or scores; any other one writes.
fn task_of(model: &LlamaModel) -> Task {
    let architecture = model.meta_val_str("general.architecture").unwrap_or_default();
    match model.meta_val_str(&format!("{architecture}.pooling_type")).as_deref() {
        Ok("4") => Task::Rerank,
        Ok("0") | Err(_) => Task::Generate,
        Ok(_) => Task::Embed,
    }
}
