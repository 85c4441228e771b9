//! The OpenAPI document and the routes are the same: nothing is missing on either side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Reply, read_until, request, send};
use crate::desk::{limits, serve};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The answer to a request without a body. Of one that goes on for ever only the head is waited for.
async fn asked(address: std::net::SocketAddr, method: &str, path: &str) -> Reply {
    let method = method.to_uppercase();
    if !path.ends_with("/live") || method != "GET" {
        return send(address, &method, path, "", "").await;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request(&method, path, "", "").as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head, body: String::new(), is_whole: false }
}

/// The document, as path and methods.
async fn document(address: std::net::SocketAddr) -> (Value, BTreeMap<String, BTreeSet<String>>) {
    let reply = send(address, "GET", "/openapi.json", "", "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let document: Value = serde_json::from_str(&reply.body).unwrap();
    let paths =
        document["paths"].as_object().unwrap().iter().map(|(path, methods)| {
            (path.clone(), methods.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>())
        });
    let paths = paths.collect();
    (document, paths)
}

#[tokio::test]
async fn every_path_of_the_document_is_a_route_with_these_methods_and_no_others() {
    let server = serve(limits()).await;
    let (_, paths) = document(server.address).await;
    assert!(paths.len() > 60, "{}", paths.len());
    let mut wrong = Vec::new();
    for (path, methods) in &paths {
        let path: String =
            path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for method in METHODS {
            let reply = asked(server.address, method, &path).await;
            let is_there = reply.status != 405 && !reply.body.contains("there is nothing at");
            if is_there != methods.contains(method) {
                wrong.push(format!("{method} {path}: {} {}", reply.status, reply.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The paths that the source of the face routes by: `.route("…"`, and the arms of asks.
fn routed() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = sources(&root.join("http"));
    files.push(root.join("http.rs"));
    let mut routed = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let constant = |name: &str| {
            let value = code.split_once(&format!("const {name}: &str = \""))?.1;
            Some(value.split('"').next().unwrap().to_owned())
        };
        for after in code.split(".route(").skip(1) {
            let after = after.trim_start();
            let named = match after.strip_prefix('"') {
                Some(literal) => literal.split('"').next().unwrap().to_owned(),
                None => {
                    let name = after.split([',', ')']).next().unwrap();
                    // The files of the page are known by their names, and are no part of the interface.
                    if name == "asset.path" {
                        continue;
                    }
                    constant(name).unwrap_or_else(|| panic!("{}: what is routed by {name}?", file.display()))
                }
            };
            routed.insert(named.replace("{*", "{"));
        }
        if let Some((_, asks)) = code.split_once("fn ask_route(") {
            let arms = asks.split("\n}\n").next().unwrap().split('"').skip(1).step_by(2);
            routed.extend(arms.map(str::to_owned));
        }
    }
    routed
}

#[tokio::test]
async fn every_route_is_in_the_document() {
    let server = serve(limits()).await;
    let (document, paths) = document(server.address).await;
    let told: BTreeSet<String> = paths.into_keys().collect();
    assert_eq!(routed(), told);
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            let named = operation["parameters"].as_array().map_or(0, Vec::len);
            assert_eq!(named, path.matches('{').count(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_the_document_shows_without_a_key_is_shown_without_one_and_nothing_else() {
    let server = crate::desk::serve_desk(limits(), crate::desk::Script::new(true)).await;
    let (document, _) = document(server.address).await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            let reply = asked(server.address, method, &path).await;
            let wants_key = reply.status == 401 && !path.starts_with("/hooks");
            assert_eq!(
                wants_key,
                !operation["security"].as_array().unwrap().is_empty(),
                "{method} {path}: {}",
                reply.status
            );
        }
    }
}
