//! Requests: what is spliced, what is translated, what is refused.

use serde_json::{Value, json};

use super::*;
use crate::wire::{ContinueBy, Quirks, SchemaBy, Target, request};

fn target(dialect: Dialect, continue_by: ContinueBy) -> Target<'static> {
    Target { dialect, engine_model: "m", continue_by, context_tokens: 4096, quirks: Quirks::default() }
}

fn so_far(text: &str) -> Continuation {
    Continuation { text: text.into(), tokens: 3, ..Continuation::default() }
}

fn made(ask: &Ask, target: &Target<'_>, continuation: Option<&Continuation>) -> Value {
    serde_json::from_slice(&request(ask, target, continuation).unwrap().body).unwrap()
}

#[test]
fn a_body_that_needs_nothing_is_not_copied() {
    for body in [
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#,
    ] {
        let ask = ask(Dialect::OpenAiChat, body);
        let made = request(&ask, &target(Dialect::OpenAiChat, ContinueBy::Never), None).unwrap();
        assert_eq!((made.body.as_ptr(), made.path), (ask.body.as_ptr(), "/v1/chat/completions"));
    }
}

#[test]
fn splices_change_only_what_they_must() {
    let body =
        r#"{"model":"auto","max_tokens":9000,"stream":true,"x":1.0e0,"messages":[{"role":"user","content":"\u00e9"}]}"#;
    let spliced =
        request(&ask(Dialect::OpenAiChat, body), &target(Dialect::OpenAiChat, ContinueBy::Never), None).unwrap();
    assert_eq!(
        std::str::from_utf8(&spliced.body).unwrap(),
        r#"{"model":"m","max_tokens":4087,"stream":true,"x":1.0e0,"messages":[{"role":"user","content":"\u00e9"}],"stream_options":{"include_usage":true}}"#
    );
    let body = r#"{"model":"m","messages":[],"options":{"num_predict":9000,"top_k":3}}"#;
    let clamped = made(&ask(Dialect::OllamaChat, body), &target(Dialect::OllamaChat, ContinueBy::Never), None);
    assert_eq!(clamped["options"], json!({"num_predict": 4095, "top_k": 3}));
}

#[test]
fn each_engine_is_continued_its_own_way() {
    let chat = ask(Dialect::OpenAiChat, r#"{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}"#);
    let with = |by| made(&chat, &target(Dialect::OpenAiChat, by), Some(&so_far("He")));
    let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "He"}]);
    let plain = with(ContinueBy::TrailingAssistant { echoes: true });
    assert_eq!((&plain["messages"], &plain["max_tokens"]), (&messages, &json!(7)));
    let vllm = with(ContinueBy::VllmFlags);
    assert_eq!(
        (&vllm["messages"], &vllm["continue_final_message"], &vllm["add_generation_prompt"]),
        (&messages, &json!(true), &json!(false))
    );
    assert_eq!(with(ContinueBy::WebUiFlag)["continue_"], json!(true));
    for by in [ContinueBy::Never, ContinueBy::RawPrompt] {
        let fault = request(&chat, &target(Dialect::OpenAiChat, by), Some(&so_far("He"))).unwrap_err();
        assert_eq!(fault.code, base::Code::NotSupported);
    }
    let raw = ask(Dialect::OpenAiCompletions, r#"{"model":"m","prompt":"hi"}"#);
    assert_eq!(
        made(&raw, &target(Dialect::OpenAiCompletions, ContinueBy::RawPrompt), Some(&so_far("He")))["prompt"],
        "hiHe"
    );
    let raw = ask(Dialect::OpenAiCompletions, r#"{"model":"m","prompt":[1,2]}"#);
    assert!(request(&raw, &target(Dialect::OpenAiCompletions, ContinueBy::RawPrompt), Some(&so_far("He"))).is_err());
}

#[test]
fn a_continued_generate_goes_on_as_the_chat_that_it_is() {
    let ask = ask(Dialect::OllamaGenerate, r#"{"model":"m","system":"s","prompt":"hi","options":{"num_predict":10}}"#);
    let by_message = target(Dialect::OllamaGenerate, ContinueBy::TrailingAssistant { echoes: false });
    let made = request(&ask, &by_message, Some(&so_far("He"))).unwrap();
    assert_eq!((made.path, made.dialect), ("/api/chat", Dialect::OllamaChat));
    let body: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!(body["messages"][2], json!({"role": "assistant", "content": "He"}));
    assert_eq!(body["options"]["num_predict"], 7);
    let fresh = request(&ask, &by_message, Some(&so_far(""))).unwrap();
    assert_eq!((fresh.path, fresh.body.as_ptr()), ("/api/generate", ask.body.as_ptr()));
}

#[test]
fn the_clients_own_beginning_is_continued_and_not_repeated() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hel"}]}"#;
    let ask = ask(Dialect::OpenAiChat, body);
    let last = |echoes, text: &str| {
        let target = target(Dialect::OpenAiChat, ContinueBy::TrailingAssistant { echoes });
        made(&ask, &target, Some(&so_far(text)))["messages"][1]["content"].clone()
    };
    assert_eq!(last(false, "lo"), "Hello");
    assert_eq!(last(true, "Hello"), "Hello");
    assert_eq!(last(true, "He"), "Hel");
}

#[test]
fn reasoning_is_not_begun_again_behind_text() {
    let held = Continuation { thinking: "hm".into(), ..so_far("He") };
    let by = ContinueBy::TrailingAssistant { echoes: true };
    let made_for = |dialect, body| made(&ask(dialect, body), &target(dialect, by), Some(&held));
    let chat = made_for(Dialect::OpenAiChat, r#"{"model":"m","messages":[],"chat_template_kwargs":{"a":1}}"#);
    assert_eq!(chat["chat_template_kwargs"], json!({"a": 1, "enable_thinking": false}));
    assert_eq!(made_for(Dialect::OllamaChat, r#"{"model":"m","messages":[]}"#)["think"], false);
    // Without text there is nothing to put before the model: it begins anew.
    let only_thinking = Continuation { text: String::new(), ..held.clone() };
    let ask = ask(Dialect::OpenAiChat, r#"{"model":"m","messages":[]}"#);
    assert_eq!(request(&ask, &target(Dialect::OpenAiChat, by), Some(&only_thinking)).unwrap().body, ask.body);
}

#[test]
fn quirks_are_met() {
    let body = r#"{"model":"m","messages":[],"seed":1,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}}"#;
    let quirks = Quirks { schema_by: SchemaBy::JsonObject, drops: &["seed"] };
    let target = Target { quirks, ..target(Dialect::OpenAiChat, ContinueBy::Never) };
    let made = made(&ask(Dialect::OpenAiChat, body), &target, None);
    assert_eq!(
        made,
        json!({"model": "m", "messages": [], "response_format": {"type": "json_object", "schema": {"type": "object"}}})
    );
}

#[test]
fn what_would_be_lost_is_refused_by_name() {
    let cases = [
        (Dialect::OpenAiChat, Dialect::OllamaChat, r#"{"model":"m","messages":[],"n":2}"#, "n"),
        (Dialect::OpenAiChat, Dialect::OllamaChat, r#"{"model":"m","messages":[],"logprobs":true}"#, "logprobs"),
        (
            Dialect::OpenAiChat,
            Dialect::OllamaChat,
            r#"{"model":"m","messages":[],"tool_choice":"required"}"#,
            "tool_choice",
        ),
        (Dialect::OpenAiChat, Dialect::OpenAiCompletions, r#"{"model":"m","messages":[]}"#, "messages"),
        (
            Dialect::OpenAiChat,
            Dialect::AnthropicMessages,
            r#"{"model":"m","messages":[],"response_format":{"type":"json_object"}}"#,
            "response_format",
        ),
        (Dialect::OpenAiCompletions, Dialect::OllamaGenerate, r#"{"model":"m","prompt":"a","suffix":"b"}"#, "suffix"),
        (Dialect::OllamaGenerate, Dialect::OpenAiChat, r#"{"model":"m","prompt":"a","context":[1]}"#, "context"),
        (
            Dialect::OllamaGenerate,
            Dialect::OpenAiChat,
            r#"{"model":"m","prompt":"a","template":"{{ .Prompt }}"}"#,
            "template",
        ),
        (Dialect::OllamaEmbed, Dialect::OllamaEmbeddings, r#"{"model":"m","input":["a","b"]}"#, "input"),
        (Dialect::OllamaEmbed, Dialect::OllamaEmbeddings, r#"{"model":"m","input":"a","dimensions":3}"#, "dimensions"),
    ];
    for (from, to, body, name) in cases {
        let fault = request(&ask(from, body), &target(to, ContinueBy::Never), None).unwrap_err();
        assert_eq!(fault.code, base::Code::NotSupported, "{body}: {fault:?}");
        assert!(fault.message.contains(&format!("`{name}`")), "{body}: {fault:?}");
    }
    let idle = r#"{"model":"m","messages":[],"n":1,"logprobs":false,"user":"u","store":null,"logit_bias":{}}"#;
    assert!(request(&ask(Dialect::OpenAiChat, idle), &target(Dialect::OllamaChat, ContinueBy::Never), None).is_ok());
}

#[test]
fn embeddings_find_their_other_form() {
    let to = |from, body, to| made(&ask(from, body), &target(to, ContinueBy::Never), None);
    let openai = r#"{"model":"x","input":["a","b"],"encoding_format":"base64","dimensions":4,"user":"u"}"#;
    assert_eq!(
        to(Dialect::OpenAiEmbeddings, openai, Dialect::OllamaEmbed),
        json!({"model": "m", "input": ["a", "b"], "dimensions": 4})
    );
    assert_eq!(
        to(Dialect::OllamaEmbeddings, r#"{"model":"x","prompt":"a","keep_alive":"5m"}"#, Dialect::OpenAiEmbeddings),
        json!({"model": "m", "input": "a"})
    );
    assert_eq!(
        to(Dialect::OllamaEmbed, r#"{"model":"x","input":["a"]}"#, Dialect::OllamaEmbeddings),
        json!({"model": "m", "prompt": "a"})
    );
}

#[test]
fn a_response_is_asked_for_as_a_chat() {
    let body = r#"{"model":"x","instructions":"be brief","max_output_tokens":5,"store":true,"include":[],
        "text":{"format":{"type":"json_schema","name":"a","strict":true,"schema":{"type":"object"}},"verbosity":"low"},
        "input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"reasoning","summary":[]}]}"#;
    let made = made(&ask(Dialect::OpenAiResponses, body), &target(Dialect::OpenAiChat, ContinueBy::Never), None);
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
    assert_eq!((&made["messages"], &made["max_tokens"]), (&messages, &json!(5)));
    assert_eq!(made["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
    assert_eq!(made.get("store"), None);
}

#[test]
fn what_builds_on_kept_responses_is_refused_with_a_way_out() {
    for field in [r#""previous_response_id":"resp_1""#, r#""background":true"#, r#""conversation":"c""#] {
        let body = format!(r#"{{"model":"x","input":"hi",{field}}}"#);
        let ask = ask(Dialect::OpenAiResponses, &body);
        let fault = request(&ask, &target(Dialect::OpenAiChat, ContinueBy::Never), None).unwrap_err();
        assert_eq!(fault.code, base::Code::InvalidArgument, "{field}");
        assert!(fault.hint.is_some_and(|hint| hint.contains("`input`") || hint.contains("stream")), "{field}");
    }
}

#[test]
fn a_tool_that_must_be_called_is_a_schema_where_engines_know_only_those() {
    let tools = r#""tools":[{"name":"add","description":"adds","input_schema":{"type":"object","required":["a"]}}]"#;
    let body = |choice: &str| {
        format!(
            r#"{{"model":"x","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}],{tools},"tool_choice":{choice}}}"#
        )
    };
    for choice in [r#"{"type":"tool","name":"add"}"#, r#"{"type":"any"}"#] {
        let ask = ask(Dialect::AnthropicMessages, &body(choice));
        assert_eq!((ask.head.needs.tools, ask.head.needs.schema), (false, true));
        for dialect in [Dialect::OllamaChat, Dialect::OpenAiChat] {
            let made = request(&ask, &target(dialect, ContinueBy::Never), None).unwrap();
            assert_eq!(made.calls.as_deref(), Some("add"));
            let made: Value = serde_json::from_slice(&made.body).unwrap();
            let schema = made.pointer("/response_format/json_schema/schema").unwrap_or(&made["format"]);
            assert_eq!((&schema["required"], made.get("tools")), (&json!(["a"]), None));
        }
    }
    let ask = ask(Dialect::AnthropicMessages, &body(r#"{"type":"auto"}"#));
    assert!(ask.head.needs.tools && !ask.head.needs.schema);
    assert_eq!(request(&ask, &target(Dialect::OllamaChat, ContinueBy::Never), None).unwrap().calls, None);
}

#[test]
fn a_shape_that_is_told_in_prose_goes_along_as_a_schema() {
    let system =
        r#"Answer with a JSON object with a \"tasks\" property containing an array of:\n- id: integer\n- title: text"#;
    let messages = format!(r#""messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"go"}}]"#);
    let openai = format!(r#"{{"model":"m",{messages},"response_format":{{"type":"json_object"}}}}"#);
    let made_of = |dialect, body: &str| made(&ask(dialect, body), &target(dialect, ContinueBy::Never), None);
    let schema = made_of(Dialect::OpenAiChat, &openai)["response_format"]["json_schema"]["schema"].clone();
    assert_eq!(schema["properties"]["tasks"]["items"]["required"], json!(["id", "title"]));
    let ollama = format!(r#"{{"model":"m",{messages},"format":"json"}}"#);
    assert_eq!(made_of(Dialect::OllamaChat, &ollama)["format"], schema);
    // What the client says itself stands.
    let own = format!(r#"{{"model":"m",{messages},"format":{{"type":"object"}}}}"#);
    assert_eq!(made_of(Dialect::OllamaChat, &own)["format"], json!({"type": "object"}));
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}"#;
    assert_eq!(made_of(Dialect::OpenAiChat, plain)["response_format"], json!({"type": "json_object"}));
}

#[test]
fn options_beside_ollamas_options_are_put_where_they_count() {
    let body = r#"{"model":"m","messages":[],"temperature":0.2,"max_output_tokens":9,"options":{"seed":1}}"#;
    let ask = ask(Dialect::OllamaChat, body);
    assert_eq!(ask.head.max_output_tokens, Some(9));
    let ollama = made(&ask, &target(Dialect::OllamaChat, ContinueBy::Never), None);
    assert_eq!(ollama["options"], json!({"seed": 1, "temperature": 0.2, "num_predict": 9}));
    assert_eq!((ollama.get("temperature"), ollama.get("max_output_tokens")), (None, None));
    let openai = made(&ask, &target(Dialect::OpenAiChat, ContinueBy::Never), None);
    assert_eq!((&openai["temperature"], &openai["max_tokens"]), (&json!(0.2), &json!(9)));
}

#[test]
fn a_long_prompt_gets_the_context_that_it_needs() {
    let long = "word ".repeat(4000);
    let target = Target { context_tokens: 131_072, ..target(Dialect::OllamaChat, ContinueBy::Never) };
    let made_of = |options: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{long}"}}]{options}}}"#);
        made(&ask(Dialect::OllamaChat, &body), &target, None)["options"].clone()
    };
    assert_eq!(made_of(""), json!({"num_ctx": 16_384}));
    assert_eq!(made_of(r#","options":{"num_ctx":7}"#), json!({"num_ctx": 7}));
}
