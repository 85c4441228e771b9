//! `tmctl mcp`: the bridge between an editor's pipe and the server's MCP, a line of JSON-RPC each way.
//!
//! The server keeps the projects; what only this machine has is done here: a document is read from the project's folder,
//! files are written there, and its tasks.json is brought together with the project before a call, where somebody wrote it,
//! and after a change. Messages go over gRPC, which brings the dialler, TLS, the
//! key and the list of servers along. When a server goes away, open calls are answered with that, and the next call goes
//! to whichever server is there: calls keep nothing between them, and jobs go on without us.

mod folder;
mod leaves;
mod link;
mod local;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::time::Duration;

use base::{Code, Fault, Result};
use proto::planning::ListProjectsRequest;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict, fault_text};
use link::Link;
use local::{Beside, INITIALIZE, Roots};

/// More than any document that a call brings along.
const MAX_LINE_BYTES: u64 = 32 << 20;
/// Lines that were read and not sent yet; an editor that writes faster waits.
const LINES_WAITING: usize = 16;
/// When the editor has closed its end, calls that are open may still be answered for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

/// What the editor wants.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The only folder whose files may be read and written; without it, that of each call
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Tools to offer: core, standard, all, or names with commas between
    #[arg(long, env = "TASK_MASTER_TOOLS", default_value = "all")]
    tools: String,
}

/// Carries messages until the editor closes its end.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    carry(servers, screen, args, lines(std::io::stdin())?, unread()).await
}

/// Ends when nobody reads stdout any more; never where that cannot be told, as of a file.
async fn unread() {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        let out = std::io::stdout();
        // Nothing is asked for: only an end of the other side is told then.
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        let told = loop {
            match poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                told => break told,
            }
        };
        if told.is_ok() {
            let _ = sender.send(());
        }
    };
    let started = std::thread::Builder::new().name("stdout".to_owned()).spawn(wait);
    if started.is_err() || receiver.await.is_err() {
        std::future::pending().await
    }
}

async fn carry(
    servers: &Servers,
    screen: &mut Screen,
    args: Args,
    mut lines: mpsc::Receiver<Result<String>>,
    unread: impl Future<Output = ()>,
) -> Result<Verdict, Ended> {
    let roots = Roots::new(args.dir)?;
    let mut bridge = Bridge {
        servers,
        screen,
        roots,
        tools: args.tools,
        link: None,
        hello: None,
        open: HashMap::new(),
        reads: HashSet::new(),
    };
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => bridge.take_line(&line?).await?,
                None => break,
            },
            answer = link::next(&mut bridge.link) => bridge.take_answer(answer).await?,
        }
    }
    let last = async {
        while !bridge.open.is_empty() {
            let answer = link::next(&mut bridge.link).await;
            bridge.take_answer(answer).await?;
        }
        Ok(Verdict::Done)
    };
    tokio::select! {
        ended = tokio::time::timeout(LAST_ANSWERS, last) => ended.unwrap_or(Ok(Verdict::Done)),
        // The server sees us go, and cancels what was for this editor alone.
        () = unread => Ok(Verdict::Done),
    }
}

/// Reads lines on a thread of its own, which ends with the process.
fn lines(from: impl Read + Send + 'static) -> Result<mpsc::Receiver<Result<String>>> {
    let (sender, receiver) = mpsc::channel(LINES_WAITING);
    let read = move || {
        let mut from = std::io::BufReader::new(from);
        loop {
            let mut line = String::new();
            let read = from.by_ref().take(MAX_LINE_BYTES + 1).read_line(&mut line);
            let read = match read {
                Ok(0) => return,
                Ok(_) if line.len() as u64 > MAX_LINE_BYTES => {
                    Err(Fault::new(Code::TooLarge, "a message is larger than 32 MiB").hint("send smaller documents"))
                }
                Ok(_) => Ok(line),
                Err(error) => Err(Fault::invalid("could not read stdin").because(error).hint("send lines of UTF-8")),
            };
            let is_last = read.is_err();
            if sender.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
    started.map_err(|error| {
        Fault::internal("could not start a thread").because(error).hint("look at this machine's limits")
    })?;
    Ok(receiver)
}

struct Bridge<'a> {
    servers: &'a Servers,
    screen: &'a mut Screen,
    roots: Roots,
    tools: String,
    link: Option<Link>,
    /// How the editor introduced itself, for the next server.
    hello: Option<Value>,
    /// Calls that wait for their answers, by the text of their ids.
    open: HashMap<String, Open>,
    /// Tools that only look, as the server said.
    reads: HashSet<String>,
}

/// A call that waits.
struct Open {
    id: Value,
    method: String,
    beside: Beside,
}

impl Bridge<'_> {
    async fn take_line(&mut self, line: &str) -> Result<(), Ended> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let mut message: Value = match serde_json::from_str(line) {
            Ok(message) => message,
            Err(error) => {
                return self.say(&failure(&Value::Null, -32700, &format!("could not read the message: {error}")));
            }
        };
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let id = message.get("id").filter(|id| !id.is_null()).cloned();
        let mut beside = Beside::default();
        if method == "initialize" {
            self.hello = Some(message.clone());
        } else if method == "tools/call" && message["params"]["name"] == local::RULES {
            let changed = self.roots.rules(&message["params"]["arguments"]);
            let id = id.unwrap_or_default();
            return self.say(&changed.map_or_else(|fault| refused(&id, &fault), |data| done(&id, &data)));
        } else if method == "tools/call" {
            beside = match self.roots.prepare(&mut message, &self.reads) {
                Ok(beside) => beside,
                Err(fault) => return self.say(&refused(&id.unwrap_or_default(), &fault)),
            };
            if let Err(fault) = self.settle(&beside).await {
                return self.say(&refused(&id.unwrap_or_default(), &fault));
            }
        } else if method == "notifications/cancelled" {
            // Nobody answers it any more.
            self.open.remove(&message["params"]["requestId"].to_string());
        }
        if let Err(fault) = self.send(&method, &message, &mut beside).await {
            self.screen.note(&fault_text(&fault));
            return match id {
                Some(id) if method == "tools/call" => self.say(&refused(&id, &fault)),
                Some(id) => self.say(&failure(&id, -32000, &in_words(&fault))),
                None => Ok(()),
            };
        }
        if let Some(id) = id.filter(|_| !method.is_empty()) {
            self.open.insert(id.to_string(), Open { id, method, beside });
        }
        Ok(())
    }

    async fn send(&mut self, method: &str, message: &Value, beside: &mut Beside) -> Result<()> {
        let link = self.linked(method).await?;
        // A project that is not there yet has nothing to be brought together with.
        let root = beside.root.as_deref().filter(|_| beside.is_in_step && message["params"]["name"] != INITIALIZE);
        let caught_up = match root {
            Some(root) => folder::catch_up(link.planning(), root, &beside.project).await,
            None => Ok(Vec::new()),
        };
        link.send(message).await?;
        match caught_up {
            Ok(clashes) => beside.notes.extend(clashes),
            Err(fault) => {
                self.screen.note(&fault_text(&fault));
                beside.notes.push(in_words(&fault));
            }
        }
        Ok(())
    }

    async fn linked(&mut self, method: &str) -> Result<&mut Link> {
        Ok(match self.link.take() {
            Some(link) => self.link.insert(link),
            None => {
                let hello = self.hello.as_ref().filter(|_| method != "initialize");
                self.link.insert(Link::open(self.servers, &self.tools, hello).await?)
            }
        })
    }

    /// Refuses a call whose project is there already where only its name says that the folder is that project's.
    async fn settle(&mut self, beside: &Beside) -> Result<()> {
        let Some(home) = &beside.doubts else { return Ok(()) };
        let planning = self.linked("tools/call").await?.planning();
        let known = call(CALL_LIMIT, planning.list_projects(ListProjectsRequest {})).await?.projects;
        match known.iter().any(|project| project.name == beside.project) {
            true => Err(home.doubt(&beside.project)),
            false => Ok(()),
        }
    }

    async fn take_answer(&mut self, answer: Result<Value>) -> Result<(), Ended> {
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.lost(&fault),
        };
        let is_answer = answer.get("method").is_none();
        let open = answer.get("id").filter(|_| is_answer).and_then(|id| self.open.remove(&id.to_string()));
        if let Some(open) = open {
            if open.method == "tools/list" {
                self.learn(&answer);
            }
            self.finish(&open.beside, &mut answer).await;
        }
        self.say(&answer)
    }

    /// Notes which tools only look, so that nothing is written after them.
    fn learn(&mut self, answer: &Value) {
        let tools = answer["result"]["tools"].as_array().into_iter().flatten();
        let reads = tools.filter(|tool| tool["annotations"]["readOnlyHint"] == true);
        self.reads.extend(reads.filter_map(|tool| tool["name"].as_str().map(str::to_owned)));
    }

    /// Does this machine's part of a call that has worked. What fails here is told with the result, which stands.
    async fn finish(&mut self, beside: &Beside, answer: &mut Value) {
        if answer["result"]["isError"] != false {
            return;
        }
        beside.notes.iter().for_each(|clash| note(answer, clash));
        let (Some(root), Some(link)) = (&beside.root, &mut self.link) else { return };
        let mut faults = Vec::new();
        if let Err(fault) = leaves::write(self.servers, link.planning(), beside, answer).await {
            faults.push(fault);
        }
        if beside.is_in_step && beside.is_change {
            match folder::sync(link.planning(), root, &beside.project).await {
                Ok(clashes) => clashes.iter().for_each(|clash| note(answer, clash)),
                Err(fault) => faults.push(fault),
            }
        }
        faults.iter().for_each(|fault| self.tell(answer, fault));
        local::say_again(answer);
    }

    fn tell(&mut self, answer: &mut Value, fault: &Fault) {
        self.screen.note(&fault_text(fault));
        note(answer, &in_words(fault));
    }

    fn lost(&mut self, fault: &Fault) -> Result<(), Ended> {
        self.link = None;
        self.screen.note(&fault_text(fault));
        let why = format!("{}; call again: a job that was started goes on, and `job_status` finds it", in_words(fault));
        for (_, open) in std::mem::take(&mut self.open) {
            self.say(&failure(&open.id, -32000, &why))?;
        }
        Ok(())
    }

    fn say(&mut self, message: &Value) -> Result<(), Ended> {
        self.screen.data(&format!("{message}\n"))
    }
}

/// An error of the protocol.
fn failure(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// A tool that could not do its work, as the server would say it.
fn refused(id: &Value, fault: &Fault) -> Value {
    let hint = fault.hint.as_deref().unwrap_or_default();
    let text = format!("error ({}): {}\nhint: {hint}", fault.code, fault.full_message());
    let said = json!({ "error": { "code": fault.code, "message": fault.full_message(), "hint": hint } });
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": content, "structuredContent": said, "isError": true } })
}

/// A tool that did its work here, as the server would say it.
fn done(id: &Value, data: &Value) -> Value {
    let version = json!({ "name": "taskmaster", "version": env!("CARGO_PKG_VERSION") });
    let said = json!({ "data": data, "version": version });
    let content = json!([{ "type": "text", "text": said.to_string() }]);
    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": content, "structuredContent": said, "isError": false } })
}

fn in_words(fault: &Fault) -> String {
    match &fault.hint {
        Some(hint) => format!("{}; hint: {hint}", fault.full_message()),
        None => fault.full_message(),
    }
}

/// Adds a line to what a tool says.
fn note(answer: &mut Value, text: &str) {
    if let Some(said) = answer["result"]["structuredContent"].as_object_mut() {
        let notes = said.entry("notes").or_insert_with(|| json!([]));
        // Before a call and behind it the same may be true.
        if let Some(notes) = notes.as_array_mut().filter(|notes| !notes.contains(&json!(text))) {
            notes.push(json!(text));
        }
    }
}

#[cfg(test)]
mod tests;
