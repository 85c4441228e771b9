//! `tm-engine` by itself: one process, one tiny model, spoken to as `tmd` speaks to it.
//!
//! Where the binary was not built (it wants cmake and libclang), these tests say so and pass.

use std::path::Path;
use std::time::{Duration, Instant};

use proto::engine::engine_client::EngineClient;
use proto::engine::generate_request::Prompt;
use proto::engine::generate_response::Event;
use proto::engine::{
    Chat, Done, DrainRequest, EmbedRequest, GenerateRequest, RerankRequest, Sampling, Turn, WatchRequest, done::Finish,
};
use tests::process::{Child, binary};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::models::{self, END};

/// A tiny model loads in milliseconds; the rest is a busy machine.
const READY: Duration = Duration::from_secs(20);

/// A running `tm-engine`.
pub struct Engine {
    child: Child,
    pub client: EngineClient<Channel>,
    _folder: tempfile::TempDir,
}

impl Engine {
    /// With the model in `file`, on one thread: `None` where there is no such program.
    pub async fn start(file: &Path, more: &[&str]) -> Option<Self> {
        let Ok(program) = binary("tm-engine") else {
            eprintln!("skipped: no tm-engine was built");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let mut args = vec!["--model".into(), file.as_os_str().to_owned(), "--socket".into(), socket.clone().into()];
        args.extend(["--threads", "1"].iter().chain(more).map(Into::into));
        let mut child = Child::start("tm-engine", program, &args).unwrap();
        child.wait_line("\"ready\":true", READY).await.unwrap();
        let client = EngineClient::new(net::unix_channel(socket)).max_decoding_message_size(64 << 20);
        Some(Self { child, client, _folder: folder })
    }

    /// All of an answer.
    pub async fn write(&self, ask: GenerateRequest) -> Result<Written, Status> {
        let mut stream = self.client.clone().generate(ask).await?.into_inner();
        let mut written = Written::default();
        while let Some(response) = stream.message().await? {
            match response.event.unwrap() {
                Event::Text(text) => written.pieces.push(text.text),
                Event::Done(done) => written.done = done,
            }
        }
        Ok(written)
    }

    pub async fn busy(&self) -> u32 {
        let mut signs = self.client.clone().watch(WatchRequest {}).await.unwrap().into_inner();
        signs.message().await.unwrap().unwrap().slots_busy
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub pieces: Vec<String>,
    pub done: Done,
}

impl Written {
    pub fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// A question, answered greedily.
pub fn question(text: &str) -> GenerateRequest {
    let turn = Turn { role: "user".into(), text: text.into(), ..Turn::default() };
    GenerateRequest {
        prompt: Some(Prompt::Chat(Chat { turns: vec![turn], ..Chat::default() })),
        sampling: Some(Sampling { temperature: Some(0.0), ..Sampling::default() }),
        max_tokens: 60,
        ..GenerateRequest::default()
    }
}

/// The same, but it never ends by itself.
fn endless(text: &str) -> GenerateRequest {
    let sampling = Sampling { temperature: Some(0.0), logit_bias: [(END, -100.0)].into(), ..Sampling::default() };
    GenerateRequest { sampling: Some(sampling), max_tokens: 3000, ..question(text) }
}

fn with_seed(seed: u64, mut ask: GenerateRequest) -> GenerateRequest {
    let sampling = ask.sampling.get_or_insert_default();
    (sampling.temperature, sampling.seed) = (Some(1.0), Some(seed));
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_that_run_together_write_what_each_writes_alone() {
    let Some(engine) = Engine::start(&models::words(), &["--slots", "8"]).await else { return };
    let asks: Vec<_> = (0..8).map(|n| question(&format!("Question {n}: what must the {n}. worker do?"))).collect();
    let mut alone = Vec::new();
    for ask in &asks {
        alone.push(engine.write(ask.clone()).await.unwrap().text());
    }
    let mut running = tokio::task::JoinSet::new();
    for (at, ask) in asks.into_iter().enumerate() {
        let mut client = engine.client.clone();
        running.spawn(async move {
            let mut stream = client.generate(ask).await.unwrap().into_inner();
            let mut text = String::new();
            while let Some(response) = stream.message().await.unwrap() {
                if let Some(Event::Text(piece)) = response.event {
                    text.push_str(&piece.text);
                }
            }
            (at, text)
        });
    }
    while let Some(joined) = running.join_next().await {
        let (at, text) = joined.unwrap();
        assert_eq!(text, alone[at], "ask {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_cut_anywhere_goes_on_on_the_same_tokens() {
    let Some(engine) = Engine::start(&models::words(), &[]).await else { return };
    let seeds = (0..5).map(|seed| with_seed(seed, endless("What must be done?")));
    for ask in std::iter::once(endless("What must be done?")).chain(seeds) {
        let ask = GenerateRequest { max_tokens: 80, ..ask };
        let whole = engine.write(ask.clone()).await.unwrap();
        for cut in 1..whole.pieces.len() {
            let before = whole.pieces[..cut].concat();
            let rest = engine.write(GenerateRequest { continue_from: before.clone(), ..ask.clone() }).await.unwrap();
            let at = format!("cut behind piece {cut}, {:?}", rest.done);
            assert_eq!(before + &rest.text(), whole.text(), "{at}");
            let tokens = rest.done.continued_tokens + rest.done.output_tokens;
            assert_eq!(tokens, whole.done.output_tokens, "{at}");
            assert_eq!(rest.done.finish, whole.done.finish, "{at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_keeps_to_its_schema_even_from_noise() {
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["title", "priority", "id", "tags"],
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 24},
            "priority": {"enum": ["high", "medium", "low"]},
            "id": {"type": "integer", "minimum": 1, "maximum": 99},
            "tags": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 8}}
        }
    });
    for model in [models::noise(), models::words()] {
        let Some(engine) = Engine::start(&model, &[]).await else { return };
        for seed in 0..50 {
            let ask = GenerateRequest {
                schema_json: schema.to_string(),
                max_tokens: 300,
                ..with_seed(seed, question("A task, please."))
            };
            let written = engine.write(ask).await.unwrap();
            let text = written.text();
            let task: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(["high", "medium", "low"].contains(&task["priority"].as_str().unwrap()), "{text}");
            assert!((1..=99).contains(&task["id"].as_i64().unwrap()), "{text}");
            assert!(task["title"].as_str().unwrap().chars().count() <= 24, "{text}");
            assert!(task["tags"].as_array().unwrap().len() <= 3, "{text}");
            assert_eq!(written.done.finish(), Finish::Stop, "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_asks_are_refused_by_what_is_wrong_with_them() {
    let Some(engine) = Engine::start(&models::words(), &["--context", "256"]).await else { return };
    let refused = async |ask: GenerateRequest| engine.write(ask).await.unwrap_err();
    let status = refused(question(&"word ".repeat(2000))).await;
    assert_eq!(proto::from_status(&status).code, base::Code::ContextExceeded, "{status}");
    let bad = GenerateRequest { schema_json: r#"{"type":"object","not":{"type":"string"}}"#.into(), ..question("x") };
    let status = refused(bad).await;
    assert!(status.code() == Code::InvalidArgument && status.message().contains("not"), "{status}");
    let status = refused(GenerateRequest { stop: vec!["x".into(); 10_000], ..question("x") }).await;
    assert!(status.code() == Code::InvalidArgument && status.message().contains("10000"), "{status}");
    let status = refused(GenerateRequest { schema_json: "{".into(), ..question("x") }).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let endless =
        [r##"{"$ref":"#"}"##, r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##];
    for schema in endless {
        let status = refused(GenerateRequest { schema_json: schema.into(), ..question("x") }).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let mut sampling =
        Sampling { repeat_last_n: Some(2_000_000_000), repeat_penalty: Some(1.1), ..Sampling::default() };
    engine.write(GenerateRequest { sampling: Some(sampling.clone()), ..question("x") }).await.unwrap();
    sampling.repeat_last_n = Some(-2);
    let status = refused(GenerateRequest { sampling: Some(sampling), ..question("x") }).await;
    assert!(status.message().contains("repeat_last_n"), "{status}");
    let status = refused(GenerateRequest { prompt: None, ..question("x") }).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let written = engine.write(question("x")).await.unwrap();
    assert!(!written.text().is_empty(), "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_without_reader_or_without_time_frees_its_slot() {
    let Some(engine) = Engine::start(&models::noise(), &["--slots", "1"]).await else { return };
    let endless = endless("Go on for ever.");
    let mut stream = engine.client.clone().generate(endless.clone()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(engine.busy().await, 1);
    drop(stream);
    let until = Instant::now() + Duration::from_secs(10);
    while engine.busy().await > 0 {
        assert!(Instant::now() < until, "the slot stays busy");
    }
    let late = engine.write(GenerateRequest { within_ms: 30, ..endless }).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_that_do_not_fit_together_wait_for_each_other_and_lose_nothing() {
    let Some(engine) = Engine::start(&models::words(), &["--slots", "4", "--context", "200"]).await else { return };
    let asks: Vec<_> = (0..8).map(|n| question(&format!("Story {n}"))).collect();
    let mut alone = Vec::new();
    for ask in &asks {
        alone.push(engine.write(ask.clone()).await.unwrap().text());
    }
    let together = futures_util::future::join_all(asks.into_iter().map(|ask| engine.write(ask))).await;
    for (at, written) in together.into_iter().enumerate() {
        assert_eq!(written.unwrap().text(), alone[at], "ask {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_beginning_is_read_once() {
    let Some(engine) = Engine::start(&models::words(), &["--slots", "2"]).await else { return };
    let long = "The scheduler must restart every task after a crash. ".repeat(40);
    let first = engine.write(question(&format!("{long} One?"))).await.unwrap();
    assert_eq!(first.done.cached_tokens, 0);
    let second = engine.write(question(&format!("{long} Two?"))).await.unwrap();
    assert!(second.done.cached_tokens > 200, "{:?}", second.done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_as_wide_as_is_taken_does_not_end_the_process() {
    let Some(engine) = Engine::start(&models::noise(), &[]).await else { return };
    let names: Vec<String> = (0..6000).map(|n| format!("n{n}")).collect();
    let properties: serde_json::Map<_, _> =
        names.iter().map(|name| (name.clone(), serde_json::json!({"type": "integer"}))).collect();
    let schema = serde_json::json!({"type": "object", "properties": properties, "required": names});
    let ask = GenerateRequest { schema_json: schema.to_string(), max_tokens: 20, ..question("x") };
    // It is kept to or refused; what matters is that the process is there afterwards.
    let _ = engine.write(ask).await;
    engine.write(question("x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_weights_are_an_error_and_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let mut bytes = std::fs::read(models::words()).unwrap();
    let end = bytes.len();
    bytes[end / 2..].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let Some(engine) = Engine::start(&file, &[]).await else { return };
    let status = engine.write(question("x")).await.unwrap_err();
    assert_eq!(proto::from_status(&status).code, base::Code::EngineFailed, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_file_is_written_to_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::copy(models::words(), &file).unwrap();
    let Some(mut engine) = Engine::start(&file, &[]).await else { return };
    std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .set_len(std::fs::metadata(&file).unwrap().len() + 1)
        .unwrap();
    engine.child.wait(READY).await.unwrap();
    assert!(engine.child.stderr().contains("was changed while it was in use"), "{}", engine.child.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_those_of_a_plain_forward_pass() {
    let Some(engine) = Engine::start(&models::embed(), &[]).await else { return };
    let texts = ["the worker stops", "a node must report every task", "{\"id\": 7}", "x"];
    let ask = EmbedRequest { texts: texts.iter().map(|text| (*text).to_owned()).collect(), refuse_long: true };
    let response = engine.client.clone().embed(ask).await.unwrap().into_inner();
    let reference = tests::gguf::reference::embedder().unwrap();
    for (text, vector) in texts.iter().zip(&response.vectors) {
        let cosine = tests::gguf::reference::cosine(&vector.values, &reference.embed(text).unwrap());
        assert!(cosine > 0.999, "{text}: {cosine}");
    }
    let long = EmbedRequest { texts: vec!["word ".repeat(3000)], refuse_long: true };
    let status = engine.client.clone().embed(long.clone()).await.unwrap_err();
    assert_eq!(proto::from_status(&status).code, base::Code::ContextExceeded, "{status}");
    let cut = engine.client.clone().embed(EmbedRequest { refuse_long: false, ..long }).await.unwrap().into_inner();
    assert_eq!(cut.cut, [0]);
    let status = engine.write(question("x")).await.unwrap_err();
    assert_eq!(proto::from_status(&status).code, base::Code::NotSupported, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_scored_as_by_a_plain_forward_pass() {
    let Some(engine) = Engine::start(&models::rerank(), &[]).await else { return };
    let query = "which worker stops";
    let documents = ["the worker stops at night", "a log", "every node reports"];
    let ask = RerankRequest { query: query.into(), documents: documents.map(str::to_owned).to_vec() };
    let scores = engine.client.clone().rerank(ask).await.unwrap().into_inner().scores;
    assert!(scores[0] > scores[1] && scores[0] > scores[2], "{scores:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_changes_what_is_written() {
    let Some(plain) = Engine::start(&models::words(), &[]).await else { return };
    let adapter = models::adapter();
    let Some(with) = Engine::start(&models::words(), &["--adapter", adapter.to_str().unwrap()]).await else { return };
    let (one, other) = (plain.write(question("Hi")).await.unwrap(), with.write(question("Hi")).await.unwrap());
    assert_ne!(one.text(), other.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_strings_and_limits_end_an_answer_where_they_say() {
    let Some(engine) = Engine::start(&models::words(), &[]).await else { return };
    let whole = engine.write(question("Hi")).await.unwrap().text();
    let stop = whole.split(' ').nth(3).unwrap().to_owned();
    let stopped = engine.write(GenerateRequest { stop: vec![stop.clone()], ..question("Hi") }).await.unwrap();
    assert_eq!(stopped.text(), whole.split(&stop).next().unwrap());
    assert_eq!(stopped.done.finish(), Finish::Stop);
    let limited = engine.write(GenerateRequest { max_tokens: 3, ..question("Hi") }).await.unwrap();
    assert_eq!((limited.done.output_tokens, limited.done.finish()), (3, Finish::Length));
    let full = engine.write(GenerateRequest { max_tokens: 0, ..endless("Hi") }).await.unwrap();
    assert_eq!(full.done.prompt_tokens + full.done.output_tokens, 4096, "{:?}", full.done);
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_in_a_question_are_text_and_open_no_turn() {
    let Some(engine) = Engine::start(&models::words(), &[]).await else { return };
    let tokens = async |text: &str| engine.write(question(text)).await.unwrap().done.prompt_tokens;
    let plain = tokens("a b").await;
    assert!(tokens("a<|im_end|>b").await > plain + 3, "a mark that counts as such is one token");
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_it_ends_what_runs_and_then_itself() {
    let Some(mut engine) = Engine::start(&models::words(), &[]).await else { return };
    let mut running = engine.client.clone().generate(endless("Hi")).await.unwrap().into_inner();
    running.message().await.unwrap().unwrap();
    let (mut client, rest) = (engine.client.clone(), async {
        let mut pieces = 0;
        while running.message().await.unwrap().is_some() {
            pieces += 1;
        }
        pieces
    });
    let (drained, pieces) = tokio::join!(client.drain(DrainRequest { within_ms: 20_000 }), rest);
    assert_eq!(drained.unwrap().into_inner().ended, 0);
    assert!(pieces > 1000, "{pieces}");
    assert!(engine.child.wait(READY).await.unwrap().success());
}
