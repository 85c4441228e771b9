//! Which model: what the client named, made into one catalogue entry; `auto` and roles by kind and complexity.
//!
//! Another model than the one asked for answers only with a reason that is told to the client ([`Choice::notice`]).

mod allowed;
mod catalogue;
mod complexity;
mod names;
mod shipped;

use std::sync::Arc;
use std::time::Instant;

use base::{Code, Fault, Kind};

use crate::leaning::Leaning;
use crate::route::Request;
use crate::table::Table;

pub use allowed::Allowed;
pub use catalogue::{Capabilities, Catalogue, CatalogueModel, Found, ModelIndex, Tier};
pub use complexity::{complexity, tier};
pub use names::{edit_distance, normalise};
pub use shipped::{Shipped, ShippedModel};

/// Nearest names that a refusal tells.
const NEAREST: usize = 3;

/// The model that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its place in the table's catalogue; goes into [`Request::model`].
    pub model: ModelIndex,
    /// Its catalogue name.
    pub name: Arc<str>,
    /// Why another model than the named one answers; `None` when it is that one, or a role asked for.
    pub notice: Option<String>,
}

/// Chooses the model for an ask that names `wanted`; `request` tells the rest (its `model` is not read).
///
/// A model that nobody can serve right now is still the choice when there is no fallback, so that routing can say why.
/// What the caller may not ask is never the choice, neither by its name nor in place of another.
pub fn choose(table: &Table, wanted: &str, request: &Request<'_>, now: Instant) -> Result<Choice, Fault> {
    let catalogue = table.catalogue();
    let allowed = Allowed::by_names(catalogue, request.models);
    let can_serve = |model: ModelIndex| allowed.has(model) && table.can_serve(&Request { model, ..*request }, now);
    match catalogue.find(wanted) {
        Some(Found { model, .. }) if !allowed.has(model) => Err(allowed.refusal(catalogue, wanted)),
        Some(Found { model, notice }) if can_serve(model) => Ok(choice(catalogue, model, notice)),
        Some(Found { model, notice }) => Ok(fallback(catalogue, wanted, can_serve)
            .filter(|instead| instead.model != model)
            .unwrap_or_else(|| choice(catalogue, model, notice))),
        None if is_role(wanted) => by_use(table, wanted, request, &allowed, can_serve, now),
        None if allowed != Allowed::All => Err(allowed.refusal(catalogue, wanted)),
        None if catalogue.knows_of(wanted) => {
            fallback(catalogue, wanted, can_serve).ok_or_else(|| unknown(catalogue, wanted))
        }
        None => Err(unknown(catalogue, wanted)),
    }
}

fn is_role(wanted: &str) -> bool {
    wanted.is_empty() || wanted == "auto" || base::config::ROLES.contains(&wanted)
}

fn choice(catalogue: &Catalogue, model: ModelIndex, notice: Option<String>) -> Choice {
    Choice { model, name: Arc::clone(&catalogue.get(model).name), notice }
}

/// The first model of the `fallback` role that can serve.
fn fallback(catalogue: &Catalogue, wanted: &str, can_serve: impl Fn(ModelIndex) -> bool) -> Option<Choice> {
    let model = catalogue.role("fallback").find(|&model| can_serve(model))?;
    let name = &catalogue.get(model).name;
    Some(choice(
        catalogue,
        model,
        Some(format!("`{wanted}` is not served right now; `{name}` answers as its fallback")),
    ))
}

/// The first model for a role or for `auto` that can serve; else the first at all, so that routing can say why not.
fn by_use(
    table: &Table,
    wanted: &str,
    request: &Request<'_>,
    allowed: &Allowed,
    can_serve: impl Fn(ModelIndex) -> bool,
    now: Instant,
) -> Result<Choice, Fault> {
    let catalogue = table.catalogue();
    let mut candidates = candidates(catalogue, wanted, request);
    let has_any = !candidates.is_empty();
    candidates.retain(|&model| allowed.has(model));
    let first = candidates.first().copied();
    // The leaning comes before the order of the models: what is to stay at home stays there while anybody there can.
    let side = Leaning::of(table.settings(), request).side();
    let leans = |model: ModelIndex| table.can_serve_on(side, &Request { model, ..*request }, now);
    let on_its_side = candidates.iter().copied().find(|&model| leans(model));
    let is_by_side = on_its_side.is_some() && first.is_some_and(&can_serve);
    if let Some(model) = on_its_side.or_else(|| candidates.iter().copied().find(|&model| can_serve(model))) {
        let is_first = first == Some(model) || wanted.is_empty() || wanted == "auto" || is_by_side;
        let notice = (!is_first).then(|| {
            let (name, first) = (&catalogue.get(model).name, first.map(|first| &*catalogue.get(first).name));
            format!("`{}` of role `{wanted}` is not served right now; `{name}` answers", first.unwrap_or_default())
        });
        return Ok(choice(catalogue, model, notice));
    }
    if let Some(instead) = fallback(catalogue, wanted, can_serve) {
        return Ok(instead);
    }
    first.map(|model| choice(catalogue, model, None)).ok_or_else(|| {
        if has_any {
            return allowed.refusal(catalogue, if wanted.is_empty() { "auto" } else { wanted });
        }
        Fault::new(
            Code::ModelNotFound,
            format!("no model of the cluster is for `{}`", if wanted.is_empty() { "auto" } else { wanted }),
        )
        .hint("add one to an engine, or name one under [roles]")
    })
}

/// Models for a role or for `auto`, best first: what `[roles]` says, then the tier's models, then the other tiers'.
fn candidates(catalogue: &Catalogue, wanted: &str, request: &Request<'_>) -> Vec<ModelIndex> {
    let score = complexity(request.kind, request.needs, request.prompt_tokens);
    let tier = match wanted {
        "main" | "research" => Tier::Large,
        "fast" => Tier::Fast,
        _ => complexity::tier(score),
    };
    let role = match (wanted, request.kind) {
        ("" | "auto", Kind::Embedding) => "embed",
        ("" | "auto", Kind::Rerank) => "rerank",
        ("" | "auto", Kind::CodeGeneration) => "code",
        ("" | "auto", Kind::Research) => "research",
        ("" | "auto", _) if tier == Tier::Fast => "fast",
        ("" | "auto", _) => "main",
        (role, _) => role,
    };
    let mut models: Vec<ModelIndex> = catalogue.role(role).collect();
    for model in catalogue.for_use(role, request.kind, tier) {
        if !models.contains(&model) {
            models.push(model);
        }
    }
    models
}

fn unknown(catalogue: &Catalogue, wanted: &str) -> Fault {
    let shown: String = wanted.chars().take(100).collect();
    let fault = Fault::new(Code::ModelNotFound, format!("no worker of the cluster offers model `{shown}`"));
    match catalogue.nearest(wanted, NEAREST) {
        names if names.is_empty() => fault.hint("see `tmctl models list` for what there is"),
        names => fault.hint(format!("did you mean {}? `tmctl models list` shows all", names.join(", "))),
    }
}

#[cfg(test)]
mod tests;
