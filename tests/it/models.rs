//! Tiny models for the engine's tests: made once for a build of these tests, and then kept beside them.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tests::gguf::{Kind, Preset, Recipe, Style};

/// The mark that ends a turn of the tiny chat models.
pub const END: u32 = 2;

/// The chat model in words: broken English that ends by itself.
pub fn words() -> PathBuf {
    made(Recipe::tiny(Kind::Chat))
}

/// The same, at some hundred tokens a second: an answer lasts long enough to be caught in the middle.
pub fn slow() -> PathBuf {
    made(Recipe { preset: Preset::Slow, ..Recipe::tiny(Kind::Chat) })
}

/// The chat model that writes noise.
pub fn noise() -> PathBuf {
    made(Recipe { style: Style::Noise, ..Recipe::tiny(Kind::Chat) })
}

/// The model that makes vectors.
pub fn embed() -> PathBuf {
    made(Recipe::tiny(Kind::Embed))
}

/// The model that scores documents.
pub fn rerank() -> PathBuf {
    made(Recipe::tiny(Kind::Rerank))
}

/// An adapter for the chat model in words: its answers begin with one certain word.
pub fn adapter() -> PathBuf {
    made(Recipe::tiny(Kind::Lora))
}

/// The file of a recipe. Its name says which build of the tests made it, so that it is never older than its maker.
fn made(recipe: Recipe) -> PathBuf {
    let own = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
    let build = format!("{:x}{:x}", own.mtime(), own.mtime_nsec());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = format!("{}-{:?}-{:?}-{build}.gguf", recipe.kind.name(), recipe.style, recipe.preset).to_lowercase();
    let file = folder.join(&name);
    if !file.exists() {
        // Another test may make the same one at this moment: each writes its own, and the last one stays.
        let mine = folder.join(format!("{name}.{}", std::process::id()));
        recipe.write(&mine).unwrap();
        std::fs::rename(&mine, &file).unwrap();
    }
    file
}
