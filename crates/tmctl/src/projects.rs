//! `tmctl projects`: what is planned here, and what one can begin with.

use base::time::rfc3339;
use base::{Code, Fault, Result};
use clap::Subcommand;
use proto::planning::planning_client::PlanningClient;
use proto::planning::{
    ChangeProjectRequest, CreateProjectRequest, DeleteProjectRequest, ListProjectsRequest, ListTemplatesRequest,
    ParsePrd, Project, Template,
};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Connection, Keyed, Servers, call};
use crate::jobs::follow::How;
use crate::place::{At, Missing, Named};
use crate::plan;
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::Table;
use crate::tasks::tags;
use crate::text::{self, List, counted, filled, or_dash};

/// What can be done with projects.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them
    List,
    /// Makes one
    Add(Add),
    /// Shows one, with its tags
    Show {
        /// Its name
        name: String,
    },
    /// Says in which language models write its tasks
    UseLanguage {
        /// Its name
        name: String,
        /// In words, such as German; that of the PRD when empty
        language: String,
    },
    /// Says which models write its tasks, instead of the cluster's
    UseModels(UseModels),
    /// Deletes one with all its tags, tasks and history
    Delete {
        /// Its name
        name: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Shows PRDs to begin with, or one of them
    Templates {
        /// Which one
        name: Option<String>,
    },
}

/// Models for roles; what is not named stays.
#[derive(Debug, clap::Args)]
pub struct UseModels {
    /// Its name
    name: String,
    /// For everything; the cluster's when empty
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["research", "fallback"])]
    main: Option<String>,
    /// For research; the cluster's when empty
    #[arg(long, value_name = "MODEL")]
    research: Option<String>,
    /// Where the main one cannot; the cluster's when empty
    #[arg(long, value_name = "MODEL")]
    fallback: Option<String>,
}

/// A project to make.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// What to call it
    name: String,
    /// What it is about
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// In which language models write its tasks
    #[arg(long, default_value = "", hide_default_value = true)]
    language: String,
    /// Plan this template's PRD at once; `tmctl projects templates` lists them
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let mut planning = connection.planning();
    match verb.unwrap_or(Verb::List) {
        Verb::List => {
            let projects = list(&mut planning).await?;
            let items = List::of_now(&connection.server, projects.iter().map(item).collect());
            screen.show(|style| table(&projects, style) + &text::told_by(&connection.server), &items)?;
        }
        Verb::Add(add) => return make(servers, &connection, screen, add).await,
        Verb::Show { name } => show(screen, &find(&mut planning, &name).await?)?,
        Verb::UseLanguage { name: project, language } => {
            let language = Some(language);
            let request = ChangeProjectRequest { project, language, ..ChangeProjectRequest::default() };
            change(&mut planning, screen, request).await?;
        }
        Verb::UseModels(UseModels { name: project, main, research, fallback }) => {
            let (main_model, research_model, fallback_model) = (main, research, fallback);
            let models = ChangeProjectRequest { main_model, research_model, fallback_model, ..Default::default() };
            change(&mut planning, screen, ChangeProjectRequest { project, ..models }).await?;
        }
        Verb::Delete { name, yes: false } => return Err(would_delete(&find(&mut planning, &name).await?).into()),
        Verb::Delete { name, .. } => {
            call(CALL_LIMIT, planning.delete_project(DeleteProjectRequest { project: name.clone() })).await?;
            screen.show(|_| text::visible(&format!("the project {name} is gone\n")), &Deleted { name: &name })?;
        }
        Verb::Templates { name } => templates(&connection, screen, name.as_deref()).await?,
    }
    Ok(Verdict::Done)
}

async fn change(
    planning: &mut PlanningClient<Keyed>,
    screen: &mut Screen,
    request: ChangeProjectRequest,
) -> Result<(), Ended> {
    let changed = call(CALL_LIMIT, planning.change_project(request)).await?;
    changed.notes.iter().for_each(|note| screen.note(&text::visible(&format!("note: {note}\n"))));
    show(screen, &changed.project.unwrap_or_default())
}

async fn list(planning: &mut PlanningClient<Keyed>) -> Result<Vec<Project>> {
    Ok(call(CALL_LIMIT, planning.list_projects(ListProjectsRequest {})).await?.projects)
}

async fn find(planning: &mut PlanningClient<Keyed>, name: &str) -> Result<Project> {
    let found = list(planning).await?.into_iter().find(|project| project.name == name);
    found.ok_or_else(|| {
        Fault::new(Code::NotFound, format!("there is no project `{name}`")).hint("`tmctl projects` lists them")
    })
}

async fn make(servers: &Servers, connection: &Connection, screen: &mut Screen, add: Add) -> Result<Verdict, Ended> {
    let Add { name, description, language, template, how } = add;
    // A template that does not exist is told before anything is made.
    let template = match template {
        Some(name) => Some(template_named(connection, &name).await?),
        None => None,
    };
    let request = CreateProjectRequest { name: name.clone(), description, language };
    let created = call(CALL_LIMIT, connection.planning().create_project(request)).await?;
    let Some(Template { name: file_name, prd, .. }) = template else {
        show(screen, &created.project.unwrap_or_default())?;
        return Ok(Verdict::Done);
    };
    let named = Named { project: Some(name), tag: None };
    let mut at = At::open(servers, screen, &named, Missing::Refuse).await?;
    let parse = ParsePrd { prd: prd.into(), file_name: format!("{file_name}.md"), ..ParsePrd::default() };
    plan::parse(servers, screen, &mut at, parse, &how).await
}

async fn templates(connection: &Connection, screen: &mut Screen, name: Option<&str>) -> Result<(), Ended> {
    if let Some(name) = name {
        let template = template_named(connection, name).await?;
        let json = TemplateItem { name: &template.name, title: &template.title, prd: Some(&template.prd) };
        return if screen.style.json { screen.json(&json) } else { screen.model_text(&template.prd) };
    }
    let all = call(CALL_LIMIT, connection.planning().list_templates(ListTemplatesRequest {})).await?.templates;
    let items = List::of_now(&connection.server, all.iter().map(template_item).collect());
    screen.show(|style| templates_table(&all, style) + &text::told_by(&connection.server), &items)
}

fn template_item(Template { name, title, .. }: &Template) -> TemplateItem<'_> {
    TemplateItem { name, title, prd: None }
}

async fn template_named(connection: &Connection, name: &str) -> Result<Template> {
    let all = call(CALL_LIMIT, connection.planning().list_templates(ListTemplatesRequest {})).await?.templates;
    all.into_iter().find(|template| template.name == name).ok_or_else(|| {
        let fault = Fault::new(Code::NotFound, format!("there is no template `{name}`"));
        fault.hint("`tmctl projects templates` lists them")
    })
}

fn templates_table(all: &[Template], style: Style) -> String {
    let mut table = Table::new(["NAME", "TITLE"]);
    all.iter().for_each(|template| table.row([template.name.as_str().into(), template.title.as_str().into()]));
    table.render(style, "no templates")
}

fn would_delete(project: &Project) -> Fault {
    let tasks: u32 = project.tags.iter().map(|tag| tag.tasks).sum();
    let (tags, tasks) = (counted(project.tags.len(), "tag"), counted(tasks as usize, "task"));
    Fault::invalid(format!("the project `{}` would be gone with {tags}, {tasks} and their history", project.name))
        .hint(format!("add --yes to do it; `tmctl tasks export --project {}` keeps a copy", project.name))
}

fn show(screen: &mut Screen, project: &Project) -> Result<(), Ended> {
    screen.show(|style| page(project, style), &item(project))
}

fn table(projects: &[Project], style: Style) -> String {
    let mut table = Table::new(["NAME", "TAGS", "TASKS", "DONE", "USES", "LANGUAGE", "SINCE", "WHAT"]);
    for project in projects {
        let done = |tag: &proto::planning::Tag| tag.by_status.get("done").copied().unwrap_or(0);
        table.row([
            project.name.as_str().into(),
            project.tags.len().to_string().into(),
            project.tags.iter().map(|tag| tag.tasks).sum::<u32>().to_string().into(),
            project.tags.iter().map(done).sum::<u32>().to_string().into(),
            project.current_tag.as_str().into(),
            or_dash(&project.language).into(),
            text::clock(project.created_unix_ms).into(),
            project.description.as_str().into(),
        ]);
    }
    table.render(style, "no projects; `tmctl projects add NAME` makes one, `tmctl plan parse FILE` as well")
}

fn page(project: &Project, style: Style) -> String {
    let models = project.models.clone().unwrap_or_default();
    let lines = [
        ("project", project.name.clone()),
        ("about", project.description.clone()),
        ("language", project.language.clone()),
        ("main model", models.main),
        ("research model", models.research),
        ("fallback model", models.fallback),
        ("since", text::clock(project.created_unix_ms)),
    ];
    text::page(&lines) + "\n" + &tags::table(&project.tags, &project.current_tag, style)
}

#[derive(Serialize)]
struct Deleted<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct TemplateItem<'a> {
    name: &'a str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prd: Option<&'a str>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    description: &'a str,
    current_tag: &'a str,
    language: Option<&'a str>,
    models: Models<'a>,
    created: String,
    tags: Vec<tags::Item<'a>>,
}

/// Those of its own; the cluster's are none of its.
#[derive(Default, Serialize)]
struct Models<'a> {
    main: Option<&'a str>,
    research: Option<&'a str>,
    fallback: Option<&'a str>,
}

fn models(project: &Project) -> Models<'_> {
    let Some(own) = &project.models else { return Models::default() };
    Models { main: filled(&own.main), research: filled(&own.research), fallback: filled(&own.fallback) }
}

fn item(project: &Project) -> Item<'_> {
    Item {
        name: &project.name,
        description: &project.description,
        current_tag: &project.current_tag,
        language: filled(&project.language),
        models: models(project),
        created: rfc3339(project.created_unix_ms),
        tags: project.tags.iter().map(|tag| tags::item(tag, &project.current_tag)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proto::planning::ChangeProjectResponse;

    use super::*;
    use crate::samples;
    use crate::screen::fault_text;
    use crate::scripted::{Script, type_in};

    #[tokio::test]
    async fn models_for_roles_are_sent_and_what_the_server_notes_is_told() {
        let script = Script::default().on(|_: ChangeProjectRequest| {
            let notes = vec!["nobody offers `qwen3:4b` now".to_owned()];
            Ok(ChangeProjectResponse { project: Some(samples::planning::project()), notes })
        });
        let server = script.serve();
        let typed =
            type_in(&server, &["projects", "use-models", "garden", "--main", "qwen3:4b", "--research", ""]).await;
        assert!(typed.notes.starts_with("note: nobody offers `qwen3:4b` now\n"), "{}", typed.notes);
        let asked = script.asked::<ChangeProjectRequest>().concat();
        let models = r#"main_model: Some("qwen3:4b"), research_model: Some(""), fallback_model: None"#;
        assert!(asked.contains(models) && asked.contains("language: None"), "{asked}");
        assert_eq!(type_in(&server, &["projects", "use-models", "garden"]).await.code, 2, "nothing is named");
    }

    #[test]
    fn projects_as_table_page_and_json() {
        let project = samples::planning::project();
        let template = Template { name: "nas".into(), title: "A store for the house".into(), prd: String::new() };
        let style = Style::default();
        let projects = std::slice::from_ref(&project);
        let text = table(projects, style)
            + &table(&[], style)
            + &page(&project, style)
            + &templates_table(&[template], style)
            + &fault_text(&would_delete(&project))
            + &samples::json(&samples::list("grey-area:3002", projects.iter().map(item).collect()));
        insta::assert_snapshot!("projects", text);
    }
}
