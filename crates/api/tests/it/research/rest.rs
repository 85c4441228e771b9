//! The knowledge base over REST.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{PATIENCE, read_until, request, send};
use crate::desk::reaches;
use crate::projects::Bed;

impl Bed {
    /// One whose house has two documents.
    pub async fn house() -> Self {
        let bed = Self::garden().await;
        let documents = "/api/research/collections/house/documents";
        let nas = json!({ "source": "file://nas/srv/nas.md", "title": "The NAS", "text": "It has four disks.\nIt sleeps at night." });
        assert_eq!(bed.call("POST", documents, &nas).await["outcome"], "added");
        let page = json!({ "source": "https://example.org/pump", "text": "A pump wants 12 volts.", "tags": ["water"] });
        bed.call("POST", documents, &page).await;
        bed
    }
}

const AT: &str = "/api/research";

#[tokio::test]
async fn a_new_version_keeps_what_its_body_does_not_name() {
    let bed = Bed::house().await;
    let documents = format!("{AT}/collections/house/documents");
    let add = async |mut more: Value| {
        more["source"] = "https://example.org/pump".into();
        more["text"] = "A pump wants 24 volts.".into();
        bed.call("POST", &documents, &more).await["document"]["meta"].clone()
    };
    assert_eq!(add(json!({ "category": "hardware" })).await["tags"], json!(["water"]));
    let emptied = add(json!({ "tags": [] })).await;
    assert_eq!((&emptied["tags"], &emptied["category"]), (&json!([]), &json!("hardware")));
}

#[tokio::test]
async fn every_route_answers() {
    let bed = Bed::house().await;
    let at = |path: &str| format!("{AT}/{path}");
    let made = bed.send("POST", &at("collections"), &json!({ "name": "notes" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(bed.send("POST", &at("collections"), &json!({ "name": "notes" })).await.status, 409);
    let all = bed.get(&at("collections")).await;
    assert_eq!((&all["total"], &all["items"][0]["name"]), (&json!(2), &json!("house")));
    let page = bed.get(&at("collections/house/documents?limit=1")).await;
    assert_eq!(
        (&page["total"], &page["next"], &page["items"][0]["state"]),
        (&json!(2), &json!("file://nas/srv/nas.md"), &json!("ready"))
    );
    assert_eq!(bed.get(&at("collections/house/documents?tag=water")).await["total"], 1);
    let raw = send(
        bed.server.address,
        "POST",
        &at("collections/notes/documents?source=note:raw&tag=a,b"),
        "content-type: text/plain\r\n",
        "a cat",
    )
    .await;
    let raw: Value = serde_json::from_str(&raw.body).unwrap();
    assert_eq!(
        (&raw["document"]["meta"]["media"], &raw["document"]["meta"]["tags"]),
        (&json!("text/plain"), &json!(["a", "b"]))
    );
    let found = bed.call("POST", &at("search"), &json!({ "question": "disks pump" })).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(2));
    let answer = bed.call("POST", &at("ask"), &json!({ "question": "disks", "mode": "extractive" })).await;
    assert_eq!((&answer["verdict"], &answer["text"]), (&json!("answered"), &json!("It has four disks. [1]")));
    let job = bed.send("POST", &at("loops"), &json!({ "question": "disks", "once": "k" })).await;
    assert_eq!((job.status, job.body.contains("/api/jobs/job-7/events")), (202, true));
    assert_eq!(bed.server.desk.knowledge.ordered.lock().unwrap().take().unwrap().1.as_deref(), Some("k"));
    assert_eq!(bed.get(&at("clusters?collection=house")).await["items"][0]["label"], "all");
    assert_eq!(
        bed.send("GET", &at("clusters?collection=house&svg=true"), &Value::Null).await.header("content-type"),
        Some("image/svg+xml")
    );
    assert_eq!(bed.get(&at("status")).await["index"], "embedded");
    assert_eq!(bed.call("DELETE", &at("collections/house/documents?below=https://"), &Value::Null).await["removed"], 1);
    assert_eq!(bed.send("DELETE", &at("collections/house/documents?below="), &Value::Null).await.status, 400);
    assert_eq!(bed.call("DELETE", &at("collections/house"), &Value::Null).await["documents"], 1);
    assert_eq!(bed.send("DELETE", &at("collections/house"), &Value::Null).await.status, 404);
}

#[tokio::test]
async fn what_a_citation_names_is_found_under_its_address_to_the_character() {
    let bed = Bed::house().await;
    let answer = bed.call("POST", &format!("{AT}/ask"), &json!({ "question": "sleeps" })).await;
    let citation = &answer["citations"][0];
    let address = citation["address"].as_str().unwrap();
    assert!(address.starts_with("tm://house/") && citation["url"] == address, "{citation}");
    let found = bed.get(&format!("{AT}/document?at={}", address.replace('#', "%23"))).await;
    assert_eq!((&found["content"], &found["source"]), (&citation["quote"], &json!("file://nas/srv/nas.md")));
    let id = citation["span"]["document"].as_str().unwrap();
    let whole = bed.get(&format!("{AT}/collections/house/documents/{id}")).await;
    assert_eq!(whole["content"], "It has four disks.\nIt sleeps at night.");
    assert_eq!(bed.get(&format!("{AT}/collections/house/documents/{id}?start=3&end=6")).await["content"], "has");
    let other = address.replace('@', "@9").replace('#', "%23");
    let stale = bed.send("GET", &format!("{AT}/document?at={other}"), &Value::Null).await;
    assert_eq!(stale.status, 409, "the characters of another version are others: {stale:?}");
    let page = bed.call("POST", &format!("{AT}/ask"), &json!({ "question": "volts" })).await;
    assert_eq!(page["citations"][0]["url"], "https://example.org/pump", "a page is named as the web names it");
    assert_eq!(bed.send("DELETE", &format!("{AT}/collections/house/documents/{id}"), &Value::Null).await.status, 200);
    let gone = bed.send("GET", &format!("{AT}/document?at={}", address.replace('#', "%23")), &Value::Null).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn an_answer_comes_as_events_and_a_client_that_leaves_ends_it() {
    let bed = Bed::house().await;
    let reply = bed.send("POST", &format!("{AT}/ask"), &json!({ "question": "disks", "stream": true })).await;
    let events: Vec<&str> = reply.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["doing", "delta", "answer"], "{reply:?}");
    let mut client = TcpStream::connect(bed.server.address).await.unwrap();
    let body = json!({ "question": "wait", "stream": true }).to_string();
    client.write_all(request("POST", &format!("{AT}/ask"), "", &body).as_bytes()).await.unwrap();
    read_until(&mut client, "event: doing").await;
    let before = *bed.server.desk.knowledge.dropped.borrow();
    drop(client);
    reaches(&bed.server.desk.knowledge.dropped, before + 1, PATIENCE).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_hint_in_the_shape_of_these_routes() {
    let bed = Bed::house().await;
    let mut text = String::new();
    for (method, path, body) in [
        ("POST", "search", json!({ "question": "a", "colour": "red" })),
        ("POST", "search", json!({ "question": "a", "filter": { "colour": "red" } })),
        ("POST", "search", json!({ "question": "a", "mode": "fuzzy" })),
        ("POST", "search", json!({ "question": "a", "filter": { "collections": ["nowhere"] } })),
        ("POST", "ask", json!({ "question": "a", "filter": { "collections": ["nowhere"] }, "stream": true })),
        ("POST", "ask", json!({})),
        ("POST", "collections/House/documents", json!({ "source": "a", "text": "b" })),
        ("POST", "collections/house/documents", json!({ "text": "b" })),
        ("GET", "document?at=nonsense", Value::Null),
        ("GET", "collections/house/documents?colour=red", Value::Null),
        ("GET", "elsewhere", Value::Null),
        ("GET", "search", Value::Null),
    ] {
        let reply = bed.send(method, &format!("{AT}/{path}"), &body).await;
        text.push_str(&format!("{method} {path} {body}\n{} {}\n", reply.status, reply.body));
    }
    insta::assert_snapshot!("research_refusals", text);
}

#[tokio::test]
async fn without_a_key_nobody_reads_a_document() {
    let bed = Bed::new(true).await;
    assert_eq!(bed.send("GET", &format!("{AT}/collections"), &Value::Null).await.status, 401);
    assert_eq!(bed.send("POST", "/v1/agent", &json!({ "input": "disks" })).await.status, 401);
    let chat = json!({ "model": "sonar", "messages": [{ "role": "user", "content": "disks" }] });
    assert_eq!(bed.send("POST", "/chat/completions", &chat).await.status, 401);
}
