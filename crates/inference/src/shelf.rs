//! The models that lie on this node as files: in its own folder, and in the stores of Ollama and LM Studio.
//!
//! `scan` finds files, `ollama` reads manifests, `files` opens and remembers headers, `digest` remembers what a file's bytes
//! come to, `variant` is a model with settings of its own, `import` brings a file in. All of it blocks; looking is quick,
//! since a file that did not change is not read again.

mod digest;
mod files;
mod import;
mod naming;
mod ollama;
mod scan;
#[cfg(test)]
mod tests;
mod variant;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};

use crate::gguf::{Header, Kind};

use digest::Digests;
use files::Headers;
pub use import::{ImportBy, Imported, ImportedBy};
pub use variant::{Parameters, Variant};

/// The models of a node.
pub struct Shelf {
    folder: PathBuf,
    stores: Vec<Store>,
    headers: Headers,
    digests: Digests,
}

/// Where another program keeps models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Ollama's folder of manifests and blobs.
    Ollama {
        /// The folder that holds `manifests` and `blobs`.
        root: PathBuf,
    },
    /// One file, named by hand.
    File {
        /// The file.
        path: PathBuf,
    },
    /// LM Studio's folder of publishers.
    LmStudio {
        /// The folder that holds `PUBLISHER/REPOSITORY/FILE.gguf`.
        root: PathBuf,
    },
}

impl Store {
    /// Ollama's, by `OLLAMA_MODELS` where that is set, else where its user or its service keeps them. Such as exist.
    pub fn ollama(ollama_models: Option<&OsStr>, home: Option<&Path>) -> Vec<Self> {
        let folders = match ollama_models.filter(|folder| !folder.is_empty()) {
            Some(folder) => vec![PathBuf::from(folder)],
            None => home
                .map(|home| home.join(".ollama/models"))
                .into_iter()
                .chain(["/usr/share/ollama/.ollama/models", "/var/lib/ollama/models"].map(PathBuf::from))
                .collect(),
        };
        existing(folders).map(|root| Self::Ollama { root }).collect()
    }

    /// LM Studio's, where present and former releases keep them below the user's folder. Such as exist.
    pub fn lm_studio(home: Option<&Path>) -> Vec<Self> {
        let folders = [".lmstudio/models", ".cache/lm-studio/models"];
        let folders = home.into_iter().flat_map(|home| folders.map(|folder| home.join(folder)));
        existing(folders.collect()).map(|root| Self::LmStudio { root }).collect()
    }
}

fn existing(folders: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    folders.into_iter().filter(|folder| folder.is_dir())
}

/// Which place a model lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The node's own folder.
    Folder,
    /// Ollama's store.
    Ollama,
    /// LM Studio's store.
    LmStudio,
}

impl Origin {
    /// As it stands behind a name that is taken.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
        }
    }
}

/// A model that was found, good or not.
#[derive(Clone, Debug)]
pub struct Shelved {
    /// What it is asked for by; no two of one look have the same.
    pub name: String,
    /// Its file; of a variant, that of its base.
    pub path: PathBuf,
    /// What the file says, or why it cannot be used, with a hint.
    pub header: Result<Header, String>,
    /// Its identity, as `sha256:…`: of the file's bytes, or of a variant; `None` until those were read once.
    pub digest: Option<String>,
    /// Where it lies.
    pub origin: Origin,
    /// What it has of its own above a file.
    pub variant: Option<Variant>,
    /// The file of the variant's adapter.
    pub adapter: Option<PathBuf>,
    /// What the owner should know: what of it is not used, why its name is another than expected.
    pub notes: Vec<String>,
}

impl Shelved {
    /// Whether it can be asked: good, and no mere adapter.
    pub fn is_model(&self) -> bool {
        self.header.as_ref().is_ok_and(|header| !matches!(header.kind, Kind::Adapter | Kind::Projector))
    }
}

impl Shelf {
    /// The models in `folder` and in `stores`. Digests are kept in `digests.json` beside `folder`.
    pub fn new(folder: PathBuf, stores: Vec<Store>) -> Self {
        let beside = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(&folder);
        let digests = Digests::open(beside.join("digests.json"));
        Self { folder, stores, headers: Headers::default(), digests }
    }

    /// Keeps digests in `file` instead.
    pub fn keeping_digests_in(mut self, file: PathBuf) -> Self {
        self.digests = Digests::open(file);
        self
    }

    /// The node's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that there is now, good or not, by name. Reads only what changed since the last look.
    pub fn look(&self) -> Vec<Shelved> {
        let found = scan::folder(&self.folder, &self.headers, &self.digests);
        let mut shelved = found.shelved;
        for store in &self.stores {
            shelved.extend(match store {
                Store::Ollama { root } => ollama::models(root, &self.headers, &self.digests),
                Store::File { path } => vec![scan::file(path, &self.headers, &self.digests)],
                Store::LmStudio { root } => scan::lm_studio(root, &self.headers, &self.digests),
            });
        }
        self.headers.forget_unseen();
        // A projector belongs to another model and is none itself.
        shelved.retain(|model| !model.header.as_ref().is_ok_and(|header| header.kind == Kind::Projector));
        naming::make_unique(&mut shelved);
        let variants: Vec<Shelved> =
            found.drafts.into_iter().map(|draft| draft.resolve(&shelved, &self.digests)).collect();
        shelved.extend(variants);
        naming::make_unique(&mut shelved);
        shelved
    }

    /// The model called `name`.
    ///
    /// # Errors
    /// [`Code::NotFound`] where none is.
    pub fn find(&self, name: &str) -> Result<Shelved> {
        self.look().into_iter().find(|model| model.name == name).ok_or_else(|| {
            Fault::new(Code::NotFound, format!("there is no model `{name}` on this node"))
                .hint("`tmctl models list` names those that are there; import a file first")
        })
    }

    /// The digest of a file's bytes, read in full unless it is known and the file did not change.
    ///
    /// # Errors
    /// The file cannot be read, changed meanwhile, or is not what its name in a store says.
    pub fn digest(&self, path: &Path) -> Result<String> {
        let digest = self.digests.of(path)?;
        match ollama::digest_in_name(path) {
            Some(named) if named != digest => Err(Fault::new(
                Code::Conflict,
                format!("`{}` is not what its name says: it has {digest}", path.display()),
            )
            .hint("the file is damaged: pull the model again with Ollama")),
            _ => Ok(digest),
        }
    }

    /// The identity of `model`; reads its files where that was not done yet.
    ///
    /// # Errors
    /// A file cannot be read, or changed meanwhile.
    pub fn identity(&self, model: &Shelved) -> Result<String> {
        let base = self.digest(&model.path)?;
        let Some(variant) = &model.variant else { return Ok(base) };
        let adapter = model.adapter.as_deref().map(|adapter| self.digest(adapter)).transpose()?;
        variant.identity(&base, adapter.as_deref())
    }
}
