//! One call of a tool: its arguments, read as leniently as upstream's clients write them, and the answer around its data.

use std::sync::Arc;

use base::{Code, Fault, Grant, Result};
use planner::projects::{Outcome, Snapshot, Wanted, name_of_folder};
use planner::{Edit, Planning, TaskId, wire};
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};

use super::table::{Entry, Kind};
use super::{Refused, Server};
use crate::tasks::crossed;
use crate::{Desk, tasks_json};

/// What a tool gives, or why it does not.
pub(super) type Said = Result<Value, Refused>;

/// A call with what it needs.
pub(super) struct Call<'a> {
    server: &'a Server,
    arguments: Map<String, Value>,
    /// Arguments that no such tool has.
    ignored: Vec<String>,
    pub(super) context: &'a RequestContext<RoleServer>,
}

impl<'a> Call<'a> {
    /// Refuses arguments that are missing or of a wrong kind.
    pub(super) fn new(
        server: &'a Server,
        entry: &Entry,
        arguments: Map<String, Value>,
        context: &'a RequestContext<RoleServer>,
    ) -> Result<Self> {
        let mut ignored = Vec::new();
        for (name, value) in &arguments {
            match entry.argument(name) {
                Some(argument) if value.is_null() || argument.kind.takes(value) => {}
                Some(argument) => {
                    let what = format!("argument `{name}` of `{}` is not {}", entry.name, argument.kind);
                    let what = format!("{what}, but {}", shown(value));
                    return Err(Fault::invalid(what).hint(argument.about));
                }
                None => ignored.push(name.clone()),
            }
        }
        let is_given = |name: &str| arguments.get(name).is_some_and(|value| !value.is_null());
        if let Some(missing) = entry.required().find(|argument| !is_given(argument.name)) {
            let what = format!("argument `{}` of `{}` is missing", missing.name, entry.name);
            return Err(Fault::invalid(what).hint(format!("{}{}", missing.about, unknown(&ignored))));
        }
        Ok(Self { server, arguments, ignored, context })
    }

    /// Whether nobody waits for the answer any more: the client said so, or went away. A node that stops ends the call as
    /// well, and says nothing about the client.
    pub(super) fn is_abandoned(&self) -> bool {
        self.context.ct.is_cancelled() && !self.server.stop.is_cancelled()
    }

    pub(super) fn desk(&self) -> &dyn Desk {
        &*self.server.desk
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.server.grant
    }

    pub(super) fn planning(&self) -> Result<Arc<Planning>> {
        self.server.desk.planning()
    }

    pub(super) fn who(&self) -> &str {
        &self.server.who
    }

    /// A text, or a number as one; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> String {
        match self.arguments.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// A text that is there and not empty.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.trim().is_empty())
    }

    /// Whether it is told at all, be it empty.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.arguments.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.arguments.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        Kind::number(self.arguments.get(name)?)
    }

    /// A count that the planner bounds by itself.
    pub(super) fn count(&self, name: &str) -> u32 {
        self.number(name).map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(super) fn json(&self, name: &str) -> Option<&Value> {
        self.arguments.get(name).filter(|value| !value.is_null())
    }

    /// Texts, in a list or with commas between.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let parts = |text: &str| -> Vec<String> {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        match self.arguments.get(name) {
            Some(Value::Array(list)) => list.iter().flat_map(|one| parts(&plain(one))).collect(),
            Some(value) => parts(&plain(value)),
            None => Vec::new(),
        }
    }

    pub(super) fn ids(&self, name: &str) -> Result<Vec<TaskId>> {
        wire::ids_from_wire(name, &self.texts(name))
    }

    pub(super) fn id(&self, name: &str) -> Result<TaskId> {
        wire::id_from_wire(name, &self.text(name))
    }

    /// The project that is meant: by its name, by its folder, or because there is no other.
    pub(super) async fn project(&self) -> Result<String> {
        if let Some(name) = self.given("project") {
            return Ok(name);
        }
        if let Some(root) = self.given("projectRoot") {
            return name_of_folder(&root);
        }
        let all = self.planning()?.projects.list().await?;
        match all.as_slice() {
            [only] => Ok(only.name.clone()),
            _ => Err(Fault::invalid("no project is named")
                .hint("give `project`, or in `projectRoot` the folder that belongs to it")),
        }
    }

    pub(super) fn tag(&self) -> String {
        self.text("tag")
    }

    /// The tasks that are meant.
    pub(super) async fn snapshot(&self) -> Result<Snapshot> {
        let project = self.project().await?;
        self.planning()?.projects.snapshot(&project, &self.tag()).await
    }

    /// The same; `None` where none is named and there is not just one project.
    pub(super) async fn snapshot_if_any(&self) -> Result<Option<Snapshot>> {
        let is_named = self.given("project").or_else(|| self.given("projectRoot")).is_some();
        if !is_named && self.planning()?.projects.list().await?.len() != 1 {
            return Ok(None);
        }
        self.snapshot().await.map(Some)
    }

    /// Says why a call was refused; where its project is not there, how it comes to be.
    pub(super) async fn told(&self, mut refused: Refused) -> Refused {
        if !self.ignored.is_empty() {
            let hint = refused.fault.hint.clone().unwrap_or_default();
            refused.fault.hint = Some(format!("{hint}{}", unknown(&self.ignored)));
        }
        if refused.fault.code != Code::NotFound || !self.lacks_project(&refused.fault).await {
            return refused;
        }
        let hint = refused.fault.hint.clone().unwrap_or_default();
        Refused { fault: Box::new(refused.fault.hint(format!("call `initialize_project` first ({hint})"))), ..refused }
    }

    /// Whether a fault says that the project is not there, as the project itself says it.
    async fn lacks_project(&self, fault: &Fault) -> bool {
        let (Ok(project), Ok(planning)) = (self.project().await, self.planning()) else { return false };
        planning.projects.project(&project).await.is_err_and(|missing| missing.message == fault.message)
    }

    /// Makes edits at once, and says what is different.
    pub(super) async fn change(&self, edits: Vec<Edit>, why: String) -> Said {
        let project = self.project().await?;
        let expected = match self.number("expectedVersion") {
            Some(version) => self.ids("id")?.into_iter().map(|id| (id, version)).collect(),
            None => Vec::new(),
        };
        let wanted = Wanted { edits, expected, why, who: self.who().to_owned(), ..Wanted::default() };
        let outcome = self.planning()?.projects.change(&project, &self.tag(), &wanted).await?;
        said(&outcome)
    }

    /// `data` with what upstream puts around it.
    pub(super) async fn envelope(&self, data: Value) -> Value {
        let mut said = json!({
            "data": data,
            "version": { "name": "taskmaster", "version": env!("CARGO_PKG_VERSION") },
        });
        if let Ok(tag) = self.about_tags().await {
            said["tag"] = tag;
        }
        if !self.ignored.is_empty() {
            said["notes"] = json!([format!("not known and ignored: {}", self.ignored.join(", "))]);
        }
        said
    }

    async fn about_tags(&self) -> Result<Value> {
        let (project, planning) = (self.project().await?, self.planning()?);
        let current = planning.projects.project(&project).await?.current_tag;
        let tags = planning.projects.tags(&project).await?;
        let names: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
        Ok(json!({ "currentTag": current, "availableTags": names }))
    }
}

/// What became of a change; a conflict is a refusal with both versions.
pub(super) fn said(outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Done(done) => {
            let mut data = tasks_json::done(done);
            let touched = done.changes.iter().map(|change| &change.id);
            let mut ids: Vec<TaskId> = touched.chain(&done.added).cloned().collect();
            ids.sort();
            ids.dedup();
            let tasks = ids.iter().take(MOST_SHOWN).filter_map(|id| Some(tasks_json::task(id, done.tasks.get(id)?)));
            data["tasks"] = tasks.collect();
            Ok(data)
        }
        Outcome::Conflict(conflict) => {
            let fault = crossed(conflict)
                .hint("nothing was changed; look at both versions, and call again with the new version");
            Err(Refused { fault: Box::new(fault), conflict: Some(Box::new(tasks_json::conflict(conflict))) })
        }
    }
}

/// Tasks that an answer about a change shows whole.
const MOST_SHOWN: usize = 20;

/// Said behind a hint: it may be that what is missing was only misspelt.
fn unknown(ignored: &[String]) -> String {
    if ignored.is_empty() { String::new() } else { format!("; not known and ignored: {}", ignored.join(", ")) }
}

/// A value of a wrong kind, as far as a person reads it.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    planner::edit::clip(&value.to_string(), MOST)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
