//! Commands as they are typed, against a scripted service over real sockets.

mod odd;

use proto::planning::{Job, ListTasksRequest, ListTasksResponse, Task, WatchJobRequest};
use proto::research::ask_response::Part;
use proto::research::*;
use serde_json::Value;
use tonic::Status;

use crate::samples::research as samples;
use crate::scripted::{News, Script, Typed, type_in};

fn answered(document: AddDocumentsRequest) -> Result<AddDocumentsResponse, Status> {
    let text = String::from_utf8_lossy(&document.content).into_owned();
    let (outcome, reason) = match text.trim() {
        "broken" => ("failed", "it ends in the middle"),
        "same" => ("folded", "file://grey-area/srv/other.md"),
        "old" => ("unchanged", ""),
        _ => ("added", ""),
    };
    let (outcome, reason) = (outcome.to_owned(), reason.to_owned());
    Ok(AddDocumentsResponse { source: document.source, outcome, reason, copies: 2, ..Default::default() })
}

fn without_folder(typed: &Typed, folder: &std::path::Path) -> String {
    let folder = folder.canonicalize().unwrap().display().to_string();
    let host =
        rustix::system::uname().nodename().to_string_lossy().split('.').next().unwrap_or_default().to_lowercase();
    let all = format!("{}{}", typed.data, typed.notes);
    all.replace(&folder, "/FOLDER").replace(&format!("file://{host}/"), "file://HOST/")
}

#[tokio::test]
async fn a_folder_is_added_and_everything_that_is_not_as_it_should_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.md", "fine"), ("b.md", "broken"), ("c.md", "same"), ("d.md", "old"), (".e.md", "x")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let script = Script::default().on(answered);
    let server = script.serve();
    let path = folder.path().to_str().unwrap();
    let typed = type_in(&server, &["research", "add", path, "--category", "hardware", "--tag", "nas"]).await;
    assert_eq!(typed.code, 1, "one failed");
    insta::assert_snapshot!("added", without_folder(&typed, folder.path()));
    let asked = script.asked::<AddDocumentsRequest>();
    assert_eq!(asked.len(), 4);
    assert!(
        asked[0].contains(r#"collection: "house""#) && asked[0].contains(r#"category: "hardware", tags: ["nas"]"#),
        "{}",
        asked[0]
    );
    let json = type_in(&server, &["--json", "research", "add", path]).await;
    let json: Value = serde_json::from_str(&json.data).unwrap();
    assert_eq!(
        (&json["counts"]["added"], &json["hidden"], json["documents"].as_array().map(Vec::len)),
        (&1.into(), &1.into(), Some(4))
    );
}

#[tokio::test]
async fn what_a_server_that_goes_away_has_not_answered_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        std::fs::write(folder.path().join(format!("{number}.md")), "text").unwrap();
    }
    let mut taken = 0;
    let script = Script::default().on(move |document: AddDocumentsRequest| {
        taken += 1;
        if taken == 3 { Err(proto::to_status(&base::Fault::unavailable("it stops"))) } else { answered(document) }
    });
    let server = script.serve();
    let typed = type_in(&server, &["research", "add", folder.path().to_str().unwrap()]).await;
    assert_eq!((typed.code, typed.data.as_str()), (0, "house: 5 added; on 2 nodes\n"), "{}", typed.notes);
    assert!(typed.notes.contains("trying again"), "{}", typed.notes);
}

#[tokio::test]
async fn a_document_that_is_too_large_for_the_server_is_named_and_the_others_are_added() {
    let folder = tempfile::tempdir().unwrap();
    for (name, size) in [("a.md", 10), ("b.md", 5000), ("c.md", 10)] {
        std::fs::write(folder.path().join(name), "x".repeat(size)).unwrap();
    }
    let script = Script::default().on(|document: AddDocumentsRequest| {
        let is_large = document.content.len() > 1000;
        if is_large { Err(Status::out_of_range("decoded message length too large")) } else { answered(document) }
    });
    let typed = type_in(&script.serve(), &["research", "add", folder.path().to_str().unwrap()]).await;
    assert!(typed.code == 1 && typed.data.starts_with("house: 2 added, 1 failed"), "{}{}", typed.data, typed.notes);
    assert!(typed.data.contains("b.md: it has 4.9 KiB, more than the server takes"), "{}", typed.data);
}

#[tokio::test]
async fn a_task_is_a_document_and_standard_input_needs_a_name() {
    let task = Task { id: "3".into(), title: "plant".into(), details: "frost".into(), ..Task::default() };
    let script = Script::default()
        .on(answered)
        .on(move |_: ListTasksRequest| Ok(ListTasksResponse { tasks: vec![task.clone()], ..Default::default() }));
    let server = script.serve();
    assert_eq!(type_in(&server, &["research", "add", "--task", "garden/3"]).await.code, 0);
    let asked = script.asked::<AddDocumentsRequest>().concat();
    assert!(asked.contains(r#"source: "task:garden/3""#) && asked.contains("frost"), "{asked}");
    assert_eq!(type_in(&server, &["research", "add", "--task", "garden/4"]).await.code, 1);
    let unnamed = type_in(&server, &["research", "add", "-"]).await;
    assert!(unnamed.code == 1 && unnamed.notes.contains("--source"), "{}", unnamed.notes);
    assert_eq!(type_in(&server, &["research", "add"]).await.code, 2);
    for option in ["--source", "--title", "--media"] {
        let line = ["research", "add", "--task", "garden/3", option, "x"];
        assert_eq!(type_in(&server, &line).await.code, 2, "a task has its own {option}");
    }
    let page = type_in(&server, &["research", "add", "https://example.org/a", "--source", "x"]).await;
    assert!(page.code == 1 && page.notes.contains("its address is its source"), "{}", page.notes);
}

#[tokio::test]
async fn pages_that_the_mode_does_not_allow_are_refused_with_a_hint() {
    let script = Script::default().on(|request: AddUrlsRequest| {
        let fault = base::Fault::new(base::Code::PermissionDenied, format!("could not fetch `{}`", request.urls[0]));
        Ok(vec![Err::<AddDocumentsResponse, _>(proto::to_status(&fault.hint("`tmctl mode set hybrid`")))])
    });
    let typed = type_in(&script.serve(), &["research", "add", "https://example.org/a"]).await;
    assert_eq!(typed.code, 1);
    assert!(typed.notes.contains("tmctl mode set hybrid"), "{}", typed.notes);
}

fn parts(texts: &[&str]) -> Vec<Result<AskResponse, Status>> {
    let deltas = texts.iter().map(|text| Part::Delta((*text).to_owned()));
    let all =
        [Part::Doing("searching".into())].into_iter().chain(deltas).chain([Part::Answer(Box::new(samples::answer()))]);
    all.map(|part| Ok(AskResponse { part: Some(part) })).collect()
}

#[tokio::test]
async fn an_answer_is_asked_with_its_context_and_its_filter() {
    let script = Script::default().on(|_: AskRequest| Ok(parts(&["The NAS"])));
    let server = script.serve();
    let line = [
        "research",
        "ask",
        "how many disks",
        "--context",
        "for a bill",
        "--collection",
        "house",
        "--from",
        "2026-01-01",
        "--extractive",
    ];
    let typed = type_in(&server, &line).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert!(typed.data.starts_with("The NAS has four disks. [1]"), "what is piped is checked: {}", typed.data);
    let asked = script.asked::<AskRequest>().concat();
    for part in [
        r#"context: "for a bill""#,
        r#"collections: ["house"]"#,
        "from_ms: Some(1767225600000)",
        r#"mode: "extractive""#,
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let json = type_in(&server, &["--json", "research", "ask", "how", "many", "disks"]).await;
    let json: Value = serde_json::from_str(&json.data).unwrap();
    assert_eq!(
        (&json["citations"][0]["start"], &json["sentences"][1]["support"]),
        (&120.into(), &"unsupported".into())
    );
    assert_eq!(type_in(&server, &["research", "ask", "x", "--extractive", "--model"]).await.code, 2);
}

#[tokio::test]
async fn an_answer_that_is_not_there_is_no_success_and_a_cut_one_is_a_fault() {
    let script = Script::default().on(|request: AskRequest| {
        if request.question == "cut" {
            return Ok(vec![Ok(AskResponse { part: Some(Part::Delta("The".into())) })]);
        }
        let answer = Answer { verdict: "not_found".into(), ..Answer::default() };
        Ok(vec![Ok::<_, Status>(AskResponse { part: Some(Part::Answer(Box::new(answer))) })])
    });
    let server = script.serve();
    assert_eq!(type_in(&server, &["research", "ask", "why"]).await.code, 1);
    let cut = type_in(&server, &["research", "ask", "cut"]).await;
    assert!(cut.code == 1 && cut.notes.contains("before the answer was whole"), "{}", cut.notes);
}

#[tokio::test]
async fn a_loop_is_followed_to_its_end_or_left_to_itself() {
    let done = || Job {
        id: "j-7".into(),
        kind: "research".into(),
        state: "done".into(),
        result_json: include_str!("../samples/report.json").into(),
        ..Job::default()
    };
    let script = Script::default()
        .on(|_: StartLoopRequest| Ok(StartLoopResponse { job: "j-7".into() }))
        .on(move |_: WatchJobRequest| Ok(News { jobs: vec![done()], hangs: false }));
    let server = script.serve();
    let typed =
        type_in(&server, &["research", "loop", "how many disks", "--deadline", "10m", "--max-iterations", "2"]).await;
    assert!(
        typed.code == 0 && typed.data.contains("300 litres of water an hour. [1]"),
        "{}{}",
        typed.data,
        typed.notes
    );
    let asked = script.asked::<StartLoopRequest>().concat();
    assert!(asked.contains("max_iterations: 2, deadline_s: 600") && asked.contains(r#"key: "tmctl-"#), "{asked}");
    let begun = type_in(&server, &["research", "loop", "x", "--no-wait"]).await;
    assert_eq!(begun.data, "began j-7; `tmctl jobs watch j-7` shows how far it is\n");
}

#[tokio::test]
async fn what_would_be_taken_away_is_said_before_it_is() {
    let script = Script::default()
        .on(|_: ListCollectionsRequest| Ok(ListCollectionsResponse { collections: vec![samples::collection()] }))
        .on(|_: RemoveDocumentsRequest| Ok(RemoveDocumentsResponse { removed: 3, unknown: vec!["gone".into()] }))
        .on(|_: ListFoldersRequest| {
            let folder = Folder { path: "/srv/notes".into(), node: "grey-area".into(), ..Default::default() };
            Ok(ListFoldersResponse { folders: vec![folder] })
        })
        .on(|_: DeleteCollectionRequest| Ok(DeleteCollectionResponse { documents: 43 }));
    let server = script.serve();
    let mut text = String::new();
    for line in [
        &["research", "remove", "note:nas", "--below", "file://nas/"][..],
        &["research", "remove", "note:nas", "gone", "--yes"],
        &["research", "collections", "delete", "house"],
        &["research", "collections", "delete", "nowhere"],
        &["research", "collections", "delete", "house", "--yes"],
        &["research", "folders", "unwatch", "/srv/notes"],
    ] {
        let typed = type_in(&server, line).await;
        text.push_str(&format!("{} -> {}\n{}{}", line[1..].join(" "), typed.code, typed.data, typed.notes));
    }
    insta::assert_snapshot!("taken_away", text);
    assert_eq!(script.asked::<DeleteCollectionRequest>().len(), 1);
}

#[tokio::test]
async fn what_is_there_is_shown_as_tables() {
    let script = Script::default()
        .on(|_: ListCollectionsRequest| Ok(ListCollectionsResponse { collections: vec![samples::collection()] }))
        .on(|_: StatusRequest| Ok(samples::status()))
        .on(|request: ListDocumentsRequest| {
            let documents = samples::documents();
            let (documents, next) =
                if request.after.is_empty() { (&documents[..2], "x") } else { (&documents[2..], "") };
            Ok(ListDocumentsResponse { documents: documents.to_vec(), total: 3, next: next.into() })
        })
        .on(|_: ListFoldersRequest| {
            let folder = Folder {
                collection: "house".into(),
                node: "nas".into(),
                path: "/srv/notes".into(),
                state: "12 files".into(),
                ..Default::default()
            };
            Ok(ListFoldersResponse { folders: vec![folder] })
        });
    let server = script.serve();
    let mut text = String::new();
    for line in [
        &["research", "list"][..],
        &["research", "list", "--limit", "2"],
        &["research", "collections"],
        &["research", "folders"],
    ] {
        let typed = type_in(&server, line).await;
        text.push_str(&format!("{}\n{}{}\n", line.join(" "), typed.data, typed.notes));
    }
    let status = type_in(&server, &["research"]).await.data;
    text.push_str(status.split("as seen by").next().unwrap());
    insta::assert_snapshot!("tables", text);
    let json: Value = serde_json::from_str(&type_in(&server, &["--json", "research", "list"]).await.data).unwrap();
    assert_eq!((&json["items"][1]["state"], json["items"].as_array().map(Vec::len)), (&"failed".into(), Some(3)));
    assert!(json["as_of"].is_string() && json["view_of"].is_string());
    assert_eq!(type_in(&server, &["research", "list", "--limit", "0"]).await.code, 2, "none would be a lie");
}

#[tokio::test]
async fn an_export_writes_bytes_and_says_what_each_is() {
    let script = Script::default().on(|_: ExportRequest| {
        let document = Some(samples::documents().remove(0));
        Ok(vec![Ok::<_, Status>(ExportResponse { document, content: b"four disks".to_vec().into() })])
    });
    let server = script.serve();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let typed = type_in(&server, &["research", "export", dir.to_str().unwrap()]).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert_eq!(std::fs::read_to_string(dir.join("files/0a.md")).unwrap(), "four disks");
    assert!(std::fs::read_to_string(dir.join("manifest.jsonl")).unwrap().contains(r#""file":"files/0a.md""#));
    assert_eq!(
        type_in(&server, &["research", "export", dir.to_str().unwrap()]).await.code,
        1,
        "two states would be mixed"
    );
}

/// Searches answer with the first document twice and the second once; the collection counts its deletions.
fn measuring() -> Script {
    let hit = |id: &str| Hit { source: format!("eval:{id}"), ..Hit::default() };
    Script::default()
        .on(answered)
        .on(|request: CreateCollectionRequest| {
            if request.name.starts_with("kept") {
                return Err(Status::aborted("there is one of that name"));
            }
            Ok(CreateCollectionResponse { collection: Some(Collection { name: request.name, ..Default::default() }) })
        })
        .on(|_: StatusRequest| Ok(StatusResponse::default()))
        .on(|_: DeleteCollectionRequest| Ok(DeleteCollectionResponse::default()))
        .on(move |request: SearchRequest| {
            if request.question == "break" {
                return Err(Status::internal("it broke"));
            }
            Ok(SearchResponse { hits: vec![hit("a"), hit("b"), hit("a")], search: "by words".into(), seconds: 0.1 })
        })
}

#[tokio::test]
async fn a_measuring_writes_its_run_and_its_collection_is_gone_also_after_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(
        at("corpus"),
        "{\"id\":\"a\",\"title\":\"A\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\"broken\"}\n",
    )
    .unwrap();
    let script = measuring();
    let script = {
        let names = script.clone();
        script.on(move |_: ListCollectionsRequest| {
            let made = names.asked::<CreateCollectionRequest>();
            let name = made.last().unwrap().split('"').nth(1).unwrap().to_owned();
            let documents = if name == "kept-too-much" { 3 } else { 2 };
            let description = if name == "kept-house" { "" } else { "made by tmctl research eval" }.to_owned();
            let collection = Collection { name, description, documents, chunks: 2, ..Default::default() };
            Ok(ListCollectionsResponse { collections: vec![collection] })
        })
    };
    let server = script.serve();
    for (question, code) in [("why", 0), ("break", 1)] {
        std::fs::write(at("queries"), format!("{{\"id\":\"q\",\"text\":\"{question}\"}}\n")).unwrap();
        let (corpus, queries, run) = (at("corpus"), at("queries"), at("run"));
        let line =
            ["--json", "research", "eval", "--corpus", &corpus, "--queries", &queries, "--run", &run, "--mode", "text"];
        let typed = type_in(&server, &line).await;
        assert_eq!(typed.code, code, "{}", typed.notes);
        if code == 0 {
            let json: Value = serde_json::from_str(&typed.data).unwrap();
            assert_eq!((&json["documents"], &json["queries"]), (&2.into(), &1.into()));
            assert!(json["left_out"][0].as_str().unwrap().contains("failed eval:b"), "{json}");
        }
    }
    let (corpus, queries, run) = (at("corpus"), at("queries"), at("run"));
    let nowhere = at("none/run");
    for wrong in [["--run", &nowhere, "--mode", "text"], ["--run", &run, "--sentences", "3"]] {
        let line = [&["research", "eval", "--corpus", &corpus, "--queries", &queries], &wrong[..]].concat();
        assert_eq!(type_in(&server, &line).await.code, 1, "{wrong:?}");
    }
    assert_eq!(std::fs::read_to_string(at("run")).unwrap(), "{\"query\":\"q\",\"docs\":[\"a\",\"b\"]}\n");
    let (made, gone) = (script.asked::<CreateCollectionRequest>(), script.asked::<DeleteCollectionRequest>());
    assert_eq!((made.len(), gone.len()), (2, 2));
    assert!(gone[0].contains("eval-"));

    // One that is kept may be there already, and stays; more in it than the corpus has would be found too.
    for (kept, code) in [("kept", 0), ("kept-too-much", 1), ("kept-house", 1)] {
        let line = ["research", "eval", "--corpus", &corpus, "--queries", &queries, "--run", &run, "--keep", kept];
        std::fs::write(at("queries"), "{\"id\":\"q\",\"text\":\"why\"}\n").unwrap();
        let typed = type_in(&server, &line).await;
        assert_eq!(typed.code, code, "{}", typed.notes);
    }
    assert_eq!(script.asked::<DeleteCollectionRequest>().len(), 2);
}

#[tokio::test]
async fn a_move_of_the_index_is_told_with_its_counts_and_its_sample() {
    use migrate_response::Part;
    let part = |part| Ok::<_, Status>(MigrateResponse { part: Some(part) });
    let progress = |doing: &str, done| Part::Progress(MigrateProgress { doing: doing.into(), done, total: 400 });
    let script = Script::default().on(move |request: MigrateRequest| {
        let migrated = Migrated {
            index: "http://nas:6334".into(),
            points: 400,
            chunks: if request.to == "qdrant" { 400 } else { 390 },
            samples: 20,
            overlap: if request.to == "qdrant" { 0.995 } else { 0.5 },
            notes: vec!["they differ while documents are added".into()],
        };
        let told = vec![
            part(progress("beta puts chunks into Qdrant", 100)),
            part(progress("searches both ways", 400)),
            part(Part::Migrated(migrated)),
        ];
        Ok(told)
    });
    let server = script.serve();
    let typed = type_in(&server, &["research", "migrate", "--to", "qdrant"]).await;
    assert_eq!(typed.code, 0);
    insta::assert_snapshot!("migrated", format!("{}{}", typed.notes, typed.data));
    let json = type_in(&server, &["--json", "research", "migrate", "--to", "embedded"]).await;
    assert_eq!(json.code, 1, "half of the hits are others");
    let json: Value = serde_json::from_str(&json.data).unwrap();
    assert_eq!((&json["points"], &json["chunks"], &json["overlap"]), (&400.into(), &390.into(), &0.5.into()));
}
