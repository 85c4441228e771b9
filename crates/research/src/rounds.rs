//! Research in rounds: a question becomes some, each is answered, what is still open is asked again, until it is answered,
//! nothing new comes, the rounds are used up, or the time is.
//!
//! What to do next is decided in `deciding`, which is pure; here it is done, as a job whose rounds are recorded, so that
//! another node goes on behind the last one. With no model the questions are what `residual` leaves open.

pub mod deciding;
pub mod questions;
pub mod report;
pub mod residual;

use std::time::Duration;

use base::time::unix_ms;
use base::{BoxFuture, Code, Fault, Result};
use jobs::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Answer;
use crate::answer::asked::Counts;
use crate::knowledge::{LoopOrder, Question, Writer};
use crate::models::Models;
use deciding::{Next, next};
use questions::Wanted;

/// The kind of these jobs.
pub const JOB_KIND: &str = "research";
/// Jobs that one node works on at once; each keeps a model busy already.
pub const JOBS_AT_ONCE: usize = 2;
/// Rounds, where nobody said how many, and the most.
pub const USUAL_ROUNDS: u32 = 3;
/// The most rounds.
pub const MOST_ROUNDS: u32 = 10;
/// Seconds, where nobody said how many, and the most.
pub const USUAL_DEADLINE_S: u64 = 30 * 60;
/// The most seconds.
pub const MOST_DEADLINE_S: u64 = 24 * 3600;

/// What rounds stand on: a knowledge base that answers.
pub trait Ground: Send + Sync {
    /// Answers a question.
    fn answer(&self, question: Question) -> BoxFuture<'_, Result<Answer>>;

    /// The models of the house.
    fn models(&self) -> &dyn Models;

    /// How rare stems are now.
    fn counts(&self) -> Result<Counts>;
}

/// What is asked first, and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The question itself, then its parts.
    pub questions: Vec<String>,
    /// Which model made them; empty: none.
    pub model: String,
    /// When the research began, Unix milliseconds: whichever node goes on, its time counts from here.
    pub begun_ms: u64,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A round that is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// What was asked.
    pub asked: Vec<String>,
    /// The answers that came; fewer than asked where the time was over.
    pub answers: Vec<Answer>,
    /// The share of what is cited that no round before cited.
    pub novelty: f32,
    /// What should be asked next.
    pub follow_ups: Vec<String>,
    /// Whether the time was over before its end.
    pub is_late: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Does the research of an order, from its last recorded step on; gives the report as JSON.
pub async fn run(ground: &dyn Ground, context: &Context, order: LoopOrder) -> Result<Value> {
    let order = with_limits(order);
    let total = u64::from(order.max_iterations) + 2;
    context.progress(0, total, "planning");
    let plan: Plan = context.step("plan", || make_plan(ground, &order)).await?;
    let mut rounds: Vec<Round> = Vec::new();
    let stopped = loop {
        match next(&plan, &rounds, &order, unix_ms()) {
            Next::Stop(stopped) => break stopped,
            Next::Ask(asked) => {
                let number = rounds.len() as u64 + 1;
                context.progress(number, total, format!("round {number}"));
                let round = || make_round(ground, context, &order, &plan, (&rounds, asked), total);
                let round: Round = context.step(format!("round-{number}"), round).await?;
                rounds.push(round);
            }
        }
    };
    context.progress(rounds.len() as u64 + 1, total, "concluding");
    let report = report::report(&order, &plan, rounds, stopped);
    serde_json::to_value(&report).map_err(|error| Fault::internal("could not write a report").because(error))
}

fn with_limits(order: LoopOrder) -> LoopOrder {
    let max_iterations = if order.max_iterations == 0 { USUAL_ROUNDS } else { order.max_iterations };
    let deadline_s = if order.deadline_s == 0 { USUAL_DEADLINE_S } else { order.deadline_s };
    LoopOrder { max_iterations: max_iterations.min(MOST_ROUNDS), deadline_s: deadline_s.min(MOST_DEADLINE_S), ..order }
}

async fn make_plan(ground: &dyn Ground, order: &LoopOrder) -> Result<Plan> {
    let begun_ms = unix_ms();
    let mut plan = Plan { begun_ms, questions: deciding::plain_questions(&order.question), ..Plan::default() };
    if order.mode != Writer::Extractive {
        let asked = within(&plan, order, questions::ask(ground.models(), Wanted::Parts, order, &[])).await;
        match asked.unwrap_or_else(|| Ok(Err("the time was over".to_owned())))? {
            Ok((parts, model)) => {
                plan.questions.truncate(1);
                plan.questions.extend(deciding::new_questions(parts, &plan.questions));
                plan.model = model;
            }
            Err(why) => plan.notes.push(format!("no model parted the question: {why}")),
        }
    }
    Ok(plan)
}

async fn make_round(
    ground: &dyn Ground,
    context: &Context,
    order: &LoopOrder,
    plan: &Plan,
    (rounds, asked): (&[Round], Vec<String>),
    total: u64,
) -> Result<Round> {
    let number = rounds.len() as u64 + 1;
    let mut round = Round { asked, ..Round::default() };
    for question in round.asked.clone() {
        context.progress(number, total, format!("round {number}: {question}"));
        match within(plan, order, ground.answer(question_of(order, &question))).await {
            Some(Ok(answer)) => round.answers.push(answer),
            // A model may ask what cannot be asked; all else ends this try of the job.
            Some(Err(fault)) if matches!(fault.code, Code::InvalidArgument | Code::TooLarge) => {
                round.notes.push(format!("`{question}` was not asked: {}", fault.full_message()));
            }
            Some(Err(fault)) => return Err(fault),
            None => {
                round.is_late = true;
                break;
            }
        }
    }
    round.novelty = deciding::novelty(rounds, &round.answers);
    let is_last = number >= u64::from(order.max_iterations);
    if !round.is_late && !is_last && deciding::is_worth_more(rounds.len(), &round) {
        let done: Vec<&Round> = rounds.iter().chain([&round]).collect();
        match within(plan, order, follow_ups(ground, order, plan, &done)).await.transpose()? {
            Some((follow_ups, note)) => {
                round.follow_ups = follow_ups;
                round.notes.extend(note);
            }
            None => round.is_late = true,
        }
    }
    Ok(round)
}

/// What comes of something while the time of an order is not over; `None`: it is.
async fn within<T>(plan: &Plan, order: &LoopOrder, work: impl Future<Output = T>) -> Option<T> {
    let left_ms = deciding::ends_ms(plan, order).saturating_sub(unix_ms());
    tokio::time::timeout(Duration::from_millis(left_ms), work).await.ok()
}

/// What to ask next, and what a person should know of it: by a model where one may judge, else by what no answer has a
/// word of.
async fn follow_ups(
    ground: &dyn Ground,
    order: &LoopOrder,
    plan: &Plan,
    done: &[&Round],
) -> Result<(Vec<String>, Option<String>)> {
    let answers: Vec<&Answer> = done.iter().flat_map(|one| &one.answers).collect();
    let asked = done.iter().flat_map(|one| one.asked.iter().cloned());
    let known: Vec<String> = plan.questions.iter().cloned().chain(asked).collect();
    let is_whole = !answers.is_empty() && answers.iter().all(|answer| deciding::is_answered(answer));
    let mut note = None;
    // What the sources answer in full needs no judge.
    if order.mode != Writer::Extractive && !is_whole {
        match questions::ask(ground.models(), Wanted::FollowUps, order, &answers).await? {
            Ok((follow_ups, _)) => return Ok((deciding::new_questions(follow_ups, &known), None)),
            Err(why) => note = Some(format!("no model judged the answers: {why}")),
        }
    }
    if is_whole && !residual::may_have_parts(&order.question) {
        return Ok((Vec::new(), note));
    }
    let left = deciding::left_open(&order.question, &answers, &ground.counts()?);
    Ok((deciding::new_questions(left.into_iter().collect(), &known), note))
}

fn question_of(order: &LoopOrder, question: &str) -> Question {
    Question {
        question: question.to_owned(),
        context: order.context.clone(),
        filter: order.filter.clone(),
        mode: order.mode,
        ..Question::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::models::{Embedded, Embeds, Prompt, Reply};

    /// Answers no question; its model asks one, or never says a word.
    struct Alone {
        is_silent: bool,
    }

    impl Ground for Alone {
        fn answer(&self, _: Question) -> BoxFuture<'_, Result<Answer>> {
            Box::pin(std::future::pending())
        }

        fn models(&self) -> &dyn Models {
            self
        }

        fn counts(&self) -> Result<Counts> {
            Ok(Arc::new(|_| (0, 0)))
        }
    }

    impl Models for Alone {
        fn embedder(&self, _: Option<&str>) -> Embeds {
            Embeds::default()
        }

        fn embed<'a>(&'a self, _: &'a str, _: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
            Box::pin(std::future::pending())
        }

        fn ask(&self, _: Prompt) -> BoxFuture<'_, Result<Reply>> {
            if self.is_silent {
                return Box::pin(std::future::pending());
            }
            let text = r#"{"questions": ["Who repaired it?"]}"#.to_owned();
            Box::pin(std::future::ready(Ok(Reply { text, model: "m".to_owned(), is_whole: true })))
        }

        fn rerank<'a>(&'a self, _: &'a str, _: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>> {
            Box::pin(std::future::ready(Ok(None)))
        }
    }

    fn order() -> LoopOrder {
        LoopOrder { question: "Why is it cold?".to_owned(), deadline_s: 60, ..LoopOrder::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn planning_ends_with_the_time_of_the_order() {
        let order = order();
        let planned = tokio::time::timeout(Duration::from_secs(61), make_plan(&Alone { is_silent: true }, &order));
        let plan = planned.await.unwrap().unwrap();
        assert_eq!(plan.notes, ["no model parted the question: the time was over"]);
        assert_eq!(plan.questions, [order.question]);
    }

    #[tokio::test]
    async fn a_round_without_any_answer_is_no_whole_one() {
        let plan = Plan { questions: vec![order().question], ..Plan::default() };
        let done = Round { asked: plan.questions.clone(), ..Round::default() };
        let (open, _) = follow_ups(&Alone { is_silent: false }, &order(), &plan, &[&done]).await.unwrap();
        assert_eq!(open, ["Who repaired it?"]);
    }
}
