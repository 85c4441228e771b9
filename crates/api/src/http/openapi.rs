//! `/openapi.json`: what can be called over HTTP, as an OpenAPI document. A test holds it to the routes.
//!
//! Bodies of the dialects of others are theirs and are not written down again here; their errors have the shape of the
//! dialect, too. Our own are JSON objects that refuse unknown fields and name the known ones.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Map, Value, json};

use crate::Desk;
use crate::scopes::{self, Need};

/// Where the document is.
pub(super) const OPENAPI: &str = "/openapi.json";

/// One thing that can be done: method, path, whose dialect or which part it is of, and what it does.
type Operation = (&'static str, &'static str, &'static str, &'static str);

const OPENAI: &str = "OpenAI";
const OLLAMA: &str = "Ollama";
const ANTHROPIC: &str = "Anthropic";
const PERPLEXITY: &str = "Perplexity";
const PROJECTS: &str = "projects";
const JOBS: &str = "jobs";
const RESEARCH: &str = "research";
const CLUSTER: &str = "cluster";
const NODE: &str = "node";

const OPERATIONS: &[Operation] = &[
    ("post", "/v1/chat/completions", OPENAI, "Answers a conversation, as a whole or as a stream"),
    (
        "post",
        "/chat/completions",
        PERPLEXITY,
        "The same without the version; with a model of Perplexity's, with sources",
    ),
    ("post", "/v1/responses", OPENAI, "Answers in the shape of Responses; nothing is stored"),
    ("post", "/responses", OPENAI, "The same without the version"),
    ("post", "/v1/completions", OPENAI, "Continues a text"),
    ("post", "/completions", OPENAI, "The same without the version"),
    ("post", "/v1/embeddings", OPENAI, "Vectors of texts"),
    ("post", "/embeddings", OPENAI, "The same without the version"),
    ("post", "/v1/rerank", OPENAI, "Orders documents by a question"),
    ("get", "/v1/models", OPENAI, "Models that can be asked for"),
    ("get", "/v1/models/{name}", OPENAI, "One of them"),
    ("get", "/models", OPENAI, "The same without the version"),
    ("get", "/models/{name}", OPENAI, "One of them, without the version"),
    ("post", "/v1/messages", ANTHROPIC, "Answers a conversation"),
    ("post", "/messages", ANTHROPIC, "The same without the version"),
    ("post", "/v1/messages/count_tokens", ANTHROPIC, "Estimates the tokens of a conversation"),
    ("post", "/v1/agent", PERPLEXITY, "Researches a question in rounds, and answers with sources"),
    ("post", "/api/chat", OLLAMA, "Answers a conversation"),
    ("post", "/api/generate", OLLAMA, "Answers a prompt"),
    ("post", "/api/embed", OLLAMA, "Vectors of texts"),
    ("post", "/api/embeddings", OLLAMA, "The vector of one text"),
    ("get", "/api/tags", OLLAMA, "Models that can be asked for"),
    ("get", "/api/ps", OLLAMA, "Models that are in memory"),
    ("post", "/api/show", OLLAMA, "What a model is"),
    ("get", "/api/version", OLLAMA, "The version of Ollama that is spoken"),
    ("post", "/api/pull", OLLAMA, "Fetches a model, where the mode lets it"),
    ("post", "/api/push", OLLAMA, "Sends a model away; refused"),
    ("post", "/api/create", OLLAMA, "Makes a model out of another"),
    ("post", "/api/copy", OLLAMA, "Copies a model"),
    ("delete", "/api/delete", OLLAMA, "Deletes a model"),
    ("get", "/api/projects", PROJECTS, "Lists projects"),
    ("post", "/api/projects", PROJECTS, "Makes a project"),
    ("get", "/api/projects/{project}", PROJECTS, "Shows a project"),
    ("patch", "/api/projects/{project}", PROJECTS, "Changes a project's settings"),
    ("delete", "/api/projects/{project}", PROJECTS, "Removes a project"),
    ("get", "/api/projects/{project}/tags", PROJECTS, "Lists the tags of a project"),
    ("post", "/api/projects/{project}/tags", PROJECTS, "Adds a tag"),
    ("get", "/api/projects/{project}/tags/{tag}", PROJECTS, "Shows a tag"),
    ("patch", "/api/projects/{project}/tags/{tag}", PROJECTS, "Changes a tag"),
    ("delete", "/api/projects/{project}/tags/{tag}", PROJECTS, "Removes a tag with its tasks"),
    ("get", "/api/projects/{project}/tasks", PROJECTS, "Lists tasks"),
    ("get", "/api/projects/{project}/tasks/{ids}", PROJECTS, "Shows tasks; several with commas between"),
    ("get", "/api/projects/{project}/next", PROJECTS, "The task to work on next"),
    ("get", "/api/projects/{project}/check", PROJECTS, "What is wrong with the tree of tasks"),
    ("get", "/api/projects/{project}/history", PROJECTS, "What was changed, and by whom"),
    (
        "get",
        "/api/projects/{project}/render/{kind}",
        PROJECTS,
        "The tasks as tree, svg, report, readme, files or complexity",
    ),
    ("post", "/api/projects/{project}/edits", PROJECTS, "Changes tasks, all of it or nothing"),
    ("post", "/api/projects/{project}/move", PROJECTS, "Moves tasks to another tag"),
    ("post", "/api/projects/{project}/undo", PROJECTS, "Takes the last change back"),
    ("get", "/api/projects/{project}/tasks.json", PROJECTS, "The tasks as Task Master AI writes them"),
    ("put", "/api/projects/{project}/tasks.json", PROJECTS, "Takes tasks on as Task Master AI writes them"),
    ("get", "/api/projects/{project}/jobs", PROJECTS, "Jobs of a project"),
    ("post", "/api/projects/{project}/jobs", PROJECTS, "Starts a job on a project"),
    ("get", "/api/jobs", JOBS, "Lists jobs"),
    ("get", "/api/jobs/{id}", JOBS, "Shows a job"),
    ("delete", "/api/jobs/{id}", JOBS, "Cancels a job"),
    ("get", "/api/jobs/{id}/events", JOBS, "A job as it changes, as server-sent events"),
    ("get", "/api/research/collections", RESEARCH, "Lists collections"),
    ("post", "/api/research/collections", RESEARCH, "Makes a collection"),
    ("delete", "/api/research/collections/{name}", RESEARCH, "Removes a collection with its documents"),
    ("get", "/api/research/collections/{name}/documents", RESEARCH, "Lists documents"),
    ("post", "/api/research/collections/{name}/documents", RESEARCH, "Adds a document"),
    ("delete", "/api/research/collections/{name}/documents", RESEARCH, "Removes documents below a source"),
    ("get", "/api/research/collections/{name}/documents/{id}", RESEARCH, "Shows a document"),
    ("delete", "/api/research/collections/{name}/documents/{id}", RESEARCH, "Removes a document"),
    ("get", "/api/research/document", RESEARCH, "The passage that a citation means"),
    ("post", "/api/research/search", RESEARCH, "Finds passages"),
    ("post", "/api/research/ask", RESEARCH, "Answers a question by documents, with sources"),
    ("post", "/api/research/loops", RESEARCH, "Starts research in rounds, as a job"),
    ("get", "/api/research/clusters", RESEARCH, "What documents are about, in groups"),
    ("get", "/api/research/status", RESEARCH, "How far each node's index is"),
    ("get", "/api/cluster/nodes", CLUSTER, "Lists nodes"),
    ("post", "/api/cluster/nodes/{node}/drain", CLUSTER, "Takes a node out of routing, or back in"),
    ("get", "/api/cluster/workers", CLUSTER, "Lists workers"),
    ("get", "/api/cluster/models", CLUSTER, "Models, and where they are loaded"),
    ("get", "/api/cluster/asks", CLUSTER, "Asks that run, and the last ones"),
    ("get", "/api/cluster/asks/{ask}", CLUSTER, "Why an ask went where it went"),
    ("get", "/api/cluster/failures", CLUSTER, "What broke, and what was done about it"),
    ("get", "/api/cluster/health", CLUSTER, "One verdict, with reasons"),
    ("get", "/api/cluster/mode", CLUSTER, "What may leave the house"),
    ("post", "/api/cluster/mode", CLUSTER, "Changes what may leave the house"),
    ("get", "/api/cluster/load", CLUSTER, "How busy nodes were"),
    ("get", "/api/cluster/dialled", CLUSTER, "What this node dialled, and what it refused to"),
    ("get", "/api/cluster/live", CLUSTER, "The cluster as it changes, as server-sent events"),
    ("post", "/mcp", NODE, "A message of the Model Context Protocol, without sessions"),
    ("post", "/hooks/github", NODE, "A delivery of GitHub, signed"),
    ("get", "/metrics", NODE, "Metrics for Prometheus"),
    ("get", "/", NODE, "The page, or that a server is here"),
    ("get", "/healthz", NODE, "Whether the node lives"),
    ("get", "/readyz", NODE, "Whether the node is ready, with reasons"),
    ("get", OPENAPI, NODE, "This document"),
];

/// The document's own route.
pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new().route(OPENAPI, get(document))
}

async fn document() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| made().to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

fn made() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.1).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.0.to_owned(), described(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Taskmaster",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One AI endpoint for all machines of a home. Bodies of OpenAI, Ollama, Anthropic and Perplexity are \
                            those of their own references; gRPC says the same of everything else.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "A key of `tmctl keys create`, where keys are on" },
                "x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
            "schemas": {
                "Refusal": {
                    "type": "object",
                    "properties": { "error": {
                        "type": "object",
                        "required": ["message"],
                        "properties": {
                            "code": { "type": ["string", "null"] },
                            "message": { "type": "string", "description": "what could not be done, and what to do next" },
                            "hint": { "type": "string" },
                        },
                    } },
                },
            },
        },
    })
}

fn described((method, path, part, what): &Operation) -> Value {
    let words: Vec<&str> = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let parameters: Vec<Value> = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let refusal = json!({ "description": "A refusal, in the shape of the dialect",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } } });
    let is_open = scopes::of_http(&method.to_ascii_uppercase(), path) == Some(Need::Open);
    let mut described = json!({
        "operationId": format!("{method}_{}", words.join("_")),
        "tags": [part],
        "summary": what,
        "responses": { "2XX": { "description": "Done" }, "4XX": refusal.clone(), "5XX": refusal },
        "security": if is_open { json!([]) } else { json!([{ "key": [] }, { "x-api-key": [] }]) },
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if ["post", "put", "patch"].contains(method) {
        described["requestBody"] = json!({ "content": { "application/json": { "schema": { "type": "object" } } } });
    }
    described
}
