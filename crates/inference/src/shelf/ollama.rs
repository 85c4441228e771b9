//! Ollama's store: manifests name the layers of a model, blobs are the layers, called by their digest. A blob's name is
//! believed only once its bytes were read.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::digest::{Digests, hex_of, is_hex};
use super::files::{self, Headers, with_hint};
use super::scan::{self, Unusable};
use super::variant::{Parameters, Variant, known_identity};
use super::{Origin, Shelved};

const MOST_MANIFEST_BYTES: u64 = 1 << 20;
const MOST_TEXT_BYTES: u64 = 1 << 20;
const MEDIA: &str = "application/vnd.ollama.image.";

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

impl Manifest {
    /// Digests of the layers of one kind.
    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let is_it = move |layer: &&Layer| layer.media_type.strip_prefix(MEDIA) == Some(kind);
        self.layers.iter().filter(is_it).map(|layer| layer.digest.as_str())
    }
}

/// Every model that a manifest names.
pub(super) fn models(root: &Path, headers: &Headers, digests: &Digests) -> Vec<Shelved> {
    let manifests = root.join("manifests");
    let mut found = Vec::new();
    for entry in scan::walk(&manifests) {
        match entry {
            Ok(path) => found.extend(name_of(&path, &manifests).map(|name| {
                let fault = |why: String| {
                    let message = format!("could not use Ollama's manifest `{}`: {why}", path.display());
                    let why = with_hint(&message, &format!("pull `{name}` again with Ollama"));
                    Shelved {
                        name: name.clone(),
                        ..scan::unusable(Unusable { path: path.clone(), why }, Origin::Ollama)
                    }
                };
                model(name.clone(), &path, root, headers, digests).unwrap_or_else(fault)
            })),
            Err(fault) => found.push(scan::unusable(fault, Origin::Ollama)),
        }
    }
    found
}

/// `HOST/NAMESPACE/MODEL/TAG` as people say it; `None` for what lies elsewhere.
fn name_of(path: &Path, manifests: &Path) -> Option<String> {
    let below = path.strip_prefix(manifests).ok()?;
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    match parts.as_slice() {
        [_host, namespace, model, tag] if namespace == "library" => Some(format!("{model}:{tag}")),
        [_host, namespace, model, tag] => Some(format!("{namespace}/{model}:{tag}")),
        _ => None,
    }
}

fn model(name: String, path: &Path, root: &Path, headers: &Headers, digests: &Digests) -> Result<Shelved, String> {
    let text = files::small_text(path, MOST_MANIFEST_BYTES).map_err(|error| error.to_string())?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let weights: Vec<&str> = manifest.of("model").collect();
    let blob = match weights.as_slice() {
        [digest] => blob(root, digest)?,
        [] => return Err("it names no weights".to_owned()),
        more => return Err(format!("it names {} files of weights", more.len())),
    };
    let mut model = scan::model(name, blob, Origin::Ollama, headers, digests);
    let mut notes = Vec::new();
    let (variant, adapter) = own(&manifest, &model.name, root, &mut notes)?;
    model.adapter = adapter;
    model.notes = notes;
    refuse_damaged(&mut model, digests);
    if variant != (Variant { base: model.name.clone(), ..Variant::default() }) {
        model.digest = known_identity(&variant, &model, digests);
        model.variant = Some(variant);
    }
    Ok(model)
}

/// What the manifest has beside weights, and what of it is left aside.
fn own(
    manifest: &Manifest,
    name: &str,
    root: &Path,
    notes: &mut Vec<String>,
) -> Result<(Variant, Option<PathBuf>), String> {
    let mut variant = Variant { base: name.to_owned(), ..Variant::default() };
    let text = |digest: &str| {
        let path = blob(root, digest)?;
        files::small_text(&path, MOST_TEXT_BYTES).map_err(|error| format!("`{}`: {error}", path.display()))
    };
    if let Some(digest) = manifest.of("system").next() {
        variant.system = Some(text(digest)?).filter(|system| !system.trim().is_empty());
    }
    if let Some(digest) = manifest.of("params").next() {
        let given: Map<String, Value> = serde_json::from_str(&text(digest)?).map_err(|error| error.to_string())?;
        let (parameters, unknown) = Parameters::of_known(&given);
        variant.parameters = parameters;
        notes.extend(unknown.iter().map(|name| format!("its parameter `{name}` is not used")));
    }
    let adapters: Vec<&str> = manifest.of("adapter").collect();
    let adapter = adapters.first().map(|digest| blob(root, digest)).transpose()?;
    variant.adapter = adapters.first().map(|digest| (*digest).to_owned());
    if adapters.len() > 1 {
        notes.push(format!("only the first of its {} adapters is used", adapters.len()));
    }
    for (kind, why) in [
        ("template", "its template of Ollama is not used, but the one in the file"),
        ("projector", "its projector is not used: it sees no pictures here"),
        ("messages", "its example messages are not used"),
    ] {
        notes.extend(manifest.of(kind).next().map(|_| why.to_owned()));
    }
    Ok((variant, adapter))
}

fn blob(root: &Path, digest: &str) -> Result<PathBuf, String> {
    match hex_of(digest) {
        Some(hex) => Ok(root.join("blobs").join(format!("sha256-{hex}"))),
        None => Err(format!("`{}` is no digest", digest.escape_debug())),
    }
}

/// The digest that a blob's name promises; `None` for other files.
pub(super) fn digest_in_name(path: &Path) -> Option<String> {
    let is_blob = path.parent()?.file_name()? == "blobs";
    let hex = path.file_name()?.to_str()?.strip_prefix("sha256-").filter(|hex| is_hex(hex))?;
    is_blob.then(|| format!("sha256:{hex}"))
}

/// A blob whose bytes were read, and are not what its name says, is not used.
fn refuse_damaged(model: &mut Shelved, digests: &Digests) {
    for path in [Some(model.path.clone()), model.adapter.clone()].into_iter().flatten() {
        let (known, named) = (digests.known(&path), digest_in_name(&path));
        if known.is_some() && known != named {
            let message = format!("`{}` is not what its name says", path.display());
            model.header = Err(with_hint(&message, "it is damaged: pull the model again with Ollama"));
            model.digest = None;
        }
    }
}
