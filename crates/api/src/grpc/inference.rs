//! The inference service: asks with answers as events, vectors and rankings.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use base::answer::{self, Events};
use base::{Ask, AskId, Code, Event, EventAnswer, Fault, Result, Usage};
use futures_util::Stream;
use proto::inference::generate_response::Event as Wire;
use proto::inference::inference_server::Inference;
use proto::inference::{
    Done, EmbedRequest, EmbedResponse, Finish, GenerateRequest, GenerateResponse, ListModelsRequest,
    ListModelsResponse, ListedModel, Ranked, RerankRequest, RerankResponse, Started, Vector,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status};

use super::GrpcLimits;
use super::make_ask::{self, Call};
use super::planning::client;
use crate::Desk;

/// The service over a desk.
pub(super) struct Service {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) limits: Arc<ArcSwap<GrpcLimits>>,
}

impl Service {
    fn call<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        Ok(Call::read(request.metadata(), client(request)?, self.limits.load().ask))
    }

    async fn generate(&self, call: Call, request: GenerateRequest) -> Result<GenerateStream> {
        let (ask, continues) = make_ask::generate(call, &request)?;
        let id = ask.head.id;
        Ok(GenerateStream::new(id, self.desk.infer_events(ask, continues).await?))
    }

    /// Asks, and reads the answer's JSON.
    async fn infer_json<T: DeserializeOwned>(&self, ask: Ask) -> Result<(String, T)> {
        let mut answer = self.desk.infer(ask, None).await?;
        let body = answer::collect(&mut answer.frames, self.limits.load().answer).await?;
        let json = serde_json::from_slice(&body).map_err(|error| {
            Fault::new(Code::EngineFailed, "could not read the engine's answer")
                .because(error)
                .hint("try another model")
        })?;
        Ok((answer.head.model, json))
    }

    async fn embed(&self, call: Call, request: EmbedRequest) -> Result<EmbedResponse> {
        #[derive(Deserialize)]
        struct Body {
            data: Vec<Item>,
            usage: Option<Counts>,
        }
        #[derive(Deserialize)]
        struct Item {
            index: usize,
            embedding: Vec<f32>,
        }
        #[derive(Deserialize)]
        struct Counts {
            prompt_tokens: u32,
        }
        let (model, mut body): (_, Body) = self.infer_json(make_ask::embed(call, &request)?).await?;
        body.data.sort_unstable_by_key(|item| item.index);
        let is_whole =
            body.data.len() == request.inputs.len() && body.data.iter().enumerate().all(|(i, item)| i == item.index);
        if !is_whole {
            let message = format!("the engine gave {} vectors for {} inputs", body.data.len(), request.inputs.len());
            return Err(Fault::new(Code::EngineFailed, message).hint("try another model"));
        }
        Ok(EmbedResponse {
            model,
            vectors: body.data.into_iter().map(|item| Vector { values: item.embedding }).collect(),
            prompt_tokens: body.usage.map_or(0, |usage| usage.prompt_tokens),
        })
    }

    async fn rerank(&self, call: Call, request: RerankRequest) -> Result<RerankResponse> {
        #[derive(Deserialize)]
        struct Body {
            results: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            index: u32,
            relevance_score: f64,
        }
        let (model, mut body): (_, Body) = self.infer_json(make_ask::rerank(call, &request)?).await?;
        if body.results.iter().any(|item| item.index as usize >= request.documents.len()) {
            return Err(Fault::new(Code::EngineFailed, "the engine ranked a document that was not given")
                .hint("try another model"));
        }
        body.results.sort_by(|one, other| other.relevance_score.total_cmp(&one.relevance_score));
        let most = if request.top == 0 { usize::MAX } else { request.top as usize };
        let ranked =
            body.results.into_iter().take(most).map(|item| Ranked { index: item.index, score: item.relevance_score });
        Ok(RerankResponse { model, results: ranked.collect() })
    }
}

#[tonic::async_trait]
impl Inference for Service {
    type GenerateStream = GenerateStream;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<GenerateStream>, Status> {
        answered(Service::generate(self, self.call(&request)?, request.into_inner()).await)
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        answered(Service::embed(self, self.call(&request)?, request.into_inner()).await)
    }

    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        answered(Service::rerank(self, self.call(&request)?, request.into_inner()).await)
    }

    async fn list_models(&self, request: Request<ListModelsRequest>) -> Result<Response<ListModelsResponse>, Status> {
        let models = self.desk.models(&*client(&request)?).models.into_iter().map(|model| ListedModel {
            workers: model.places.iter().map(|place| place.worker.clone()).collect(),
            loaded_on: model.places.iter().filter(|place| place.is_loaded).map(|place| place.worker.clone()).collect(),
            context_tokens: model.places.iter().map(|place| place.context_tokens).max().unwrap_or_default(),
            capabilities: model.places.first().map(|place| place.capabilities.clone()).unwrap_or_default(),
            name: model.name,
            id: model.id,
            aliases: model.aliases,
            tier: model.tier,
        });
        Ok(Response::new(ListModelsResponse { models: models.collect() }))
    }
}

fn answered<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|fault| proto::to_status(&fault))
}

/// An answer's events as messages. It ends with `Done`, or with a status; never just so.
pub(super) struct GenerateStream {
    started: Option<Started>,
    events: Box<dyn Events>,
    finish: Option<base::Finish>,
    usage: Option<Usage>,
    is_over: bool,
}

impl GenerateStream {
    fn new(id: AskId, answer: EventAnswer) -> Self {
        let started = Started {
            ask: id.to_string(),
            model: answer.head.model,
            worker: answer.head.worker.map(|worker| worker.to_string()).unwrap_or_default(),
            fallback: answer.head.fallback.unwrap_or_default(),
        };
        Self { started: Some(started), events: answer.events, finish: None, usage: None, is_over: false }
    }

    /// The next message; `None` at the end of the events. Counts may come behind the finish, so both wait for the end.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Wire>>> {
        loop {
            let wire = match ready!(self.events.poll_event(cx)) {
                None => return Poll::Ready(None),
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                Some(Ok(Event::Error(message))) => {
                    let fault = Fault::new(Code::EngineFailed, message).hint("ask again; another worker may do");
                    return Poll::Ready(Some(Err(fault)));
                }
                Some(Ok(Event::Text(text))) => Wire::Text(text),
                Some(Ok(Event::Thinking(text))) => Wire::Thinking(text),
                Some(Ok(Event::Usage(usage))) => {
                    self.usage = Some(usage);
                    continue;
                }
                Some(Ok(Event::Done(finish))) => {
                    self.finish = Some(finish);
                    continue;
                }
                // Requests of this service cannot offer tools, and `Started` was made from the head.
                Some(Ok(Event::Start { .. } | Event::ToolCall { .. })) => continue,
            };
            return Poll::Ready(Some(Ok(wire)));
        }
    }

    fn end(&mut self) -> Result<Wire> {
        self.is_over = true;
        let finish = self.finish.ok_or_else(|| {
            Fault::new(Code::EngineCut, "the answer stopped before its end").hint("ask again with `continue_from`")
        })?;
        Ok(Wire::Done(Done { finish: finish_to_wire(finish).into(), usage: self.usage.map(usage_to_wire) }))
    }
}

impl Stream for GenerateStream {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let wire = match self.started.take() {
            Some(started) => Ok(Wire::Started(started)),
            None => ready!(self.poll_wire(cx)).unwrap_or_else(|| self.end()),
        };
        self.is_over |= wire.is_err();
        let message = wire.map(|event| GenerateResponse { event: Some(event) });
        Poll::Ready(Some(message.map_err(|fault| proto::to_status(&fault))))
    }
}

fn finish_to_wire(finish: base::Finish) -> Finish {
    match finish {
        base::Finish::Stop => Finish::Stop,
        base::Finish::Length => Finish::Length,
        base::Finish::ToolCalls => Finish::ToolCalls,
        base::Finish::ContentFilter => Finish::ContentFilter,
    }
}

fn usage_to_wire(usage: Usage) -> proto::inference::Usage {
    proto::inference::Usage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cached_tokens: usage.cached_tokens,
    }
}
