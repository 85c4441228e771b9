//! `tmctl models bench`: how fast models are at their workers, a line for each length of prompts as it is measured, and at
//! the end which of them is for what.

mod advice;
mod results;

use base::report::Backend;
use base::{Code, Fault, Result};
use clap::Args;
use proto::admin::admin_client::AdminClient;
use proto::admin::bench_model_response::Told;
use proto::admin::{BenchModelRequest, ListModelsResponse, ListWorkersRequest, ListWorkersResponse};

use super::{find, list};
use crate::client::{CALL_LIMIT, Keyed, Servers, call, told};
use crate::progress;
use crate::screen::{Ended, Screen, Verdict};
use advice::advise;
use results::{Lines, Measured, Place};

/// What is measured.
#[derive(Debug, Args)]
pub struct Bench {
    /// Models, each by its name, an alias or its identity; all when none is named
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Only at this worker, as node/worker; at every one that is not outside the house when left out
    #[arg(long)]
    worker: Option<String>,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=1024))]
    tokens: u32,
}

/// Measures one model after the other. What fails is shown in its place and ends nothing.
pub async fn run(servers: &Servers, screen: &mut Screen, bench: Bench) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    let models = list(servers).await?;
    let workers = call(CALL_LIMIT, admin.list_workers(ListWorkersRequest {})).await?;
    let places = choose(&models, &workers, &bench)?;
    let lines = Lines::new(&places, screen.style);
    if !screen.style.json {
        screen.data(&lines.heading())?;
    }
    let mut all = Vec::new();
    for (place, number) in places.iter().zip(1..) {
        let mut one = Measured::new(place.clone());
        let which = format!("{number} of {}", places.len());
        if let Err(ended) = measure(&mut admin, screen, &lines, &mut one, (&which, bench.tokens)).await {
            clear(screen);
            let Ended::Fault(fault) = ended else { return Err(ended) };
            if !screen.style.json {
                screen.data(&lines.failed(&one.place, &fault))?;
            }
            one.failure = Some(fault);
        }
        clear(screen);
        all.push(one);
    }
    // How much memory a model takes is known only once it was there.
    let models = list(servers).await.unwrap_or(models);
    all.iter_mut().for_each(|one| one.place.look_again(&models));
    let advice = advise(&all)?;
    screen.show(|style| advice::text(&advice, style), &results::json(models.view.as_ref(), &all, &advice))?;
    Ok(if all.iter().any(Measured::has_figures) { Verdict::Done } else { Verdict::NotWell })
}

/// Measures at one place, and shows what is told.
async fn measure(
    admin: &mut AdminClient<Keyed>,
    screen: &mut Screen,
    lines: &Lines,
    one: &mut Measured,
    (which, tokens): (&str, u32),
) -> Result<(), Ended> {
    let Place { worker, engine_name, .. } = &one.place;
    let request = BenchModelRequest { worker: worker.clone(), model: engine_name.clone(), tokens };
    let mut news = call(CALL_LIMIT * 2, admin.bench_model(request)).await?;
    loop {
        let Some(response) = news.message().await.map_err(|status| told(&status))? else {
            return one.complete().map_err(Ended::from);
        };
        match response.told {
            Some(Told::Step(step)) if screen.notes_are_live() => {
                let line = lines.status(which, &one.place, &step.text);
                screen.note(&format!("{}{line}", progress::AGAIN));
            }
            Some(Told::Load(load)) => {
                one.load_s = Some(load.seconds);
                show(screen, &lines.load(&one.place, load.seconds))?;
            }
            Some(Told::Bucket(bucket)) => {
                show(screen, &lines.bucket(&one.place, &bucket))?;
                one.buckets.push(bucket);
            }
            Some(Told::Step(_)) | None => {}
        }
    }
}

fn show(screen: &mut Screen, line: &str) -> Result<(), Ended> {
    clear(screen);
    if screen.style.json { Ok(()) } else { screen.data(line) }
}

/// Takes the line away that says what is being done.
fn clear(screen: &mut Screen) {
    if screen.notes_are_live() {
        screen.note(progress::AGAIN);
    }
}

/// Where what is measured.
fn choose(models: &ListModelsResponse, workers: &ListWorkersResponse, bench: &Bench) -> Result<Vec<Place>> {
    let named = match bench.models.as_slice() {
        [] => models.models.iter().collect(),
        names => names.iter().map(|name| find(models, name)).collect::<Result<Vec<_>>>()?,
    };
    let is_inside = |worker: &str| {
        let worker = workers.workers.iter().find(|one| one.name == worker);
        !worker.and_then(|worker| Backend::parse(&worker.backend)).is_some_and(Backend::is_external)
    };
    let is_meant = |worker: &str| match &bench.worker {
        Some(only) => worker == only || worker.rsplit('/').next() == Some(only),
        None => is_inside(worker),
    };
    let mut places: Vec<Place> = Vec::new();
    for model in named {
        for place in model.places.iter().filter(|place| is_meant(&place.worker)) {
            let place = Place::new(model, place);
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    // One worker after the other, so that models change places no more often than they must.
    places.sort_by(|one, other| one.worker.cmp(&other.worker));
    if places.is_empty() {
        let at = bench.worker.as_ref().map_or_else(String::new, |worker| format!(" at worker `{worker}`"));
        return Err(Fault::new(Code::NotFound, format!("there is no model to measure{at}"))
            .hint("`tmctl models` shows which worker has which model; workers outside the house are not measured"));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    fn bench(models: &[&str], worker: Option<&str>) -> Bench {
        let models = models.iter().map(|name| (*name).to_owned()).collect();
        Bench { models, worker: worker.map(str::to_owned), tokens: 64 }
    }

    fn chosen(bench: &Bench) -> Result<Vec<String>> {
        let mut workers = samples::workers();
        workers.workers[1].backend = "anthropic".into();
        let places = choose(&samples::models(), &workers, bench)?;
        Ok(places.into_iter().map(|place| format!("{} {}", place.worker, place.engine_name)).collect())
    }

    #[test]
    fn all_models_of_workers_inside_the_house_are_measured_worker_by_worker() {
        let all = ["grey-area/ollama llama3.1:8b", "nas/engine llama-8b.gguf"];
        assert_eq!(chosen(&bench(&[], None)).unwrap(), all);
        assert_eq!(chosen(&bench(&["llama3.1:8b", "meta-llama-3.1-8b-instruct"], None)).unwrap(), all, "each once");
        assert_eq!(chosen(&bench(&[], Some("nas/engine"))).unwrap(), all[1..]);
        assert_eq!(chosen(&bench(&[], Some("engine"))).unwrap(), all[1..]);
    }

    #[test]
    fn what_is_not_there_cannot_be_measured() {
        let mut text = fault_text(&chosen(&bench(&["gpt-5"], None)).unwrap_err());
        text += &fault_text(&chosen(&bench(&[], Some("nobody/nothing"))).unwrap_err());
        text += &fault_text(&chosen(&bench(&["nomic-embed-text"], None)).unwrap_err());
        insta::assert_snapshot!("models_bench_faults", text);
    }
}
