//! What the engine costs beside llama.cpp alone: the same model, one thread, interleaved, medians.
//!
//! `cargo bench -p engine` makes the model (158 million weights, Q8_0, noise) with `tiny-model` of package `tests`, which
//! must have been built. Prints a table; the machine and its load are named above it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use proto::engine::engine_client::EngineClient;
use proto::engine::generate_request::Prompt;
use proto::engine::generate_response::Event;
use proto::engine::{GenerateRequest, Sampling, TokenizeRequest};
use tonic::transport::{Channel, Endpoint};

const ROUNDS: usize = 5;
/// Each is some three tokens.
const PROMPT_WORDS: usize = 200;
const OUTPUT_TOKENS: usize = 128;
const STREAMS: usize = 8;
/// The mark of the end, which the model must not say.
const END: u32 = 2;

/// Tokens per second.
#[derive(Clone, Copy, Debug, Default)]
struct Speeds {
    prompt: f64,
    output: f64,
}

fn main() {
    let model = model("bench");
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _in_runtime = runtime.enter();
    let backend = LlamaBackend::init().unwrap();
    llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default().with_logs_enabled(false));
    let params = std::pin::pin!(LlamaModelParams::default());
    let library = LlamaModel::load_from_file(&backend, &model, &params).unwrap();
    let (engine, shared) = (Engine::start(&model, 1), Engine::start(&model, STREAMS));
    let (mut alone, mut through, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let asked = ask(round, PROMPT_WORDS, OUTPUT_TOKENS);
        // The same number of tokens for both; which ones they are changes nothing.
        let prompt_tokens = runtime.block_on(engine.tokens_of(&asked));
        alone.push(library_alone(&backend, &library, prompt_tokens));
        through.push(runtime.block_on(engine.one(asked)));
        many.push(runtime.block_on(shared.many(round)));
    }
    let (alone, through) = (median_of(&alone), median_of(&through));
    many.sort_by(f64::total_cmp);
    let many = many[many.len() / 2];
    println!("| 1 thread, 158M Q8_0 | prompt tok/s | output tok/s |\n|---|---|---|");
    println!("| llama.cpp alone | {:.1} | {:.2} |", alone.prompt, alone.output);
    println!("| tm-engine, over its socket | {:.1} | {:.2} |", through.prompt, through.output);
    println!("| ratio | {:.3} | {:.3} |", through.prompt / alone.prompt, through.output / alone.output);
    println!("| tm-engine, {STREAMS} streams together | | {many:.2} ({:.2}x one) |", many / through.output);
    let hop = runtime.block_on(hop());
    println!("a token through the socket costs {hop:.1} us beyond its computation (tiny model)");
    println!("start to first token, tiny model: {:.1} ms", runtime.block_on(restart()).as_secs_f64() * 1e3);
}

/// A model that `tiny-model` makes, kept beside the build.
fn model(preset: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("engine-bench-{preset}.gguf"));
    if !file.exists() {
        let maker = Path::new(env!("CARGO_BIN_EXE_tm-engine")).with_file_name("tiny-model");
        let quant = if preset == "bench" { "Q8_0" } else { "F16" };
        let mut make = Command::new(&maker);
        make.args(["--kind", "chat", "--preset", preset, "--quant", quant, "-o"]).arg(&file);
        let made = make.status().unwrap_or_else(|error| panic!("{}: {error}; build package tests", maker.display()));
        assert!(made.success());
    }
    file
}

/// A loop as short as it can be: one prompt in one batch, then the likeliest token after the other.
fn library_alone(backend: &LlamaBackend, model: &LlamaModel, prompt_tokens: usize) -> Speeds {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(4096))
        .with_n_batch(512)
        .with_n_ubatch(512)
        .with_n_threads(1)
        .with_n_threads_batch(1);
    let mut context = model.new_context(backend, params).unwrap();
    let mut batch = LlamaBatch::new(512, 1);
    let prompt: Vec<_> = (0..prompt_tokens).map(|at| LlamaToken(3 + (at as i32 * 7919) % 400)).collect();
    let began = Instant::now();
    let mut read = 0;
    for piece in prompt.chunks(512) {
        batch.clear();
        for token in piece {
            read += 1;
            batch.add(*token, read - 1, &[0], read as usize == prompt_tokens).unwrap();
        }
        context.decode(&mut batch).unwrap();
    }
    let mut token = likeliest(context.get_logits_ith(batch.n_tokens() - 1));
    let written = Instant::now();
    for at in 0..OUTPUT_TOKENS {
        batch.clear();
        batch.add(token, (prompt_tokens + at) as i32, &[0], true).unwrap();
        context.decode(&mut batch).unwrap();
        token = likeliest(context.get_logits_ith(0));
    }
    Speeds {
        prompt: prompt_tokens as f64 / (written - began).as_secs_f64(),
        output: OUTPUT_TOKENS as f64 / written.elapsed().as_secs_f64(),
    }
}

fn likeliest(logits: &[f32]) -> LlamaToken {
    let best = logits.iter().enumerate().filter(|(id, _)| *id as u32 != END).max_by(|a, b| a.1.total_cmp(b.1));
    LlamaToken(best.unwrap().0 as i32)
}

/// The engine as a process.
struct Engine {
    child: Child,
    client: EngineClient<Channel>,
    _folder: tempfile::TempDir,
}

impl Engine {
    fn start(model: &Path, slots: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tm-engine"));
        command.arg("--model").arg(model).arg("--socket").arg(&socket);
        command.args(["--threads", "1", "--context", "4096", "--slots", &slots.to_string()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        let connect = move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_static("http://engine");
        let client = EngineClient::new(endpoint.connect_with_connector_lazy(tower::service_fn(connect)));
        Self { child, client, _folder: folder }
    }

    /// Tokens of its prompt.
    async fn tokens_of(&self, ask: &GenerateRequest) -> usize {
        let Some(Prompt::Raw(text)) = &ask.prompt else { panic!("no raw prompt") };
        let request = TokenizeRequest { text: text.clone(), is_special: true };
        self.client.clone().tokenize(request).await.unwrap().into_inner().tokens.len()
    }

    /// One answer by itself.
    async fn one(&self, asked: GenerateRequest) -> Speeds {
        let done = self.ask(asked).await;
        Speeds {
            prompt: f64::from(done.prompt_tokens - done.cached_tokens) / done.prompt_s,
            output: f64::from(done.output_tokens) / done.output_s,
        }
    }

    /// Tokens per second of all streams together, from when the last one has begun to write until the first one ends.
    async fn many(&self, salt: usize) -> f64 {
        let streams = (0..STREAMS).map(|at| self.ask(ask(1000 + salt * STREAMS + at, 5, OUTPUT_TOKENS)));
        let began = Instant::now();
        let done = futures_util::future::join_all(streams).await;
        let tokens: u32 = done.iter().map(|done| done.output_tokens).sum();
        let reading = done.iter().map(|done| done.prompt_s).fold(0.0, f64::max);
        f64::from(tokens) / (began.elapsed().as_secs_f64() - reading)
    }

    async fn ask(&self, ask: GenerateRequest) -> proto::engine::Done {
        let mut stream = self.client.clone().generate(ask).await.unwrap().into_inner();
        while let Some(response) = stream.message().await.unwrap() {
            if let Some(Event::Done(done)) = response.event {
                return done;
            }
        }
        panic!("no end")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A prompt that no other `salt` has, also in its beginning.
fn ask(salt: usize, words: usize, output_tokens: usize) -> GenerateRequest {
    let words = (0..words).map(|at| format!(" w{}", (salt * 31 + at * 7919) % 997));
    let sampling = Sampling { temperature: Some(0.0), logit_bias: [(END, -1000.0)].into(), ..Sampling::default() };
    GenerateRequest {
        prompt: Some(Prompt::Raw(format!("{salt}{}", words.collect::<String>()))),
        sampling: Some(sampling),
        max_tokens: u32::try_from(output_tokens).unwrap(),
        ..GenerateRequest::default()
    }
}

/// Microseconds between what the engine computed and what its client waited, per token.
async fn hop() -> f64 {
    let engine = Engine::start(&model("tiny"), 1);
    engine.ask(ask(0, 5, 16)).await;
    let mut costs = Vec::new();
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let done = engine.ask(ask(round, 5, 1000)).await;
        let waited = began.elapsed().as_secs_f64();
        costs.push((waited - done.prompt_s - done.output_s) * 1e6 / f64::from(done.output_tokens));
    }
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

/// From the start of a process to the first token of its first answer.
async fn restart() -> Duration {
    let file = model("tiny");
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let began = Instant::now();
        let engine = Engine::start(&file, 1);
        let mut stream = engine.client.clone().generate(ask(round, 5, 4)).await.unwrap().into_inner();
        stream.message().await.unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

fn median_of(rounds: &[Speeds]) -> Speeds {
    let middle = |read: fn(&Speeds) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(read).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Speeds { prompt: middle(|speeds| speeds.prompt), output: middle(|speeds| speeds.output) }
}
