//! `tmctl explain ASK`: every worker that could have run it, each term of its estimate, and why the others lost.

use std::collections::BTreeMap;

use base::Result;
use base::time::rfc3339;
use proto::admin::{Candidate, ExplainRequest, ExplainResponse};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text;

/// Shows the explanation.
pub async fn run(servers: &Servers, screen: &mut Screen, ask: String) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    let response = call(CALL_LIMIT, admin.explain(ExplainRequest { ask })).await?;
    screen.show(|style| page(&response, style), &json(&response))?;
    Ok(Verdict::Done)
}

fn page(response: &ExplainResponse, style: Style) -> String {
    let fallback = match response.fallback.as_str() {
        "" => String::new(),
        why => format!(" (fallback: {why})"),
    };
    let head = format!(
        "ask      {}\nmodel    {} -> {}{fallback}\nleaning  {}\nchosen   {}\noutcome  {}\ndecided  by {}, {}\n\n",
        text::or_dash(&response.ask),
        text::or_dash(&response.asked_model),
        text::or_dash(&response.model),
        text::or_dash(&response.leaning),
        text::or_dash(&response.chosen),
        text::or_dash(&response.outcome),
        text::or_dash(&response.decided_by),
        text::clock(response.at_unix_ms),
    );
    text::visible(&head) + &candidates(response, style) + "\n" + &runs(response, style)
}

fn candidates(response: &ExplainResponse, style: Style) -> String {
    // The server says which terms there are; a term that only some candidates have still gets one column.
    let mut terms: Vec<&str> = Vec::new();
    for term in response.candidates.iter().flat_map(|candidate| &candidate.terms) {
        if !terms.contains(&term.name.as_str()) {
            terms.push(&term.name);
        }
    }
    let heading = ["", "CANDIDATE", "TOTAL"].map(str::to_owned).into_iter();
    let heading =
        heading.chain(terms.iter().map(|term| text::visible(term).to_uppercase())).chain(["WHY NOT".to_owned()]);
    let mut table = Table::with_heading(heading.map(Cell::from).collect());
    for candidate in &response.candidates {
        table.row(candidate_row(candidate, &terms, response));
    }
    table.render(style, "no candidates: no worker offers the model")
}

fn candidate_row(candidate: &Candidate, terms: &[&str], response: &ExplainResponse) -> Vec<Cell> {
    let is_chosen = candidate.worker == response.chosen;
    let is_refused = !candidate.refused_because.is_empty();
    let total = if is_refused { "-".to_owned() } else { text::seconds(candidate.total_s) };
    let mut row =
        vec![if is_chosen { "*".into() } else { Cell::from("") }, candidate.worker.as_str().into(), total.into()];
    for name in terms {
        let term = candidate.terms.iter().find(|term| term.name == *name);
        row.push(term.map_or("-".to_owned(), |term| text::seconds(term.seconds)).into());
    }
    // Who was chosen first and failed may well have been the cheapest.
    let tried = response.runs.iter().find(|run| run.worker == candidate.worker);
    row.push(match (is_refused, is_chosen, tried) {
        (true, _, _) => Cell::new(candidate.refused_because.as_str(), Tone::Odd),
        (false, true, _) => "".into(),
        (false, false, Some(run)) => Cell::new(format!("was tried: {}", run.outcome), Tone::Odd),
        (false, false, None) => "costs more".into(),
    });
    row
}

fn runs(response: &ExplainResponse, style: Style) -> String {
    let mut table = Table::new(["RUN", "WORKER", "OUTCOME", "TOKENS", "TIME"]);
    for (number, run) in response.runs.iter().enumerate() {
        table.row([
            (number + 1).to_string().into(),
            text::or_dash(&run.worker).into(),
            run.outcome.as_str().into(),
            run.tokens.to_string().into(),
            text::seconds(run.seconds).into(),
        ]);
    }
    table.render(style, "no runs yet")
}

#[derive(Serialize)]
struct Explanation<'a> {
    ask: &'a str,
    asked_model: &'a str,
    model: &'a str,
    fallback: Option<&'a str>,
    leaning: Option<&'a str>,
    chosen: Option<&'a str>,
    candidates: Vec<CandidateItem<'a>>,
    runs: Vec<RunItem<'a>>,
    decided_by: &'a str,
    at: String,
    outcome: &'a str,
}

#[derive(Serialize)]
struct CandidateItem<'a> {
    worker: &'a str,
    terms: BTreeMap<&'a str, f64>,
    total_s: f64,
    refused_because: Option<&'a str>,
}

#[derive(Serialize)]
struct RunItem<'a> {
    worker: &'a str,
    outcome: &'a str,
    tokens: u32,
    seconds: f64,
}

fn json(response: &ExplainResponse) -> impl Serialize + '_ {
    fn candidate(candidate: &Candidate) -> CandidateItem<'_> {
        CandidateItem {
            worker: &candidate.worker,
            terms: candidate.terms.iter().map(|term| (term.name.as_str(), term.seconds)).collect(),
            total_s: candidate.total_s,
            refused_because: text::filled(&candidate.refused_because),
        }
    }
    fn run(run: &proto::admin::RunItem) -> RunItem<'_> {
        RunItem { worker: &run.worker, outcome: &run.outcome, tokens: run.tokens, seconds: run.seconds }
    }
    Explanation {
        ask: &response.ask,
        asked_model: &response.asked_model,
        model: &response.model,
        fallback: text::filled(&response.fallback),
        leaning: text::filled(&response.leaning),
        chosen: text::filled(&response.chosen),
        candidates: response.candidates.iter().map(candidate).collect(),
        runs: response.runs.iter().map(run).collect(),
        decided_by: &response.decided_by,
        at: rfc3339(response.at_unix_ms),
        outcome: &response.outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn who_was_tried_and_failed_is_not_said_to_cost_more() {
        let mut response = samples::explanation();
        response.chosen = "nas/engine".into();
        let page = page(&response, Style::default());
        assert!(page.contains("was tried: done") && !page.contains("costs more"), "{page}");
    }

    #[test]
    fn an_explanation_as_page_and_json() {
        let response = samples::explanation();
        insta::assert_snapshot!("explain", page(&response, Style::default()));
        insta::assert_snapshot!("explain_json", samples::json(&json(&response)));
        insta::assert_snapshot!("explain_bare", page(&ExplainResponse::default(), Style::default()));
    }
}
