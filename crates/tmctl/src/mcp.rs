//! `tmctl mcp`: the bridge between an editor's pipe and the server's MCP, a line of JSON-RPC each way.
//!
//! The server keeps the projects; what only this machine has is done here: a document is read from the project's folder,
//! files are written there, and its tasks.json is kept in step. Messages go over gRPC, which brings the dialler, TLS, the
//! key and the list of servers along. When a server goes away, open calls are answered with that, and the next call goes
//! to whichever server is there: calls keep nothing between them, and jobs go on without us.

mod folder;
mod link;
mod local;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::time::Duration;

use base::{Code, Fault, Result};
use proto::planning::ListProjectsRequest;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict, fault_text};
use link::Link;
use local::{After, Roots};

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
    carry(servers, screen, args, lines(std::io::stdin())?).await
}

async fn carry(
    servers: &Servers,
    screen: &mut Screen,
    args: Args,
    mut lines: mpsc::Receiver<Result<String>>,
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
    tokio::time::timeout(LAST_ANSWERS, last).await.unwrap_or(Ok(Verdict::Done))
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
    after: After,
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
        let mut after = After::default();
        if method == "initialize" {
            self.hello = Some(message.clone());
        } else if method == "tools/call" {
            after = match self.roots.prepare(&mut message, &self.reads) {
                Ok(after) => after,
                Err(fault) => return self.say(&refused(&id.unwrap_or_default(), &fault)),
            };
            if let Err(fault) = self.settle(&after).await {
                return self.say(&refused(&id.unwrap_or_default(), &fault));
            }
        }
        if let Err(fault) = self.send(&method, &message).await {
            self.screen.note(&fault_text(&fault));
            return match id {
                Some(id) if method == "tools/call" => self.say(&refused(&id, &fault)),
                Some(id) => self.say(&failure(&id, -32000, &in_words(&fault))),
                None => Ok(()),
            };
        }
        if let Some(id) = id.filter(|_| !method.is_empty()) {
            self.open.insert(id.to_string(), Open { id, method, after });
        }
        Ok(())
    }

    async fn send(&mut self, method: &str, message: &Value) -> Result<()> {
        self.linked(method).await?.send(message).await
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
    async fn settle(&mut self, after: &After) -> Result<()> {
        let Some(home) = &after.doubts else { return Ok(()) };
        let planning = self.linked("tools/call").await?.planning();
        let known = call(CALL_LIMIT, planning.list_projects(ListProjectsRequest {})).await?.projects;
        match known.iter().any(|project| project.name == after.project) {
            true => Err(home.doubt(&after.project)),
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
            self.finish(open.after, &mut answer).await;
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
    async fn finish(&mut self, after: After, answer: &mut Value) {
        if answer["result"]["isError"] != false {
            return;
        }
        if let Some(folder) = &after.writes
            && let Err(fault) = local::write_files(folder, answer)
        {
            self.tell(answer, &fault);
        }
        if let Some(text) = &after.note {
            note(answer, text);
        }
        let (Some(root), Some(link)) = (&after.syncs, &mut self.link) else { return };
        match folder::sync(link.planning(), root, &after.project).await {
            Ok(conflicts) => conflicts.iter().for_each(|conflict| note(answer, conflict)),
            Err(fault) => self.tell(answer, &fault),
        }
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
        if let Some(notes) = notes.as_array_mut() {
            notes.push(json!(text));
        }
    }
    local::say_again(answer);
}

#[cfg(test)]
mod tests;
