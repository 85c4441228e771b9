//! What clients ask and models answer, as attributes of spans: only where the owner switched it on, and bounded.

use base::{Ask, Dialect, Event};
use inference::wire::Decoder;
use serde_json::{Value, json};

/// The most bytes of text in one attribute; what is beyond is cut.
pub const MOST_BYTES: usize = 64 << 10;

/// The messages of an ask, as `gen_ai.input.messages` has them; `None` for what has no messages.
pub fn input(ask: &Ask) -> Option<String> {
    if !ask.head.dialect.is_generation() {
        return None;
    }
    let body: Value = serde_json::from_slice(&ask.body).ok()?;
    let mut left = MOST_BYTES;
    let mut messages = Vec::new();
    for (field, role) in [("system", "system"), ("instructions", "system")] {
        if let Some(content) = body.get(field) {
            messages.push(message(role, content, &mut left));
        }
    }
    for field in ["messages", "input"] {
        for said in body.get(field).and_then(Value::as_array).into_iter().flatten() {
            let role = said.get("role").and_then(Value::as_str).unwrap_or("user");
            messages.push(message(role, said.get("content").unwrap_or(&Value::Null), &mut left));
        }
    }
    for field in ["prompt", "input"] {
        if let Some(content) = body.get(field).filter(|content| content.is_string()) {
            messages.push(message("user", content, &mut left));
        }
    }
    Some(Value::from(messages).to_string())
}

/// An answer, as `gen_ai.output.messages` has it, from its bytes in the client's dialect. What cannot be read of bytes that
/// were cut is left out.
pub fn output(dialect: Dialect, is_streamed: bool, bytes: &[u8], finish: Option<&str>) -> String {
    let (mut decoder, mut events) = (Decoder::new(dialect, is_streamed), Vec::new());
    // Either may end at what was cut; what was read before stands.
    let _ = decoder.feed(bytes, &mut events).and_then(|()| decoder.finish(&mut events));
    let text: String =
        events.iter().filter_map(|event| if let Event::Text(text) = event { Some(&**text) } else { None }).collect();
    let parts = json!([{"type": "text", "content": text}]);
    json!([{"role": "assistant", "parts": parts, "finish_reason": finish.unwrap_or("")}]).to_string()
}

fn message(role: &str, content: &Value, left: &mut usize) -> Value {
    let texts: Vec<&str> = match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        _ => Vec::new(),
    };
    let parts: Vec<Value> = texts.into_iter().map(|text| json!({"type": "text", "content": cut(text, left)})).collect();
    json!({"role": role, "parts": parts})
}

/// As much of the text as there is room for.
fn cut<'a>(text: &'a str, left: &mut usize) -> &'a str {
    let kept = text.get(..text.floor_char_boundary(*left)).unwrap_or_default();
    *left -= kept.len();
    kept
}

#[cfg(test)]
mod tests {
    use base::AskHead;

    use super::*;
    use crate::testing;

    fn ask(dialect: Dialect, body: Value) -> Ask {
        Ask { head: AskHead { dialect, ..testing::head() }, body: body.to_string().into() }
    }

    fn text(text: &str) -> Value {
        json!([{"type": "text", "content": text}])
    }

    #[test]
    fn every_dialect_tells_its_messages() {
        for (dialect, body, said) in [
            (Dialect::OpenAiChat, json!({"messages": [{"role": "user", "content": "hi"}]}), vec![("user", "hi")]),
            (
                Dialect::AnthropicMessages,
                json!({"system": "be kind", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}),
                vec![("system", "be kind"), ("user", "hi")],
            ),
            (Dialect::OpenAiResponses, json!({"input": "hi"}), vec![("user", "hi")]),
            (
                Dialect::OllamaGenerate,
                json!({"prompt": "hi", "system": "be kind"}),
                vec![("system", "be kind"), ("user", "hi")],
            ),
        ] {
            let told: Value = serde_json::from_str(&input(&ask(dialect, body)).unwrap()).unwrap();
            let said: Vec<_> = said.iter().map(|(role, said)| json!({"role": role, "parts": text(said)})).collect();
            assert_eq!(told, Value::from(said), "{dialect}");
        }
        assert_eq!(input(&ask(Dialect::OpenAiEmbeddings, json!({"input": "hi"}))), None);
    }

    #[test]
    fn a_long_prompt_is_cut_between_characters() {
        let long = "é".repeat(MOST_BYTES);
        let told = input(&ask(Dialect::OllamaGenerate, json!({"prompt": long}))).unwrap();
        assert!(told.len() < MOST_BYTES + 100 && told.matches('é').count() == MOST_BYTES / 2, "{}", told.len());
    }

    #[test]
    fn an_answer_is_read_out_of_its_dialect_even_when_it_is_cut() {
        let chunk =
            |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
        let mut stream = chunk("all ") + &chunk("is well");
        stream.push_str("data: {\"choi");
        let told: Value = serde_json::from_str(&output(Dialect::OpenAiChat, true, stream.as_bytes(), None)).unwrap();
        assert_eq!(told[0]["parts"], text("all is well"));
        let whole =
            json!({"choices": [{"index": 0, "message": {"content": "fine"}, "finish_reason": "stop"}]}).to_string();
        let told: Value =
            serde_json::from_str(&output(Dialect::OpenAiChat, false, whole.as_bytes(), Some("stop"))).unwrap();
        assert_eq!(told, json!([{"role": "assistant", "parts": text("fine"), "finish_reason": "stop"}]));
    }
}
