//! Which project and tag a command is about, and the planning service that has it.

use std::path::Path;

use base::{Code, Fault, Result};
use proto::planning::change_tag_request::Change;
use proto::planning::planning_client::PlanningClient;
use proto::planning::{
    AddTag, ChangeTagRequest, CreateProjectRequest, ListProjectsRequest, ListTagsRequest, Place, Project,
};

use crate::client::{CALL_LIMIT, Keyed, Servers, call};
use crate::folder::home::Home;
use crate::screen::Screen;
use crate::text::visible;

/// What the project is called when there is none and nobody named one.
const DEFAULT: &str = "default";

/// The project and the tag, as far as they were typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Named {
    /// The project; that of this folder when left out, else the only one, else `default`
    #[arg(long, global = true, env = "TMCTL_PROJECT", value_name = "NAME")]
    pub project: Option<String>,
    /// The tag; the one that the project uses now when left out
    #[arg(long, global = true, env = "TMCTL_TAG", value_name = "NAME")]
    pub tag: Option<String>,
}

/// The options that make another command be about `place` as well, behind a space.
pub fn options(place: &Place) -> String {
    let tag = if place.tag.is_empty() { String::new() } else { format!(" --tag {}", place.tag) };
    format!(" --project {}{tag}", place.project)
}

/// What becomes of a project that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The server refuses what is asked about it.
    Refuse,
    /// It is made.
    Make,
}

/// An open connection, and the place that calls on it are about.
pub struct At {
    /// The server, as the user wrote it.
    pub server: String,
    /// Its planning service.
    pub planning: PlanningClient<Keyed>,
    /// Never without a project.
    pub place: Place,
}

impl At {
    /// Connects, and finds out which project is meant. What was not typed is told on stderr.
    pub async fn open(servers: &Servers, screen: &mut Screen, named: &Named, missing: Missing) -> Result<Self> {
        let choice = |known: &[Project]| chosen(&Home::of(Path::new("."))?, known, missing);
        Self::open_by(servers, screen, named, missing, choice).await
    }

    /// The same for what `dir` has itself: where nothing says which project is its, it gets one that is called as it is.
    pub async fn open_for(
        servers: &Servers,
        screen: &mut Screen,
        named: &Named,
        missing: Missing,
        dir: &Path,
    ) -> Result<Self> {
        let choice = |known: &[Project]| chosen_for(&Home::of(dir)?, known);
        Self::open_by(servers, screen, named, missing, choice).await
    }

    async fn open_by(
        servers: &Servers,
        screen: &mut Screen,
        named: &Named,
        missing: Missing,
        choice: impl FnOnce(&[Project]) -> Result<(String, &'static str)>,
    ) -> Result<Self> {
        let connection = servers.connect().await?;
        let mut planning = connection.planning();
        let tag = named.tag.clone().unwrap_or_default();
        let known = match (&named.project, missing) {
            (Some(_), Missing::Refuse) => Vec::new(),
            _ => call(CALL_LIMIT, planning.list_projects(ListProjectsRequest {})).await?.projects,
        };
        let project = match &named.project {
            Some(project) => project.clone(),
            None => {
                let (project, why) = choice(&known)?;
                screen.note(&visible(&format!("project {project} ({why}; --project names another)\n")));
                project
            }
        };
        if missing == Missing::Make && !known.iter().any(|there| there.name == project) {
            make(&mut planning, &project).await?;
            screen.note(&visible(&format!("project {project} is new\n")));
        }
        Ok(Self { server: connection.server, planning, place: Place { project, tag } })
    }

    /// Makes the tag that was named, where the project does not have it.
    pub async fn make_tag(&mut self, screen: &mut Screen) -> Result<()> {
        let tag = self.place.tag.clone();
        if tag.is_empty() {
            return Ok(());
        }
        let request = ListTagsRequest { project: self.project() };
        let tags = call(CALL_LIMIT, self.planning.list_tags(request)).await?.tags;
        if tags.iter().any(|known| known.name == tag) {
            return Ok(());
        }
        let add = AddTag { name: tag.clone(), ..AddTag::default() };
        let request = ChangeTagRequest { project: self.project(), change: Some(Change::Add(add)) };
        match call(CALL_LIMIT, self.planning.change_tag(request)).await {
            // Somebody else made it at the same moment.
            Err(fault) if fault.code == Code::Conflict => return Ok(()),
            made => made?,
        };
        screen.note(&visible(&format!("tag {tag} of project {} is new\n", self.place.project)));
        Ok(())
    }

    /// The place, for a request.
    pub fn place(&self) -> Option<Place> {
        Some(self.place.clone())
    }

    /// The project's name, for a request.
    pub fn project(&self) -> String {
        self.place.project.clone()
    }
}

/// The project that is meant when none was named, and why that one: the folder's, else the only one.
fn chosen(home: &Home, known: &[Project], missing: Missing) -> Result<(String, &'static str)> {
    if let Some(found) = of_folder(home, known)? {
        return Ok(found);
    }
    match known {
        [only] => Ok((only.name.clone(), "the only one")),
        [] => Ok((DEFAULT.to_owned(), "none was named")),
        _ if missing == Missing::Make || is_there(DEFAULT, known) => Ok((DEFAULT.to_owned(), "none was named")),
        several => {
            let names: Vec<_> = several.iter().take(10).map(|project| format!("`{}`", project.name)).collect();
            let what = format!("no project is named, and there are {}", several.len());
            Err(Fault::invalid(what).hint(format!(
                "name one with --project, such as {}; or do it in a folder that was synced with one",
                names.join(", ")
            )))
        }
    }
}

/// The project that a folder's own tasks go to when none was named. They are not mixed with those of the only one.
fn chosen_for(home: &Home, known: &[Project]) -> Result<(String, &'static str)> {
    match (of_folder(home, known)?, known) {
        (Some(found), _) => Ok(found),
        (None, [only]) if !home.has_tasks => Ok((only.name.clone(), "the only one")),
        _ => Ok((home.name()?, "as the folder is called")),
    }
}

/// The folder's project: noted there, or there under the folder's name. Refused where the name alone would mix tasks.
fn of_folder(home: &Home, known: &[Project]) -> Result<Option<(String, &'static str)>> {
    let Some(project) = &home.project else { return Ok(None) };
    let is_there = is_there(project, known);
    if is_there && !home.is_sure() {
        return Err(home.doubt(project));
    }
    let why = if home.is_noted() { "this folder's" } else { "as the folder is called" };
    Ok((home.is_noted() || is_there).then(|| (project.clone(), why)))
}

fn is_there(name: &str, known: &[Project]) -> bool {
    known.iter().any(|project| project.name == name)
}

/// Somebody else may make it at the same moment; then it is there, which is all that is wanted.
async fn make(planning: &mut PlanningClient<Keyed>, name: &str) -> Result<()> {
    let request = CreateProjectRequest { name: name.to_owned(), ..CreateProjectRequest::default() };
    match call(CALL_LIMIT, planning.create_project(request)).await {
        Err(fault) if fault.code != Code::Conflict => Err(fault),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projects(names: &[&str]) -> Vec<Project> {
        names.iter().map(|name| Project { name: (*name).into(), ..Project::default() }).collect()
    }

    /// A folder with that last name and these tasks.
    fn folder(name: &str, tasks: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(name);
        std::fs::create_dir_all(folder.join(".taskmaster/tasks")).unwrap();
        std::fs::write(folder.join(".taskmaster/tasks/tasks.json"), tasks).unwrap();
        (home, folder)
    }

    const OWN: &str = r#"{"master":{"tasks":[{"id":1,"title":"Other project first"}]}}"#;

    #[test]
    fn the_only_project_is_meant_when_none_is_named() {
        let (_home, dir) = folder("nowhere", "{}");
        let home = Home::of(&dir).unwrap();
        let chosen = |names: &[&str], missing| chosen(&home, &projects(names), missing);
        assert_eq!(chosen(&["garden"], Missing::Refuse).unwrap(), ("garden".into(), "the only one"));
        assert_eq!(chosen(&["garden", "nowhere"], Missing::Refuse).unwrap().0, "nowhere");
        for (names, missing) in
            [(vec![], Missing::Refuse), (vec!["default", "house"], Missing::Refuse), (vec!["a", "b"], Missing::Make)]
        {
            assert_eq!(chosen(&names, missing).unwrap(), ("default".into(), "none was named"));
        }
        let fault = chosen(&["garden", "house"], Missing::Refuse).unwrap_err();
        assert!(fault.hint.as_deref().unwrap().contains("such as `garden`, `house`"), "{fault:?}");
    }

    #[test]
    fn a_folder_with_tasks_of_its_own_is_never_taken_for_that_of_another_with_its_name() {
        let (_home, dir) = folder("srv", OWN);
        let home = Home::of(&dir).unwrap();
        for fault in [chosen(&home, &projects(&["srv"]), Missing::Refuse), chosen_for(&home, &projects(&["srv", "x"]))]
        {
            let fault = fault.unwrap_err();
            assert!(fault.message.contains("has tasks of its own"), "{fault:?}");
            assert!(fault.hint.unwrap().contains("`tmctl tasks sync --project srv`"));
        }
        assert_eq!(chosen_for(&home, &projects(&["nas"])).unwrap(), ("srv".into(), "as the folder is called"));
        std::fs::write(dir.join(".taskmaster/.tm-sync.json"), r#"{"at":"","project":"srv","tasks_json":"{}"}"#)
            .unwrap();
        let home = Home::of(&dir).unwrap();
        assert_eq!(chosen_for(&home, &projects(&["srv", "x"])).unwrap(), ("srv".into(), "this folder's"));
    }

    #[test]
    fn an_empty_folder_takes_the_only_project_and_a_noted_one_its_own() {
        let (_home, dir) = folder("w", "{}");
        assert_eq!(chosen_for(&Home::of(&dir).unwrap(), &projects(&["nas"])).unwrap().0, "nas");
        std::fs::write(dir.join(".taskmaster/config.json"), r#"{"global":{"projectName":"proj"}}"#).unwrap();
        let home = Home::of(&dir).unwrap();
        assert_eq!(chosen_for(&home, &projects(&["nas"])).unwrap(), ("proj".into(), "this folder's"));
        assert_eq!(chosen(&home, &projects(&["a", "proj", "c"]), Missing::Refuse).unwrap().0, "proj");
    }
}
