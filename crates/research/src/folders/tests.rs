//! What is decided about a folder, for every folder; and which folders may be watched at all.

use std::collections::BTreeSet;
use std::fs;

use base::Code;
use proptest::prelude::*;

use super::*;
use crate::names::CollectionName;

fn id_of(source: &str) -> DocId {
    DocId::of(&CollectionName::parse("house").unwrap(), source)
}

fn any_source() -> impl Strategy<Value = String> {
    "[ab]/[a-d]".prop_map(|name| format!("file://host/docs/{name}"))
}

fn any_blob() -> impl Strategy<Value = BlobId> {
    (0..3_u8).prop_map(|n| BlobId::of(&[n]))
}

fn any_kept() -> impl Strategy<Value = BTreeMap<String, Kept>> {
    prop::collection::btree_map(any_source(), (any_blob(), any::<bool>()), 0..8).prop_map(|kept| {
        let of = |(source, (original, is_current)): (String, _)| {
            let id = id_of(&source);
            (source, Kept { id, original, is_current })
        };
        kept.into_iter().map(of).collect()
    })
}

fn any_found() -> impl Strategy<Value = BTreeMap<String, Content>> {
    let content = prop_oneof![Just(Content::Unread), any_blob().prop_map(Content::Same), Just(Content::Unfit)];
    prop::collection::btree_map(any_source(), content, 0..8)
}

fn any_unseen() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof![Just("file://host/docs/a/".to_owned()), any_source()], 0..2)
}

proptest! {
    #[test]
    fn a_document_goes_only_when_its_file_was_looked_for_and_is_none(
        (kept, found, unseen) in (any_kept(), any_found(), any_unseen())
    ) {
        let plan = decide(&kept, &found, &unseen);
        let removed: BTreeSet<DocId> = plan.remove.iter().copied().collect();
        for (source, kept) in &kept {
            let has_file = found.get(source).is_some_and(|content| *content != Content::Unfit);
            let was_looked_for = !unseen.iter().any(|beginning| source.starts_with(beginning));
            let goes = !has_file && was_looked_for && !found.is_empty();
            prop_assert_eq!(removed.contains(&kept.id), goes, "{}", source);
        }
        prop_assert_eq!(removed.len(), plan.remove.len());
        prop_assert!(plan.held_back == 0 || plan.remove.is_empty());
    }

    #[test]
    fn what_was_done_is_not_done_again((kept, found, unseen) in (any_kept(), any_found(), any_unseen())) {
        let plan = decide(&kept, &found, &unseen);
        let (mut kept, mut found) = (kept, found);
        kept.retain(|_, one| !plan.remove.contains(&one.id));
        for source in &plan.read {
            let blob = BlobId::of(source.as_bytes());
            kept.insert(source.clone(), Kept { id: id_of(source), original: blob, is_current: true });
            found.insert(source.clone(), Content::Same(blob));
        }
        let again = decide(&kept, &found, &unseen);
        prop_assert_eq!(again, Plan { held_back: plan.held_back, ..Plan::default() });
    }

    #[test]
    fn every_file_that_is_not_in_step_is_read_and_no_other(
        (kept, found, unseen) in (any_kept(), any_found(), any_unseen())
    ) {
        let read: BTreeSet<String> = decide(&kept, &found, &unseen).read.into_iter().collect();
        for (source, content) in &found {
            let is_in_step = match (content, kept.get(source)) {
                (Content::Unfit, _) => true,
                (Content::Same(blob), Some(kept)) => kept.is_current && kept.original == *blob,
                _ => false,
            };
            prop_assert_eq!(read.contains(source), !is_in_step, "{}", source);
        }
        prop_assert!(read.iter().all(|source| found.contains_key(source)));
    }
}

#[test]
fn only_allowed_folders_are_watched_and_links_out_of_them_are_not() {
    let disk = tempfile::tempdir().unwrap();
    let at = |name: &str| disk.path().join(name);
    fs::create_dir_all(at("docs/notes")).unwrap();
    fs::create_dir_all(at("docs-secret")).unwrap();
    fs::write(at("docs/a.md"), "").unwrap();
    std::os::unix::fs::symlink(at("docs-secret"), at("docs/link")).unwrap();
    std::os::unix::fs::symlink(at("docs/notes"), at("way-in")).unwrap();
    let allowed = [at("docs")];
    let code = |name: &str| real_root(&at(name), &allowed).map_err(|fault| fault.code);
    assert_eq!(code("docs"), Ok(fs::canonicalize(at("docs")).unwrap()));
    assert_eq!(code("way-in"), Ok(fs::canonicalize(at("docs/notes")).unwrap()), "it lies where it may");
    assert_eq!(code("docs/link"), Err(Code::PermissionDenied));
    assert_eq!(code("docs-secret"), Err(Code::PermissionDenied), "a name that only begins so");
    assert_eq!(code("nothing"), Err(Code::PermissionDenied), "whether it is there is not told");
    assert_eq!(code("docs/none"), Err(Code::NotFound));
    assert_eq!(code("docs/a.md"), Err(Code::InvalidArgument));
    let hint = real_root(&at("docs-secret"), &[]).unwrap_err().hint.unwrap();
    assert!(hint.contains("[research]"), "{hint}");
}

#[test]
fn a_path_is_written_in_one_way_and_never_upwards() {
    assert_eq!(plain_path("/srv//docs/./").unwrap(), "/srv/docs");
    for bad in ["docs", "", "/srv/../etc", "/srv/a\nb"] {
        assert!(plain_path(bad).is_err(), "{bad}");
    }
    assert_eq!(sources_below(Path::new("/srv/docs")).unwrap(), format!("file://{}/srv/docs/", host()));
    assert_eq!(sources_below(Path::new("/")).unwrap(), format!("file://{}/", host()));
}
