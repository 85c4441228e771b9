//! `tmctl chat`: says something to a model and shows the answer as it comes.
//!
//! The text that came is kept. When the server goes away in the middle, the same ask goes to the next of `--server`
//! with `continue_from`, and what comes then is only what is still missing: nothing is shown twice, nothing is lost.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Code, Fault, Result};
use proto::inference::generate_response::Event;
use proto::inference::{Finish, GenerateRequest, Message, Priority, Usage};
use serde::Serialize;

use crate::client::{PATIENCE, Patience, Servers, call, is_worth_another_server, told};
use crate::screen::{Ended, Screen, Verdict, fault_text};
use crate::text;

/// For the answer's beginning and between its pieces: a cold model may have to be loaded, a queue to be waited in.
const PIECE_LIMIT: Duration = Duration::from_secs(600);
/// More than any context takes; gRPC carries it well.
const MAX_MESSAGE_BYTES: u64 = 16 << 20;
/// What can be said to whom.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model, an alias, a role (main, research, fallback, code, fast) or auto
    #[arg(default_value = "auto")]
    model: String,
    /// What to say; without it, what stands in --file or comes on stdin, or a conversation on a terminal
    #[arg(short, long)]
    message: Option<String>,
    /// Text file to put behind the message; - is stdin
    #[arg(long)]
    file: Option<PathBuf>,
}

/// Says it, or holds a conversation.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    let is_conversation = args.message.is_none() && args.file.is_none() && std::io::stdin().is_terminal();
    if is_conversation {
        return converse(servers, screen, &args.model).await;
    }
    let message = compose(args.message, args.file.as_deref())?;
    let reply = say(servers, screen, PATIENCE, ask(&args.model, vec![spoken("user", message)])).await?;
    if screen.style.json {
        screen.json(&reply)?;
    }
    Ok(Verdict::Done)
}

async fn converse(servers: &Servers, screen: &mut Screen, model: &str) -> Result<Verdict, Ended> {
    screen.note("an empty line or Ctrl-D ends\n");
    let mut messages = Vec::new();
    loop {
        screen.note("> ");
        let mut line = String::new();
        // Blocking is fine here: between two answers nothing else of this process has anything to do.
        let read = std::io::stdin().read_line(&mut line)?;
        if read == 0 || line.trim().is_empty() {
            return Ok(Verdict::Done);
        }
        messages.push(spoken("user", line.trim_end().to_owned()));
        match say(servers, screen, PATIENCE, ask(model, messages.clone())).await {
            Ok(reply) => messages.push(spoken("assistant", reply.text)),
            // One failed answer does not end the conversation; the question can be asked again.
            Err(Ended::Fault(fault)) => {
                screen.note(&fault_text(&fault));
                messages.pop();
            }
            Err(ended) => return Err(ended),
        }
    }
}

fn spoken(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), content, images: Vec::new() }
}

/// An answer as far as it came.
#[derive(Debug, Default, Serialize)]
struct Reply {
    ask: String,
    model: String,
    worker: String,
    fallback: Option<String>,
    text: String,
    finish: Option<&'static str>,
    prompt_tokens: u32,
    completion_tokens: u32,
    #[serde(skip)]
    is_thinking: bool,
}

fn ask(model: &str, messages: Vec<Message>) -> GenerateRequest {
    let priority = Priority::Interactive.into();
    GenerateRequest { model: model.to_owned(), messages, priority, ..GenerateRequest::default() }
}

/// Sends the ask and shows the answer, at one server after the other until it is whole.
async fn say(
    servers: &Servers,
    screen: &mut Screen,
    // One that has not begun is given up after the first round.
    patience: Patience,
    mut request: GenerateRequest,
) -> Result<Reply, Ended> {
    let mut reply = Reply::default();
    let mut fruitless = 0;
    for server in 0.. {
        request.continue_from.clone_from(&reply.text);
        request.continues_ask.clone_from(&reply.ask);
        let fault = match attempt(servers, server, screen, request.clone(), &mut reply).await {
            Ok(()) => break,
            Err(Ended::Fault(fault)) if is_worth_another_server(fault.code) => fault,
            Err(ended) => return Err(ended),
        };
        let has_moved = reply.text.len() > request.continue_from.len();
        fruitless = if has_moved { 1 } else { fruitless + 1 };
        let rounds = if reply.text.is_empty() { 1 } else { patience.rounds };
        if fruitless >= rounds * servers.count() {
            return Err(given_up(fault, &reply, servers.when_nobody_answers()).into());
        }
        screen.note(&format!("\n[{}; trying another server]\n", text::visible(&fault.full_message())));
        if fruitless % servers.count() == 0 {
            let round = u32::try_from(fruitless / servers.count()).unwrap_or(u32::MAX);
            tokio::time::sleep(patience.pause.delay(round - 1, fastrand::f64())).await;
        }
    }
    finish(screen, &reply)?;
    Ok(reply)
}

fn given_up(fault: Fault, reply: &Reply, when_nobody_answers: &'static str) -> Fault {
    let hint = match (reply.text.is_empty(), fault.code) {
        (false, _) => "the answer above is not whole; name several servers with --server to have it go on",
        (true, Code::Unreachable) => when_nobody_answers,
        (true, _) if fault.hint.is_some() => return fault,
        (true, _) => "ask again; `tmctl health` tells what is wrong with the cluster",
    };
    fault.hint(hint)
}

/// One stream of one server; what comes is shown and added to `reply`.
async fn attempt(
    servers: &Servers,
    server: usize,
    screen: &mut Screen,
    request: GenerateRequest,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let connection = servers.connect_to(server).await?;
    let mut stream = call(PIECE_LIMIT, connection.inference().generate(request)).await?;
    loop {
        let piece =
            tokio::time::timeout(PIECE_LIMIT, stream.message()).await.map_err(|_| silent(&connection.server))?;
        match piece.map_err(|status| told(&status))?.and_then(|piece| piece.event) {
            Some(Event::Started(started)) => {
                if !started.fallback.is_empty() {
                    let told = format!("[{} answers instead: {}]\n", started.model, started.fallback);
                    screen.note(&text::visible(&told));
                }
                (reply.ask, reply.model, reply.worker) = (started.ask, started.model, started.worker);
                reply.fallback = Some(started.fallback).filter(|why| !why.is_empty());
            }
            Some(Event::Thinking(_)) => {
                if !std::mem::replace(&mut reply.is_thinking, true) {
                    screen.note("[thinking]\n");
                }
            }
            Some(Event::Text(text)) => {
                reply.text.push_str(&text);
                if !screen.style.json {
                    screen.model_text(&text)?;
                }
            }
            Some(Event::Done(done)) => {
                reply.finish = Some(word(done.finish()));
                let Usage { prompt_tokens, completion_tokens, .. } = done.usage.unwrap_or_default();
                (reply.prompt_tokens, reply.completion_tokens) = (prompt_tokens, completion_tokens);
                return Ok(());
            }
            None => return Err(cut(&connection.server).into()),
        }
    }
}

fn cut(server: &str) -> Fault {
    Fault::new(Code::EngineCut, format!("`{server}` ended the answer before its end"))
}

fn silent(server: &str) -> Fault {
    Fault::new(Code::Unavailable, format!("`{server}` sent nothing for {PIECE_LIMIT:?}"))
}

fn word(finish: Finish) -> &'static str {
    match finish {
        Finish::Unspecified => "unspecified",
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
    }
}

/// Ends the line, and tells when the model did not end the answer itself.
fn finish(screen: &mut Screen, reply: &Reply) -> Result<(), Ended> {
    if !screen.style.json && !reply.text.ends_with('\n') {
        screen.data("\n")?;
    }
    match reply.finish {
        Some("length") => screen.note("[the answer ends here because of the limit on its length]\n"),
        Some("content_filter") => screen.note("[a filter of the engine ended the answer]\n"),
        _ => {}
    }
    Ok(())
}

/// The message, then the file; stdin when neither is given.
fn compose(message: Option<String>, file: Option<&Path>) -> Result<String> {
    let file = match (&message, file) {
        (_, Some(path)) if path == Path::new("-") => Some(read(std::io::stdin(), "stdin")?),
        (None, None) => Some(read(std::io::stdin(), "stdin")?),
        (_, Some(path)) => {
            let name = path.display().to_string();
            let open = std::fs::File::open(path).map_err(|error| unreadable(&name, error))?;
            Some(read(open, &name)?)
        }
        (Some(_), None) => None,
    };
    let said: Vec<String> = message.into_iter().chain(file).collect();
    let said = said.join("\n\n");
    if said.trim().is_empty() {
        return Err(Fault::invalid("there is nothing to say").hint("give a message with -m, or a file with --file"));
    }
    Ok(said)
}

fn read(from: impl Read, name: &str) -> Result<String> {
    let mut said = String::new();
    from.take(MAX_MESSAGE_BYTES + 1).read_to_string(&mut said).map_err(|error| unreadable(name, error))?;
    if said.len() as u64 > MAX_MESSAGE_BYTES {
        let most = text::size(MAX_MESSAGE_BYTES);
        return Err(Fault::new(Code::TooLarge, format!("`{name}` is larger than {most}")).hint("say less at once"));
    }
    Ok(said)
}

fn unreadable(name: &str, error: std::io::Error) -> Fault {
    Fault::invalid(format!("could not read `{name}`")).because(error).hint("give a text file in UTF-8 that exists")
}

#[cfg(test)]
mod tests;
