//! The cluster's models as plans use them: each question is an ask like any client's, behind those of people who wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::WorkerState;
use base::time::Deadline;
use base::{Ask, AskHead, BoxFuture, Dialect, Event, EventAnswer, Face, Fault, Priority, Result};
use inference::wire;
use planner::model::{Models, Question, Reply};
use serde_json::json;

use crate::core::Core;
use crate::desk::infer;

/// A question may wait long for a slot, and a small machine may take long over it.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The most of an answer that is gathered.
const MOST_ANSWER: usize = 4 << 20;
/// Questions of one job that are on their way at once, however many slots there are: clients have the cluster as well.
const MOST_AT_ONCE: usize = 16;

/// Asks through this node's router.
pub struct ClusterModels(pub Arc<Core>);

impl Models for ClusterModels {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let ask = make_ask(&question)?;
            let (dialect, stream) = (ask.head.dialect, ask.head.stream);
            gather(wire::events(infer::infer(&self.0, ask, None).await?, dialect, stream)).await
        })
    }

    fn slots(&self) -> usize {
        let Ok(view) = self.0.cluster().map(|cluster| cluster.view()) else { return 1 };
        let own = crate::fleet::own_report(&self.0);
        let others = view.nodes.iter().filter(|node| node.member.node != view.me);
        let reports = others.filter_map(|node| node.report.as_deref()).chain([&own]);
        let ready = reports.flat_map(|report| &report.workers).filter(|worker| worker.state == WorkerState::Ready);
        let slots: usize = ready.map(|worker| worker.slots as usize).sum();
        slots.clamp(1, MOST_AT_ONCE)
    }
}

/// The question in OpenAI's form, so that every engine and every rule behind the desk holds. Streamed: an answer that is
/// cut goes on elsewhere, and a client that stops waiting ends it at once.
fn make_ask(question: &Question) -> Result<Ask> {
    let schema = json!({"name": question.name, "schema": question.schema, "strict": true});
    let body = json!({
        "model": question.model,
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.prompt},
        ],
        "response_format": {"type": "json_schema", "json_schema": schema},
        "stream": true,
        "stream_options": {"include_usage": true},
        "temperature": 0,
        "max_tokens": question.most_tokens,
    });
    let body = body.to_string();
    let dialect = Dialect::OpenAiChat;
    let seen = base::peek::peek(dialect, body.as_bytes())?;
    let head = AskHead {
        face: Face::Internal,
        kind: question.kind,
        priority: Priority::Batch,
        model: seen.model.into(),
        stream: seen.stream,
        wants_usage_chunk: seen.wants_usage_chunk,
        sampling: seen.sampling,
        needs: seen.needs,
        prompt_tokens: seen.prompt_tokens,
        max_output_tokens: seen.max_output_tokens,
        prefix: seen.prefix.into(),
        client: "planner".into(),
        ..AskHead::plain(dialect, Deadline::after(Instant::now(), PATIENCE))
    };
    Ok(Ask { head, body: body.into() })
}

async fn gather(mut answer: EventAnswer) -> Result<Reply> {
    let mut reply = Reply { text: String::new(), model: answer.head.model, finish: None, tokens: (0, 0) };
    while let Some(event) = std::future::poll_fn(|cx| answer.events.poll_event(cx)).await {
        match event? {
            Event::Text(text) if reply.text.len() + text.len() > MOST_ANSWER => {
                return Err(Fault::new(base::Code::EngineFailed, "the model's answer does not end"));
            }
            Event::Text(text) => reply.text.push_str(&text),
            Event::Usage(usage) => reply.tokens = (usage.prompt_tokens, usage.completion_tokens),
            Event::Done(finish) => reply.finish = Some(finish),
            Event::Error(error) => return Err(Fault::new(base::Code::EngineFailed, error)),
            Event::Start { .. } | Event::Thinking(_) | Event::ToolCall { .. } => {}
        }
    }
    Ok(reply)
}
