//! Real engines of others, which a worker owns, with the tiny models: what they say is what the reference says, and what
//! they cannot do, or do not survive, is told clearly.
//!
//! `deploy/foreign-engines.sh target/foreign-engines` installs them; what is not there is skipped, with the reason.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::client::{Reply, Stream, Told};
use tests::gguf::reference::{Chat, cosine, embedder, reranker};
use tests::gguf::{Kind, Recipe};
use tests::port::free_port;

use crate::engines::{children, is_gone};
use crate::lab::{Face, Lab, MODEL, SOON, Setup, bounded, chat, pieces, until};

/// What the model that embeds is called.
const EMBEDDER: &str = "embedder";
/// What the model that reranks is called.
const RERANKER: &str = "reranker";
/// Positions of the context that the engines are started with.
const CONTEXT: &str = "2048";
/// Python reads a lot of files before it serves, on a busy machine.
const STARTED: Duration = Duration::from_secs(60);
/// Much longer than any answer here takes, much shorter than anything that hangs.
const ANSWERED: Duration = Duration::from_secs(30);
/// What an ended answer must not end with: the id of `<|im_end|>`.
const END_OF_TURN: &str = "2";

/// An engine of others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Foreign {
    /// The server of llama-cpp-python.
    Python,
    /// llama.cpp's own.
    Server,
}

impl Foreign {
    fn backend(self) -> &'static str {
        match self {
            Self::Python => "llamacpp-python",
            Self::Server => "llamacpp",
        }
    }

    /// The command that serves a model; `None`, and said so, where the engine is not installed.
    fn command(self, model: &Path, name: &str, port: u16) -> Option<Vec<String>> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("foreign-engines");
        let (python, server) = (folder.join("venv/bin/python"), folder.join("llama-server"));
        let is_there = match self {
            Self::Python => folder.join("installed").is_file() && python.is_file(),
            Self::Server => server.is_file(),
        };
        if !is_there {
            eprintln!("skipped: {self:?} is not in {}; hint: deploy/foreign-engines.sh", folder.display());
            return None;
        }
        let (model, port, is_embedder) = (model.display().to_string(), port.to_string(), name != MODEL);
        let serve = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/serve.py").display().to_string();
        let (python, server) = (python.display().to_string(), server.display().to_string());
        let mut command = match self {
            Self::Python => vec![
                python,
                serve,
                "--model".into(),
                model,
                "--model_alias".into(),
                name.into(),
                "--n_ctx".into(),
                if is_embedder { "512" } else { CONTEXT }.into(),
                "--n_threads".into(),
                "1".into(),
            ],
            Self::Server => vec![
                server,
                "--model".into(),
                model,
                "--alias".into(),
                name.into(),
                "--ctx-size".into(),
                if is_embedder { "512" } else { CONTEXT }.into(),
                "--threads".into(),
                "1".into(),
                "--parallel".into(),
                "1".into(),
                "--no-webui".into(),
            ],
        };
        match (self, is_embedder) {
            (Self::Python, true) => command.extend(["--embedding".into(), "true".into()]),
            (Self::Server, true) if name == RERANKER => command.push("--reranking".into()),
            (Self::Server, true) => command.push("--embeddings".into()),
            _ => {}
        }
        command.extend(["--host".into(), "127.0.0.1".into(), "--port".into(), port]);
        Some(command)
    }
}

/// A node that owns engines of others, with the models that they serve.
struct Owner {
    lab: Lab,
    /// Where the first engine listens.
    engine: String,
    _models: tempfile::TempDir,
}

impl Owner {
    /// A node with an engine for each of `kinds`, all ready; `None` where the engine is not installed.
    async fn of(foreign: Foreign, kinds: &[Kind]) -> Option<Self> {
        let models = tempfile::tempdir().unwrap();
        let mut setup = Setup::new("a").more("[limits]\nfirst_token = \"20s\"\nidle_token = \"5s\"");
        let mut engine = String::new();
        for kind in kinds {
            let name = match kind {
                Kind::Embed => EMBEDDER,
                Kind::Rerank => RERANKER,
                _ => MODEL,
            };
            let (path, port) = (models.path().join(format!("{name}.gguf")), free_port().unwrap());
            let command = foreign.command(&path, name, port)?;
            Recipe::tiny(*kind).write(&path).unwrap();
            let url = format!("http://127.0.0.1:{port}");
            // As TOML writes it, a list of plain strings looks like this.
            let more = format!("command = {command:?}\nslots = 1");
            setup = setup.worker_with(name, foreign.backend(), &url, &more);
            engine = if engine.is_empty() { url } else { engine };
        }
        let mut lab = Lab::single();
        lab.node(setup).await;
        let owner = Self { lab, engine, _models: models };
        owner.is_ready(kinds.len()).await;
        Some(owner)
    }

    async fn is_ready(&self, workers: usize) {
        until("the engines are ready", STARTED, async || {
            let seen = self.lab.nodes[0].workers().await.unwrap_or_default();
            seen.iter().filter(|worker| worker.state == "ready").count() == workers
        })
        .await;
        self.lab.workers_are(0, "ready", workers).await;
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        bounded("an answer", ANSWERED, self.lab.http(0).post_json(path, body)).await.unwrap()
    }

    async fn ask(&self, path: &str, body: &Value) -> Told {
        bounded("an answer", ANSWERED, self.lab.http(0).ask(path, body)).await.unwrap()
    }

    /// The processes of the engines.
    fn engines(&self) -> Vec<u32> {
        children(self.lab.nodes[0].child.pid())
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// A body of OpenAI's that is always answered with what is likeliest, repeated or not.
fn greedy(mut body: Value) -> Value {
    body["temperature"] = 0.into();
    body["repeat_penalty"] = 1.into();
    body
}

/// The same in a body of Ollama's.
fn greedy_ollama(mut body: Value) -> Value {
    body["options"] = json!({"temperature": 0, "repeat_penalty": 1});
    body
}

async fn says_what_the_reference_says_on_every_face(foreign: Foreign) {
    let Some(owner) = Owner::of(foreign, &[Kind::Chat]).await else { return };
    let question = "What does the leader do?";
    let mut reference = Chat::new(&Recipe::tiny(Kind::Chat)).unwrap();
    let (ids, answer, _) = reference.answer(&[("user", question)], 200).unwrap();
    let mut whole_ollama = greedy_ollama(Face::OllamaChat.body(question));
    whole_ollama["stream"] = false.into();
    for (path, body) in [
        ("/v1/chat/completions", greedy(chat(question, false))),
        ("/v1/chat/completions", greedy(chat(question, true))),
        ("/api/chat", greedy_ollama(Face::OllamaChat.body(question))),
        ("/api/chat", whole_ollama),
    ] {
        // A key of its own for each, so that none is answered out of the cache.
        let mut body = body;
        body["user"] = json!(format!("{path} {body}"));
        let told = owner.ask(path, &body).await;
        assert!(told.is_good(), "{path} {body}: {told:?}");
        assert_eq!(told.text, answer, "{path} {body}");
        assert_eq!(told.finish.as_deref(), Some("stop"), "{path} {body}");
        // Some count the end among the tokens.
        let tokens = told.usage.map(|(_, tokens)| tokens as usize);
        assert!(tokens.is_some_and(|tokens| (ids.len()..=ids.len() + 1).contains(&tokens)), "{body}: {told:?}");
    }
    let completion = greedy(Face::Completion.body("The leader"));
    let told = owner.ask(Face::Completion.path(), &completion).await;
    assert!(told.is_good() && !told.text.is_empty(), "{told:?}");
}

async fn a_schema_gives_valid_json_or_a_clear_error(foreign: Foreign) {
    let Some(owner) = Owner::of(foreign, &[Kind::Chat]).await else { return };
    // Its grammar knows no bounds and lets control characters into strings: every answer may turn out an error.
    let is_lax = foreign == Foreign::Python;
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["title", "priority"],
        "properties": {
            "title": {"type": "string", "maxLength": 40}, "priority": {"enum": ["high", "medium", "low"]},
        },
    });
    let mut is_answered = false;
    for at in 0..4 {
        let mut openai = chat(&format!("a task, please: {at}"), at % 2 == 0);
        openai["max_tokens"] = 300.into();
        openai["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "task", "strict": true, "schema": schema}});
        let mut ollama = Face::OllamaChat.body(&format!("a task, please: {at}"));
        ollama["format"] = schema.clone();
        for (path, body) in [("/v1/chat/completions", openai), ("/api/chat", ollama)] {
            let told = owner.ask(path, &body).await;
            if told.error.is_some() {
                continue;
            }
            assert!(told.is_good(), "{path}: {told:?}");
            let value: Value = serde_json::from_str(&told.text).unwrap_or_else(|error| panic!("{error}: {told:?}"));
            let title = value["title"].as_str().map(|title| title.chars().count());
            assert!(title.is_some_and(|length| length <= 40), "{value}");
            assert!(["high", "medium", "low"].contains(&value["priority"].as_str().unwrap_or("")), "{value}");
            is_answered = true;
        }
    }
    assert!(is_answered || is_lax, "{foreign:?} never kept to the schema");
}

async fn vectors_are_those_of_the_reference(foreign: Foreign) {
    let Some(owner) = Owner::of(foreign, &[Kind::Embed]).await else { return };
    let texts = ["A failed worker is restarted by its supervisor.", "Bake the bread in a hot kitchen.", "quux, 12"];
    let openai = owner.post("/v1/embeddings", &json!({"model": EMBEDDER, "input": texts})).await;
    assert_eq!(openai.status, 200, "{}", openai.text());
    let ollama = owner.post("/api/embed", &json!({"model": EMBEDDER, "input": texts})).await;
    assert_eq!(ollama.status, 200, "{}", ollama.text());
    let (openai, ollama) = (openai.json().unwrap(), ollama.json().unwrap());
    let reference = embedder().unwrap();
    for (at, text) in texts.iter().enumerate() {
        for vector in [&openai["data"][at]["embedding"], &ollama["embeddings"][at]] {
            let vector: Vec<f32> = serde_json::from_value(vector.clone()).unwrap();
            let likeness = cosine(&vector, &reference.embed(text).unwrap());
            assert!(likeness > 0.999, "{text}: {likeness}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_servers_scores_are_those_of_the_reference() {
    let Some(owner) = Owner::of(Foreign::Server, &[Kind::Rerank]).await else { return };
    let question = "how does a failed worker restart";
    let documents = [
        "Flowers grow in the garden.",
        "A worker that failed will restart by itself.",
        "The engine reboots after a crash.",
    ];
    let ask = json!({"model": RERANKER, "query": question, "documents": documents});
    let reply = owner.post("/v1/rerank", &ask).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = reply.json().unwrap();
    let results = told["results"].as_array().unwrap();
    let order: Vec<u64> = results.iter().filter_map(|one| one["index"].as_u64()).collect();
    assert_eq!(order, [1, 2, 0], "{told}");
    let reference = reranker().unwrap();
    for one in results {
        let document = documents[one["index"].as_u64().unwrap() as usize];
        let wanted = reference.score(question, document).unwrap();
        let score = one["relevance_score"].as_f64().unwrap() as f32;
        assert!((score - wanted).abs() < 0.05, "{document}: {score} instead of {wanted}");
    }
}

async fn what_cannot_be_answered_is_refused_with_a_reason(foreign: Foreign) {
    let Some(owner) = Owner::of(foreign, &[Kind::Chat]).await else { return };
    let long = "word ".repeat(4000);
    let mut wrong = chat("hi", false);
    wrong["temperature"] = json!("hot");
    let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}});
    let mut odd = chat("hi", false);
    odd["response_format"] = schema;
    let mut long_ollama = Face::OllamaChat.body(&long);
    long_ollama["stream"] = false.into();
    for (what, path, body) in [
        ("a long prompt", "/v1/chat/completions", chat(&long, false)),
        ("a long prompt", "/v1/chat/completions", chat(&long, true)),
        ("a long prompt", "/api/chat", long_ollama),
        ("a wrong type", "/v1/chat/completions", wrong),
        ("an odd schema", "/v1/chat/completions", odd),
    ] {
        let told = owner.ask(path, &body).await;
        if what == "an odd schema" && told.is_good() {
            // Python takes it for any object.
            continue;
        }
        assert!(told.error.as_ref().is_some_and(|error| !error.is_empty() && error.len() < 2000), "{what}: {told:?}");
        // The head of a stream of llama-cpp-python says that all is well, before it has looked at the prompt.
        let is_begun = foreign == Foreign::Python && body["stream"] == true;
        assert!((400..500).contains(&told.status) || is_begun, "{what}: {told:?}");
    }
    // None of it hurts the engine.
    let told = owner.ask("/v1/chat/completions", &chat("still there?", true)).await;
    assert!(told.is_good(), "{told:?}");
}

/// An answer that does not end by itself, long enough to be in the middle of it.
fn endless(question: &str) -> Value {
    let mut body = greedy(chat(question, true));
    body["max_tokens"] = 1500.into();
    body["logit_bias"] = json!({END_OF_TURN: -100});
    body
}

/// The rest of a stream that breaks off: it must tell so, as something that may be asked again.
async fn breaks_off(stream: &mut Stream, told: &mut Told) {
    let mut code = Value::Null;
    while let Some(frame) = stream.next().await.unwrap() {
        told.note(&frame);
        let event: Value = serde_json::from_str(&frame.data).unwrap_or_default();
        code = event.pointer("/error/code").cloned().unwrap_or(code);
    }
    assert_eq!(code, "engine_cut", "{told:?}");
    assert!(told.error.as_ref().is_some_and(|error| !error.is_empty()), "{told:?}");
}

async fn a_killed_engine(foreign: Foreign) {
    let Some(owner) = Owner::of(foreign, &[Kind::Chat]).await else { return };
    // The engine itself is asked, so that nothing is kept.
    let engine = tests::client::Client::new(&owner.engine);
    let whole = bounded("it", ANSWERED, engine.ask("/v1/chat/completions", &endless("go on"))).await.unwrap();
    assert!(whole.is_good() && whole.text.len() > 4000, "{whole:?}");

    let before = owner.engines();
    let mut stream = owner.lab.http(0).stream("/v1/chat/completions", &endless("go on")).await.unwrap();
    let mut told = Told::new(stream.status);
    bounded("the middle", ANSWERED, pieces(&mut stream, &mut told, 30)).await;
    before.iter().for_each(|pid| kill(*pid));
    let begin = Instant::now();
    match foreign {
        Foreign::Server => bounded("the end of the stream", STARTED, stream.tell(&mut told)).await,
        Foreign::Python => bounded("the end of the stream", STARTED, breaks_off(&mut stream, &mut told)).await,
    }
    eprintln!("{foreign:?}: {} pieces, ended {:?} after the kill: {:?}", told.pieces, begin.elapsed(), told.error);
    match foreign {
        Foreign::Server => {
            assert!(told.is_good(), "{told:?}");
            assert_eq!(told.text, whole.text);
            assert_eq!(told.finish.as_deref(), Some("length"));
        }
        Foreign::Python => assert!(whole.text.starts_with(&told.text), "{told:?}"),
    }

    if foreign == Foreign::Python {
        owner.is_ready(1).await;
        let mut stream = owner.lab.http(0).stream("/v1/chat/completions", &endless("go on once more")).await.unwrap();
        let mut told = Told::new(stream.status);
        bounded("the middle", ANSWERED, pieces(&mut stream, &mut told, 30)).await;
        // Whoever else asks the engine anything breaks the answer off, with a mark as if it were whole.
        let _ = tests::client::Client::new(&owner.engine).get("/v1/models").await.unwrap();
        bounded("the end of the stream", ANSWERED, breaks_off(&mut stream, &mut told)).await;
    }

    owner.is_ready(1).await;
    let after = owner.engines();
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    let told = owner.ask("/v1/chat/completions", &chat("are you back?", true)).await;
    assert!(told.is_good(), "{told:?}");
    let mut owner = owner;
    owner.lab.nodes[0].child.kill().await.unwrap();
    until("the engine is gone", SOON, async || after.iter().all(|pid| is_gone(*pid))).await;
}

macro_rules! with_each {
    ($($name:ident, $other:ident: $test:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $test(Foreign::Python).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $other() {
            $test(Foreign::Server).await;
        }
    )*};
}

with_each! {
    llama_cpp_python_says_what_the_reference_says_on_every_face, llama_server_says_what_the_reference_says_on_every_face:
        says_what_the_reference_says_on_every_face;
    llama_cpp_python_gives_valid_json_or_a_clear_error, llama_server_gives_valid_json_or_a_clear_error:
        a_schema_gives_valid_json_or_a_clear_error;
    llama_cpp_pythons_vectors_are_those_of_the_reference, llama_servers_vectors_are_those_of_the_reference:
        vectors_are_those_of_the_reference;
    llama_cpp_python_is_not_hurt_by_what_it_cannot_answer, llama_server_is_not_hurt_by_what_it_cannot_answer:
        what_cannot_be_answered_is_refused_with_a_reason;
    a_killed_llama_cpp_python_is_told_of_and_comes_back, a_killed_llama_server_goes_on_where_it_was:
        a_killed_engine;
}
