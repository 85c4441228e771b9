//! What was measured, as lines that come one by one and as JSON.

use base::{Fault, Result};
use proto::admin::{BenchBucket, ListModelsResponse, ModelItem, ModelPlace, View};
use serde::Serialize;

use super::advice::Advice;
use crate::screen::Style;
use crate::table::{Cell, Tone, ruled};
use crate::text::{self, List};

const HEADING: [&str; 6] = ["WORKER", "MODEL", "WHAT", "READS", "WRITES", "FIRST TOKEN"];

/// A model at a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// By its catalogue name.
    pub model: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// Its tier, as the server says.
    pub tier: String,
    /// `node/worker`.
    pub worker: String,
    /// What the engine calls it.
    pub engine_name: String,
    /// What it can do; empty when nobody tells.
    pub capabilities: Vec<String>,
    /// In memory; 0 when not known.
    pub memory_bytes: u64,
    /// Of its context; 0 when not known.
    pub context_tokens: u32,
}

impl Place {
    /// `model` at `place`.
    pub fn new(model: &ModelItem, place: &ModelPlace) -> Self {
        Self {
            model: model.name.clone(),
            aliases: model.aliases.clone(),
            tier: model.tier.clone(),
            worker: place.worker.clone(),
            engine_name: place.engine_name.clone(),
            capabilities: place.capabilities.clone(),
            memory_bytes: if place.memory_bytes > 0 { place.memory_bytes } else { place.size_bytes },
            context_tokens: place.context_tokens,
        }
    }

    /// Takes over what a later list tells.
    pub fn look_again(&mut self, models: &ListModelsResponse) {
        let model = models.models.iter().find(|model| model.name == self.model);
        let is_it = |place: &&ModelPlace| place.worker == self.worker && place.engine_name == self.engine_name;
        if let Some((model, place)) = model.and_then(|model| Some((model, model.places.iter().find(is_it)?))) {
            *self = Self::new(model, place);
        }
    }
}

/// What was measured at a place.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Where.
    pub place: Place,
    /// Seconds of a load; `None` where the model was in memory.
    pub load_s: Option<f64>,
    /// One for each length of prompts.
    pub buckets: Vec<BenchBucket>,
    /// Why there is not more.
    pub failure: Option<Fault>,
}

impl Measured {
    /// Nothing yet.
    pub const fn new(place: Place) -> Self {
        Self { place, load_s: None, buckets: Vec::new(), failure: None }
    }

    /// Whether anything was measured.
    pub fn has_figures(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.left_out.is_empty())
    }

    /// A stream may end well and yet too early: when the server stops.
    pub fn complete(&self) -> Result<()> {
        if self.buckets.last().is_some_and(|last| last.to_come == 0) {
            return Ok(());
        }
        Err(Fault::unavailable(format!("the server stopped telling of `{}` before all was measured", self.place.model))
            .hint("look whether the node stops, then measure again"))
    }
}

/// Makes the lines that come one by one.
pub struct Lines {
    widths: [usize; 6],
    style: Style,
}

impl Lines {
    /// Under columns that are wide enough for these places.
    pub fn new(places: &[Place], style: Style) -> Self {
        let widest = |column: usize, of: fn(&Place) -> &str| {
            let longest = places.iter().map(|place| text::visible(of(place)).chars().count()).max().unwrap_or(0);
            longest.max(HEADING.get(column).map_or(0, |heading| heading.len()))
        };
        let widths = [widest(0, |place| &place.worker), widest(1, |place| &place.model), 18, 12, 12, 11];
        Self { widths, style }
    }

    /// What stands above them.
    pub fn heading(&self) -> String {
        ruled(&self.widths, HEADING.map(Cell::from), self.style)
    }

    /// A load.
    pub fn load(&self, place: &Place, seconds: f64) -> String {
        let loaded = format!("loaded in {}", text::seconds(seconds));
        self.line(place, [loaded.into(), "".into(), "".into(), "".into()])
    }

    /// Prompts of one length.
    pub fn bucket(&self, place: &Place, bucket: &BenchBucket) -> String {
        let (noun, count) = (if bucket.texts_s.is_some() { "texts" } else { "prompt" }, bucket.tokens);
        let what = format!("{noun} of {count} tok");
        if !bucket.left_out.is_empty() {
            let why = Cell::new(format!("left out: {}", bucket.left_out), Tone::Odd);
            return self.line(place, [what.into(), why, "".into(), "".into()]);
        }
        let writes =
            bucket.texts_s.map_or_else(|| speed(bucket.decode_tok_s, "tok/s"), |_| speed(bucket.texts_s, "texts/s"));
        let first = bucket.first_token_s.map_or_else(|| "-".to_owned(), text::seconds);
        self.line(place, [what.into(), speed(bucket.prefill_tok_s, "tok/s").into(), writes.into(), first.into()])
    }

    /// A measurement that ended before it was done.
    pub fn failed(&self, place: &Place, fault: &Fault) -> String {
        let hint = fault.hint.as_ref().map_or_else(String::new, |hint| format!("; hint: {hint}"));
        let why = Cell::from(format!("{}{hint}", fault.full_message()));
        self.line(place, [Cell::new("failed", Tone::Bad), why, "".into(), "".into()])
    }

    /// What is being done, for a terminal.
    pub fn status(&self, which: &str, place: &Place, step: &str) -> String {
        text::visible(&format!("{which}  {}  {}  {step}", place.worker, place.model)).replace('\n', " ")
    }

    fn line(&self, place: &Place, cells: [Cell; 4]) -> String {
        let names = [Cell::from(place.worker.as_str()), Cell::from(place.model.as_str())];
        ruled(&self.widths, names.into_iter().chain(cells), self.style)
    }
}

/// A speed to three places, or `-`.
pub fn speed(speed: Option<f64>, unit: &str) -> String {
    match speed {
        Some(speed) if speed < 10.0 => format!("{speed:.1} {unit}"),
        Some(speed) => format!("{speed:.0} {unit}"),
        None => "-".to_owned(),
    }
}

#[derive(Serialize)]
struct Item<'a> {
    worker: &'a str,
    model: &'a str,
    tier: Option<&'a str>,
    memory_bytes: u64,
    context_tokens: u32,
    load_s: Option<f64>,
    buckets: Vec<BucketItem<'a>>,
    failure: Option<Failure<'a>>,
}

#[derive(Serialize)]
struct BucketItem<'a> {
    tokens: u32,
    prompt_tokens: u32,
    runs: u32,
    prefill_tok_s: Option<f64>,
    decode_tok_s: Option<f64>,
    first_token_s: Option<f64>,
    texts_s: Option<f64>,
    left_out: Option<&'a str>,
}

impl<'a> From<&'a BenchBucket> for BucketItem<'a> {
    fn from(told: &'a BenchBucket) -> Self {
        Self {
            tokens: told.tokens,
            prompt_tokens: told.prompt_tokens,
            runs: told.runs,
            prefill_tok_s: told.prefill_tok_s,
            decode_tok_s: told.decode_tok_s,
            first_token_s: told.first_token_s,
            texts_s: told.texts_s,
            left_out: text::filled(&told.left_out),
        }
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    message: String,
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    list: List<Item<'a>>,
    recommendations: &'a [Advice],
}

/// All of it.
pub fn json<'a>(view: Option<&View>, all: &'a [Measured], advice: &'a [Advice]) -> impl Serialize + use<'a> {
    Whole { list: List::new(view, all.iter().map(item).collect()), recommendations: advice }
}

fn item(one: &Measured) -> Item<'_> {
    let failure =
        one.failure.as_ref().map(|fault| Failure { message: fault.full_message(), hint: fault.hint.as_deref() });
    Item {
        worker: &one.place.worker,
        model: &one.place.model,
        tier: text::filled(&one.place.tier),
        memory_bytes: one.place.memory_bytes,
        context_tokens: one.place.context_tokens,
        load_s: one.load_s,
        buckets: one.buckets.iter().map(BucketItem::from).collect(),
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::super::advice::{advise, sample};
    use super::*;
    use crate::samples;

    #[test]
    fn lines_come_as_things_are_measured() {
        let all = sample();
        let places: Vec<Place> = all.iter().map(|one| one.place.clone()).collect();
        let lines = Lines::new(&places, Style::default());
        let mut text = lines.heading();
        for one in &all {
            text += &one.load_s.map_or_else(String::new, |load| lines.load(&one.place, load));
            one.buckets.iter().for_each(|bucket| text += &lines.bucket(&one.place, bucket));
            text += &one.failure.as_ref().map_or_else(String::new, |fault| lines.failed(&one.place, fault));
        }
        text += &lines.status("2 of 5", &places[1], "reads prompts of 512 tokens");
        insta::assert_snapshot!("models_bench_lines", text + "\n");
    }

    #[test]
    fn json_has_the_figures_the_failures_and_the_advice() {
        let all = sample();
        let advice = advise(&all).unwrap();
        let view = samples::view();
        insta::assert_snapshot!("models_bench_json", samples::json(&json(view.as_ref(), &all, &advice)));
    }

    #[test]
    fn a_measurement_that_ends_before_its_last_length_is_not_whole() {
        let all = sample();
        all[0].complete().unwrap();
        assert!(Measured { buckets: Vec::new(), ..all[0].clone() }.complete().is_err());
        let mut cut = all[1].clone();
        cut.buckets.iter_mut().for_each(|bucket| bucket.to_come = 1);
        assert!(cut.complete().is_err());
    }

    #[test]
    fn a_later_list_tells_what_it_takes_in_memory() {
        let models = samples::models();
        let mut place = Place::new(&models.models[0], &models.models[0].places[0]);
        let known = place.clone();
        place.memory_bytes = 0;
        place.look_again(&models);
        assert_eq!(place, known);
        place.worker = "gone/gone".into();
        let gone = place.clone();
        place.look_again(&models);
        assert_eq!(place, gone);
    }
}
