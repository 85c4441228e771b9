//! The planning service: projects and tasks over gRPC. Each call is one of `planner`'s.

use std::pin::Pin;
use std::sync::Arc;

use base::{Fault, Grant, Result};
use futures_util::{Stream, StreamExt};
use planner::edit::Dependencies;
use planner::planning::{FieldClash, Taking};
use planner::projects::{ProjectChange, Snapshot, Wanted};
use planner::query::Filter;
use planner::sync;
use planner::tasks_file::TasksFile;
use planner::{Planning, TaskId, graph, query, render, templates, wire};
use proto::planning as p;
use proto::planning::planning_server::Planning as Rpc;
use tonic::{Request, Response, Status, Streaming};

use super::{mcp, orders};
use crate::mcp::{Server, Tools};
use crate::tasks::{self, Sides, all_there};
use crate::{Client, Desk, job, projects, tasks_json};

/// The service over a desk.
pub(super) struct Service {
    pub(super) desk: Arc<dyn Desk>,
    /// Ends watchers, which would keep a stopping server waiting.
    pub(super) stop: tokio_util::sync::CancellationToken,
}

type Answered<T> = Result<Response<T>, Status>;

fn answered<T>(result: Result<T>) -> Answered<T> {
    result.map(Response::new).map_err(|fault: Fault| proto::to_status(&fault))
}

/// Who a call comes from: the name of its key, and who it says it is, in the message or in `x-tm-who`.
pub(super) fn who<T>(request: &Request<T>, said: &str) -> String {
    let key = request.extensions().get::<Client>().map_or("", |client| &client.0.name);
    crate::who(key, if said.is_empty() { metadata(request, "x-tm-who") } else { said })
}

/// What the key of a call allows; the door has noted it.
pub(super) fn client<T>(request: &Request<T>) -> Result<Arc<Grant>, Status> {
    let client = request.extensions().get::<Client>().map(|client| client.0.clone());
    client.ok_or_else(|| proto::to_status(&Fault::internal("a call came in without a look at its key")))
}

fn metadata<'a, T>(request: &'a Request<T>, name: &str) -> &'a str {
    request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn place(place: Option<p::Place>) -> Result<p::Place> {
    place.ok_or_else(|| Fault::invalid("field `place` is missing").hint("say which project, and which tag of it"))
}

fn filter(wire: p::Filter) -> Result<Filter> {
    Ok(Filter {
        statuses: wire.statuses.iter().map(|text| wire::status_from_wire(text)).collect::<Result<_>>()?,
        priorities: wire.priorities.iter().map(|text| wire::priority_from_wire(text)).collect::<Result<_>>()?,
        ready: wire.ready,
        blocking: wire.blocking,
        text: wire.text,
        ids: wire::ids_from_wire("ids", &wire.ids)?,
        with_subtasks: !wire.without_subtasks,
        ..Filter::default()
    })
}

fn merge_conflict(tag: &str, conflict: &sync::Conflict) -> p::MergeConflict {
    let Sides { field, ours, theirs } = Sides::of(conflict);
    p::MergeConflict {
        tag: tag.to_owned(),
        id: conflict.task.to_string(),
        field,
        ours: ours.unwrap_or_default(),
        theirs: theirs.unwrap_or_default(),
    }
}

fn field_clash(clash: &FieldClash) -> p::MergeConflict {
    let FieldClash { tag, field, ours, theirs } = clash.clone();
    p::MergeConflict { tag, id: String::new(), field, ours, theirs }
}

impl Service {
    fn planning(&self) -> Result<Arc<Planning>> {
        self.desk.planning()
    }

    async fn snapshot(&self, at: Option<p::Place>) -> Result<Snapshot> {
        let at = place(at)?;
        self.planning()?.projects.snapshot(&at.project, &at.tag).await
    }

    async fn project(&self, name: &str) -> Result<p::Project> {
        let planning = self.planning()?;
        let project = planning.projects.project(name).await?;
        Ok(wire::project_to_wire(&project, &planning.projects.tags(name).await?))
    }

    async fn tags(&self, project: &str) -> Result<(Vec<p::Tag>, String)> {
        let project = self.project(project).await?;
        Ok((project.tags, project.current_tag))
    }
}

#[tonic::async_trait]
impl Rpc for Service {
    async fn list_projects(&self, _: Request<p::ListProjectsRequest>) -> Answered<p::ListProjectsResponse> {
        let all = async {
            let (planning, mut projects) = (self.planning()?, Vec::new());
            for project in planning.projects.list().await? {
                projects.push(wire::project_to_wire(&project, &planning.projects.tags(&project.name).await?));
            }
            Ok(p::ListProjectsResponse { projects })
        };
        answered(all.await)
    }

    async fn create_project(&self, request: Request<p::CreateProjectRequest>) -> Answered<p::CreateProjectResponse> {
        let p::CreateProjectRequest { name, description, language } = request.into_inner();
        let made = async {
            self.planning()?.projects.create(&name, &description, &language).await?;
            Ok(p::CreateProjectResponse { project: Some(self.project(&name).await?) })
        };
        answered(made.await)
    }

    async fn change_project(&self, request: Request<p::ChangeProjectRequest>) -> Answered<p::ChangeProjectResponse> {
        let request = request.into_inner();
        let p::ChangeProjectRequest { project, description, language, current_tag, .. } = request;
        let change = ProjectChange { description, language, current_tag, ..ProjectChange::default() }.with_models(
            request.main_model,
            request.research_model,
            request.fallback_model,
        );
        let changed = async {
            let notes = projects::change(&*self.desk, &project, &change).await?;
            Ok(p::ChangeProjectResponse { project: Some(self.project(&project).await?), notes })
        };
        answered(changed.await)
    }

    async fn delete_project(&self, request: Request<p::DeleteProjectRequest>) -> Answered<p::DeleteProjectResponse> {
        let deleted = async {
            self.planning()?.projects.delete(&request.into_inner().project).await?;
            Ok(p::DeleteProjectResponse {})
        };
        answered(deleted.await)
    }

    async fn list_templates(&self, _: Request<p::ListTemplatesRequest>) -> Answered<p::ListTemplatesResponse> {
        let all = templates::all().iter().map(|template| p::Template {
            name: template.name.into(),
            title: template.title.into(),
            prd: template.prd.into(),
        });
        Ok(Response::new(p::ListTemplatesResponse { templates: all.collect() }))
    }

    async fn list_tags(&self, request: Request<p::ListTagsRequest>) -> Answered<p::ListTagsResponse> {
        let tags = self.tags(&request.into_inner().project).await;
        answered(tags.map(|(tags, current_tag)| p::ListTagsResponse { tags, current_tag }))
    }

    async fn change_tag(&self, request: Request<p::ChangeTagRequest>) -> Answered<p::ChangeTagResponse> {
        let who = who(&request, "");
        let p::ChangeTagRequest { project, change } = request.into_inner();
        let changed = async {
            let planning = self.planning()?;
            let projects = &planning.projects;
            match change {
                Some(p::change_tag_request::Change::Add(add)) => {
                    projects.add_tag(&project, &add.name, &add.description, &add.copy_from, &who).await?;
                }
                Some(p::change_tag_request::Change::Rename(rename)) => {
                    projects.rename_tag(&project, &rename.name, &rename.to).await?;
                }
                Some(p::change_tag_request::Change::Delete(delete)) => {
                    projects.delete_tag(&project, &delete.name).await?;
                }
                None => return Err(Fault::invalid("field `change` is missing").hint("add, rename or delete a tag")),
            }
            let (tags, current_tag) = self.tags(&project).await?;
            Ok(p::ChangeTagResponse { tags, current_tag })
        };
        answered(changed.await)
    }

    async fn list_tasks(&self, request: Request<p::ListTasksRequest>) -> Answered<p::ListTasksResponse> {
        let p::ListTasksRequest { place, filter: wanted, offset, limit } = request.into_inner();
        let listed = async {
            let snapshot = self.snapshot(place).await?;
            let wanted =
                Filter { offset: offset as usize, limit: limit as usize, ..filter(wanted.unwrap_or_default())? };
            all_there(&snapshot, &wanted.ids)?;
            let page = query::list(&snapshot.tasks, &wanted);
            Ok(p::ListTasksResponse {
                tasks: page.tasks.iter().map(|(id, task)| wire::task_to_wire(id, task)).collect(),
                total: page.total as u32,
                revision: snapshot.about.revision,
                by_status: wire::by_status(&snapshot.about),
                tag: snapshot.tag,
                draft_because: snapshot.about.draft_because,
            })
        };
        answered(listed.await)
    }

    async fn next_task(&self, request: Request<p::NextTaskRequest>) -> Answered<p::NextTaskResponse> {
        let found = async {
            let snapshot = self.snapshot(request.into_inner().place).await?;
            let next = graph::next(&snapshot.tasks, 5);
            let shown = |id: &TaskId| snapshot.tasks.get(id).map(|task| wire::task_to_wire(id, task));
            Ok(p::NextTaskResponse {
                task: next.chosen.as_ref().and_then(shown),
                reasons: next.reasons,
                others: next.others.iter().filter_map(shown).collect(),
            })
        };
        answered(found.await)
    }

    async fn check_tasks(&self, request: Request<p::CheckTasksRequest>) -> Answered<p::CheckTasksResponse> {
        let checked = async {
            let snapshot = self.snapshot(request.into_inner().place).await?;
            let breaches = graph::check(&snapshot.tasks);
            let breaches = breaches.iter().map(|breach| p::Breach {
                id: breach.id().to_string(),
                kind: breach.kind().to_owned(),
                text: breach.to_string(),
            });
            let fixes = graph::fix(&snapshot.tasks).iter().map(ToString::to_string).collect();
            let tasks = snapshot.tasks.count() as u32;
            Ok(p::CheckTasksResponse { breaches: breaches.collect(), fixes, tasks })
        };
        answered(checked.await)
    }

    async fn render(&self, request: Request<p::RenderRequest>) -> Answered<p::RenderResponse> {
        let wanted = request.get_ref().rendering();
        let rendered = async {
            let snapshot = self.snapshot(request.into_inner().place).await?;
            let kind = match wanted {
                p::Rendering::Tree => render::Kind::Tree,
                p::Rendering::Svg => render::Kind::Svg,
                p::Rendering::Report => render::Kind::Report,
                p::Rendering::Files => render::Kind::Files,
                p::Rendering::Readme => render::Kind::Readme,
                p::Rendering::Complexity => render::Kind::Complexity,
                p::Rendering::Unspecified => {
                    return Err(Fault::invalid("field `rendering` is missing").hint("say what the tasks should become"));
                }
            };
            let files = render::render(&snapshot, kind)?;
            let files = files.into_iter().map(|(name, text)| p::RenderedFile { name, text }).collect();
            Ok(p::RenderResponse { files })
        };
        answered(rendered.await)
    }

    async fn edit(&self, request: Request<p::EditRequest>) -> Answered<p::EditResponse> {
        let who = who(&request, &request.get_ref().who);
        let p::EditRequest { place: at, changes, expected, dry_run, why, .. } = request.into_inner();
        let edited = async {
            let at = place(at)?;
            let edits = changes.iter().map(wire::edits_from_wire).collect::<Result<Vec<_>>>()?.concat();
            if edits.is_empty() {
                return Err(Fault::invalid("field `changes` is empty").hint("say what should be changed"));
            }
            let expected = expected.iter().map(|one| Ok((wire::id_from_wire("expected", &one.id)?, one.version)));
            let expected = expected.collect::<Result<Vec<_>>>()?;
            let wanted = Wanted { edits, expected, dry_run, why, who, ..Wanted::default() };
            let outcome = self.planning()?.projects.change(&at.project, &at.tag, &wanted).await?;
            Ok(wire::outcome_to_wire(&outcome))
        };
        answered(edited.await)
    }

    async fn move_to_tag(&self, request: Request<p::MoveToTagRequest>) -> Answered<p::MoveToTagResponse> {
        let who = who(&request, "");
        let how = match request.get_ref().dependencies() {
            p::move_to_tag_request::Dependencies::Move => Dependencies::Move,
            p::move_to_tag_request::Dependencies::Cut => Dependencies::Cut,
            p::move_to_tag_request::Dependencies::Unspecified => Dependencies::Refuse,
        };
        let p::MoveToTagRequest { place: at, to_tag, ids, .. } = request.into_inner();
        let moved = async {
            let (at, ids) = (place(at)?, wire::ids_from_wire("ids", &ids)?);
            let planning = self.planning()?;
            let (ids, notes) = planning.projects.move_to_tag(&at.project, &at.tag, &to_tag, &ids, how, &who).await?;
            Ok(p::MoveToTagResponse { notes, ids: ids.iter().map(ToString::to_string).collect() })
        };
        answered(moved.await)
    }

    async fn undo(&self, request: Request<p::UndoRequest>) -> Answered<p::UndoResponse> {
        let who = who(&request, "");
        let p::UndoRequest { place: at, revision, dry_run } = request.into_inner();
        let undone = async {
            let at = place(at)?;
            let revision = (revision > 0).then_some(revision);
            let outcome = self.planning()?.projects.undo(&at.project, &at.tag, revision, &who, dry_run).await?;
            Ok(p::UndoResponse { done: Some(wire::outcome_to_wire(&outcome)) })
        };
        answered(undone.await)
    }

    async fn history(&self, request: Request<p::HistoryRequest>) -> Answered<p::HistoryResponse> {
        let p::HistoryRequest { place: at, id, before_revision, limit } = request.into_inner();
        let listed = async {
            let at = place(at)?;
            let id = (!id.is_empty()).then(|| wire::id_from_wire("id", &id)).transpose()?;
            let before = (before_revision > 0).then_some(before_revision);
            let limit = if limit == 0 { 50 } else { limit as usize };
            let planning = self.planning()?;
            let events = planning.projects.history(&at.project, &at.tag, id.as_ref(), before, limit).await?;
            Ok(p::HistoryResponse { items: events.iter().map(wire::event_to_wire).collect() })
        };
        answered(listed.await)
    }

    async fn export(&self, request: Request<p::ExportRequest>) -> Answered<p::ExportResponse> {
        let p::ExportRequest { project, tag } = request.into_inner();
        let exported = async {
            let file = self.planning()?.export(&project, &tag).await?;
            Ok(p::ExportResponse { tasks_json: tasks_json::file(&file)?.into() })
        };
        answered(exported.await)
    }

    async fn import(&self, request: Request<p::ImportRequest>) -> Answered<p::ImportResponse> {
        let who = who(&request, "");
        let p::ImportRequest { project, tasks_json, base_tasks_json, dry_run, may_empty } = request.into_inner();
        let taking = match (dry_run, may_empty) {
            (true, _) => Taking::Nothing,
            (false, false) => Taking::UnlessItEmpties,
            (false, true) => Taking::Everything,
        };
        let imported = async {
            let theirs = TasksFile::read(&tasks_json)?;
            // An unchanged file is its own base, and large ones are not read twice for that.
            let is_own_base = base_tasks_json == tasks_json;
            let is_other = !is_own_base && !base_tasks_json.is_empty();
            let base = is_other.then(|| TasksFile::read(&base_tasks_json)).transpose()?;
            let base = if is_own_base { Some(&theirs.file) } else { base.as_ref().map(|base| &base.file) };
            let imported = self.planning()?.import(&project, &theirs.file, base, &who, taking).await?;
            let conflicts = imported.conflicts.iter().map(|(tag, conflict)| merge_conflict(tag, conflict));
            let differences = imported.differences.iter();
            Ok(p::ImportResponse {
                tasks_json: tasks_json::file(&imported.file)?.into(),
                conflicts: conflicts.chain(imported.clashes.iter().map(field_clash)).collect(),
                differences: differences.map(|(tag, found)| wire::difference_to_wire(tag, found)).collect(),
                notes: [tasks::oddities(&theirs), imported.notes].concat(),
                has_changed: imported.has_changed,
            })
        };
        answered(imported.await)
    }

    async fn start(&self, request: Request<p::StartRequest>) -> Answered<p::StartResponse> {
        let who = who(&request, "");
        let started = async {
            let (order, key) = orders::order(request.into_inner(), who)?;
            Ok(p::StartResponse { job: self.planning()?.start(order, key).await?.to_string() })
        };
        answered(started.await)
    }

    async fn get_job(&self, request: Request<p::GetJobRequest>) -> Answered<p::GetJobResponse> {
        let found = async {
            let job = self.planning()?.job(&request.into_inner().id).await?;
            Ok(p::GetJobResponse { job: Some(orders::job(&job)) })
        };
        answered(found.await)
    }

    async fn list_jobs(&self, request: Request<p::ListJobsRequest>) -> Answered<p::ListJobsResponse> {
        let listed = async {
            let jobs = self.planning()?.jobs_of(&request.into_inner().project).await?;
            Ok(p::ListJobsResponse { jobs: jobs.iter().map(orders::job).collect() })
        };
        answered(listed.await)
    }

    async fn cancel_job(&self, request: Request<p::CancelJobRequest>) -> Answered<p::CancelJobResponse> {
        let id = request.into_inner().id;
        let cancelled = async {
            let job = job::cancel(&*self.planning()?, &id).await?;
            Ok(p::CancelJobResponse { job: Some(orders::job(&job)) })
        };
        answered(cancelled.await)
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<p::WatchJobResponse, Status>> + Send>>;

    async fn watch_job(&self, request: Request<p::WatchJobRequest>) -> Answered<Self::WatchJobStream> {
        let id = request.into_inner().id;
        let stop = self.stop.clone();
        let watched = async {
            let jobs = self.planning()?.watch(&id).await?;
            let told = jobs.map(|job| match job {
                Ok(job) => Ok(p::WatchJobResponse { job: Some(orders::job(&job)) }),
                Err(fault) => Err(proto::to_status(&fault)),
            });
            let stopped = async move { stop.cancelled().await };
            Ok(Box::pin(told.take_until(Box::pin(stopped))) as Self::WatchJobStream)
        };
        answered(watched.await)
    }

    type WatchTagStream = Pin<Box<dyn Stream<Item = Result<p::WatchTagResponse, Status>> + Send>>;

    async fn watch_tag(&self, request: Request<p::WatchTagRequest>) -> Answered<Self::WatchTagStream> {
        let stop = self.stop.clone();
        let watched = async {
            let at = place(request.into_inner().place)?;
            let (tag, revisions) = self.planning()?.projects.watch(&at.project, &at.tag).await?;
            let told = revisions.map(move |revision| match revision {
                Ok(revision) => Ok(p::WatchTagResponse { tag: tag.clone(), revision }),
                Err(fault) => Err(proto::to_status(&fault)),
            });
            let stopped = async move { stop.cancelled().await };
            Ok(Box::pin(told.take_until(Box::pin(stopped))) as Self::WatchTagStream)
        };
        answered(watched.await)
    }

    type McpStream = mcp::Answers;

    async fn mcp(&self, request: Request<Streaming<p::McpRequest>>) -> Answered<Self::McpStream> {
        let server = Server {
            desk: self.desk.clone(),
            grant: client(&request)?,
            who: who(&request, ""),
            tools: Tools::read(metadata(&request, "x-tm-tools")),
            stop: self.stop.clone(),
        };
        Ok(Response::new(mcp::serve(server, request.into_inner(), self.stop.child_token())))
    }
}
