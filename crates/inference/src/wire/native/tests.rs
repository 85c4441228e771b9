//! Asks of every dialect as the built-in engine gets them.

use base::time::Deadline;
use base::{AskHead, Dialect};
use proto::engine::generate_request::Prompt as From;
use proto::engine::{Chat, Done, Sampling};

use super::*;

fn ask(dialect: Dialect, body: Value) -> Ask {
    let deadline = Deadline::after(std::time::Instant::now(), std::time::Duration::from_secs(10));
    Ask { head: AskHead::plain(dialect, deadline), body: body.to_string().into() }
}

fn request(dialect: Dialect, body: Value) -> GenerateRequest {
    generate(&ask(dialect, body), None, &Tuned::default(), 4096).unwrap().0
}

fn chat(request: &GenerateRequest) -> &Chat {
    match &request.prompt {
        Some(From::Chat(chat)) => chat,
        other => panic!("{other:?}"),
    }
}

fn sampling(request: &GenerateRequest) -> &Sampling {
    request.sampling.as_ref().unwrap()
}

#[test]
fn the_same_question_is_the_same_request_in_every_dialect() {
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]);
    let openai = json!({"model": "m", "messages": messages, "temperature": 0.5, "top_k": 7, "max_tokens": 9, "stop": "x",
        "seed": 3, "frequency_penalty": 0.25, "response_format": {"type": "json_object"}});
    let ollama = json!({"model": "m", "messages": messages, "format": "json",
        "options": {"temperature": 0.5, "top_k": 7, "num_predict": 9, "stop": ["x"], "seed": 3, "frequency_penalty": 0.25}});
    let anthropic = json!({"model": "m", "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5, "top_k": 7, "max_tokens": 9, "stop_sequences": ["x"]});
    let openai = request(Dialect::OpenAiChat, openai);
    assert_eq!(openai, request(Dialect::OllamaChat, ollama));
    let anthropic = request(Dialect::AnthropicMessages, anthropic);
    assert_eq!((chat(&openai), &openai.stop, openai.max_tokens), (chat(&anthropic), &anthropic.stop, 9));
    assert_eq!(openai.schema_json, "{}");
    assert_eq!((sampling(&openai).seed, sampling(&openai).temperature), (Some(3), Some(0.5)));
    let roles: Vec<_> = chat(&openai).turns.iter().map(|turn| turn.role.as_str()).collect();
    assert_eq!(roles, ["system", "user"]);
}

#[test]
fn raw_prompts_and_begun_answers_are_told_apart() {
    let raw = request(Dialect::OpenAiCompletions, json!({"model": "m", "prompt": "Once"}));
    assert_eq!(raw.prompt, Some(From::Raw("Once".into())));
    let raw = request(Dialect::OllamaGenerate, json!({"model": "m", "prompt": "Once", "raw": true}));
    assert_eq!(raw.prompt, Some(From::Raw("Once".into())));
    let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,"}]);
    let begun = request(Dialect::OpenAiChat, json!({"model": "m", "messages": messages}));
    assert_eq!((begun.begun.as_str(), chat(&begun).turns.len()), ("Well,", 1));
}

#[test]
fn what_other_engines_do_not_know_is_taken_and_what_nobody_knows_is_refused() {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"model": "m", "messages": messages, "logit_bias": {"2": -100}, "repetition_penalty": 1.5,
        "chat_template_kwargs": {"enable_thinking": false}, "user": "me"});
    let request = request(Dialect::OpenAiChat, body);
    assert_eq!(sampling(&request).logit_bias.get(&2), Some(&-100.0));
    assert_eq!(sampling(&request).repeat_penalty, Some(1.5));
    assert_eq!(chat(&request).template_variables_json, r#"{"enable_thinking":false}"#);
    for (field, value) in [("logprobs", json!(true)), ("n", json!(2)), ("logit_bias", json!([1]))] {
        let mut body = json!({"model": "m", "messages": messages});
        body[field] = value;
        let fault = generate(&ask(Dialect::OpenAiChat, body), None, &Tuned::default(), 4096).unwrap_err();
        assert!(fault.message.contains(field) && fault.hint.is_some(), "{}", fault.message);
    }
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,AA"}]}]);
    let fault =
        generate(&ask(Dialect::OpenAiChat, json!({"model": "m", "messages": image})), None, &Tuned::default(), 4096);
    assert!(fault.unwrap_err().message.contains("pictures"));
}

#[test]
fn a_tuned_model_says_what_the_client_does_not() {
    let parameters = json!({"temperature": 0.1, "top_k": 5, "num_predict": 50, "stop": ["END"]});
    let tuned = Tuned { system: "Be brief.".into(), parameters: parameters.as_object().unwrap().clone() };
    let body = json!({"model": "m", "temperature": 0.9, "messages": [{"role": "user", "content": "Hi"}]});
    let request = generate(&ask(Dialect::OpenAiChat, body), None, &tuned, 4096).unwrap().0;
    assert_eq!(chat(&request).turns[0].text, "Be brief.");
    assert_eq!((sampling(&request).temperature, sampling(&request).top_k), (Some(0.9), Some(5)));
    assert_eq!((request.max_tokens, request.stop.as_slice()), (50, ["END".to_owned()].as_slice()));
    let own =
        json!({"model": "m", "messages": [{"role": "system", "content": "Mine"}, {"role": "user", "content": "Hi"}]});
    let request = generate(&ask(Dialect::OpenAiChat, own), None, &tuned, 4096).unwrap().0;
    assert_eq!(chat(&request).turns.len(), 2);
}

#[test]
fn counts_of_a_continued_answer_are_of_the_whole() {
    let done = Done { prompt_tokens: 10, continued_tokens: 7, output_tokens: 5, ..Done::default() };
    let held = Continuation { text: "so far".into(), tokens: 6, ..Continuation::default() };
    let (usage, _) = ended(&done, Some(&held));
    // The renderer takes 6 off the prompt and adds 6 to the answer: 10 and 12 in the end.
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (16, 6));
}

#[test]
fn vectors_and_scores_are_asked_for_and_shown_in_the_dialect() {
    let request = embed_request(&ask(Dialect::OpenAiEmbeddings, json!({"model": "m", "input": ["a", "b"]}))).unwrap();
    assert_eq!((request.texts.len(), request.refuse_long), (2, true));
    assert!(!embed_request(&ask(Dialect::OllamaEmbed, json!({"model": "m", "input": "a"}))).unwrap().refuse_long);
    for dimensions in [json!(16), json!("16")] {
        let shorter = ask(Dialect::OpenAiEmbeddings, json!({"model": "m", "input": "a", "dimensions": dimensions}));
        assert!(embed_request(&shorter).unwrap_err().message.contains("dimensions"), "{dimensions}");
    }
    let tokens = ask(Dialect::OpenAiEmbeddings, json!({"model": "m", "input": [1, 2]}));
    assert!(embed_request(&tokens).unwrap_err().hint.is_some());
    let ranked =
        ask(Dialect::Rerank, json!({"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}));
    let (request, most) = rerank_request(&ranked).unwrap();
    assert_eq!((request.documents.len(), most), (2, Some(1)));
    let response = RerankResponse { scores: vec![-1.0, 2.0], prompt_tokens: 4 };
    let shown: Value = serde_json::from_slice(&reranked(&ranked, &response, most)).unwrap();
    assert_eq!(shown["results"], json!([{"index": 1, "relevance_score": 2.0}]));
}
