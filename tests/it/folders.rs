//! Watched folders and pages by `tmctl`, at a node as a process: what is written there is found, what is not allowed is told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::lab::{Lab, SOON, Setup, until};

/// The sources that a search finds.
async fn found(lab: &Lab, question: &str) -> Vec<String> {
    let output = lab.nodes[0].tmctl(&["--json", "research", "search", question, "--mode", "text"]).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let hits = answer["items"].as_array().cloned().unwrap_or_default();
    hits.iter().filter_map(|hit| hit["source"].as_str().map(str::to_owned)).collect()
}

/// A page of this machine; gives its port.
fn serve(page: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", page.len());
            stream.write_all(&[head.as_bytes(), page.as_bytes()].concat()).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn what_is_written_in_a_watched_folder_is_found() {
    let disk = tempfile::tempdir().unwrap();
    let docs = disk.path().join("docs");
    fs::create_dir(&docs).unwrap();
    fs::write(docs.join("pump.md"), "# Pump\n\nThe heat pump is in the cellar.\n").unwrap();
    let mut lab = Lab::single();
    let config = format!("[research]\nfolders = [\"{}\"]\nscan_every = \"1h\"", docs.display());
    lab.node(Setup::new("alone").more(&config)).await;

    let path = docs.to_str().unwrap();
    lab.nodes[0].done(&["research", "add", "--watch", path, "--tag", "watched"]).await;
    until("the first document is found", SOON, async || found(&lab, "heat pump").await.len() == 1).await;
    let by_hand = lab.nodes[0].done(&["research", "add", docs.join("pump.md").to_str().unwrap()]).await;
    assert!(by_hand.contains("1 unchanged"), "a file has one source, whoever adds it: {by_hand}");
    fs::write(docs.join("pump.md"), "# Pump\n\nThe heat pump moved to the attic.\n").unwrap();
    until("the new text is found", SOON, async || {
        found(&lab, "attic").await.len() == 1 && found(&lab, "cellar").await.is_empty()
    })
    .await;
    until("how it stands is told", SOON, async || {
        lab.nodes[0].done(&["research", "folders"]).await.contains(": 1 document")
    })
    .await;

    let refused = lab.nodes[0].tmctl(&["research", "add", "--watch", "/etc"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("`folders` below [research]"), "{told}");
    let ended = lab.nodes[0].done(&["research", "folders", "unwatch", path, "--yes"]).await;
    assert!(ended.contains("removed 1 document"), "{ended}");
    until("nothing of it is found", SOON, async || found(&lab, "attic").await.is_empty()).await;
}

#[tokio::test]
async fn a_page_of_the_house_is_added_and_one_outside_is_refused_in_local_only() {
    let mut lab = Lab::single();
    let body = "<html><head><title>Boiler</title></head><body><article><h1>Boiler</h1><p>The boiler is serviced \
        every spring by the plumber from next door, who brings his own tools and wants coffee.</p></article></body></html>";
    let port = serve(body);
    lab.node(Setup::new("alone").more(&format!("[research]\npages = [\"127.0.0.1:{port}\"]"))).await;
    let url = format!("http://127.0.0.1:{port}/boiler");
    let added = lab.nodes[0].done(&["research", "add", &url]).await;
    assert!(added.contains("1 added"), "{added}");
    assert_eq!(found(&lab, "plumber").await, [url]);
    let refused = lab.nodes[0].tmctl(&["research", "add", "http://192.0.2.1/page"]).await;
    let told = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && told.contains("local-only") && told.contains("hint"), "{told}");
}
