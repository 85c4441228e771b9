//! Answers that are interrupted in every way, with a second source that goes on by script.

use std::sync::{Arc, Mutex};

use base::answer::next_frame;
use base::{Ask, WorkerId};

use super::*;
use crate::wire::answer;
use crate::wire::tests::{Script, Seen, TEXT, engine_frames, read, seen, spec, streaming};

const LIMITS: ResumeLimits = ResumeLimits { first_token: Duration::from_secs(60), idle_token: Duration::from_secs(30) };

/// Sixty tokens, some of them of more than one byte per character.
fn tokens() -> Vec<String> {
    let words = ["Grüße", " und", " 🌍", "\n", " \"quote\"", " a", "\\"];
    (0..60).map(|at| format!("{}{at}", words[at % words.len()])).collect()
}

fn head() -> AnswerHead {
    let worker = Some(WorkerId::from("n/w"));
    AnswerHead { content_type: "", content_length: None, worker, model: "m".into(), fallback: None }
}

fn engine(dialect: Dialect, tokens: &[String], prompt_tokens: u32) -> Vec<Bytes> {
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    engine_frames(dialect, "another", &tokens, prompt_tokens)
}

#[derive(Default)]
struct Log {
    asked: Vec<Option<Continuation>>,
    outcomes: Vec<Outcome>,
}

/// Continues the sixty tokens behind whatever the client holds.
struct Second {
    ask: Ask,
    echoes: bool,
    /// Each run is cut after so many frames.
    cut_after: Option<usize>,
    log: Arc<Mutex<Log>>,
}

impl Rerun for Second {
    fn rerun(&mut self, continuation: Option<Continuation>, _: &Fault) -> BoxFuture<'static, Result<Answer>> {
        self.log.lock().unwrap().asked.push(continuation.clone());
        let dialect = self.ask.head.dialect;
        let held = continuation.as_ref().map_or("", |held| &held.text).to_owned();
        let whole = tokens().concat();
        let rest = whole.strip_prefix(&held).expect("the client holds a beginning").to_owned();
        let mut left: Vec<String> = rest.split_inclusive(' ').map(str::to_owned).collect();
        if self.echoes && !held.is_empty() {
            // The echo may end within the first piece of the new text.
            let first = left.first_mut().map(std::mem::take).unwrap_or_default();
            left.insert(0, held + &first);
        }
        let mut frames = engine(dialect, &left, 5);
        frames.truncate(self.cut_after.unwrap_or(usize::MAX));
        let spec = spec(&self.ask, dialect, continuation, self.echoes);
        let frames = Box::new(answer(Script::new(frames.into_iter().map(Ok)), spec));
        Box::pin(std::future::ready(Ok(Answer { head: head(), frames })))
    }

    fn note(&mut self, outcome: Outcome) {
        self.log.lock().unwrap().outcomes.push(outcome);
    }
}

fn second(ask: &Ask) -> (Second, Arc<Mutex<Log>>) {
    let log = Arc::new(Mutex::new(Log::default()));
    (Second { ask: ask.clone(), echoes: false, cut_after: None, log: Arc::clone(&log) }, log)
}

fn resuming<R: Rerun>(ask: &Ask, frames: BoxFrames, rerun: R) -> Resuming<R> {
    Resuming::new(Answer { head: head(), frames }, &ask.head, LIMITS, rerun)
}

/// A first run over `raw`, passed by a worker and then gone.
async fn forwarded(ask: &Ask, raw: &[u8]) -> (Vec<Bytes>, bool) {
    let mut worker = answer(Script::one(raw), spec(ask, ask.head.dialect, None, false));
    let mut frames = Vec::new();
    while let Some(frame) = next_frame(&mut worker).await {
        match frame {
            Ok(bytes) => frames.push(bytes),
            Err(_) => return (frames, true),
        }
    }
    (frames, false)
}

async fn check_every_cut(dialect: Dialect, echoes: bool) {
    let ask = streaming(dialect);
    let raw = engine(dialect, &tokens(), 5).concat();
    let text = tokens().concat();
    let mut before = None;
    // Its events are long, and what happens between two of them is the same at each byte.
    let step = if dialect == Dialect::OpenAiResponses { 23 } else { 1 };
    for cut in (0..raw.len()).step_by(step) {
        // What follows depends only on what the worker passed on, so equal beginnings are looked at once.
        let (frames, is_cut) = forwarded(&ask, &raw[..cut]).await;
        if before.as_ref() == Some(&(frames.clone(), is_cut)) {
            continue;
        }
        before = Some((frames.clone(), is_cut));
        let first = seen_so_far(dialect, &frames.concat());
        let (mut rerun, log) = second(&ask);
        rerun.echoes = echoes;
        let end = is_cut.then(|| Err(crate::wire::cut()));
        let mut answer = resuming(&ask, Script::new(frames.into_iter().map(Ok).chain(end)), rerun);
        let (bytes, fault) = read(&mut answer).await;
        assert!(fault.is_none(), "{dialect} at {cut}: {fault:?}");
        let seen = seen(dialect, true, &bytes).unwrap();
        assert_eq!(seen.text, text, "{dialect} at {cut}");
        assert_eq!((seen.finishes.len(), seen.starts), (1, 1), "{dialect} at {cut}");
        assert!(!is_cut || log.lock().unwrap().asked.len() == 1, "{dialect} at {cut}");
        check_frame(dialect, &bytes, &first, &format!("{dialect} at {cut}"));
        let finish = answer.summary().and_then(|summary| summary.finish);
        assert!(!is_cut || finish == Some(Finish::Stop), "{dialect} at {cut}");
    }
}

fn seen_so_far(dialect: Dialect, bytes: &[u8]) -> Seen {
    let mut decoder = crate::wire::Decoder::new(dialect, true);
    let mut events = Vec::new();
    decoder.feed(bytes, &mut events).unwrap();
    crate::wire::tests::summed(events)
}

/// One id, one role, one set of blocks, and the end once.
fn check_frame(dialect: Dialect, bytes: &[u8], first: &Seen, place: &str) {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut ids: Vec<&str> = text.split("\"id\":\"").skip(1).filter_map(|it| it.split('"').next()).collect();
    ids.dedup();
    let count = |part: &str| text.matches(part).count();
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            assert_eq!(ids.len(), 1, "{place}");
            assert!(first.id.is_empty() || ids == [first.id.as_str()], "{place}");
            assert_eq!(
                (count("[DONE]"), count("\"role\"")),
                (1, usize::from(dialect == Dialect::OpenAiChat)),
                "{place}"
            );
        }
        Dialect::AnthropicMessages => {
            for name in ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
            {
                assert_eq!(count(&format!("event: {name}\n")), 1, "{place}: {name}");
            }
        }
        Dialect::OpenAiResponses => {
            let once = [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.done",
                "output_item.done",
                "completed",
            ];
            for name in once {
                assert_eq!(count(&format!("event: response.{name}\n")), 1, "{place}: {name}");
            }
            let number = |event: &str| event.split(['}', ',']).next().unwrap().parse::<usize>().unwrap();
            let numbers: Vec<usize> = text.split("\"sequence_number\":").skip(1).map(number).collect();
            assert!(numbers.iter().copied().eq(0..numbers.len()), "{place}: {numbers:?}");
        }
        _ => assert_eq!(count("\"done\":true"), 1, "{place}"),
    }
}

#[tokio::test]
async fn a_chat_cut_at_any_byte_reaches_its_client_whole() {
    check_every_cut(Dialect::OpenAiChat, false).await;
    check_every_cut(Dialect::OpenAiChat, true).await;
}

#[tokio::test]
async fn a_completion_cut_at_any_byte_reaches_its_client_whole() {
    check_every_cut(Dialect::OpenAiCompletions, false).await;
}

#[tokio::test]
async fn an_ollama_chat_cut_at_any_byte_reaches_its_client_whole() {
    check_every_cut(Dialect::OllamaChat, false).await;
    check_every_cut(Dialect::OllamaChat, true).await;
}

#[tokio::test]
async fn an_ollama_generate_cut_at_any_byte_reaches_its_client_whole() {
    check_every_cut(Dialect::OllamaGenerate, false).await;
}

#[tokio::test]
async fn an_anthropic_message_cut_at_any_byte_reaches_its_client_whole() {
    check_every_cut(Dialect::AnthropicMessages, false).await;
    check_every_cut(Dialect::AnthropicMessages, true).await;
}

#[tokio::test]
async fn a_response_cut_at_any_byte_reaches_its_client_whole() {
    check_every_cut(Dialect::OpenAiResponses, false).await;
    check_every_cut(Dialect::OpenAiResponses, true).await;
}

#[tokio::test]
async fn counts_are_those_of_the_whole_answer() {
    for dialect in TEXT {
        let ask = streaming(dialect);
        let given: Vec<Bytes> = engine(dialect, &tokens(), 5).into_iter().take(12).collect();
        let held = seen_so_far(dialect, &given.concat());
        let (rerun, log) = second(&ask);
        let mut answer = resuming(&ask, Script::new(given.into_iter().map(Ok)), rerun);
        let seen = seen(dialect, true, &read(&mut answer).await.0).unwrap();
        let before = log.lock().unwrap().asked[0].as_ref().unwrap().tokens;
        assert!(before >= 10 && !held.text.is_empty());
        let after = tokens().concat().strip_prefix(&held.text).unwrap().split_inclusive(' ').count();
        assert_eq!(seen.usage.unwrap().completion_tokens as usize, before as usize + after, "{dialect}");
        assert_eq!(log.lock().unwrap().outcomes, [Outcome::Resumed]);
    }
}

#[tokio::test]
async fn reasoning_that_the_second_engine_does_not_get_is_not_taken_off_its_prompt() {
    let ask = streaming(Dialect::OpenAiChat);
    let thought = chunk(r#"{"reasoning_content":"hm"}"#, "null").repeat(40);
    let (all, _) = after(&ask, &(thought + &chunk(r#"{"content":"Grüße0"}"#, "null"))).await;
    let usage = seen(Dialect::OpenAiChat, true, all.as_bytes()).unwrap().usage.unwrap();
    // The second one counts 5 for its prompt, one token of text among them.
    assert_eq!(usage.prompt_tokens, 4);
    assert!(usage.completion_tokens > 41, "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_run_is_left() {
    for (given, limit) in [(0, LIMITS.first_token), (9, 2 * LIMITS.idle_token)] {
        let ask = streaming(Dialect::OpenAiChat);
        let frames = engine(Dialect::OpenAiChat, &tokens(), 5).into_iter().take(given).map(Ok);
        let (rerun, log) = second(&ask);
        let started = tokio::time::Instant::now();
        let mut answer = resuming(&ask, Script::new(frames).then_hang(), rerun);
        let (bytes, fault) = read(&mut answer).await;
        assert!(fault.is_none(), "{fault:?}");
        assert_eq!(seen(Dialect::OpenAiChat, true, &bytes).unwrap().text, tokens().concat());
        assert!(started.elapsed() <= limit + Duration::from_millis(10), "{:?}", started.elapsed());
        let expected = if given == 0 { Outcome::Restarted } else { Outcome::Resumed };
        assert_eq!(log.lock().unwrap().outcomes, [expected]);
    }
}

#[tokio::test]
async fn runs_that_fail_one_after_another_still_add_up() {
    for echoes in [false, true] {
        let ask = streaming(Dialect::OllamaChat);
        let frames = engine(Dialect::OllamaChat, &tokens(), 5).into_iter().take(30).map(Ok);
        let (mut rerun, log) = second(&ask);
        (rerun.echoes, rerun.cut_after) = (echoes, Some(3));
        let (bytes, fault) = read(&mut resuming(&ask, Script::new(frames), rerun)).await;
        assert!(fault.is_none(), "{fault:?}");
        let log = log.lock().unwrap();
        assert_eq!(log.asked.len(), MAX_ATTEMPTS as usize);
        assert_eq!(log.outcomes.last(), Some(&Outcome::GaveUp));
        let seen = seen_so_far(Dialect::OllamaChat, &bytes);
        assert!(seen.error.unwrap().contains("stopped before its end"), "an error, not an end");
        assert!(
            tokens().concat().starts_with(&seen.text) && seen.text.len() > log.asked[2].as_ref().unwrap().text.len()
        );
    }
}

/// A first run that gives `raw` and is cut; what the client sees, and what was asked of the second.
async fn after(ask: &Ask, raw: &str) -> (String, Arc<Mutex<Log>>) {
    let (rerun, log) = second(ask);
    let frames = Script::new([Ok(Bytes::copy_from_slice(raw.as_bytes())), Err(crate::wire::cut())]);
    let (bytes, fault) = read(&mut resuming(ask, frames, rerun)).await;
    assert!(fault.is_none(), "{fault:?}");
    (String::from_utf8(bytes).unwrap(), log)
}

fn chunk(delta: &str, finish: &str) -> String {
    format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
}

#[tokio::test]
async fn what_cannot_be_continued_ends_with_an_error() {
    let call = chunk(r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{\"a"}}]}"#, "null");
    let text = chunk(r#"{"content":"{\"a\":"}"#, "null");
    let other =
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}\n\n".to_owned();
    let plain = streaming(Dialect::OpenAiChat);
    let mut schema = plain.clone();
    schema.head.needs.schema = true;
    let mut two = plain.clone();
    two.head.choices = 2;
    let only_first = chunk(r#"{"content":"a"}"#, "null");
    for (ask, raw, why) in [
        (&plain, call, "tool call"),
        (&schema, text, "grammar"),
        (&plain, other, "choice"),
        (&two, only_first.clone(), "choice"),
        (&two, only_first + &chunk("{}", "\"stop\""), "choice"),
    ] {
        let (all, log) = after(ask, &raw).await;
        let error = all.strip_prefix(&raw).unwrap();
        assert!(error.starts_with("data: {\"error\":{") && error.contains(why), "{error}");
        assert!(!all.contains("[DONE]"));
        assert_eq!(log.lock().unwrap().outcomes, [Outcome::GaveUp]);
        assert!(log.lock().unwrap().asked.is_empty());
    }
}

#[tokio::test]
async fn a_schema_ask_without_text_so_far_is_run_again() {
    let mut ask = streaming(Dialect::OpenAiChat);
    ask.head.needs.schema = true;
    let (all, log) = after(&ask, &chunk(r#"{"role":"assistant","content":""}"#, "null")).await;
    assert_eq!(seen(Dialect::OpenAiChat, true, all.as_bytes()).unwrap().text, tokens().concat());
    assert_eq!(all.matches("\"role\"").count(), 1);
    assert_eq!(log.lock().unwrap().outcomes, [Outcome::Resumed]);
}

#[tokio::test]
async fn comments_alone_are_no_beginning() {
    let (all, log) = after(&streaming(Dialect::OpenAiChat), ": ping\n\n").await;
    assert_eq!(seen(Dialect::OpenAiChat, true, all.as_bytes()).unwrap().text, tokens().concat());
    assert_eq!((all.matches("\"role\"").count(), &log.lock().unwrap().asked[..]), (1, &[None][..]));
}

#[tokio::test]
async fn a_whole_text_without_its_end_mark_is_ended_here() {
    let raw = chunk(r#"{"content":"a"}"#, "null") + &chunk("{}", "\"stop\"");
    let (all, log) = after(&streaming(Dialect::OpenAiChat), &raw).await;
    assert_eq!(all, format!("{raw}data: [DONE]\n\n"));
    assert_eq!(log.lock().unwrap().outcomes, [Outcome::Completed]);
    let (again, log) = after(&streaming(Dialect::OpenAiChat), &all).await;
    assert_eq!((again, log.lock().unwrap().outcomes.len()), (all, 0));
}

#[tokio::test]
async fn a_text_that_reached_its_limit_is_not_asked_for_again() {
    let mut ask = streaming(Dialect::OpenAiChat);
    ask.head.max_output_tokens = Some(2);
    let raw = chunk(r#"{"content":"a"}"#, "null") + &chunk(r#"{"content":"b"}"#, "null");
    let (all, log) = after(&ask, &raw).await;
    let seen = seen(Dialect::OpenAiChat, true, all.as_bytes()).unwrap();
    assert_eq!((seen.text.as_str(), &seen.finishes[..]), ("ab", &[Finish::Length][..]));
    assert!(log.lock().unwrap().asked.is_empty());
}

#[tokio::test]
async fn a_folded_journal_goes_on_byte_for_byte() {
    let text: String = "long ".repeat(60_000);
    let mut journal = Journal::new(Dialect::OllamaChat);
    let pieces: Vec<String> = text.as_bytes().chunks(50).map(|it| String::from_utf8(it.to_vec()).unwrap()).collect();
    for frame in engine(Dialect::OllamaChat, &pieces, 1).iter().take(pieces.len()) {
        journal.add(frame);
    }
    let Progress::Open(held) = journal.progress() else { panic!("open") };
    assert_eq!((held.text == text, held.tokens as usize), (true, pieces.len()));
    for _ in 0..20 {
        for frame in engine(Dialect::OllamaChat, &pieces, 1).iter().take(pieces.len()) {
            journal.add(frame);
        }
    }
    assert!(matches!(journal.progress(), Progress::Lost(_)) && journal.is_ended(), "too long to be kept");
}

#[tokio::test]
async fn before_the_first_byte_any_ask_is_run_again() {
    let mut ask = streaming(Dialect::OpenAiChat);
    ask.head.stream = false;
    let (rerun, log) = second(&ask);
    let frames = Script::new([Err(Fault::unavailable("gone"))]);
    let mut answer = resuming(&ask, frames, rerun);
    // The second source gives a stream where a whole body is due, so each of its runs fails too.
    let (bytes, fault) = read(&mut answer).await;
    assert!(bytes.is_empty() && fault.is_some());
    let restarted = [Outcome::Restarted; MAX_ATTEMPTS as usize];
    assert_eq!(log.lock().unwrap().outcomes, [&restarted[..], &[Outcome::GaveUp]].concat());
    let (rerun, log) = second(&ask);
    let frames = Script::new([Err(Fault::invalid("no"))]);
    let (_, fault) = read(&mut resuming(&ask, frames, rerun)).await;
    assert_eq!(fault.unwrap().code, Code::InvalidArgument);
    assert!(log.lock().unwrap().asked.is_empty(), "a fault of the request is the same everywhere");
}

/// Refuses so many runs before it gives one.
struct Refusing {
    left: usize,
    code: Code,
    second: Second,
}

impl Rerun for Refusing {
    fn rerun(&mut self, continuation: Option<Continuation>, fault: &Fault) -> BoxFuture<'static, Result<Answer>> {
        if self.left == 0 {
            return self.second.rerun(continuation, fault);
        }
        self.left -= 1;
        Box::pin(std::future::ready(Err(Fault::new(self.code, "it is gone as well"))))
    }
}

#[tokio::test]
async fn a_worker_that_does_not_take_the_rest_is_not_the_last_one_asked() {
    let ask = streaming(Dialect::OpenAiChat);
    let frames: Vec<Bytes> = engine(Dialect::OpenAiChat, &tokens(), 5).into_iter().take(20).collect();
    let text = tokens().concat();
    for (code, left, is_whole) in [
        (Code::Unreachable, 1, true),
        (Code::Unreachable, MAX_ATTEMPTS as usize - 1, true),
        (Code::Unreachable, MAX_ATTEMPTS as usize, false),
        (Code::NotSupported, 1, false),
    ] {
        let rerun = Refusing { left, code, second: second(&ask).0 };
        let frames = frames.clone().into_iter().map(Ok).chain([Err(crate::wire::cut())]);
        let (bytes, fault) = read(&mut resuming(&ask, Script::new(frames), rerun)).await;
        assert!(fault.is_none());
        if is_whole {
            assert_eq!(seen(Dialect::OpenAiChat, true, &bytes).unwrap().text, text);
        } else {
            assert!(memmem::find(&bytes, b"it is gone as well").is_some(), "{code:?}");
        }
    }
}
