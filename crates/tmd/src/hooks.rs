//! GitHub's webhook on this node: the door by its configuration, and the count of what came to it.

use anyhow::Result;
use base::config::{Config, ConfigFaults};
use planner::github::{self, Delivery, Hook, Received, Settings};
use planner::projects::Projects;
use store::SharedStore;

use crate::core::Core;

/// The door, and the projects behind it.
pub struct Hooks {
    hook: Hook,
    projects: Projects,
}

/// What is configured, with the files that it names; `None` when nothing is.
pub fn settings(config: &Config) -> Result<Option<Settings>, ConfigFaults> {
    config.github.as_ref().map(github::load).transpose()
}

impl Hooks {
    /// The door to the projects of `store`, if there is one.
    pub fn open(config: &Config, store: &SharedStore) -> Result<Option<Self>> {
        let settings = settings(config)?;
        Ok(settings.map(|settings| Self { hook: Hook::new(settings), projects: Projects::new(store.clone()) }))
    }
}

/// Takes a delivery, and counts what became of it.
pub async fn take(core: &Core, delivery: &Delivery) -> base::Result<Received> {
    let received = match &core.hooks {
        Some(hooks) => hooks.hook.receive(&hooks.projects, delivery).await,
        None => Err(github::not_configured()),
    };
    let outcome = received.as_ref().map_or_else(|fault| fault.code.as_str(), Received::outcome);
    core.metrics.deliveries.with_label_values(&[outcome]).inc();
    match &received {
        Ok(Received::Taken { changes, .. }) if !changes.is_empty() => {
            tracing::info!(event = delivery.event, id = delivery.id, "a delivery of github changed tasks");
        }
        Ok(_) => tracing::debug!(event = delivery.event, id = delivery.id, outcome, "a delivery of github was taken"),
        // The sender of an unsigned one may be anybody; what it calls itself is not written down.
        Err(fault) => tracing::debug!(error = %fault, "a delivery of github was refused"),
    }
    received
}
