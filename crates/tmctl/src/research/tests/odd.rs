//! What is typed that means nothing, or less than it seems to, is said so.

use super::*;

#[tokio::test]
async fn what_is_given_empty_is_taken_away_and_what_is_left_out_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.md"), "fine").unwrap();
    let script = Script::default().on(answered);
    let server = script.serve();
    let path = folder.path().to_str().unwrap();
    for line in [vec!["research", "add", path], vec!["research", "add", path, "--category", "", "--tag", ""]] {
        assert_eq!(type_in(&server, &line).await.code, 0);
    }
    let asked = script.asked::<AddDocumentsRequest>();
    assert!(asked[0].contains("cleared: []"), "{}", asked[0]);
    assert!(
        asked[1].contains(r#"tags: [], "#) && asked[1].contains(r#"cleared: ["category", "tags"]"#),
        "{}",
        asked[1]
    );
}

#[tokio::test]
async fn an_address_that_is_not_fetched_is_told_from_a_file_that_is_not_there() {
    let server = Script::default().serve();
    for address in ["ftp://example.org/pump", "file:///srv/pump.md", "example.org/pump"] {
        let typed = type_in(&server, &["research", "add", address]).await;
        assert_eq!(typed.code, 1);
        assert!(typed.notes.contains("http:// or https://"), "{address}: {}", typed.notes);
    }
    let typed = type_in(&server, &["research", "add", "notes/pump.md"]).await;
    assert!(!typed.notes.contains("http"), "{}", typed.notes);
}

#[tokio::test]
async fn a_list_without_any_says_what_there_is_none_of() {
    let server = Script::default().on(|_: ListDocumentsRequest| Ok(ListDocumentsResponse::default())).serve();
    let told = async |line: &[&str]| type_in(&server, line).await.data;
    assert!(told(&["research", "list", "--state", "folded"]).await.contains("no documents are folded"));
    assert!(told(&["research", "list", "--tag", "nas"]).await.contains("no document passes"));
    assert!(told(&["research", "list"]).await.contains("tmctl research add PATH"));
}

#[tokio::test]
async fn numbers_that_mean_nothing_are_refused_as_they_are_typed() {
    let server = Script::default().serve();
    for line in [
        ["research", "clusters", "--count", "0"].as_slice(),
        &["research", "search", "disks", "--diversity", "7"],
        &["research", "search", "disks", "--limit", "0"],
    ] {
        assert_eq!(type_in(&server, line).await.code, 2, "{line:?}");
    }
    let few = |_: ClustersRequest| Ok(ClustersResponse { clusters: vec![Cluster::default()], ..Default::default() });
    let server = Script::default().on(few).serve();
    let typed = type_in(&server, &["research", "clusters", "--count", "50"]).await;
    assert!(typed.notes.contains("only 1 group can be made of these documents, not 50"), "{}", typed.notes);
}

#[tokio::test]
async fn removing_where_nothing_is_and_unwatching_what_is_not_watched_are_refused() {
    let folder =
        |path: &str| Folder { path: path.into(), node: "nas".into(), collection: "house".into(), ..Default::default() };
    let script = Script::default()
        .on(|_: RemoveDocumentsRequest| Ok(RemoveDocumentsResponse::default()))
        .on(move |_: ListFoldersRequest| Ok(ListFoldersResponse { folders: vec![folder("/srv/docs")] }))
        .on(|_: DeleteCollectionRequest| Ok(DeleteCollectionResponse { documents: 2 }))
        .on(|_: UnwatchFolderRequest| Ok(UnwatchFolderResponse { removed: 2 }));
    let server = script.serve();
    let typed = type_in(&server, &["research", "remove", "--below", "file://nas/none", "--yes"]).await;
    assert_eq!(typed.code, 1);
    assert!(typed.data.contains("nothing is below file://nas/none"), "{}", typed.data);
    let unwatch = async |path: &str, more: &[&str]| {
        type_in(&server, &[&["research", "folders", "unwatch", path], more].concat()).await
    };
    let typed = unwatch("/srv/other", &[]).await;
    assert!(typed.code == 1 && typed.notes.contains("no folder `/srv/other` is watched"), "{}", typed.notes);
    assert!(unwatch("/srv/docs", &[]).await.notes.contains("would be removed"));
    assert_eq!(unwatch("srv/docs", &["--yes"]).await.code, 0);
    let here = std::env::current_dir().unwrap().join("srv/docs").display().to_string();
    assert!(script.asked::<UnwatchFolderRequest>()[0].contains(&here), "it is meant from here");
    let typed = type_in(&server, &["research", "collections", "delete", "house", "--yes"]).await;
    assert!(typed.data.contains("/srv/docs of nas is watched no longer"), "{}", typed.data);
}
