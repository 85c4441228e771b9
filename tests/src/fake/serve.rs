//! The server: connections, the route of each request, and the way of an ask from body to answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::fake::ask::{Ask, Form, Keep, rendered};
use crate::fake::body::{Answer, Cut, Stream, Then, half_character};
use crate::fake::control::{Change, Fail, Settings};
use crate::fake::encode::{CREATED_AT, Done, Reason, encoder};
use crate::fake::engine::{Engine, Running};
use crate::fake::information;
use crate::fake::refusal::{Face, Refusal};
use crate::fake::retrieval::{EmbedForm, embed, rerank};
use crate::fake::speak::Speak;

/// How long Ollama keeps a model that nobody asks for.
const DEFAULT_KEEP: Duration = Duration::from_secs(300);
/// What `Content-Length` promises when it lies.
const FALSE_LENGTH: &str = "1073741824";

pub(super) type Reply = Response<Either<Full<Bytes>, Answer>>;

/// What a request wants.
enum Route {
    Generate(Form),
    Embed(EmbedForm),
    Rerank,
    Render,
    Other,
}

/// Serves connections for ever.
pub async fn serve(listener: TcpListener, engine: Arc<Engine>) -> anyhow::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        connections.spawn(connection(socket, engine.clone()));
    }
}

async fn connection(socket: TcpStream, engine: Arc<Engine>) {
    let service = hyper::service::service_fn(move |request| handle(engine.clone(), request));
    // How a connection ends is the client's business; what was cut short shows in the statistics.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn handle(engine: Arc<Engine>, request: Request<Incoming>) -> Result<Reply, Cut> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else { return Err(Cut) };
    if let Some(reply) = own_route(&engine, &head.method, path, &body) {
        return Ok(reply);
    }
    let speak = engine.options.speak;
    let route = route(speak, &head.method, path);
    let face = face(&route, path);
    if let Err(refusal) = check_headers(&engine, &head.headers) {
        return Ok(refused(speak, face, &refusal));
    }
    if let Route::Other | Route::Render = route {
        break_down(&engine.fail_of_the_rest()).await?;
    }
    let reply = match route {
        Route::Other => information::answer(&engine, &head.method, path, &body).await,
        Route::Render => render(&body),
        _ => {
            let traceparent = head.headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or("");
            let (fail, settings) = engine.note_ask(path, &body, traceparent);
            break_down(&fail).await?;
            ask(&engine, &route, fail, settings, &body).await
        }
    };
    Ok(reply.unwrap_or_else(|refusal| refused(speak, face, &refusal)))
}

/// The key, when one is set, and what Anthropic wants besides.
fn check_headers(engine: &Engine, headers: &HeaderMap) -> Result<(), Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = header("x-api-key").or(header("authorization").and_then(|value| value.strip_prefix("Bearer ")));
    if engine.options.key.as_deref().is_some_and(|key| given != Some(key)) {
        return Err(Refusal::no_key());
    }
    if engine.options.speak == Speak::Anthropic && header("anthropic-version").is_none() {
        return Err(Refusal::invalid("anthropic-version: header is required"));
    }
    Ok(())
}

/// The fake's own routes; they always work.
fn own_route(engine: &Engine, method: &Method, path: &str, body: &Bytes) -> Option<Reply> {
    match (method, path) {
        (&Method::GET, "/fake/stats") => Some(json_reply(&engine.stats())),
        (&Method::POST, "/fake/control") => Some(match serde_json::from_slice::<Change>(body) {
            Ok(change) => {
                engine.change(&change);
                json_reply(&json!({"ok": true}))
            }
            Err(error) => {
                let refusal = Refusal::invalid(error.to_string());
                refused(Speak::Openai, Face::OpenAi, &refusal)
            }
        }),
        _ => None,
    }
}

fn route(speak: Speak, method: &Method, path: &str) -> Route {
    if method != Method::POST {
        return Route::Other;
    }
    let native = match (speak, path) {
        (Speak::Perplexity | Speak::Localai, "/chat/completions") => Some(Route::Generate(Form::Chat)),
        (Speak::Localai, "/completions") => Some(Route::Generate(Form::Completion)),
        (Speak::Localai, "/embeddings") => Some(Route::Embed(EmbedForm::OpenAi)),
        (Speak::Lmstudio, "/api/v0/chat/completions") => Some(Route::Generate(Form::Chat)),
        (Speak::Lmstudio, "/api/v0/completions") => Some(Route::Generate(Form::Completion)),
        (Speak::Lmstudio, "/api/v0/embeddings") => Some(Route::Embed(EmbedForm::OpenAi)),
        (Speak::Llamacpp, "/completion") => Some(Route::Generate(Form::LlamaCompletion)),
        (Speak::Llamacpp, "/apply-template") => Some(Route::Render),
        (Speak::Llamacpp, "/embedding") => Some(Route::Embed(EmbedForm::Llama)),
        (Speak::Llamacpp | Speak::Vllm, "/rerank") => Some(Route::Rerank),
        (Speak::Llamacpp | Speak::Vllm | Speak::Localai, "/v1/rerank") => Some(Route::Rerank),
        _ => None,
    };
    native.or_else(|| common_route(speak, path)).unwrap_or(Route::Other)
}

fn common_route(speak: Speak, path: &str) -> Option<Route> {
    match path {
        "/api/chat" if speak.has_ollama_face() => Some(Route::Generate(Form::OllamaChat)),
        "/api/generate" if speak.has_ollama_face() => Some(Route::Generate(Form::OllamaGenerate)),
        "/api/embed" if speak.has_ollama_face() => Some(Route::Embed(EmbedForm::Ollama)),
        "/api/embeddings" if speak == Speak::Ollama => Some(Route::Embed(EmbedForm::OllamaOld)),
        "/api/embeddings" if speak == Speak::Localai => Some(Route::Embed(EmbedForm::Ollama)),
        "/v1/chat/completions" if speak.has_openai_face() => Some(Route::Generate(Form::Chat)),
        "/v1/completions" if speak.has_openai_face() => Some(Route::Generate(Form::Completion)),
        "/v1/embeddings" if speak.has_openai_face() => Some(Route::Embed(EmbedForm::OpenAi)),
        "/v1/messages" if speak.has_anthropic_face() => Some(Route::Generate(Form::Messages)),
        _ => None,
    }
}

fn face(route: &Route, path: &str) -> Face {
    match route {
        Route::Generate(form) => form.face(),
        Route::Embed(EmbedForm::Ollama | EmbedForm::OllamaOld) => Face::Ollama,
        Route::Other if path.starts_with("/api/") => Face::Ollama,
        _ => Face::OpenAi,
    }
}

/// The faults that leave nothing to answer with.
async fn break_down(fail: &Fail) -> Result<(), Cut> {
    match fail {
        Fail::Refuse => Err(Cut),
        Fail::Hang => std::future::pending().await,
        Fail::OomExit => std::process::exit(137),
        Fail::Exit(code) => std::process::exit(*code),
        _ => Ok(()),
    }
}

async fn ask(
    engine: &Arc<Engine>,
    route: &Route,
    fail: Fail,
    settings: Settings,
    body: &Bytes,
) -> Result<Reply, Refusal> {
    match fail {
        Fail::Status { code, retry_after_s } => return Err(Refusal::status(code, retry_after_s)),
        Fail::LoadingMs(_) => return Err(Refusal::loading()),
        _ => {}
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| broken_json(engine.options.speak, &error))?;
    match route {
        Route::Generate(form) => generate(engine, *form, fail, settings, &body).await,
        Route::Embed(form) => embed(engine, *form, &settings, &body).await,
        Route::Rerank => rerank(engine, &settings, &body).await,
        Route::Render | Route::Other => Err(Refusal::no_route("")),
    }
}

fn broken_json(speak: Speak, error: &serde_json::Error) -> Refusal {
    let mut refusal = Refusal::invalid(format!("could not parse the body: {error}"));
    if speak == Speak::Llamacpp {
        refusal.status = 500;
        refusal.kind = crate::fake::refusal::Kind::Internal;
    }
    refusal
}

async fn generate(
    engine: &Arc<Engine>,
    form: Form,
    fail: Fail,
    settings: Settings,
    body: &Value,
) -> Result<Reply, Refusal> {
    let started = Instant::now();
    let speak = engine.options.speak;
    let mut ask = Ask::read(form, speak, body, settings.tokens)?;
    ask.think(body, settings.thinking);
    let model = resolve(engine, &ask.model)?;
    if ask.is_render_only {
        let shown = json!({"model": model, "created_at": CREATED_AT,
            "_debug_info": {"rendered_template": rendered_of(form, body)?}});
        return Ok(json_reply(&shown));
    }
    if ask.is_load_only {
        return load_only(engine, form, &model, ask.keep).await;
    }
    let tokens = ask.prompt_tokens();
    if tokens > engine.options.context && !matches!(speak, Speak::Ollama | Speak::Webui) {
        return Err(Refusal::too_long(tokens, engine.options.context));
    }
    let running = engine.admit(&model, settings.queue).await?;
    let before_load = Instant::now();
    engine.load(&model, keep(ask.keep)).await?;
    let load = before_load.elapsed();
    // Without a prompt speed nothing is gained by knowing what was read before.
    let cached_tokens = match settings.prefill_rate {
        Some(_) => engine.read_prompt(&format!("{}{}", ask.prompt, ask.prefill)) / 4,
        None => 0,
    };
    pause(settings.ttft + prefill(&settings, tokens.saturating_sub(cached_tokens))).await;
    let reason = match (&ask.call, ask.is_cut) {
        (_, true) => Reason::Length,
        (Some(_), false) => Reason::Call,
        (None, false) => Reason::Stop,
    };
    let done = Done {
        reason,
        prompt_tokens: tokens,
        cached_tokens,
        answer_tokens: ask.thoughts.len() + ask.script.len(),
        load,
        prefill: started.elapsed().saturating_sub(load),
        decode: Duration::ZERO,
    };
    let encoder = encoder(speak, &ask, &shown_model(speak, &ask.model, &model));
    let stream = Stream { encoder, thoughts: ask.thoughts, script: ask.script, token: settings.token, fail, done };
    let reply = if ask.is_streamed { streamed(stream, running) } else { whole(stream, running).await? };
    if ask.keep == Keep::Not {
        engine.unload(&model);
    }
    Ok(reply)
}

fn rendered_of(form: Form, body: &Value) -> Result<String, Refusal> {
    match (form, body["raw"].as_bool()) {
        (Form::OllamaGenerate, Some(true)) => Ok(body["prompt"].as_str().unwrap_or("").to_owned()),
        _ => rendered(body),
    }
}

/// The model that answers to `name`.
pub(super) fn resolve(engine: &Engine, name: &str) -> Result<String, Refusal> {
    let first = engine.options.models.first().map_or("", String::as_str);
    let speak = engine.options.speak;
    if speak == Speak::Webui {
        // It answers with what it has loaded, whatever was asked for.
        return Ok(engine.loaded().first().map_or(first, |loaded| &loaded.model).to_owned());
    }
    match engine.find(name) {
        Some(model) => Ok(model),
        None if speak.takes_any_model() => Ok(first.to_owned()),
        None => Err(Refusal::no_model(name)),
    }
}

/// The name in the answer: llama-cpp-python echoes what was asked for, whether it has it or not.
fn shown_model(speak: Speak, asked: &str, real: &str) -> String {
    if speak == Speak::LlamacppPython && !asked.is_empty() { asked.to_owned() } else { real.to_owned() }
}

pub(super) fn keep(keep: Keep) -> Option<Duration> {
    match keep {
        Keep::Default => Some(DEFAULT_KEEP),
        Keep::For(time) => Some(time),
        Keep::Forever | Keep::Not => None,
    }
}

pub(super) fn prefill(settings: &Settings, tokens: usize) -> Duration {
    settings.prefill_rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(tokens as f64 / rate))
}

/// A timer costs up to a millisecond even for no time at all.
pub(super) async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

async fn load_only(engine: &Engine, form: Form, model: &str, asked: Keep) -> Result<Reply, Refusal> {
    let reason = if asked == Keep::Not {
        engine.unload(model);
        "unload"
    } else {
        engine.load(model, keep(asked)).await?;
        "load"
    };
    let mut reply = json!({"model": model, "created_at": CREATED_AT, "done": true, "done_reason": reason});
    match form {
        Form::OllamaGenerate => reply["response"] = "".into(),
        _ => reply["message"] = json!({"role": "assistant", "content": ""}),
    }
    Ok(json_reply(&reply))
}

fn streamed(stream: Stream, running: Running) -> Reply {
    let content_type = stream.encoder.content_type();
    let lies = stream.fail == Fail::WrongLength;
    let mut reply = Response::new(Either::Right(Answer::streamed(stream, running)));
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    if lies {
        reply.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static(FALSE_LENGTH));
    }
    reply
}

/// The answer in one piece, after the time that its tokens take.
async fn whole(mut stream: Stream, mut running: Running) -> Result<Reply, Refusal> {
    let tokens = stream.thoughts.len() + stream.script.len();
    let broken_at = match stream.fail {
        Fail::HangMid(at) | Fail::CutAt(at) | Fail::ErrorMid(at) => Some(at.min(tokens)),
        _ => None,
    };
    let spoken = broken_at.unwrap_or(tokens);
    pause(stream.token.saturating_mul(u32::try_from(spoken.saturating_sub(1)).unwrap_or(u32::MAX))).await;
    running.generated(spoken);
    if let Fail::HangMid(_) = stream.fail {
        std::future::pending::<()>().await;
    }
    if !stream.thoughts.is_empty() {
        stream.encoder.thought(&stream.thoughts.text);
    }
    stream.done.decode = stream.token.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
    let body = Bytes::from(stream.encoder.whole(&stream.script.text, &stream.done).to_string());
    running.done();
    let length = body.len();
    Ok(match stream.fail {
        Fail::ErrorMid(_) => return Err(Refusal::status(500, None)),
        Fail::CutAt(_) => raw_reply(Answer::raw(body.slice(..length / 2), Then::Cut), Some(length)),
        Fail::CutAtByte(at) => raw_reply(Answer::raw(body.slice(..at.min(length)), Then::Cut), Some(length)),
        Fail::Junk => raw_reply(Answer::raw(Bytes::from_static(b"<<<this is not JSON>>>"), Then::End), None),
        Fail::WrongLength => raw_reply(Answer::raw(body, Then::End), Some(length + 64)),
        Fail::HugeLine => raw_reply(Answer::raw(body.slice(..length / 2), Then::HugeLine), None),
        Fail::HalfUtf8 => {
            let half = half_character(&Bytes::from_static("{\"größe".as_bytes()));
            let length = half.len();
            raw_reply(Answer::raw(half, Then::End), Some(length))
        }
        _ => bytes_reply(StatusCode::OK, body),
    })
}

fn raw_reply(answer: Answer, length: Option<usize>) -> Reply {
    let mut reply = Response::new(Either::Right(answer));
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(length) = length {
        reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    reply
}

fn render(body: &Bytes) -> Result<Reply, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|error| broken_json(Speak::Llamacpp, &error))?;
    Ok(json_reply(&json!({"prompt": rendered(&body)?})))
}

/// `value` with status 200.
pub(super) fn json_reply(value: &Value) -> Reply {
    bytes_reply(StatusCode::OK, Bytes::from(value.to_string()))
}

fn bytes_reply(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    reply
}

fn refused(speak: Speak, face: Face, refusal: &Refusal) -> Reply {
    let status = StatusCode::from_u16(refusal.status_of(speak)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = bytes_reply(status, Bytes::from(refusal.body(speak, face).to_string()));
    if let Some(seconds) = refusal.retry_after_s {
        reply.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    reply
}
