//! The shelf over folders that are made for the test.

mod digests;
mod imports;
mod stores;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::gguf::sample::Sample;

/// A folder with what the test puts there, and a shelf over `models` in it.
struct Bed {
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("models")).unwrap();
        Self { dir }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn put(&self, below: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn shelf(&self) -> Shelf {
        Shelf::new(self.path("models"), Vec::new())
    }
}

/// A chat model that is unlike those of other names.
fn chat(name: &str) -> Vec<u8> {
    Sample::chat().with("general.name", name).bytes()
}

fn names(models: &[Shelved]) -> Vec<&str> {
    models.iter().map(|model| model.name.as_str()).collect()
}

/// What is said of a model that cannot be used.
fn fault(shelf: &Shelf, name: &str) -> String {
    let fault = shelf.find(name).unwrap().header.unwrap_err();
    assert!(fault.contains("(hint: "), "{fault}");
    fault
}

#[test]
fn files_are_called_by_their_stems_wherever_they_lie_in_the_folder() {
    let bed = Bed::new();
    bed.put("models/talker.Q4_K_M.gguf", chat("a"));
    bed.put("models/deep/down/other.GGUF", chat("b"));
    bed.put("models/readme.txt", "no model");
    bed.put("models/.hidden.gguf", "half an import");
    let found = bed.shelf().look();
    assert_eq!(names(&found), ["other", "talker.Q4_K_M"]);
    assert!(found.iter().all(|model| model.is_model() && model.digest.is_none() && model.origin == Origin::Folder));
}

#[test]
fn a_folder_that_is_not_there_is_an_empty_shelf() {
    assert!(Shelf::new("nowhere/at/all".into(), vec![Store::Ollama { root: "nowhere".into() }]).look().is_empty());
}

#[test]
fn what_cannot_be_used_is_told_and_hides_nothing_else() {
    let bed = Bed::new();
    bed.put("models/good.gguf", chat("a"));
    bed.put("models/junk.gguf", "junk");
    bed.put("models/cut.gguf", &chat("a")[..900]);
    bed.put("models/empty.gguf", "");
    fs::create_dir(bed.path("models/folder.gguf")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bed.path("models/socket.gguf")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bed.path("models/pipe.gguf"), rustix::fs::Mode::RUSR).unwrap();
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, bed.path(from)).unwrap();
    link("gone", "models/dangling.gguf");
    link("loop.gguf", "models/loop.gguf");
    link("../models", "models/again");
    link("good.gguf", "models/linked.gguf");
    let shelf = bed.shelf();
    let found = shelf.look();
    let all = ["cut", "dangling", "empty", "folder", "good", "junk", "linked", "loop", "pipe", "socket"];
    assert_eq!(names(&found), all);
    let good: Vec<_> = found.iter().filter(|model| model.is_model()).map(|model| model.name.as_str()).collect();
    assert_eq!(good, ["good", "linked"]);
    assert!(fault(&shelf, "junk").contains("begins with `junk`"));
    assert!(fault(&shelf, "cut").contains("the file ends within"));
    assert!(fault(&shelf, "empty").contains("the file ends within the first bytes"));
    assert!(fault(&shelf, "folder").contains("it is a folder, not a file"));
    assert!(fault(&shelf, "socket").contains("it is a socket, not a file"));
    assert!(fault(&shelf, "pipe").contains("it is a pipe, not a file"));
    assert!(fault(&shelf, "dangling").contains("it points to nothing"));
    assert!(fault(&shelf, "loop").contains("could not open"));
}

#[test]
fn a_file_that_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new();
    let path = bed.put("models/closed.gguf", chat("a"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let may_read_all = fs::File::open(&path).is_ok();
    let found = bed.shelf().look();
    assert_eq!(found[0].header.is_ok(), may_read_all, "{:?}", found[0].header);
}

#[test]
fn projectors_are_not_offered_and_adapters_are_no_models() {
    let bed = Bed::new();
    bed.put("models/mmproj.gguf", Sample::chat().with("general.architecture", "clip").bytes());
    bed.put("models/lora.gguf", Sample::adapter().bytes());
    let found = bed.shelf().look();
    assert_eq!(names(&found), ["lora"]);
    assert!(!found[0].is_model());
}

#[test]
fn a_look_sees_what_changed_since_the_last_one() {
    let bed = Bed::new();
    let (path, shelf) = (bed.put("models/a.gguf", "junk"), bed.shelf());
    assert!(shelf.look()[0].header.is_err());
    fs::write(&path, chat("now good")).unwrap();
    assert_eq!(shelf.look()[0].header.as_ref().unwrap().name.as_deref(), Some("now good"));
    fs::rename(&path, bed.path("models/b.gguf")).unwrap();
    assert_eq!(names(&shelf.look()), ["b"]);
    fs::remove_file(bed.path("models/b.gguf")).unwrap();
    assert!(shelf.look().is_empty());
}

#[test]
fn a_model_that_is_not_there_is_not_found() {
    let fault = Bed::new().shelf().find("nobody").unwrap_err();
    assert_eq!((fault.code, fault.hint.is_some()), (Code::NotFound, true));
}

fn existing_paths(stores: Vec<Store>, dir: &Path) -> Vec<String> {
    let root = |store: Store| match store {
        Store::File { path: root } | Store::Ollama { root } | Store::LmStudio { root } => {
            root.strip_prefix(dir).unwrap().display().to_string()
        }
    };
    stores.into_iter().map(root).collect()
}

#[test]
fn stores_are_looked_for_where_their_programs_keep_them() {
    let bed = Bed::new();
    for folder in ["user/.ollama/models", "user/.lmstudio/models", "user/.cache/lm-studio/models", "own"] {
        fs::create_dir_all(bed.path(folder)).unwrap();
    }
    let (dir, user, own) = (bed.dir.path(), bed.path("user"), bed.path("own"));
    let ollama = |told: Option<&Path>| existing_paths(Store::ollama(told.map(Path::as_os_str), Some(&user)), dir);
    assert_eq!(ollama(None).first().map(String::as_str), Some("user/.ollama/models"));
    assert_eq!(ollama(Some(&own)), ["own"], "what is told holds alone");
    assert_eq!(ollama(Some(Path::new(""))).first().map(String::as_str), Some("user/.ollama/models"));
    let lm_studio = existing_paths(Store::lm_studio(Some(&user)), dir);
    assert_eq!(lm_studio, ["user/.lmstudio/models", "user/.cache/lm-studio/models"]);
    assert!(Store::lm_studio(None).is_empty());
}
