//! Which project and tag a command is about, and the planning service that has it.

use base::{Code, Result};
use proto::planning::change_tag_request::Change;
use proto::planning::planning_client::PlanningClient;
use proto::planning::{
    AddTag, ChangeTagRequest, CreateProjectRequest, ListProjectsRequest, ListTagsRequest, Place, Project,
};

use crate::client::{CALL_LIMIT, Keyed, Servers, call};
use crate::screen::Screen;
use crate::text::visible;

/// What the project is called when there is none and nobody named one.
const DEFAULT: &str = "default";

/// The project and the tag, as far as they were typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Named {
    /// The project; the only one when left out, else `default`
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
                let (project, why) = chosen(&known);
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

/// The project that is meant when none was named, and why that one.
fn chosen(known: &[Project]) -> (String, &'static str) {
    match known {
        [only] => (only.name.clone(), "the only one"),
        _ => (DEFAULT.to_owned(), "none was named"),
    }
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

    #[test]
    fn the_only_project_is_meant_when_none_is_named() {
        let project = |name: &str| Project { name: name.into(), ..Project::default() };
        assert_eq!(chosen(&[project("garden")]), ("garden".into(), "the only one"));
        for known in [vec![], vec![project("garden"), project("house")]] {
            assert_eq!(chosen(&known), ("default".into(), "none was named"));
        }
    }
}
