//! Answers in the engine's own dialect: real samples, split anywhere.

use base::answer::Ready;
use base::{Code, RunSummary};
use proptest::prelude::*;

use super::*;
use crate::wire::answer;

/// A stream as an engine writes it: its name, dialect and bytes; then text, end and counts that a client must see.
type Sample = (&'static str, Dialect, &'static str, &'static str, Finish, (u32, u32));

const SAMPLES: &[Sample] = &[
    (
        "llama-server: pings, usage behind the finish",
        Dialect::OpenAiChat,
        concat!(
            ": ping\n\n",
            "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"real\",\"object\":\"chat.completion.chunk\"}\n\n",
            "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\"Grüße\"}}],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"real\"}\n\n",
            "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\" 🌍\"}}],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"real\"}\n\n",
            "data: {\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{}}],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"real\"}\n\n",
            "data: {\"choices\":[],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"real\",\"usage\":{\"completion_tokens\":2,\"prompt_tokens\":9,\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4}},\"timings\":{\"predicted_ms\":1.5}}\n\n",
            "data: [DONE]\n\n"
        ),
        "Grüße 🌍",
        Finish::Stop,
        (9, 2),
    ),
    (
        "llama-cpp-python: CRLF, spaces, no usage at all",
        Dialect::OpenAiChat,
        concat!(
            "data: {\"id\": \"c\", \"model\": \"m\", \"created\": 1, \"object\": \"chat.completion.chunk\", \"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\"}, \"logprobs\": null, \"finish_reason\": null}]}\r\n\r\n",
            "data: {\"id\": \"c\", \"model\": \"m\", \"created\": 1, \"choices\": [{\"index\": 0, \"delta\": {\"content\": \"a\"}, \"finish_reason\": null}]}\r\n\r\n",
            "data: {\"id\": \"c\", \"model\": \"m\", \"created\": 1, \"choices\": [{\"index\": 0, \"delta\": {\"content\": \"\\\"finish_reason\\\":\\\"stop\\\"\"}, \"finish_reason\": null}]}\r\n\r\n",
            "data: {\"id\": \"c\", \"model\": \"m\", \"created\": 1, \"choices\": [{\"index\": 0, \"delta\": {}, \"logprobs\": null, \"finish_reason\": \"length\"}]}\r\n\r\n",
            "data: [DONE]\r\n\r\n"
        ),
        "a\"finish_reason\":\"stop\"",
        Finish::Length,
        (8, 2),
    ),
    (
        "Perplexity: cumulative message beside the delta, no end mark",
        Dialect::OpenAiChat,
        concat!(
            "data: {\"id\":\"p\",\"model\":\"sonar\",\"created\":1,\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4},\"status\":\"PENDING\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"message\":{\"role\":\"assistant\",\"content\":\"on\"},\"delta\":{\"role\":\"assistant\",\"content\":\"on\"}}]}\r\n\r\n",
            "data: {\"id\":\"p\",\"model\":\"sonar\",\"created\":1,\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5},\"status\":\"COMPLETED\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"one\"},\"delta\":{\"content\":\"e\"}}]}\r\n\r\n"
        ),
        "one",
        Finish::Stop,
        (3, 2),
    ),
    (
        "vLLM completions: a byte order mark, usage with the finish",
        Dialect::OpenAiCompletions,
        concat!(
            "\u{feff}data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"y\",\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
            "data: [DONE]\n"
        ),
        "xy",
        Finish::Stop,
        (1, 2),
    ),
    (
        "Ollama chat: counts on the last line, which lacks its line end",
        Dialect::OllamaChat,
        concat!(
            "{\"model\":\"m\",\"created_at\":\"2026-01-01T00:00:00.5Z\",\"message\":{\"role\":\"assistant\",\"content\":\"{\\\"error\\\":\"},\"done\":false}\n",
            "{\"model\":\"m\",\"created_at\":\"2026-01-01T00:00:01Z\",\"message\":{\"role\":\"assistant\",\"content\":\"é\"},\"done\":false}\n",
            "{\"model\":\"m\",\"created_at\":\"2026-01-01T00:00:02Z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"length\",\"total_duration\":5,\"prompt_eval_count\":7,\"eval_count\":2}"
        ),
        "{\"error\":é",
        Finish::Length,
        (7, 2),
    ),
    (
        "Ollama generate: context on the last line, counts of 0 absent",
        Dialect::OllamaGenerate,
        concat!(
            "{\"model\":\"m\",\"created_at\":\"2026-01-01T00:00:00Z\",\"response\":\"a\",\"done\":false}\n",
            "{\"model\":\"m\",\"created_at\":\"2026-01-01T00:00:00Z\",\"response\":\"\",\"done\": true,\"done_reason\":\"stop\",\"context\":[1,2],\"eval_count\":1}\n"
        ),
        "a",
        Finish::Stop,
        (0, 1),
    ),
    (
        "Anthropic: named events, a ping between",
        Dialect::AnthropicMessages,
        concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"claude\",\"stop_reason\":null,\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":12}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        ),
        "Hi",
        Finish::Length,
        (7, 12),
    ),
];

async fn passed(dialect: Dialect, raw: Box<Script>) -> (Vec<u8>, Option<Fault>, Option<RunSummary>) {
    let mut frames = answer(raw, spec(&streaming(dialect), dialect, None, false));
    let (bytes, fault) = read(&mut frames).await;
    (bytes, fault, frames.summary())
}

#[tokio::test]
async fn each_engines_stream_reaches_its_client_with_counts() {
    for (name, dialect, raw, text, finish, (prompt, completion)) in SAMPLES {
        let (bytes, fault, summary) = passed(*dialect, Script::one(raw)).await;
        assert!(fault.is_none(), "{name}: {fault:?}");
        let seen = seen(*dialect, true, &bytes).unwrap();
        assert_eq!((seen.text.as_str(), &seen.finishes[..]), (*text, &[*finish][..]), "{name}");
        let usage = seen.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (*prompt, *completion), "{name}");
        let summary = summary.unwrap();
        assert_eq!((summary.usage, summary.finish), (Some(usage), Some(*finish)), "{name}");
        assert!(crate::wire::is_ended(*dialect, &bytes), "{name}");
    }
}

#[tokio::test]
async fn slices_of_any_size_give_the_same_bytes() {
    for (name, dialect, raw, ..) in SAMPLES {
        let whole = passed(*dialect, Script::one(raw)).await.0;
        for size in 1..raw.len().min(300) {
            let bytes = passed(*dialect, Script::pieces(raw.as_bytes(), size)).await.0;
            assert!(bytes == whole, "{name}: pieces of {size}");
        }
    }
}

#[tokio::test]
async fn text_is_forwarded_as_it_was_read() {
    let (.., raw, _, _, _) = SAMPLES[0];
    let end = raw.find("data: {\"choices\":[{\"finish_reason\":\"stop\"").unwrap();
    let shared = Bytes::from_static(raw.as_bytes());
    // A comment is no event, and makes its frame be looked into.
    let first = shared.slice(": ping\n\n".len()..end);
    let mut frames = answer(Script::new([Ok(first.clone()), Ok(shared.slice(end..))]), {
        spec(&streaming(Dialect::OpenAiChat), Dialect::OpenAiChat, None, false)
    });
    let frame = next_frame(&mut frames).await.unwrap().unwrap();
    assert_eq!(frame.as_ptr(), first.as_ptr(), "not copied");
    assert_eq!(frame, first);
}

#[tokio::test]
async fn junk_between_events_does_not_reach_the_client() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    let half_events = ["{\"delta\":{\"con", "{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\"a"];
    let half_events = half_events.map(|half| format!("data: {{\"choices\":[{half}\n\n"));
    let crlf = half_events[1].replace('\n', "\r\n");
    for junk in ["data: <<<this is not JSON>>>\n\n", &half_events[0], &half_events[1], &crlf] {
        for frames in [vec![format!("{text}{junk}")], vec![text.to_owned(), junk.to_owned()]] {
            let script = Script::new(frames.into_iter().map(|frame| Ok(Bytes::from(frame))));
            let (bytes, fault, _) = passed(Dialect::OpenAiChat, script).await;
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
            assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineFailed), "{junk}");
        }
    }
    let text = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";
    let half = text.replace("\"text\":\"a\"}}", "\"te");
    let unnamed = "data: <<<this is not JSON>>>\n\n";
    for junk in ["event: content_block_delta\ndata: <<<this is not JSON>>>\n\n", unnamed, &half] {
        for frames in [vec![format!("{text}{junk}")], vec![text.to_owned(), junk.to_owned()]] {
            let script = Script::new(frames.into_iter().map(|frame| Ok(Bytes::from(frame))));
            let (bytes, fault, _) = passed(Dialect::AnthropicMessages, script).await;
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
            assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineFailed), "{junk}");
        }
    }
    let line = "{\"message\":{\"content\":\"a\"},\"done\":false}\n";
    for junk in ["<<<this is not JSON>>>\n", "{\"done\":false,\"message\":{\"content\":\"a\n"] {
        let (bytes, fault, _) = passed(Dialect::OllamaChat, Script::one(format!("{line}{junk}"))).await;
        assert_eq!(String::from_utf8(bytes).unwrap(), line);
        assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineFailed), "{junk}");
    }
}

#[tokio::test]
async fn the_extra_usage_chunk_is_for_those_who_asked() {
    let (.., raw, _, _, _) = SAMPLES[0];
    let mut asked = streaming(Dialect::OpenAiChat);
    let plain = passed(Dialect::OpenAiChat, Script::one(raw)).await.0;
    asked.head.wants_usage_chunk = true;
    let mut frames = answer(Script::one(raw), spec(&asked, Dialect::OpenAiChat, None, false));
    let extra = read(&mut frames).await.0;
    assert_eq!(std::str::from_utf8(&extra).unwrap(), raw);
    let plain = String::from_utf8(plain).unwrap();
    assert!(!plain.contains("\"choices\":[]"), "{plain}");
    let last = plain.split("\n\n").find(|event| event.contains("\"finish_reason\":\"stop\"")).unwrap();
    assert!(last.contains("\"usage\":{") && last.contains("\"cached_tokens\":4"), "{last}");
    // An engine that does not count leaves the chunk to us.
    let mut frames = answer(Script::one(SAMPLES[1].2), spec(&asked, Dialect::OpenAiChat, None, false));
    let made = String::from_utf8(read(&mut frames).await.0).unwrap();
    assert!(made.contains("\"choices\":[]") && made.contains("\"completion_tokens\":2"), "{made}");
}

#[tokio::test]
async fn a_cut_stream_is_never_an_end() {
    for (name, dialect, raw, ..) in SAMPLES {
        let cut = raw.len() * 2 / 5;
        let cut = (cut..).find(|&at| raw.is_char_boundary(at)).unwrap();
        let (bytes, fault, _) = passed(*dialect, Script::one(&raw[..cut])).await;
        assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineCut), "{name}");
        assert!(!crate::wire::is_ended(*dialect, &bytes), "{name}");
    }
    let (bytes, fault, _) =
        passed(Dialect::OpenAiChat, Script::one("data: {\"choices\":[]}\n\ndata: [DONE]\n\n")).await;
    assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineCut), "an end mark without a reason");
    assert!(!String::from_utf8(bytes).unwrap().contains("DONE"));
    let event = |index: u8, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"a\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let two = [event(0, "null"), event(1, "null"), event(0, "\"stop\""), event(1, "null")].concat();
    let (bytes, fault, _) = passed(Dialect::OpenAiChat, Script::one(&two)).await;
    assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineCut), "one of two choices ended");
    assert_eq!(String::from_utf8(bytes).unwrap(), two);
}

#[tokio::test]
async fn of_several_choices_each_must_have_ended() {
    let event = |index: u8, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"a\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut ask = streaming(Dialect::OpenAiChat);
    ask.head.choices = 2;
    let first = [event(0, "null"), event(0, "\"stop\"")].concat();
    for cut in [None, Some(Err(crate::wire::cut()))] {
        let frames = Script::new([Ok(Bytes::from(first.clone()))].into_iter().chain(cut));
        let (bytes, fault) = read(&mut answer(frames, spec(&ask, Dialect::OpenAiChat, None, false))).await;
        assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineCut), "the second one had not begun");
        assert!(!String::from_utf8(bytes).unwrap().contains("DONE"));
    }
    let both = [first.as_str(), &event(1, "\"stop\"")].concat();
    for end in ["", "data: [DONE]\n\n"] {
        let frames = Script::one(format!("{both}{end}"));
        let (bytes, fault) = read(&mut answer(frames, spec(&ask, Dialect::OpenAiChat, None, false))).await;
        assert!(fault.is_none() && bytes.ends_with(b"data: [DONE]\n\n"), "{fault:?}");
    }
    // There are engines that give one whatever is asked for; their end mark says so.
    let frames = Script::one(format!("{first}data: [DONE]\n\n"));
    assert!(read(&mut answer(frames, spec(&ask, Dialect::OpenAiChat, None, false))).await.1.is_none());
}

#[tokio::test]
async fn an_error_inside_a_stream_is_a_fault_and_not_text() {
    let cases = [
        (
            Dialect::OpenAiChat,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\ndata: {\"error\": {\"message\": \"out of memory\", \"code\": 500}}\n\n",
        ),
        (Dialect::OllamaChat, "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"error\":\"out of memory\"}\n"),
        (
            Dialect::OllamaChat,
            "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"message\":{\"content\":\"out of memory\"},\"done\":true,\"done_reason\":\"error\"}\n",
        ),
        (
            Dialect::AnthropicMessages,
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"out of memory\"}}\n\n",
        ),
    ];
    for (dialect, raw) in cases {
        let (bytes, fault, summary) = passed(dialect, Script::one(raw)).await;
        let fault = fault.unwrap();
        assert!(fault.code == Code::EngineFailed && fault.message.contains("out of memory"), "{fault:?}");
        assert!(!bytes.is_empty() && !String::from_utf8(bytes).unwrap().contains("memory"));
        assert!(summary.is_none_or(|summary| summary.finish.is_none()));
    }
}

#[tokio::test]
async fn a_whole_body_passes_when_it_is_complete() {
    let body = r#"{"id":"c","choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let mut ask = streaming(Dialect::OpenAiChat);
    ask.head.stream = false;
    for size in [1, 7, 1000] {
        let mut frames = answer(Script::pieces(body.as_bytes(), size), spec(&ask, Dialect::OpenAiChat, None, false));
        assert_eq!(read(&mut frames).await.0, body.as_bytes());
        let summary = frames.summary().unwrap();
        assert_eq!((summary.usage.unwrap().prompt_tokens, summary.finish), (3, Some(Finish::Stop)));
    }
    for end in 0..body.len() {
        let mut frames = answer(Script::one(&body[..end]), spec(&ask, Dialect::OpenAiChat, None, false));
        let (bytes, fault) = read(&mut frames).await;
        assert_eq!((bytes.len(), fault.map(|fault| fault.code)), (0, Some(Code::EngineCut)), "{end}");
    }
}

#[tokio::test]
async fn an_endless_event_is_refused() {
    let raw = format!("data: {}", "x".repeat(crate::wire::MAX_EVENT_BYTES + 10));
    let (_, fault, _) = passed(Dialect::OpenAiChat, Script::pieces(raw.as_bytes(), 100_000)).await;
    assert_eq!(fault.map(|fault| fault.code), Some(Code::EngineFailed));
}

proptest! {
    #[test]
    fn junk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..50, at in 0usize..400) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (_, dialect, raw, ..) in SAMPLES {
            let mut mixed = raw.as_bytes().to_vec();
            let at = at.min(mixed.len());
            mixed.splice(at..at, bytes.iter().copied());
            for engine in TEXT {
                let ask = streaming(*dialect);
                let mut frames = answer(Script::pieces(&mixed, size), spec(&ask, engine, None, false));
                let _ = runtime.block_on(read(&mut frames));
                let mut ready = answer(Box::new(Ready::new(mixed.clone().into(), RunSummary::default())), {
                    let mut spec = spec(&ask, engine, None, false);
                    spec.stream = false;
                    spec
                });
                let _ = runtime.block_on(read(&mut ready));
            }
        }
    }

    #[test]
    fn decoding_does_not_depend_on_the_slices(cuts in proptest::collection::vec(0usize..2000, 0..12)) {
        for (name, dialect, raw, ..) in SAMPLES {
            let mut decoder = Decoder::new(*dialect, true);
            let (mut events, mut start) = (Vec::new(), 0);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % raw.len()).collect();
            cuts.sort_unstable();
            for cut in cuts.into_iter().chain([raw.len()]) {
                decoder.feed(&raw.as_bytes()[start..cut], &mut events).unwrap();
                start = cut;
            }
            decoder.finish(&mut events).unwrap();
            prop_assert_eq!(summed(events), seen(*dialect, true, raw.as_bytes()).unwrap(), "{}", name);
        }
    }
}
