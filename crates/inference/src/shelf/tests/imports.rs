//! Files come in whole or not at all.

use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn a_file_comes_in_whole_and_with_its_digest() {
    let bed = Bed::new();
    let (from, shelf) = (bed.put("elsewhere/Talker.gguf", chat("a")), bed.shelf());
    let imported = shelf.import(&from, "", ImportBy::Copy).unwrap();
    assert_eq!((imported.name.as_str(), imported.path.clone()), ("Talker", bed.path("models/Talker.gguf")));
    assert!(matches!(imported.by, ImportedBy::Copy | ImportedBy::Clone));
    assert_eq!(imported.header.name.as_deref(), Some("a"));
    assert_eq!(fs::read(&imported.path).unwrap(), chat("a"));
    assert_eq!(imported.size_bytes, chat("a").len() as u64);
    let model = shelf.find("Talker").unwrap();
    assert_eq!(model.digest.as_deref(), Some(imported.digest.as_str()), "it is not read a second time");
    assert_eq!(shelf.digest(&from).unwrap(), imported.digest);
    fs::write(&from, "changed later").unwrap();
    assert!(shelf.find("Talker").unwrap().is_model(), "the copy does not change with its source");
}

#[test]
fn a_link_is_made_only_when_asked_for() {
    let bed = Bed::new();
    let (from, shelf) = (bed.put("elsewhere/t.gguf", chat("a")), bed.shelf());
    let linked = shelf.import(&from, "linked", ImportBy::Link).unwrap();
    assert_eq!(linked.by, ImportedBy::Link);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&linked.path), inode(&from));
    let copied = shelf.import(&from, "copied.gguf", ImportBy::Copy).unwrap();
    assert_eq!((copied.name.as_str(), inode(&copied.path) == inode(&from)), ("copied", false));
    assert_eq!(copied.digest, linked.digest);
}

#[test]
fn nothing_is_overwritten() {
    let bed = Bed::new();
    let (from, shelf) = (bed.put("elsewhere/t.gguf", chat("new")), bed.shelf());
    bed.put("models/t.gguf", chat("old"));
    bed.put("models/v.toml", "base = \"t\"");
    std::os::unix::fs::symlink("gone", bed.path("models/dangling.gguf")).unwrap();
    for name in ["", "t", "v", "dangling"] {
        let fault = shelf.import(&from, name, ImportBy::Copy).unwrap_err();
        assert_eq!((fault.code, fault.hint.is_some()), (Code::Conflict, true), "{name}");
    }
    assert_eq!(fs::read(bed.path("models/t.gguf")).unwrap(), chat("old"));
}

#[test]
fn what_is_no_good_does_not_come_in() {
    let bed = Bed::new();
    let shelf = bed.shelf();
    let put = |name: &str, bytes: &[u8]| bed.put(&format!("elsewhere/{name}.gguf"), bytes);
    let cases = [
        (put("junk", b"junk"), "", "not a GGUF file"),
        (put("cut", &chat("a")[..1000]), "", "the file ends within"),
        (put("eyes", &Sample::chat().with("general.type", "mmproj").bytes()), "", "lets another model see"),
        (put("good", &chat("a")), "../up", "cannot be the name"),
        (put("good", &chat("a")), ".hidden", "cannot be the name"),
        (put("good", &chat("a")), "a b", "cannot be the name"),
        (bed.path("elsewhere"), "x", "could not read"),
        (bed.path("elsewhere/gone.gguf"), "", "could not read"),
    ];
    for (from, name, message) in cases {
        let fault = shelf.import(&from, name, ImportBy::Copy).unwrap_err();
        assert!(fault.message.contains(message) && fault.hint.is_some(), "{fault:?}");
    }
    assert_eq!(fs::read_dir(bed.path("models")).unwrap().count(), 0, "and leaves nothing behind");
}

#[test]
fn a_file_larger_than_the_disk_is_refused_before_it_is_copied() {
    let bed = Bed::new();
    // Its weights are a hole: it says to be larger than any disk, and is.
    let sample = Sample::chat().tensor("huge", &[1 << 42], 24);
    let from = bed.put("elsewhere/huge.gguf", sample.header().0);
    let file = fs::OpenOptions::new().write(true).open(&from).unwrap();
    if file.set_len((1 << 42) + (1 << 20)).is_err() {
        return; // A file system that has no files of that size.
    }
    match bed.shelf().import(&from, "", ImportBy::Copy) {
        Err(fault) => assert_eq!(fault.code, Code::StorageFull, "{fault:?}"),
        Ok(imported) => assert_eq!(imported.by, ImportedBy::Clone),
    }
    assert!(!bed.path("models/huge.gguf").exists());
}

#[test]
fn what_a_killed_import_left_behind_is_removed_after_a_day() {
    let bed = Bed::new();
    let old = bed.put("models/.t.0123456789abcdef.partial", "half");
    let new = bed.put("models/.u.0123456789abcdef.partial", "half");
    let day_before = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    fs::File::options().write(true).open(&old).unwrap().set_modified(day_before).unwrap();
    let from = bed.put("elsewhere/t.gguf", chat("a"));
    bed.shelf().import(&from, "", ImportBy::Copy).unwrap();
    assert!(!old.exists() && new.exists());
    assert_eq!(names(&bed.shelf().look()), ["t"]);
}
