//! Research in rounds on this node: orders become jobs, and the jobs are done here, as long as someone has them done.

use std::sync::Arc;
use std::time::Duration;

use base::{BoxFuture, Fault, Result};
use jobs::{Context, Input, NewJob, Serving};
use tokio_util::sync::CancellationToken;

use super::Library;
use super::asking::gathering;
use crate::answer::Answer;
use crate::answer::asked::Counts;
use crate::bounds;
use crate::knowledge::{LoopOrder, Question, Say};
use crate::models::{Doing, Models};
use crate::names::BlobId;
use crate::rounds::{self, Ground, JOB_KIND, JOBS_AT_ONCE};

/// The most bytes of what a job is about.
const MOST_SUBJECT: usize = 200;

impl Library {
    /// Makes a job of an order, if it can be carried out at all. The same key gives the same job.
    pub(super) async fn order_loop(&self, order: LoopOrder, key: Option<String>) -> Result<String> {
        bounds::order(&order)?;
        self.check_filter(&order.filter).await?;
        let subject = order.question.trim();
        let subject = subject.get(..subject.floor_char_boundary(MOST_SUBJECT)).unwrap_or_default().to_owned();
        let who = order.who.clone();
        // Who asks does not change what is asked.
        let input = written(&LoopOrder { who: String::new(), ..order })?;
        let new = NewJob {
            kind: JOB_KIND.to_owned(),
            subject,
            who,
            key: key.map(|key| format!("{JOB_KIND}/{key}")),
            digest: BlobId::of(input.to_string().as_bytes()).to_string(),
            input,
        };
        Ok(self.jobs.submit(new).await?.to_string())
    }

    /// Carries out orders until `stop`, a few at once; those under way are let go of then, for another node.
    pub async fn serve_loops(self: Arc<Self>, lease_ttl: Duration, stop: CancellationToken) {
        let jobs = self.jobs.clone();
        let serving = Serving { kinds: &[JOB_KIND], slots: JOBS_AT_ONCE, lease_ttl };
        let handler = move |context: Context, input: Input| {
            let library = self.clone();
            async move {
                let order = input.read::<LoopOrder>()?;
                let rounds = rounds::run(&*library, &context, order);
                library.seen(Doing::Rounds(context.id().to_string()), rounds).await
            }
        };
        jobs::serve(jobs, serving, handler, stop).await;
    }
}

impl Ground for Library {
    fn answer(&self, question: Question) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.seen(Doing::Question, Library::answer(self, question, Say::default())))
    }

    fn models(&self) -> &dyn Models {
        &*self.models
    }

    fn counts(&self) -> Result<Counts> {
        Ok(gathering::counts(self.opened_snapshot()?))
    }
}

fn written(order: &LoopOrder) -> Result<serde_json::Value> {
    serde_json::to_value(order).map_err(|error| Fault::internal("could not write the input of a job").because(error))
}
