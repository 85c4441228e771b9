//! `tmctl models`: what clients may name, where it is loaded and how fast it is there; `load` and `unload` move it. `import`,
//! `pull` and `create`, in `files`, make models be there at all; `bench` measures them.

mod bench;
mod files;

use std::time::Duration;

use base::{Code, Fault, Result, time};
use clap::Subcommand;
use proto::admin::{ListModelsRequest, ListModelsResponse, ModelItem, ModelPlace, PlaceRequest, PlaceResponse};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, List};

/// A large model from a slow disk.
const LOAD_LIMIT: Duration = Duration::from_secs(900);

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them
    List,
    /// Shows one, with every place
    Show {
        /// Its name, an alias or its identity
        name: String,
    },
    /// Loads one into memory
    Load {
        /// Its name or an alias
        model: String,
        /// Where, as node/worker; the best place when left out
        #[arg(long)]
        worker: Option<String>,
    },
    /// Takes one out of memory
    Unload {
        /// Its name or an alias
        model: String,
        /// Where, as node/worker; the server decides when left out
        #[arg(long)]
        worker: Option<String>,
    },
    /// Brings a GGUF file in for the built-in engine
    Import(files::Import),
    /// Lets an engine fetch one from outside the house, where the mode allows that
    Pull(files::Pull),
    /// Makes one with settings of its own out of another
    Create(files::Create),
    /// Measures how fast they are, behind the asks of clients, and says which one is for what
    Bench(bench::Bench),
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    match verb.unwrap_or(Verb::List) {
        Verb::List => {
            let response = list(servers).await?;
            screen.show(|style| table(&response, time::unix_ms(), style), &json(&response))?;
        }
        Verb::Show { name } => {
            let response = list(servers).await?;
            let model = find(&response, &name)?;
            let age = text::seen_by(response.view.as_ref(), time::unix_ms());
            screen.show(|style| page(model, style) + &age, &item(model))?;
        }
        Verb::Load { model, worker } => place(servers, screen, model, worker, true).await?,
        Verb::Unload { model, worker } => place(servers, screen, model, worker, false).await?,
        Verb::Import(import) => files::import(servers, screen, import).await?,
        Verb::Pull(pull) => files::pull(servers, screen, pull).await?,
        Verb::Create(create) => files::create(servers, screen, create).await?,
        Verb::Bench(bench) => return bench::run(servers, screen, bench).await,
    }
    Ok(Verdict::Done)
}

async fn list(servers: &Servers) -> Result<ListModelsResponse> {
    let mut admin = servers.connect().await?.admin();
    call(CALL_LIMIT, admin.list_models(ListModelsRequest {})).await
}

async fn place(
    servers: &Servers,
    screen: &mut Screen,
    model: String,
    worker: Option<String>,
    load: bool,
) -> Result<(), Ended> {
    let mut admin = servers.connect().await?.admin();
    let request = PlaceRequest { worker: worker.unwrap_or_default(), model: model.clone(), load };
    let response = call(LOAD_LIMIT, admin.place(request)).await?;
    let placed = Placed { model: &model, worker: &response.worker, loaded: load, seconds: response.seconds };
    screen.show(|_| placed_text(&model, load, &response), &placed)
}

fn placed_text(model: &str, load: bool, response: &PlaceResponse) -> String {
    let (done, worker) = (if load { "loaded on" } else { "unloaded from" }, text::or_dash(&response.worker));
    format!("{model} {done} {worker} in {}\n", text::seconds(response.seconds))
}

fn find<'a>(response: &'a ListModelsResponse, name: &str) -> Result<&'a ModelItem> {
    let is_it = |model: &&ModelItem| model.name == name || model.id == name || model.aliases.iter().any(|a| a == name);
    response.models.iter().find(is_it).ok_or_else(|| {
        Fault::new(Code::ModelNotFound, format!("no model of the cluster is called `{name}`"))
            .hint("`tmctl models` lists the names")
    })
}

fn table(response: &ListModelsResponse, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(["NAME", "TIER", "SIZE", "LOADED ON", "ALSO ON", "ALIASES"]);
    for model in &response.models {
        let places = |is_loaded| {
            let there = model.places.iter().filter(|place| place.is_loaded == is_loaded);
            let names: Vec<_> = there.map(|place| place.worker.as_str()).collect();
            text::or_dash(&names.join(", ")).to_owned()
        };
        let size = model.places.iter().map(|place| place.size_bytes).max().unwrap_or_default();
        table.row([
            model.name.as_str().into(),
            text::or_dash(&model.tier).into(),
            text::size(size).into(),
            places(true).into(),
            places(false).into(),
            text::or_dash(&model.aliases.join(", ")).into(),
        ]);
    }
    table.render(style, "no models: no engine lists one; `tmctl workers` shows the engines")
        + &text::seen_by(response.view.as_ref(), now_unix_ms)
}

fn page(model: &ModelItem, style: Style) -> String {
    let aliases = model.aliases.join(", ");
    let head = format!(
        "name     {}\nidentity {}\naliases  {}\ntier     {}\n\n",
        model.name,
        text::or_dash(&model.id),
        text::or_dash(&aliases),
        text::or_dash(&model.tier)
    );
    let mut table = Table::new([
        "WORKER",
        "ENGINE'S NAME",
        "STATE",
        "MEMORY",
        "CONTEXT",
        "PROMPT",
        "ANSWER",
        "LOAD TIME",
        "CAPABILITIES",
    ]);
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.0} tok/s"));
    for place in &model.places {
        table.row([
            place.worker.as_str().into(),
            place.engine_name.as_str().into(),
            state(place),
            text::size(place.memory_bytes).into(),
            if place.context_tokens == 0 { "-".to_owned() } else { format!("{} tok", place.context_tokens) }.into(),
            rate(place.prefill_tok_s).into(),
            rate(place.decode_tok_s).into(),
            place.load_s.map_or("-".to_owned(), text::seconds).into(),
            text::or_dash(&place.capabilities.join(", ")).into(),
        ]);
    }
    text::visible(&head) + &table.render(style, "no worker offers it now")
}

fn state(place: &ModelPlace) -> Cell {
    match (place.quarantined_s, place.is_loaded) {
        (Some(left), _) => Cell::new(format!("failed; again in {}", text::seconds(left as f64)), Tone::Bad),
        (None, true) => Cell::new("loaded", Tone::Good),
        (None, false) => "on disk".into(),
    }
}

#[derive(Serialize)]
struct Placed<'a> {
    model: &'a str,
    worker: &'a str,
    loaded: bool,
    seconds: f64,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    id: &'a str,
    aliases: &'a [String],
    tier: Option<&'a str>,
    places: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    worker: &'a str,
    engine_name: &'a str,
    is_loaded: bool,
    size_bytes: u64,
    memory_bytes: u64,
    context_tokens: u32,
    prefill_tok_s: Option<f64>,
    decode_tok_s: Option<f64>,
    load_s: Option<f64>,
    quarantined_s: Option<u64>,
    capabilities: &'a [String],
}

fn json(response: &ListModelsResponse) -> impl Serialize + '_ {
    List::new(response.view.as_ref(), response.models.iter().map(item).collect())
}

fn item(model: &ModelItem) -> Item<'_> {
    fn place(place: &ModelPlace) -> Place<'_> {
        Place {
            worker: &place.worker,
            engine_name: &place.engine_name,
            is_loaded: place.is_loaded,
            size_bytes: place.size_bytes,
            memory_bytes: place.memory_bytes,
            context_tokens: place.context_tokens,
            prefill_tok_s: place.prefill_tok_s,
            decode_tok_s: place.decode_tok_s,
            load_s: place.load_s,
            quarantined_s: place.quarantined_s,
            capabilities: &place.capabilities,
        }
    }
    Item {
        name: &model.name,
        id: &model.id,
        aliases: &model.aliases,
        tier: text::filled(&model.tier),
        places: model.places.iter().map(place).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[test]
    fn models_as_table_and_json() {
        let response = samples::models();
        insta::assert_snapshot!("models", table(&response, samples::NOW, Style::default()));
        insta::assert_snapshot!("models_json", samples::json(&json(&response)));
        let none = ListModelsResponse { models: vec![], ..response };
        insta::assert_snapshot!("models_none", table(&none, samples::NOW, Style::default()));
    }

    #[test]
    fn a_model_is_found_by_any_of_its_names() {
        let response = samples::models();
        let model = find(&response, "meta-llama-3.1-8b-instruct").unwrap();
        assert_eq!(model.name, "llama3.1:8b");
        insta::assert_snapshot!("models_show", page(model, Style::default()));
        insta::assert_snapshot!("models_unknown", fault_text(&find(&response, "gpt-5").unwrap_err()));
    }

    #[test]
    fn loading_and_unloading_say_where_and_how_long() {
        let response = PlaceResponse { worker: "grey-area/ollama".into(), seconds: 4.25 };
        let text = placed_text("m", true, &response) + &placed_text("m", false, &response);
        insta::assert_snapshot!("models_place", text);
    }
}
