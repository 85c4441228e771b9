//! The cluster's models as plans use them: each question is an ask like any client's, behind those of people who wait.

use std::sync::Arc;
use std::time::Duration;

use base::report::WorkerState;
use base::{BoxFuture, Dialect, Kind, Priority, Result};
use planner::model::{MOST_PASSAGES, Models, Passage, Question, Reply};
use research::knowledge::Search;

use crate::core::Core;
use crate::doing::{self, Doing};
use crate::own_asks::{self, About, Told};

/// A question may wait long for a slot, and a small machine may take long over it.
const ABOUT: About = About {
    dialect: Dialect::OpenAiChat,
    kind: Kind::Planning,
    priority: Priority::Batch,
    client: "planner",
    within: Duration::from_secs(30 * 60),
};
/// The most of an answer that is gathered.
const MOST_ANSWER: usize = 4 << 20;
/// Questions of one job that are on their way at once, however many slots there are: clients have the cluster as well.
const MOST_AT_ONCE: usize = 16;

/// Asks through this node's router.
pub struct ClusterModels(pub Arc<Core>);

impl Models for ClusterModels {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let Question { model, kind, system, prompt, name, schema, most_tokens } = question;
            let body = own_asks::question(&model, &system, &prompt, Some((name, &schema)), most_tokens);
            let ask = own_asks::make(About { kind, ..ABOUT }, &body)?;
            let Told { text, model, finish, tokens } = own_asks::told(&self.0, ask, MOST_ANSWER).await?;
            Ok(Reply { text, model, finish, tokens })
        })
    }

    fn during<'a>(
        &'a self,
        work: &'static str,
        job: String,
        done: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(doing::during(self.0.clone(), Doing::Plan { work, job }, done))
    }

    fn look_up<'a>(&'a self, about: &'a str) -> BoxFuture<'a, Vec<Passage>> {
        Box::pin(async move {
            let Ok(knowledge) = crate::research::elsewhere::knowledge(&self.0) else { return Vec::new() };
            let search = Search { question: about.to_owned(), limit: MOST_PASSAGES as u32, ..Search::default() };
            let found = knowledge.search(search).await.map(|found| found.hits);
            let hits = found.inspect_err(|fault| tracing::debug!(error = %fault, "nothing is looked up for a plan"));
            let passage = |hit: research::hit::Hit| Passage { source: hit.source, text: hit.text };
            hits.unwrap_or_default().into_iter().map(passage).collect()
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
