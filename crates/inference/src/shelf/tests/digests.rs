//! Digests are computed once, kept, and never believed for another state of a file.

use super::*;

const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_digest_is_that_of_the_bytes_and_is_kept_for_the_next_start() {
    let bed = Bed::new();
    let abc = bed.put("models/abc.gguf", "abc");
    assert_eq!(bed.shelf().digest(&abc).unwrap(), OF_ABC);
    let kept = fs::read_to_string(bed.path("digests.json")).unwrap();
    assert!(kept.contains(OF_ABC), "{kept}");
    assert_eq!(bed.shelf().look()[0].digest.as_deref(), Some(OF_ABC), "without reading it again");
}

#[test]
fn a_file_that_changed_is_read_again() {
    let bed = Bed::new();
    let (path, shelf) = (bed.put("models/a.gguf", "abd"), bed.shelf());
    let before = shelf.digest(&path).unwrap();
    // As long as before, but another file in its place.
    fs::write(bed.path("other"), "abc").unwrap();
    fs::rename(bed.path("other"), &path).unwrap();
    assert_eq!(shelf.look()[0].digest, None);
    assert_eq!(shelf.digest(&path).unwrap(), OF_ABC);
    assert_ne!(before, OF_ABC);
}

#[test]
fn digests_that_were_damaged_on_disk_are_computed_anew() {
    for damage in ["", "{", "[]", r#"{"format": 9, "files": {}}"#, "\u{0}\u{0}", r#"{"format": 1, "files": {"a": 3}}"#]
    {
        let bed = Bed::new();
        let path = bed.put("models/abc.gguf", "abc");
        bed.put("digests.json", damage);
        let shelf = bed.shelf();
        assert_eq!(shelf.look()[0].digest, None, "{damage}");
        assert_eq!(shelf.digest(&path).unwrap(), OF_ABC);
        assert_eq!(bed.shelf().look()[0].digest.as_deref(), Some(OF_ABC), "{damage}");
    }
}

#[test]
fn an_odd_digest_on_disk_is_not_believed() {
    let bed = Bed::new();
    let path = bed.put("models/abc.gguf", "abc");
    bed.shelf().digest(&path).unwrap();
    let kept = fs::read_to_string(bed.path("digests.json")).unwrap();
    bed.put("digests.json", kept.replace(OF_ABC, "sha256:../../x"));
    assert_eq!(bed.shelf().look()[0].digest, None);
}

#[test]
fn files_that_are_gone_are_forgotten() {
    let bed = Bed::new();
    let (gone, abc, shelf) = (bed.put("models/gone.gguf", "x"), bed.put("models/abc.gguf", "abc"), bed.shelf());
    shelf.digest(&gone).unwrap();
    fs::remove_file(&gone).unwrap();
    shelf.digest(&abc).unwrap();
    assert!(!fs::read_to_string(bed.path("digests.json")).unwrap().contains("gone"));
    assert_eq!(shelf.digest(&gone).unwrap_err().code, Code::Unavailable);
}

#[test]
fn a_file_that_grows_while_it_is_read_has_no_digest() {
    let bed = Bed::new();
    let path = bed.put("models/a.gguf", vec![7; 64 << 20]);
    let (is_over, begun) = (std::sync::atomic::AtomicBool::new(false), std::sync::Barrier::new(2));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            begun.wait();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"more").unwrap();
                std::thread::yield_now();
            }
        });
        begun.wait();
        let result = bed.shelf().digest(&path);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        result
    });
    assert_eq!(result.unwrap_err().code, Code::Conflict);
}

#[test]
fn digests_can_be_kept_elsewhere() {
    let bed = Bed::new();
    let path = bed.put("models/abc.gguf", "abc");
    let elsewhere = bed.path("cache/deep/digests.json");
    bed.shelf().keeping_digests_in(elsewhere.clone()).digest(&path).unwrap();
    assert!(elsewhere.exists() && !bed.path("digests.json").exists());
}
