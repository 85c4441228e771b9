//! Jobs that are followed over real sockets.

use base::retry::Backoff;
use proto::planning::{CancelJobResponse, GetJobRequest, StartResponse};

use super::*;
use crate::samples;
use crate::screen::{Style, fault_text};
use crate::scripted::{News as Told, Running, Script, type_in};

fn job(state: &str, done: u32) -> Job {
    Job { state: state.into(), done, result_json: "{}".into(), failure: None, ..samples::planning::jobs().remove(0) }
}

/// Each watch brings the next of these; the last one stays.
fn watched(all: Vec<Told>) -> Script {
    let mut all = all.into_iter();
    Script::default().on(move |_: WatchJobRequest| Ok::<Told, tonic::Status>(all.next().unwrap_or_default()))
}

fn told(jobs: Vec<Job>) -> Told {
    Told { jobs, hangs: false }
}

/// Follows `j-1` with these interrupts; gives what came of it and how often a watch was begun.
async fn followed(running: &[&Running], interrupts: BoxStream<'static, ()>) -> Result<Job, Ended> {
    let addresses: Vec<String> = running.iter().map(|running| running.address.clone()).collect();
    let servers = Servers::new(&addresses, None, None).unwrap();
    let mut screen = Screen::new(Box::new(std::io::sink()), Box::new(std::io::sink()), Style::default());
    let pause = Backoff { first: Duration::from_millis(1), ..PATIENCE.pause };
    follow(&servers, &mut screen, &mut Watch::new(interrupts, Patience { rounds: 3, pause }), "j-1").await
}

fn fault(ended: Result<Job, Ended>) -> Fault {
    let Err(Ended::Fault(fault)) = ended else { panic!("{ended:?}") };
    fault
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_at_the_next_server() {
    let first = watched(vec![told(vec![job("running", 3)])]);
    let second = watched(vec![told(vec![job("running", 4), job("done", 12)])]);
    let (one, two) = (first.serve(), second.serve());
    let done = followed(&[&one, &two], stream::pending().boxed()).await.unwrap();
    assert_eq!((done.state.as_str(), done.done), ("done", 12));
    assert_eq!((first.asked::<WatchJobRequest>().len(), second.asked::<WatchJobRequest>().len()), (1, 1));
}

#[tokio::test]
async fn a_lost_job_is_given_up_with_a_way_to_look_again() {
    let script = watched(vec![]);
    let running = script.serve();
    let fault = fault(followed(&[&running], stream::pending().boxed()).await);
    assert_eq!(fault.code, Code::EngineCut);
    assert!(fault.hint.unwrap().contains("tmctl jobs watch j-1"));
    assert_eq!(script.asked::<WatchJobRequest>().len(), 3);
}

#[tokio::test]
async fn a_server_that_says_the_same_again_and_again_is_given_up() {
    let same = |_: WatchJobRequest| Ok(told(vec![job("running", 3)]));
    let script = Script::default().on(same);
    let fault = fault(followed(&[&script.serve()], stream::pending().boxed()).await);
    assert_eq!((fault.code, script.asked::<WatchJobRequest>().len()), (Code::EngineCut, 3));
}

#[tokio::test]
async fn one_interrupt_cancels_and_a_second_one_leaves() {
    let script = watched(vec![Told { jobs: vec![job("running", 1)], hangs: true }])
        .on(|_: CancelJobRequest| Ok(CancelJobResponse { job: None }));
    let running = script.serve();
    let interrupts = stream::iter([(), ()]).chain(stream::pending()).boxed();
    let fault = fault(followed(&[&running], interrupts).await);
    assert_eq!(fault.code, Code::Cancelled);
    assert_eq!(script.asked::<CancelJobRequest>().len(), 1);
}

#[tokio::test]
async fn a_job_that_ends_badly_says_why() {
    let failure = samples::planning::jobs().remove(2).failure;
    let failed = Job { failure, ..job("failed", 3) };
    let mute = Job { failure: None, ..job("failed", 3) };
    let ends = [failed, mute, job("cancelled", 3)].map(|job| fault_text(&good(job).unwrap_err())).concat();
    insta::assert_snapshot!("jobs_ended", ends);
}

#[tokio::test]
async fn a_job_can_be_begun_without_being_waited_for() {
    let script = Script::default().on(|_: StartRequest| Ok(StartResponse { job: "j-1".into() }));
    let running = script.serve();
    let typed = type_in(&running, &["tasks", "--project", "p", "expand", "3,4", "--no-wait"]).await;
    assert_eq!((typed.code, typed.data.as_str()), (0, "began j-1; `tmctl jobs watch j-1` shows how far it is\n"));
    let asked = script.asked::<StartRequest>().concat();
    assert!(asked.contains("once: \"tmctl-") && asked.contains(r#"ids: ["3", "4"]"#), "{asked}");
}

#[tokio::test]
async fn a_job_that_is_watched_shows_how_far_it_is_and_how_it_ended() {
    let running = watched(vec![told(vec![job("running", 3), job("done", 12)])]).serve();
    let typed = type_in(&running, &["jobs", "watch", "j-1"]).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert_eq!(typed.notes, "parse-prd: Watering  3 of 12, 42 s left  25 %\n");
    assert!(typed.data.contains("state  done"), "{}", typed.data);
    let gone = Script::default().on(|_: GetJobRequest| -> Result<proto::planning::GetJobResponse, _> {
        Err(proto::to_status(&Fault::new(Code::NotFound, "there is no job `j-9`").hint("list them")))
    });
    let typed = type_in(&gone.serve(), &["jobs", "show", "j-9"]).await;
    assert_eq!((typed.code, typed.notes.as_str()), (1, "error: there is no job `j-9`\n  hint: list them\n"));
}
