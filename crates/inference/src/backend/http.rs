//! Engines that are servers of their own, spoken to over HTTP: what is the same for all of them.

use std::time::{Duration, Instant};

use base::{BoxFuture, Result};

use super::{Backend, EngineModel, Health, Link, NewModel, Pulling, Run, Started, keep};
use crate::wire::KeepWish;

/// A backend over HTTP; see [`Backend`] for what each call is.
pub(super) trait Http: Send + Sync {
    /// The way to it, with the traits of its kind.
    fn http(&self) -> &Link;

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>>;

    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(self.http().health())
    }

    fn load<'a>(&'a self, _model: &'a str, _keep: Option<Duration>, _until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn unload<'a>(&'a self, _model: &'a str, _until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(self.http().not_supported("unload a model")) })
    }

    fn pull<'a>(&'a self, _model: &'a str, _until: Instant) -> BoxFuture<'a, Result<Pulling>> {
        Box::pin(async { Err(self.http().not_supported("pull a model")) })
    }

    fn create<'a>(&'a self, _model: &'a NewModel, _until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(self.http().not_supported("create a model")) })
    }

    fn start<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, Result<Started>> {
        Box::pin(async move { self.http().start(&run).await })
    }
}

impl<T: Http> Backend for T {
    fn link(&self) -> Option<&Link> {
        Some(self.http())
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Http::models(self, until)
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        Http::health(self)
    }

    fn load<'a>(&'a self, model: &'a str, keep: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        Http::load(self, model, keep, until)
    }

    fn unload<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<()>> {
        Http::unload(self, model, until)
    }

    fn pull<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<Pulling>> {
        Http::pull(self, model, until)
    }

    fn create<'a>(&'a self, model: &'a NewModel, until: Instant) -> BoxFuture<'a, Result<()>> {
        Http::create(self, model, until)
    }

    fn start<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, Result<Started>> {
        match KeepWish::of(run.ask) {
            Some(wish) => Box::pin(async move { keep(self, wish, &run).await }),
            None => Http::start(self, run),
        }
    }
}
