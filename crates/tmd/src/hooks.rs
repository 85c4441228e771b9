//! GitHub's webhook on this node: the door by its configuration, and the count of what came to it.

use anyhow::Result;
use base::config::{Config, ConfigFaults};
use planner::github::{self, Delivery, Hook, Received, Settings};

use crate::core::Core;

/// What is configured, with the files that it names; `None` when nothing is.
pub fn settings(config: &Config) -> Result<Option<Settings>, ConfigFaults> {
    config.github.as_ref().map(github::load).transpose()
}

/// The door, if there is one.
pub fn open(config: &Config) -> Result<Option<Hook>> {
    Ok(settings(config)?.map(Hook::new))
}

/// Takes a delivery, and counts what became of it.
pub async fn take(core: &Core, delivery: &Delivery) -> base::Result<Received> {
    let received = match &core.github {
        Some(hook) => hook.receive(&core.planning.projects, delivery).await,
        None => Err(github::not_configured()),
    };
    let outcome = received.as_ref().map_or_else(|fault| fault.code.as_str(), Received::outcome);
    core.metrics.delivered(outcome);
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
