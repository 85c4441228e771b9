//! `tmctl models import`, `pull` and `create`: how models come to be there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Fault, Result};
use clap::Args;
use proto::admin::{
    CreateModelRequest, CreateModelResponse, ImportModelRequest, ImportModelResponse, PullModelRequest,
    PullModelResponse,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::client::{Servers, call, told};
use crate::progress::News;
use crate::screen::{Ended, Screen};
use crate::text;

/// A large file over a slow network share.
const IMPORT_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// An engine that packs a model anew.
const CREATE_LIMIT: Duration = Duration::from_secs(1800);
/// Until the engine says its first word.
const PULL_LIMIT: Duration = Duration::from_secs(150);
/// A system text of a few thousand words fits many times.
const MOST_SYSTEM_BYTES: u64 = 1 << 20;

/// A file to bring in.
#[derive(Debug, Args)]
pub struct Import {
    /// The GGUF file, on the machine of the node that takes it
    file: PathBuf,
    /// What to call it; by the file's own name when left out
    #[arg(long)]
    name: Option<String>,
    /// The node that takes it; the called one when left out
    #[arg(long)]
    node: Option<String>,
    /// As a second name of the file instead of a copy: what is later written to the file changes the model as well
    #[arg(long)]
    link: bool,
}

/// A model to fetch.
#[derive(Debug, Args)]
pub struct Pull {
    /// Its name in the engine's library
    model: String,
    /// Whose engine fetches it, as node/worker; the first that can when left out
    #[arg(long)]
    worker: Option<String>,
}

/// A model to make.
#[derive(Debug, Args)]
pub struct Create {
    /// What to call it
    name: String,
    /// The model that it is made of
    #[arg(long, value_name = "MODEL")]
    from: String,
    /// What stands before its chats; @FILE reads a file
    #[arg(long, value_name = "TEXT|@FILE")]
    system: Option<String>,
    /// A setting, such as temperature=0.2; may stand several times
    #[arg(long = "parameter", value_name = "KEY=VALUE")]
    parameters: Vec<String>,
    /// An adapter (LoRA) that the node has; `tmctl models import` brings one in
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// At the engine of this worker, as node/worker, instead of the built-in engine
    #[arg(long, conflicts_with = "node")]
    worker: Option<String>,
    /// For the built-in engine of this node; of the called one when left out
    #[arg(long)]
    node: Option<String>,
}

/// Imports a file.
pub async fn import(servers: &Servers, screen: &mut Screen, import: Import) -> Result<(), Ended> {
    let request = import.request()?;
    let mut admin = servers.connect().await?.admin();
    let response = call(IMPORT_LIMIT, admin.import_model(request)).await?;
    screen.show(|_| imported(&response), &ImportedItem::from(&response))
}

impl Import {
    fn request(self) -> Result<ImportModelRequest> {
        // Where another machine is meant, what this one makes of a relative path is of no use.
        let path = match &self.node {
            Some(_) => self.file,
            None => absolute(&self.file)?,
        };
        let path = path.to_str().map(str::to_owned).ok_or_else(|| {
            Fault::invalid(format!("`{}` is not UTF-8", path.display())).hint("rename the file, then import it")
        })?;
        let (name, node) = (self.name.unwrap_or_default(), self.node.unwrap_or_default());
        Ok(ImportModelRequest { node, path, name, link: self.link })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Fault::invalid(format!("`{}` is no path", path.display())).because(error).hint("name a GGUF file")
    })
}

fn imported(response: &ImportModelResponse) -> String {
    let how = match response.by.as_str() {
        "clone" => "as a copy that shares its bytes with the file until one of them is written",
        "link" => "as a second name of the file: what is written to the file changes the model",
        _ => "as a copy",
    };
    text::visible(&format!(
        "imported {} on {}, {how}\n  {} {}, {}, for {}\n  {}\n  {}\n",
        response.name,
        response.node,
        text::or_dash(&response.architecture),
        text::or_dash(&response.quantisation),
        text::size(response.size_bytes),
        text::or_dash(&response.capabilities.join(", ")),
        response.path,
        response.digest,
    ))
}

/// Pulls a model, and shows how far it is.
pub async fn pull(servers: &Servers, screen: &mut Screen, pull: Pull) -> Result<(), Ended> {
    let mut admin = servers.connect().await?.admin();
    let request = PullModelRequest { worker: pull.worker.unwrap_or_default(), model: pull.model.clone() };
    let mut news = call(PULL_LIMIT, admin.pull_model(request)).await?;
    let (mut live, mut last) = (screen.progress(Duration::ZERO), PullModelResponse::default());
    while let Some(response) = news.message().await.map_err(|status| told(&status))? {
        if live.screen.style.json {
            live.screen.json(&PulledItem::from(&response))?;
        }
        live.show(&how_far(&response));
        last = response;
    }
    drop(live);
    complete(&pull.model, &last)?;
    if screen.style.json { Ok(()) } else { screen.data(&pulled(&pull.model, &last)) }
}

fn how_far(response: &PullModelResponse) -> News<'_> {
    let PullModelResponse { status, completed_bytes: done, total_bytes: whole, .. } = response;
    News { status, done: *done, whole: *whole, figures: text::part(*done, *whole) }
}

/// A stream may end well and yet too early: when the server stops.
fn complete(model: &str, last: &PullModelResponse) -> Result<()> {
    if last.status == "success" {
        return Ok(());
    }
    Err(Fault::unavailable(format!("the server stopped telling of `{model}` before it was there"))
        .hint("pull it again: it goes on where it was"))
}

fn pulled(model: &str, last: &PullModelResponse) -> String {
    text::visible(&format!("pulled {model} at {}\n", text::or_dash(&last.worker)))
}

/// Creates a model.
pub async fn create(servers: &Servers, screen: &mut Screen, create: Create) -> Result<(), Ended> {
    let request = create.request()?;
    let mut admin = servers.connect().await?.admin();
    let response = call(CREATE_LIMIT, admin.create_model(request.clone())).await?;
    screen.show(|_| created(&request.from, &response), &CreatedItem::new(&request.from, &response))
}

impl Create {
    fn request(self) -> Result<CreateModelRequest> {
        Ok(CreateModelRequest {
            node: self.node.unwrap_or_default(),
            worker: self.worker.unwrap_or_default(),
            name: self.name,
            from: self.from,
            system: self.system.as_deref().map(system_text).transpose()?.unwrap_or_default(),
            parameters_json: parameters_json(&self.parameters)?,
            adapter: self.adapter.unwrap_or_default(),
        })
    }
}

/// The text itself, or what stands in the file behind an `@`.
fn system_text(given: &str) -> Result<String> {
    let Some(file) = given.strip_prefix('@') else { return Ok(given.to_owned()) };
    let could_not = |error| {
        Fault::invalid(format!("could not read the system text `{file}`"))
            .because(error)
            .hint("name a text file behind the @")
    };
    let size = std::fs::metadata(file).map_err(could_not)?.len();
    if size > MOST_SYSTEM_BYTES {
        return Err(Fault::invalid(format!("the system text `{file}` has {}", text::size(size)))
            .hint(format!("shorten it to {}", text::size(MOST_SYSTEM_BYTES))));
    }
    std::fs::read_to_string(file).map_err(could_not)
}

/// `key=value` pairs as one object; what looks like JSON is JSON, and a repeated key becomes a list.
fn parameters_json(pairs: &[String]) -> Result<String> {
    let mut all = Map::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Fault::invalid(format!("`{pair}` is no setting")).hint("write it as temperature=0.2"));
        };
        let value = match serde_json::from_str(value) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::String(_))) => value,
            _ => Value::String(value.to_owned()),
        };
        match all.get_mut(key) {
            None => drop(all.insert(key.to_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    Ok(if all.is_empty() { String::new() } else { Value::Object(all).to_string() })
}

fn created(from: &str, response: &CreateModelResponse) -> String {
    let place = match response.worker.as_str() {
        "" => format!("for the built-in engine of {}", response.node),
        worker => format!("at {worker}"),
    };
    text::visible(&format!("created {} from {from} {place}\n", response.name))
}

#[derive(Serialize)]
struct ImportedItem<'a> {
    name: &'a str,
    node: &'a str,
    path: &'a str,
    by: &'a str,
    size_bytes: u64,
    digest: &'a str,
    architecture: &'a str,
    quantisation: &'a str,
    capabilities: &'a [String],
}

impl<'a> From<&'a ImportModelResponse> for ImportedItem<'a> {
    fn from(response: &'a ImportModelResponse) -> Self {
        Self {
            name: &response.name,
            node: &response.node,
            path: &response.path,
            by: &response.by,
            size_bytes: response.size_bytes,
            digest: &response.digest,
            architecture: &response.architecture,
            quantisation: &response.quantisation,
            capabilities: &response.capabilities,
        }
    }
}

#[derive(Serialize)]
struct PulledItem<'a> {
    worker: &'a str,
    status: &'a str,
    completed_bytes: u64,
    total_bytes: u64,
}

impl<'a> From<&'a PullModelResponse> for PulledItem<'a> {
    fn from(response: &'a PullModelResponse) -> Self {
        let PullModelResponse { worker, status, completed_bytes, total_bytes } = response;
        Self { worker, status, completed_bytes: *completed_bytes, total_bytes: *total_bytes }
    }
}

#[derive(Serialize)]
struct CreatedItem<'a> {
    name: &'a str,
    from: &'a str,
    node: &'a str,
    worker: Option<&'a str>,
}

impl<'a> CreatedItem<'a> {
    fn new(from: &'a str, response: &'a CreateModelResponse) -> Self {
        Self { name: &response.name, from, node: &response.node, worker: text::filled(&response.worker) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    fn import_response(by: &str) -> ImportModelResponse {
        ImportModelResponse {
            node: "grey-area".into(),
            name: "talker".into(),
            path: "/var/lib/taskmaster/models/talker.gguf".into(),
            by: by.into(),
            size_bytes: 4_920_000_000,
            digest: format!("sha256:{}", "46e0".repeat(16)),
            architecture: "llama".into(),
            quantisation: "Q4_K_M".into(),
            capabilities: vec!["completion".into(), "tools".into()],
        }
    }

    #[test]
    fn an_import_says_what_came_in_and_how() {
        let text: String = ["copy", "clone", "link"].map(|by| imported(&import_response(by))).concat();
        insta::assert_snapshot!("models_import", text);
        insta::assert_snapshot!("models_import_json", samples::json(&ImportedItem::from(&import_response("copy"))));
    }

    #[test]
    fn a_relative_file_is_the_one_that_the_user_sees() {
        let import = |node: Option<&str>| Import {
            file: "a.gguf".into(),
            name: None,
            node: node.map(str::to_owned),
            link: false,
        };
        let here = import(None).request().unwrap().path;
        assert_eq!(Path::new(&here), std::env::current_dir().unwrap().join("a.gguf"));
        assert_eq!(import(Some("other")).request().unwrap().path, "a.gguf", "the other node refuses it with a hint");
    }

    #[test]
    fn a_created_model_says_where_it_is() {
        let mut response =
            CreateModelResponse { node: "grey-area".into(), worker: String::new(), name: "brief".into() };
        let mut text = created("llama3.1:8b", &response);
        let json = samples::json(&CreatedItem::new("llama3.1:8b", &response));
        response.worker = "grey-area/ollama".into();
        text += &created("llama3.1:8b", &response);
        insta::assert_snapshot!("models_create", text + &json);
    }

    #[test]
    fn settings_become_one_object() {
        let json =
            |pairs: &[&str]| parameters_json(&pairs.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>()).unwrap();
        assert_eq!(json(&[]), "");
        assert_eq!(json(&["temperature=0.2", "top_k=40"]), r#"{"temperature":0.2,"top_k":40}"#);
        assert_eq!(json(&["stop=<end>"]), r#"{"stop":"<end>"}"#);
        assert_eq!(json(&["stop=a", "stop=b=c", "stop=d"]), r#"{"stop":["a","b=c","d"]}"#);
        assert_eq!(json(&["stop=[\"a\"]", "stop="]), r#"{"stop":["a",""]}"#);
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let mut text = fault_text(&parameters_json(&["temperature".to_owned()]).unwrap_err());
        text += &fault_text(&system_text("@no/such/file").unwrap_err());
        text += &fault_text(&complete("llama3.1:8b", &PullModelResponse::default()).unwrap_err());
        insta::assert_snapshot!("models_files_faults", text);
    }

    #[test]
    fn a_system_text_may_stand_in_a_file() {
        let file = std::env::temp_dir().join(format!("tmctl-system-{}", std::process::id()));
        std::fs::write(&file, "Be brief.\n").unwrap();
        assert_eq!(system_text(&format!("@{}", file.display())).unwrap(), "Be brief.\n");
        std::fs::remove_file(file).unwrap();
        assert_eq!(system_text("Hm @ all").unwrap(), "Hm @ all");
    }

    #[test]
    fn a_pull_ends_with_where_the_model_is() {
        let last = PullModelResponse {
            worker: "grey-area/ollama".into(),
            status: "success".into(),
            completed_bytes: 0,
            total_bytes: 0,
        };
        complete("m", &last).unwrap();
        insta::assert_snapshot!("models_pull", pulled("m", &last) + &samples::json(&PulledItem::from(&last)));
    }
}
