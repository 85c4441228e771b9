//! The research service, through its generated client.

use proto::research::research_client::ResearchClient;
use proto::research::*;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::client::PATIENCE;
use crate::desk::reaches;
use crate::grpc::{Served, serve};

fn document(source: &str, text: &str) -> AddDocumentsRequest {
    let meta = Meta { title: source.to_owned(), ..Meta::default() };
    let content = bytes::Bytes::copy_from_slice(text.as_bytes());
    AddDocumentsRequest { collection: "house".into(), source: source.into(), meta: Some(meta), content }
}

async fn added(client: &mut ResearchClient<Channel>, documents: Vec<AddDocumentsRequest>) -> Vec<AddDocumentsResponse> {
    let answers = client.add_documents(tokio_stream::iter(documents)).await.unwrap().into_inner();
    answers.map(Result::unwrap).collect().await
}

async fn house() -> (Served, ResearchClient<Channel>) {
    let served = serve(false).await;
    let mut client = ResearchClient::new(served.channel.clone());
    let documents = vec![
        document("file:/nas.md", "The NAS has four disks.\nIt sleeps at night."),
        document("file:/cat.md", "A cat."),
    ];
    added(&mut client, documents).await;
    (served, client)
}

#[tokio::test]
async fn every_document_of_a_stream_is_answered_in_order_and_a_bad_one_alone_is_refused() {
    let served = serve(false).await;
    let mut client = ResearchClient::new(served.channel.clone());
    let mut documents: Vec<_> = (0..200).map(|number| document(&format!("file:/{number}"), "text")).collect();
    documents[3].source.clear();
    documents[7].content = bytes::Bytes::from_static(&[0xff]);
    let answers = added(&mut client, documents).await;
    let outcomes: Vec<&str> = answers.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(
        (outcomes.len(), &outcomes[2..9]),
        (200, &["added", "refused", "added", "added", "added", "failed", "added"][..])
    );
    assert_eq!(answers[199].source, "file:/199");
    assert!(answers[3].reason.contains("`source`") && !answers[3].hint.is_empty(), "{:?}", answers[3]);
    let again = added(&mut client, vec![document("file:/0", "text"), document("file:/1", "other")]).await;
    assert_eq!((again[0].outcome.as_str(), again[1].outcome.as_str()), ("unchanged", "changed"));
    assert!(served.desk.knowledge.batches.lock().unwrap().iter().all(|&together| together <= 64));
    let wrong = AddDocumentsRequest { collection: "../etc".into(), ..document("a", "b") };
    let mut answers = client.add_documents(tokio_stream::iter([wrong])).await.unwrap().into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap_err().code(), Code::InvalidArgument);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn an_answer_waits_for_no_further_document() {
    let served = serve(false).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = ResearchClient::new(served.channel.clone());
    let mut answers = client.add_documents(incoming).await.unwrap().into_inner();
    for source in ["a", "b"] {
        sender.send(document(source, "text")).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((answer.source.as_str(), answer.outcome.as_str()), (source, "added"));
    }
}

#[tokio::test]
async fn an_answer_is_told_as_it_comes_and_ends_with_its_sources() {
    let (_served, mut client) = house().await;
    let request = AskRequest { question: "disks".into(), ..AskRequest::default() };
    let parts: Vec<_> =
        client.ask(request).await.unwrap().into_inner().map(|part| part.unwrap().part.unwrap()).collect().await;
    use ask_response::Part;
    let [Part::Doing(doing), Part::Delta(delta), Part::Answer(answer)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((doing.as_str(), delta.as_str()), ("searching", "The NAS has four disks. [1]"));
    assert_eq!((answer.verdict.as_str(), answer.sentences[0].support.as_str()), ("answered", "quoted"));
    let span = answer.citations[0].span.clone().unwrap();
    let address = format!("tm://house/{}@{}#{}-{}", span.document, span.version, span.start, span.end);
    let at = GetDocumentRequest { document: address, ..GetDocumentRequest::default() };
    assert_eq!(client.get_document(at).await.unwrap().into_inner().text, answer.citations[0].quote);
}

#[tokio::test]
async fn who_stops_listening_ends_the_work_behind_an_answer() {
    let (served, mut client) = house().await;
    let request = AskRequest { question: "wait".into(), ..AskRequest::default() };
    let mut parts = client.ask(request).await.unwrap().into_inner();
    assert!(matches!(parts.next().await.unwrap().unwrap().part, Some(ask_response::Part::Doing(_))));
    drop(parts);
    reaches(&served.desk.knowledge.dropped, 1, PATIENCE).await;
}

#[tokio::test]
async fn every_call_of_the_service_answers() {
    let (served, mut client) = house().await;
    let made = CreateCollectionRequest { name: "notes".into(), ..Default::default() };
    assert_eq!(client.create_collection(made.clone()).await.unwrap().into_inner().collection.unwrap().name, "notes");
    assert_eq!(client.create_collection(made).await.unwrap_err().code(), Code::Aborted);
    let all = client.list_collections(ListCollectionsRequest {}).await.unwrap().into_inner().collections;
    assert_eq!(
        all.iter().map(|one| (one.name.as_str(), one.documents)).collect::<Vec<_>>(),
        [("house", 2), ("notes", 0)]
    );
    let list = ListDocumentsRequest { collection: "house".into(), limit: 1, ..Default::default() };
    let page = client.list_documents(list).await.unwrap().into_inner();
    assert_eq!((page.total, page.next.as_str(), page.documents.len()), (2, "file:/cat.md", 1));
    let search = SearchRequest { question: "NAS sleeps".into(), ..Default::default() };
    let found = client.search(search.clone()).await.unwrap().into_inner();
    assert_eq!((found.hits.len(), found.hits[0].why.clone().unwrap().words.len()), (2, 1));
    let fuzzy = client.search(SearchRequest { mode: "fuzzy".into(), ..search }).await.unwrap_err();
    assert_eq!(proto::from_status(&fuzzy).hint.as_deref(), Some("use hybrid, text, dense"));
    let exported: Vec<_> =
        client.export(ExportRequest { collection: "house".into() }).await.unwrap().into_inner().collect().await;
    assert_eq!(exported[0].as_ref().unwrap().content, "A cat.");
    assert_eq!(exported.len(), 2);
    let folder = Folder { collection: "house".into(), path: "/srv/notes".into(), ..Default::default() };
    let watched = client.watch_folder(WatchFolderRequest { folder: Some(folder.clone()) }).await.unwrap().into_inner();
    assert_eq!(watched.folder.unwrap().node, "grey-area");
    assert_eq!(client.list_folders(ListFoldersRequest::default()).await.unwrap().into_inner().folders.len(), 1);
    let relative = Folder { path: "notes".into(), ..folder };
    let refused = client.watch_folder(WatchFolderRequest { folder: Some(relative) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let end = UnwatchFolderRequest { collection: "house".into(), path: "/srv/notes".into(), ..Default::default() };
    assert_eq!(client.unwatch_folder(end).await.unwrap().into_inner().removed, 2);
    let urls = AddUrlsRequest { collection: "house".into(), urls: vec!["https://a/b".into()], meta: None };
    let refused = client.add_urls(urls).await.unwrap().into_inner().next().await.unwrap().unwrap_err();
    assert_eq!(proto::from_status(&refused).code, base::Code::PermissionDenied);
    let order = StartLoopRequest { question: "why".into(), key: "once".into(), ..Default::default() };
    assert_eq!(client.start_loop(order).await.unwrap().into_inner().job, "job-7");
    assert_eq!(served.desk.knowledge.ordered.lock().unwrap().take().unwrap().1.as_deref(), Some("once"));
    let clusters = ClustersRequest { collection: "house".into(), svg: true, ..Default::default() };
    assert_eq!(client.clusters(clusters).await.unwrap().into_inner().svg, "<svg/>");
    assert_eq!(client.status(StatusRequest {}).await.unwrap().into_inner().node, "grey-area");
    let remove =
        RemoveDocumentsRequest { collection: "house".into(), documents: vec!["x".into()], below: "file:/n".into() };
    let removed = client.remove_documents(remove).await.unwrap().into_inner();
    assert_eq!((removed.removed, removed.unknown), (1, vec!["x".to_owned()]));
    let delete = DeleteCollectionRequest { name: "house".into() };
    assert_eq!(client.delete_collection(delete.clone()).await.unwrap().into_inner().documents, 1);
    assert_eq!(client.delete_collection(delete).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn without_a_key_nobody_reads_a_document() {
    let served = serve(true).await;
    let mut client = ResearchClient::new(served.channel.clone());
    let refused = client.list_collections(ListCollectionsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut with_key = Request::new(ListCollectionsRequest {});
    with_key.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
    assert!(client.list_collections(with_key).await.is_ok());
}
