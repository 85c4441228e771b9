//! A change of a project as every face makes it: what nobody offers now is taken all the same, and said.

use base::config::ROLES;
use base::{Grant, Result};
use planner::projects::ProjectChange;

use crate::{Desk, names};

/// Changes what is known of a project beside its tasks; gives what else a person should know.
pub(crate) async fn change(desk: &dyn Desk, project: &str, change: &ProjectChange) -> Result<Vec<String>> {
    desk.planning()?.projects.change_project(project, change).await?;
    Ok(change.models.iter().filter_map(|(_, name)| not_offered(desk, name.trim())).collect())
}

/// The machine that has a model may be off for now: no reason to refuse its name, but one to say so.
fn not_offered(desk: &dyn Desk, model: &str) -> Option<String> {
    if model.is_empty() || model == "auto" || ROLES.contains(&model) {
        return None;
    }
    let fault = names::look_up(desk, Grant::everything(), model).err()?;
    let hint = fault.hint.unwrap_or_default();
    Some(format!("nobody offers `{model}` now ({hint}); until somebody does, plans ask the models of the other roles"))
}
