//! What all faces of the knowledge base share: an answer as it comes, and a document or some characters of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::{BoxFuture, Code, Fault, Result};
use futures_util::{Stream, StreamExt, stream};
use research::address::{self, Address};
use research::answer::Answer;
use research::hit::{Hit, Span};
use research::knowledge::{Added, Outcome, Question, Said, Say};
use research::{CollectionName, Document, Knowledge, NewDocument, bounds};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::trace;

/// What may wait to be told; a client that does not read holds its own answer up.
const WAITING: usize = 64;

/// What comes while a question is answered. The answer, or why there is none, is the last.
pub(crate) enum Told {
    Said(Said),
    Answer(Box<Answer>),
    Fault(Fault),
}

/// A question that is being answered, polled by whoever reads it: dropping it ends the work, down to the engine.
pub(crate) struct Asking {
    work: Option<BoxFuture<'static, Result<Answer>>>,
    said: mpsc::Receiver<Said>,
    end: Option<Told>,
}

impl Asking {
    /// Begins to answer; there is no answer after `within`.
    pub(crate) fn new(knowledge: Arc<dyn Knowledge>, question: Question, within: Duration) -> Self {
        let (sender, said) = mpsc::channel(WAITING);
        let parent = trace::parent();
        let work = trace::within(parent, async move {
            let asked = knowledge.ask(question, Say::to(sender));
            tokio::time::timeout(within, asked).await.unwrap_or_else(|_| {
                Err(Fault::new(Code::DeadlineExceeded, format!("the question was not answered within {within:?}"))
                    .hint("ask again in the mode `extractive`, which needs no model"))
            })
        });
        Self { work: Some(Box::pin(work)), said, end: None }
    }

    /// Waits for what is told first: a question that is refused is refused with its status, and what happens later is told
    /// in the stream.
    pub(crate) async fn begun(mut self) -> Result<impl Stream<Item = Told>> {
        match self.next().await {
            Some(Told::Fault(fault)) => Err(fault),
            first => Ok(stream::iter(first).chain(self)),
        }
    }

    /// The answer alone.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        while let Some(told) = self.next().await {
            match told {
                Told::Said(_) => {}
                Told::Answer(answer) => return Ok(*answer),
                Told::Fault(fault) => return Err(fault),
            }
        }
        Err(Fault::internal("a question ended without an answer"))
    }
}

impl Stream for Asking {
    type Item = Told;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Told>> {
        loop {
            let said = self.said.poll_recv(cx);
            if let Poll::Ready(Some(said)) = said {
                return Poll::Ready(Some(Told::Said(said)));
            }
            let Some(work) = &mut self.work else {
                // The work owned the sender, so what it said has all been told by now.
                return Poll::Ready(self.end.take());
            };
            let Poll::Ready(answer) = work.as_mut().poll(cx) else { return Poll::Pending };
            self.work = None;
            self.end = Some(match answer {
                Ok(answer) => Told::Answer(Box::new(answer)),
                Err(fault) => Told::Fault(fault),
            });
        }
    }
}

/// Adds one document. One that is refused is a fault; one that could not be read is kept, and its outcome says so.
pub(crate) async fn add(knowledge: &dyn Knowledge, collection: CollectionName, new: NewDocument) -> Result<Added> {
    bounds::source(&new.source)?;
    bounds::meta(&new.meta)?;
    let added = knowledge.add(collection, vec![new]).await?.pop();
    let added = added.ok_or_else(|| Fault::internal("a document was not answered by the knowledge base"))?;
    match added.outcome {
        Outcome::Refused => Err(Fault::invalid(added.reason).hint(added.hint)),
        _ => Ok(added),
    }
}

/// Which document a client means, and which characters of it: by its address in the house, or by collection and id or
/// source. `end` 0 is the end.
pub(crate) async fn document(
    knowledge: &dyn Knowledge,
    collection: &str,
    which: &str,
    (start, end): (u64, u64),
) -> Result<(Document, String)> {
    let is_address = which.starts_with(address::SCHEME);
    let (collection, named, (start, end), version) = if is_address {
        let Address { collection: home, document, version, chars } = Address::parse(which)?;
        if !collection.is_empty() && collection != home.as_str() {
            let fault = Fault::invalid(format!("`{which}` does not lie in the collection `{collection}`"));
            return Err(fault.hint("leave the collection out; the address has it"));
        }
        let chars = if (start, end) == (0, 0) { chars.unwrap_or_default() } else { (start, end) };
        (home, document.to_string(), chars, version)
    } else {
        if which.is_empty() {
            return Err(Fault::invalid("no document is named").hint("give its id, its source or its address"));
        }
        (research::wire::collection_from_wire(collection)?, which.to_owned(), (start, end), None)
    };
    if end > 0 && end < start {
        return Err(Fault::invalid(format!("the characters {start} to {end} end before they begin"))
            .hint("`end` is behind the last character; 0 is the end of the document"));
    }
    let (document, text) = knowledge.document(collection, named).await?;
    address::check(which, version, document.version)?;
    let text = if (start, end) == (0, 0) { text } else { address::characters(&text, start, end) };
    Ok((document, text))
}

/// An answer as JSON; each citation with where its reader finds it, and its address in the house.
pub(crate) fn answer_json(answer: &Answer) -> Result<Value> {
    let mut said = json(answer)?;
    if let Some(citations) = said.get_mut("citations").and_then(Value::as_array_mut) {
        for (shown, one) in citations.iter_mut().zip(&answer.citations) {
            find(shown, &one.source, &one.collection, &one.span);
        }
    }
    Ok(said)
}

/// Passages as JSON, each with the same.
pub(crate) fn hits_json(hits: &[Hit]) -> Result<Vec<Value>> {
    let one = |hit: &Hit| {
        let mut shown = json(hit)?;
        find(&mut shown, &hit.source, &hit.collection, &hit.span);
        Ok(shown)
    };
    hits.iter().map(one).collect()
}

fn find(shown: &mut Value, source: &str, collection: &CollectionName, span: &Span) {
    shown["url"] = address::link(source, collection, span).into();
    shown["address"] = Address::of(collection, span).to_string().into();
}

/// A value of the knowledge base as JSON. Through text, which has numbers as short as they were meant: `0.62`, and not what
/// the wider type of a `Value` makes of it.
pub(crate) fn json(value: &impl Serialize) -> Result<Value> {
    let written = serde_json::to_string(value).and_then(|text| serde_json::from_str(&text));
    written.map_err(|error| Fault::internal("could not write the answer").because(error))
}
