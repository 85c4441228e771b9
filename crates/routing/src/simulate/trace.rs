//! Recorded arrivals: CSV with a header (`t_ms,in_tokens,out_tokens` and more), or Mooncake's JSON lines.

use std::collections::HashMap;
use std::time::Duration;

use base::Fault;
use serde::Deserialize;

/// Tokens that a hash of Mooncake's trace stands for.
pub(super) const BLOCK_TOKENS: u32 = 512;

/// The model where the trace tells none; every node serves it with the first model that it has.
pub(super) const UNNAMED: &str = "unnamed";

/// Columns that name the model, the first that is there counts.
const MODEL_COLUMNS: [&str; 2] = ["model", "model_class"];

/// One recorded ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When it came, from the start of the trace.
    pub at: Duration,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens of its answer; only the node that makes it knows.
    pub output_tokens: u32,
    /// Its model, by place in [`Trace::models`].
    pub model: usize,
    /// Its client, by place in [`Trace::clients`].
    pub client: usize,
    /// Chained hashes of the blocks of its prompt.
    pub blocks: Vec<u64>,
}

/// Arrivals in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The asks.
    pub arrivals: Vec<Arrival>,
    /// Names of models.
    pub models: Vec<String>,
    /// Names of clients.
    pub clients: Vec<String>,
}

#[derive(Deserialize)]
struct MooncakeRow {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

impl Trace {
    /// Reads either form, told apart by the first character.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut trace = if text.trim_start().starts_with('{') { parse_mooncake(text)? } else { parse_csv(text)? };
        if trace.arrivals.is_empty() {
            return Err(Fault::invalid("the trace has no rows").hint("give a CSV with t_ms,in_tokens,out_tokens"));
        }
        trace.arrivals.sort_by_key(|arrival| arrival.at);
        Ok(trace)
    }

    /// Keeps a share of the rows, the same ones for the same seed.
    pub fn thin(&mut self, share: f64, seed: u64) {
        if share < 1.0 {
            let mut random = fastrand::Rng::with_seed(seed);
            self.arrivals.retain(|_| random.f64() < share);
        }
    }

    /// Lets the rows arrive `factor` times faster.
    pub fn speed_up(&mut self, factor: f64) {
        self.arrivals.iter_mut().for_each(|arrival| arrival.at = arrival.at.div_f64(factor));
    }
}

fn parse_mooncake(text: &str) -> Result<Trace, Fault> {
    let mut trace = Trace { models: vec![UNNAMED.to_owned()], clients: vec![String::new()], ..Trace::default() };
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: MooncakeRow = serde_json::from_str(line).map_err(|error| {
            Fault::invalid(format!("could not read line {}", number + 1))
                .because(error)
                .hint("a line is {\"timestamp\", \"input_length\", \"output_length\", \"hash_ids\"}")
        })?;
        let at = Duration::try_from_secs_f64(row.timestamp / 1000.0).map_err(|_| bad_cell(number, "timestamp"))?;
        trace.arrivals.push(Arrival {
            at,
            prompt_tokens: row.input_length,
            output_tokens: row.output_length,
            model: 0,
            client: 0,
            blocks: row.hash_ids,
        });
    }
    Ok(trace)
}

fn parse_csv(text: &str) -> Result<Trace, Fault> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let header: Vec<&str> = lines.next().map(|(_, line)| line.split(',').map(str::trim).collect()).unwrap_or_default();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let needed = |name: &str| {
        column(name).ok_or_else(|| {
            Fault::invalid(format!("the header has no column `{name}`"))
                .hint("the header needs t_ms,in_tokens,out_tokens")
        })
    };
    let (at, prompt, output) = (needed("t_ms")?, needed("in_tokens")?, needed("out_tokens")?);
    let (model, client) = (MODEL_COLUMNS.iter().find_map(|name| column(name)), column("tenant"));
    let (mut trace, mut models, mut clients) = (Trace::default(), Names::default(), Names::default());
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let cell = |index: usize| cells.get(index).copied().unwrap_or_default();
        let at_ms: f64 = cell(at).parse().map_err(|_| bad_cell(number, "t_ms"))?;
        trace.arrivals.push(Arrival {
            at: Duration::try_from_secs_f64(at_ms / 1000.0).map_err(|_| bad_cell(number, "t_ms"))?,
            prompt_tokens: cell(prompt).parse().map_err(|_| bad_cell(number, "in_tokens"))?,
            output_tokens: cell(output).parse().map_err(|_| bad_cell(number, "out_tokens"))?,
            model: models.index(model.map(cell).filter(|name| !name.is_empty()).unwrap_or(UNNAMED)),
            client: clients.index(client.map(cell).unwrap_or_default()),
            blocks: Vec::new(),
        });
    }
    (trace.models, trace.clients) = (models.names, clients.names);
    Ok(trace)
}

fn bad_cell(number: usize, column: &str) -> Fault {
    Fault::invalid(format!("line {}: `{column}` is no number of that kind", number + 1))
        .hint("give times in ms and whole numbers of tokens")
}

#[derive(Default)]
struct Names {
    names: Vec<String>,
    indices: HashMap<String, usize>,
}

impl Names {
    fn index(&mut self, name: &str) -> usize {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        self.names.push(name.to_owned());
        self.indices.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }
}
