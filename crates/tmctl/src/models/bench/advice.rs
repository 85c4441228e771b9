//! Which of the measured models is for what: the one of the highest rank that is done in the time that such work has.
//!
//! Speed is measured; quality is not. Models are ranked by the daemon's own order under `auto`: what a model is made for,
//! its tier, its size. Pure.

use base::config::Model;
use base::report::Capability;
use base::{Kind, Result};
use proto::admin::BenchBucket;
use routing::model::{Catalogue, Shipped, Tier};
use serde::Serialize;

use super::results::{Measured, Place, speed};
use crate::screen::Style;
use crate::table::{Cell, Table, Tone};
use crate::text;

/// A kind of work, as much of it as is usual, and the time that people have for it.
struct Work {
    name: &'static str,
    role: &'static str,
    kind: Kind,
    size: Size,
    within_s: f64,
}

#[derive(Clone, Copy)]
enum Size {
    /// Tokens that are read, and that are written.
    Text { reads: u32, writes: u32 },
    /// Texts that become vectors, each of so many tokens.
    Vectors { texts: u32, tokens: u32 },
}

const WORKS: [Work; 6] = [
    text_work("quick answers", "", Kind::General, (200, 100), 3.0),
    text_work("conversation", "", Kind::General, (1500, 300), 15.0),
    text_work("code", "code", Kind::CodeGeneration, (3000, 600), 45.0),
    text_work("planning", "", Kind::Planning, (3000, 1500), 120.0),
    text_work("long documents", "", Kind::Analysis, (7000, 500), 120.0),
    Work {
        name: "embeddings",
        role: "embed",
        kind: Kind::Embedding,
        size: Size::Vectors { texts: 10_000, tokens: 512 },
        within_s: 3600.0,
    },
];
/// How long reading it takes is a figure that models are compared by.
const COMPARED_PROMPT: u32 = 2000;

const fn text_work(
    name: &'static str,
    role: &'static str,
    kind: Kind,
    (reads, writes): (u32, u32),
    within_s: f64,
) -> Work {
    Work { name, role, kind, size: Size::Text { reads, writes }, within_s }
}

/// What to use for a kind of work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The work.
    pub work: &'static str,
    /// How much of it.
    pub amount: String,
    /// The time that it should be done in.
    pub within_s: f64,
    /// `None` where no measured model can do it.
    pub best: Option<Best>,
    /// Why there is none.
    pub why_not: Option<String>,
}

/// A model at a worker, with the figures that speak for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// The model.
    pub model: String,
    /// Where it is fastest.
    pub worker: String,
    /// How long it takes there.
    pub seconds: f64,
    /// Whether that is in time; where none is, the fastest one is advised.
    pub is_in_time: bool,
    /// Answer tokens per second.
    pub decode_tok_s: Option<f64>,
    /// Seconds until a prompt of 2,000 tokens is read.
    pub reads_2000_s: Option<f64>,
    /// Texts per second.
    pub texts_s: Option<f64>,
    /// In memory; 0 when not known.
    pub memory_bytes: u64,
    /// Of its context; 0 when not known.
    pub context_tokens: u32,
    /// Its tier, which with the size stands for quality.
    pub tier: String,
    /// Billions of parameters; 0 when not known.
    pub parameters_b: f64,
}

/// What to use for each kind of work.
pub fn advise(all: &[Measured]) -> Result<Vec<Advice>> {
    let shipped = Shipped::load()?;
    let declared: Vec<Model> = all.iter().map(|one| declared(&one.place)).collect();
    let catalogue = Catalogue::build(&shipped, &declared, &[], std::iter::empty());
    Ok(WORKS.iter().map(|work| advise_for(work, all, &catalogue)).collect())
}

/// As the server tells of it, so that it stands in the same tier here.
fn declared(place: &Place) -> Model {
    let capabilities = place.capabilities.iter().filter_map(|word| Capability::parse(word)).collect();
    Model {
        name: place.model.clone(),
        aliases: place.aliases.clone(),
        engines: Vec::new(),
        capabilities,
        tier: text::filled(&place.tier).map(str::to_owned),
        replicas: 1,
    }
}

fn advise_for(work: &Work, all: &[Measured], catalogue: &Catalogue) -> Advice {
    // The larger the better, as far as it is in time.
    let ranked = catalogue.for_use(work.role, work.kind, Tier::Large);
    let mut able: Vec<(usize, f64, &Measured)> = Vec::new();
    for one in all {
        let rank = catalogue.find(&one.place.model).and_then(|found| ranked.iter().position(|at| *at == found.model));
        if let (Some(rank), Some(seconds)) = (rank, seconds_for(work.size, one)) {
            able.push((rank, seconds, one));
        }
    }
    let in_time = able.iter().filter(|(_, seconds, _)| *seconds <= work.within_s);
    let best = in_time.min_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let best = best.or_else(|| able.iter().min_by(|one, other| one.1.total_cmp(&other.1)));
    Advice {
        work: work.name,
        amount: amount(work.size),
        within_s: work.within_s,
        best: best.map(|(_, seconds, one)| best_of(work, *seconds, one, catalogue)),
        why_not: best.is_none().then(|| why_not(work.size, all)),
    }
}

fn why_not(size: Size, all: &[Measured]) -> String {
    match size {
        Size::Text { reads, writes }
            if all.iter().any(|one| one.buckets.iter().any(|told| told.decode_tok_s.is_some())) =>
        {
            format!("no measured model has the {} tokens of context", reads + writes)
        }
        Size::Text { .. } => "no model that writes was measured".to_owned(),
        Size::Vectors { .. } => "no embedder was measured".to_owned(),
    }
}

fn best_of(work: &Work, seconds: f64, one: &Measured, catalogue: &Catalogue) -> Best {
    let (tokens, is_text) = match work.size {
        Size::Text { reads, .. } => (reads, true),
        Size::Vectors { tokens, .. } => (tokens, false),
    };
    let bucket = bucket_for(tokens, one);
    let place = &one.place;
    Best {
        model: place.model.clone(),
        worker: place.worker.clone(),
        seconds,
        is_in_time: seconds <= work.within_s,
        decode_tok_s: bucket.and_then(|bucket| bucket.decode_tok_s),
        reads_2000_s: if is_text { reading(COMPARED_PROMPT, one) } else { None },
        texts_s: bucket.and_then(|bucket| bucket.texts_s),
        memory_bytes: place.memory_bytes,
        context_tokens: place.context_tokens,
        tier: place.tier.clone(),
        parameters_b: catalogue.find(&place.model).map_or(0.0, |found| catalogue.get(found.model).parameters_b),
    }
}

fn amount(size: Size) -> String {
    match size {
        Size::Text { reads, writes } => format!("{reads} tokens read, {writes} written"),
        Size::Vectors { texts, tokens } => format!("{texts} texts of {tokens} tokens"),
    }
}

/// How long the work takes; `None` where it cannot be done or was not measured.
fn seconds_for(size: Size, one: &Measured) -> Option<f64> {
    let context = one.place.context_tokens;
    match size {
        Size::Text { reads, writes } => {
            if context != 0 && reads + writes > context {
                return None;
            }
            let writing = bucket_for(reads, one)?.decode_tok_s.filter(|speed| *speed > 0.0)?;
            Some(reading(reads, one)? + f64::from(writes) / writing)
        }
        Size::Vectors { texts, tokens } => {
            let bucket = bucket_for(tokens, one)?;
            let speed = bucket.texts_s.filter(|speed| *speed > 0.0)?;
            // Shorter texts than meant are as many more.
            let share = f64::from(bucket.tokens.min(tokens)) / f64::from(tokens);
            Some(f64::from(texts) / (speed * share))
        }
    }
}

/// Seconds until a prompt is read: by the speed at the next longer prompts that were measured, else at the longest.
fn reading(tokens: u32, one: &Measured) -> Option<f64> {
    let bucket = bucket_for(tokens, one)?;
    match (bucket.prefill_tok_s, bucket.first_token_s) {
        (Some(speed), _) if speed > 0.0 => Some(f64::from(tokens) / speed),
        // An engine that does not count.
        (_, Some(first)) => Some(first * f64::from(tokens) / f64::from(bucket.tokens.max(1))),
        _ => None,
    }
}

fn bucket_for(tokens: u32, one: &Measured) -> Option<&BenchBucket> {
    let measured = || one.buckets.iter().filter(|bucket| bucket.left_out.is_empty());
    let longer = measured().filter(|bucket| bucket.tokens >= tokens).min_by_key(|bucket| bucket.tokens);
    longer.or_else(|| measured().max_by_key(|bucket| bucket.tokens))
}

/// The table under the lines.
pub fn text(advice: &[Advice], style: Style) -> String {
    let mut table = Table::new([
        "FOR",
        "MODEL",
        "WORKER",
        "TAKES",
        "WRITES",
        "READS 2,000 TOK",
        "MEMORY",
        "CONTEXT",
        "TIER",
        "WHY",
    ]);
    for one in advice {
        match &one.best {
            Some(best) => table.row(row(one, best)),
            None => {
                let why = Cell::new(one.why_not.as_deref().unwrap_or("-"), Tone::Odd);
                let empty = std::iter::repeat_with(|| Cell::from("-")).take(8);
                table.row(
                    std::iter::once(Cell::from(format!("{}: {}", one.work, one.amount))).chain(empty).chain([why]),
                );
            }
        }
    }
    format!(
        "\n{}\nSpeed was measured at these workers. Quality was not: models are ordered by what they are made for, by tier \
         and by size alone.\n",
        table.render(style, "nothing was measured")
    )
}

fn row(one: &Advice, best: &Best) -> [Cell; 10] {
    let wish = text::seconds(one.within_s);
    let why = match best.is_in_time {
        true => Cell::from(format!("the highest ranked that takes at most {wish}")),
        false => Cell::new(format!("the fastest: none takes {wish} or less"), Tone::Odd),
    };
    let written = match best.texts_s {
        Some(_) => speed(best.texts_s, "texts/s"),
        None => speed(best.decode_tok_s, "tok/s"),
    };
    let context = if best.context_tokens == 0 { "-".to_owned() } else { format!("{} tok", best.context_tokens) };
    let size = if best.parameters_b > 0.0 { format!(" {}b", best.parameters_b) } else { String::new() };
    [
        format!("{}: {}", one.work, one.amount).into(),
        best.model.as_str().into(),
        best.worker.as_str().into(),
        text::seconds(best.seconds).into(),
        written.into(),
        best.reads_2000_s.map_or_else(|| "-".to_owned(), text::seconds).into(),
        text::size(best.memory_bytes).into(),
        context.into(),
        format!("{}{size}", text::or_dash(&best.tier)).into(),
        why,
    ]
}

#[cfg(test)]
pub use tests::sample;

#[cfg(test)]
mod tests;
