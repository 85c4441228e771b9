//! The models of the house, as research uses them: each question is an ask like any client's, behind those of people.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use base::answer::collect;
use base::{Answer, BoxFuture, Code, Dialect, Fault, Finish, Kind, Priority, Result};
use bytes::Bytes;
use research::models::{Doing, Embedded, Embedder, Embeds, Models, Prompt, Reply};
use research::vectors::unit;
use routing::model::{ModelIndex, Tier, choose};
use routing::route::Request;
use serde::Deserialize;
use serde_json::json;

use super::alive;
use super::embeds::{self, Able};
use crate::core::Core;
use crate::desk::infer;
use crate::doing;
use crate::own_asks::{self, About, Told};

/// How texts are embedded; a model may have to be loaded first.
const EMBEDS: About = About {
    dialect: Dialect::OpenAiEmbeddings,
    kind: Kind::Embedding,
    priority: Priority::Batch,
    client: "research",
    within: Duration::from_secs(120),
};
/// A small machine may take long over an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30 * 60);
/// The most bytes of vectors that come at once, as JSON.
const MOST_VECTORS: usize = 64 << 20;
/// The most of an answer that is gathered.
const MOST_ANSWER: usize = 1 << 20;

/// Asks through this node's router.
pub struct HouseModels(pub Weak<Core>);

impl Models for HouseModels {
    fn embedder(&self, held: Option<&str>) -> Embeds {
        let Some(core) = self.0.upgrade() else { return Embeds::default() };
        let table = core.table.load();
        let (catalogue, now) = (table.catalogue(), Instant::now());
        let able = |index: ModelIndex| {
            let model = catalogue.get(index);
            let request = Request { kind: Kind::Embedding, ..Request::new(index, 1) };
            Able { name: model.name.to_string(), id: model.id.to_string(), can_serve: table.can_serve(&request, now) }
        };
        let is_named = core.config.load().roles.iter().any(|(role, names)| role == "embed" && !names.is_empty());
        let named: Vec<Able> = catalogue.role("embed").map(able).collect();
        let all: Vec<Able> = catalogue
            .for_use("embed", Kind::Embedding, Tier::Fast)
            .into_iter()
            .map(able)
            .chain(named.clone())
            .collect();
        embeds::decide(is_named.then_some(named.as_slice()), &all, held)
    }

    fn name_of(&self, model: &str) -> String {
        let named = self.0.upgrade().and_then(|core| name_of(&core, model).ok());
        named.unwrap_or_else(|| model.to_owned())
    }

    fn embed<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        Box::pin(embed(&self.0, model, texts, Priority::Batch))
    }

    fn embed_now<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        Box::pin(embed(&self.0, model, texts, Priority::Normal))
    }

    fn ask(&self, prompt: Prompt) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            let schema = prompt.schema.as_ref().map(|schema| ("answer", schema));
            let body = own_asks::question("research", &prompt.system, &prompt.prompt, schema, prompt.most_tokens);
            let about = About { dialect: Dialect::OpenAiChat, kind: Kind::Research, within: ANSWER_WITHIN, ..EMBEDS };
            let Told { text, model, finish, .. } =
                own_asks::told(&core, own_asks::make(about, &body)?, MOST_ANSWER).await?;
            Ok(Reply { text, model, is_whole: finish == Some(Finish::Stop) })
        })
    }

    fn during<'a>(&'a self, doing: Doing, done: BoxFuture<'a, Result<()>>) -> BoxFuture<'a, Result<()>> {
        let doing = match doing {
            Doing::Rounds(job) => doing::Doing::Rounds { job },
            Doing::Question => doing::Doing::Question,
            Doing::Search => doing::Doing::Search,
        };
        Box::pin(async move { doing::during(alive(&self.0)?, doing, done).await })
    }

    fn reranks(&self) -> bool {
        self.0.upgrade().is_some_and(|core| for_role(&core, "rerank", Kind::Rerank).is_some())
    }

    fn rerank<'a>(&'a self, question: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>> {
        Box::pin(async move {
            let core = alive(&self.0)?;
            let Some(name) = for_role(&core, "rerank", Kind::Rerank) else { return Ok(None) };
            let count = texts.len();
            let body = json!({"model": name, "query": question, "documents": texts});
            // Somebody waits for it.
            let about = About { dialect: Dialect::Rerank, kind: Kind::Rerank, priority: Priority::Normal, ..EMBEDS };
            let ask = own_asks::make(about, &body)?;
            let answer = infer::infer(&core, ask, None).await?;
            read_scores(&whole(answer).await?, count).map(Some)
        })
    }
}

async fn embed(core: &Weak<Core>, model: &str, texts: Vec<String>, priority: Priority) -> Result<Embedded> {
    let core = alive(core)?;
    let name = name_of(&core, model)?;
    let count = texts.len();
    let body = json!({"model": name, "input": texts, "encoding_format": "float"});
    let ask = own_asks::make(About { priority, ..EMBEDS }, &body)?;
    let answer = infer::infer(&core, ask, None).await?;
    let vectors = read_vectors(&whole(answer).await?, count)?;
    let dims = vectors.first().map_or(0, Vec::len) as u32;
    Ok(Embedded { by: Embedder { model: model.to_owned(), dims }, vectors })
}

/// The name of the model that answers for a role now; `None` where nobody can.
fn for_role(core: &Core, role: &str, kind: Kind) -> Option<Arc<str>> {
    let table = core.table.load();
    let now = Instant::now();
    let request = Request { kind, ..Request::new(ModelIndex::default(), 1) };
    let choice = choose(&table, role, &request, now).ok()?;
    table.can_serve(&Request { model: choice.model, ..request }, now).then_some(choice.name)
}

/// The name by which a model of that identity is asked.
fn name_of(core: &Core, identity: &str) -> Result<String> {
    let table = core.table.load();
    let found = table.catalogue().models().find(|(_, model)| model.id.as_str() == identity);
    found.map(|(_, model)| model.name.to_string()).ok_or_else(|| {
        Fault::new(Code::ModelNotFound, format!("no worker of the cluster offers the embedding model `{identity}`"))
            .hint("see `tmctl models`; another model under [roles] embed takes its place when all is embedded anew")
    })
}

async fn whole(mut answer: Answer) -> Result<Bytes> {
    collect(&mut *answer.frames, MOST_VECTORS).await
}

#[derive(Deserialize)]
struct EmbeddingsAnswer {
    data: Vec<EmbeddingItem>,
}

#[derive(Deserialize)]
struct EmbeddingItem {
    index: usize,
    embedding: Vec<f32>,
}

/// The vectors in the order of their texts, each of length 1. One that points nowhere stays as it is: whoever asked says
/// which text it is of.
fn read_vectors(body: &[u8], count: usize) -> Result<Vec<Vec<f32>>> {
    let wrong = || Fault::new(Code::EngineFailed, "the engine's vectors cannot be read");
    let answer: EmbeddingsAnswer = serde_json::from_slice(body).map_err(|error| wrong().because(error))?;
    let mut vectors = vec![Vec::new(); count];
    for item in answer.data {
        let vector = unit(&item.embedding, item.embedding.len() as u32).unwrap_or(item.embedding);
        *vectors.get_mut(item.index).ok_or_else(wrong)? = vector;
    }
    if vectors.iter().any(Vec::is_empty) {
        return Err(Fault::new(Code::EngineFailed, format!("the engine did not embed all of {count} texts")));
    }
    Ok(vectors)
}

#[derive(Deserialize)]
struct RerankAnswer {
    results: Vec<RerankItem>,
}

#[derive(Deserialize)]
struct RerankItem {
    index: usize,
    relevance_score: f32,
}

fn read_scores(body: &[u8], count: usize) -> Result<Vec<f32>> {
    let wrong = || Fault::new(Code::EngineFailed, "the engine's ranking cannot be read");
    let answer: RerankAnswer = serde_json::from_slice(body).map_err(|error| wrong().because(error))?;
    let mut scores = vec![f32::NEG_INFINITY; count];
    for item in answer.results {
        *scores.get_mut(item.index).ok_or_else(wrong)? = item.relevance_score;
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_1_and_come_in_the_order_of_their_texts() {
        let item = |index: usize, embedding: &[f32]| json!({"index": index, "embedding": embedding});
        let answer = json!({"data": [item(1, &[3.0, 4.0]), item(0, &[0.0, -2.0]), item(2, &[0.0, 0.0])]});
        let read = read_vectors(answer.to_string().as_bytes(), 3).unwrap();
        assert_eq!(read, [vec![0.0, -1.0], vec![0.6, 0.8], vec![0.0, 0.0]]);
        assert_eq!(read_vectors(answer.to_string().as_bytes(), 4).unwrap_err().code, Code::EngineFailed);
    }
}
