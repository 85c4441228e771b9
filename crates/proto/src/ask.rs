//! An ask, what an interrupted client holds of its answer, and what a run came to, between `base` and `node.v1`.

use std::time::{Duration, Instant};

use base::peek::MAX_PREFIX_BLOCKS;
use base::time::Deadline;
use base::{
    Ask, AskHead, AskId, Continuation, Dialect, Face, Fault, Finish, Kind, Needs, Priority, Result, RunSummary,
    Sampling, Usage, WorkerId,
};

use crate::bounds::{at_most, name, refused, short, word};
use crate::node;
use crate::trace::is_well_formed;

/// Longer than any ask lives; keeps timers of a careless peer's ask within bounds.
const MAX_DEADLINE: Duration = Duration::from_secs(86_400);

/// An ask as a peer gets it; the deadline becomes what is left of it at `now`, because clocks differ between machines.
pub fn ask_to_wire(ask: &Ask, now: Instant) -> node::Ask {
    let head = &ask.head;
    node::Ask {
        id: head.id.to_string(),
        face: head.face.to_string(),
        dialect: head.dialect.to_string(),
        kind: head.kind.to_string(),
        priority: head.priority.to_string(),
        model: head.model.to_string(),
        stream: head.stream,
        wants_usage_chunk: head.wants_usage_chunk,
        is_deterministic: head.sampling == Sampling::Deterministic,
        needs_tools: head.needs.tools,
        needs_schema: head.needs.schema,
        needs_images: head.needs.images,
        needs_reasoning: head.needs.reasoning,
        prompt_tokens: head.prompt_tokens,
        max_output_tokens: head.max_output_tokens,
        prefix: head.prefix.to_vec(),
        deadline_ms: u64::try_from(head.deadline.left(now).as_millis()).unwrap_or(u64::MAX),
        client: head.client.to_string(),
        traceparent: head.traceparent.to_string(),
        body: ask.body.clone(),
        only_worker: head.only_worker.as_ref().map(ToString::to_string),
        choices: head.choices,
    }
}

/// Reads a peer's ask; its deadline counts from `now`.
pub fn ask_from_wire(wire: node::Ask, now: Instant) -> Result<Ask> {
    at_most("ask.prefix", wire.prefix.len(), MAX_PREFIX_BLOCKS)?;
    let left = Duration::from_millis(wire.deadline_ms).min(MAX_DEADLINE);
    let only_worker = wire.only_worker.map(|worker| name("ask.only_worker", worker)).transpose()?;
    let head = AskHead {
        id: AskId::parse(&wire.id).ok_or_else(|| refused("ask.id", "is not of the form `ask-…`"))?,
        face: word("ask.face", &wire.face, Face::parse)?,
        dialect: word("ask.dialect", &wire.dialect, Dialect::parse)?,
        kind: word("ask.kind", &wire.kind, Kind::parse)?,
        priority: word("ask.priority", &wire.priority, Priority::parse)?,
        model: short("ask.model", wire.model)?.into(),
        stream: wire.stream,
        wants_usage_chunk: wire.wants_usage_chunk,
        sampling: if wire.is_deterministic { Sampling::Deterministic } else { Sampling::Varying },
        needs: Needs {
            tools: wire.needs_tools,
            schema: wire.needs_schema,
            images: wire.needs_images,
            reasoning: wire.needs_reasoning,
        },
        prompt_tokens: wire.prompt_tokens,
        max_output_tokens: wire.max_output_tokens,
        // A node of the release before does not tell.
        choices: wire.choices.max(1),
        prefix: wire.prefix.into(),
        deadline: Deadline::after(now, left),
        client: short("ask.client", wire.client)?.into(),
        // Models and budgets were looked at where the ask came in.
        grant: None,
        // It becomes a header of the request to the engine.
        traceparent: Some(wire.traceparent).filter(|text| is_well_formed(text)).unwrap_or_default().into(),
        only_worker: only_worker.map(WorkerId::new),
    };
    Ok(Ask { head, body: wire.body })
}

impl From<Continuation> for node::Continuation {
    fn from(continuation: Continuation) -> Self {
        let Continuation { text, thinking, response_id, model, created_s, tokens, thinking_tokens } = continuation;
        Self { text, thinking, response_id, model, created_s, tokens, thinking_tokens }
    }
}

impl TryFrom<node::Continuation> for Continuation {
    type Error = Fault;

    /// Text and reasoning are bounded by the size of the message alone: both are as long as an answer may be.
    fn try_from(wire: node::Continuation) -> Result<Self> {
        Ok(Self {
            text: wire.text,
            thinking: wire.thinking,
            response_id: short("continuation.response_id", wire.response_id)?,
            model: short("continuation.model", wire.model)?,
            created_s: wire.created_s,
            tokens: wire.tokens,
            thinking_tokens: wire.thinking_tokens,
        })
    }
}

impl From<RunSummary> for node::RunSummary {
    fn from(summary: RunSummary) -> Self {
        let usage = summary.usage.unwrap_or_default();
        Self {
            has_usage: summary.usage.is_some(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens,
            first_token_us: summary.first_token.map(micros),
            total_us: micros(summary.total),
            finish: summary.finish.map(Finish::as_str).unwrap_or_default().to_owned(),
        }
    }
}

impl TryFrom<node::RunSummary> for RunSummary {
    type Error = Fault;

    fn try_from(wire: node::RunSummary) -> Result<Self> {
        let usage = Usage {
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens,
            cached_tokens: wire.cached_tokens,
        };
        Ok(Self {
            usage: wire.has_usage.then_some(usage),
            first_token: wire.first_token_us.map(Duration::from_micros),
            total: Duration::from_micros(wire.total_us),
            finish: finish(&wire.finish)?,
        })
    }
}

/// Reads the word strictly: the wire knows only our own words, unlike an engine's answer.
fn finish(text: &str) -> Result<Option<Finish>> {
    const ALL: [Finish; 4] = [Finish::Stop, Finish::Length, Finish::ToolCalls, Finish::ContentFilter];
    match text {
        "" => Ok(None),
        text => word("summary.finish", text, |text| ALL.into_iter().find(|finish| finish.as_str() == text)).map(Some),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(now: Instant, left: Duration) -> Ask {
        let head = AskHead {
            id: AskId(7),
            face: Face::Ollama,
            dialect: Dialect::OllamaChat,
            kind: Kind::Research,
            priority: Priority::Batch,
            model: "llama3.1:8b".into(),
            stream: true,
            wants_usage_chunk: true,
            sampling: Sampling::Deterministic,
            needs: Needs { tools: true, images: true, reasoning: true, ..Needs::default() },
            prompt_tokens: 9,
            max_output_tokens: Some(3),
            choices: 2,
            prefix: vec![1, u64::MAX].into(),
            deadline: Deadline::after(now, left),
            client: "laptop".into(),
            grant: None,
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            only_worker: Some(WorkerId::from("grey-area/ollama")),
        };
        Ask { head, body: bytes::Bytes::from_static(b"{\"messages\":[]}") }
    }

    #[test]
    fn an_ask_arrives_as_it_left_and_its_deadline_shrinks() {
        let sent_at = Instant::now();
        let sent = ask(sent_at, Duration::from_secs(60));
        let wire = ask_to_wire(&sent, sent_at + Duration::from_secs(10));
        assert_eq!(wire.deadline_ms, 50_000);
        // The receiver's clock has nothing to do with the sender's.
        let now = sent_at + Duration::from_secs(1000);
        let got = ask_from_wire(wire, now).unwrap();
        assert_eq!(got.head.deadline.left(now), Duration::from_secs(50));
        let same_deadline = Ask { head: AskHead { deadline: sent.head.deadline, ..got.head }, body: got.body };
        assert_eq!(format!("{same_deadline:?}"), format!("{sent:?}"));
    }

    #[test]
    fn an_ask_over_its_deadline_stays_over_it() {
        let now = Instant::now();
        let wire = ask_to_wire(&ask(now, Duration::from_secs(1)), now + Duration::from_secs(5));
        assert!(ask_from_wire(wire, now).unwrap().head.deadline.is_over(now));
    }

    type Spoil = fn(&mut node::Ask);

    #[test]
    fn a_wrong_field_of_an_ask_is_named() {
        let now = Instant::now();
        let good = ask_to_wire(&ask(now, Duration::from_secs(1)), now);
        let cases: [(&str, Spoil); 8] = [
            ("ask.id", |wire| wire.id = "7".into()),
            ("ask.face", |wire| wire.face = "telnet".into()),
            ("ask.dialect", |wire| wire.dialect.clear()),
            ("ask.kind", |wire| wire.kind = "poetry".into()),
            ("ask.priority", |wire| wire.priority = "urgent".into()),
            ("ask.model", |wire| wire.model = "m".repeat(257)),
            ("ask.prefix", |wire| wire.prefix = vec![0; MAX_PREFIX_BLOCKS + 1]),
            ("ask.only_worker", |wire| wire.only_worker = Some(String::new())),
        ];
        for (field, spoil) in cases {
            let mut wire = good.clone();
            spoil(&mut wire);
            let fault = ask_from_wire(wire, now).unwrap_err();
            assert!(fault.message.contains(&format!("`{field}`")), "{fault:?}");
        }
        let far = node::Ask { deadline_ms: u64::MAX, ..good };
        assert_eq!(ask_from_wire(far, now).unwrap().head.deadline.left(now), MAX_DEADLINE);
    }

    #[test]
    fn a_traceparent_that_is_none_does_not_become_a_header() {
        let now = Instant::now();
        let mut wire = ask_to_wire(&ask(now, Duration::from_secs(1)), now);
        wire.traceparent = "00\r\nX-Smuggled: 1".to_owned();
        assert_eq!(&*ask_from_wire(wire, now).unwrap().head.traceparent, "");
    }

    #[test]
    fn an_unknown_finish_is_refused() {
        let wire = node::RunSummary { finish: "tired".into(), ..Default::default() };
        assert!(RunSummary::try_from(wire).unwrap_err().message.contains("`summary.finish`"));
    }

    proptest! {
        #[test]
        fn a_summary_reads_back(
            usage in proptest::option::of(any::<(u32, u32, u32)>()),
            first in proptest::option::of(any::<u64>()),
            total: u64,
            finish in proptest::option::of(0usize..4),
        ) {
            let all = [Finish::Stop, Finish::Length, Finish::ToolCalls, Finish::ContentFilter];
            let summary = RunSummary {
                usage: usage.map(|(prompt_tokens, completion_tokens, cached_tokens)| Usage {
                    prompt_tokens,
                    completion_tokens,
                    cached_tokens,
                }),
                first_token: first.map(Duration::from_micros),
                total: Duration::from_micros(total),
                finish: finish.map(|index| all[index]),
            };
            prop_assert_eq!(RunSummary::try_from(node::RunSummary::from(summary)).unwrap(), summary);
        }

        #[test]
        fn a_continuation_reads_back(text in ".*", thinking in ".*", id in ".{0,40}", created_s: u64, tokens: u32) {
            let model = "m".to_owned();
            let thinking_tokens = tokens / 3;
            let held = Continuation { text, thinking, response_id: id, model, created_s, tokens, thinking_tokens };
            prop_assert_eq!(Continuation::try_from(node::Continuation::from(held.clone())).unwrap(), held);
        }
    }
}
