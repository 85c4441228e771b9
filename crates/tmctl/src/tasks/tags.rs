//! Tags: lists of tasks of one project beside each other.

use std::path::PathBuf;

use base::time::rfc3339;
use base::{Code, Fault, Result};
use clap::Subcommand;
use planner::projects::tag_of_branch;
use proto::planning::change_tag_request::Change;
use proto::planning::{
    AddTag, ChangeProjectRequest, ChangeTagRequest, ChangeTagResponse, DeleteTag, ListTagsRequest, Place, RenameTag,
    Tag,
};
use serde::Serialize;

use crate::client::{CALL_LIMIT, call};
use crate::git;
use crate::place::{At, options};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, List, counted};

/// What can be done with tags.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them
    List,
    /// Makes an empty one
    Add(Add),
    /// Makes one the project's current tag
    Use {
        /// Which one
        name: String,
    },
    /// Gives one another name
    Rename {
        /// Which one
        name: String,
        /// Its new name
        to: String,
    },
    /// Makes one with the tasks of another
    Copy {
        /// Whose tasks
        name: String,
        /// What to call the new one
        to: String,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Deletes one with its tasks and their history
    Delete {
        /// Which one
        name: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// A tag to make.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// What to call it
    #[arg(required_unless_present = "from_branch")]
    name: Option<String>,
    /// Call it as the git branch that the folder is on
    #[arg(long, conflicts_with = "name")]
    from_branch: bool,
    /// The folder
    #[arg(long, default_value = ".", value_name = "DIR", requires = "from_branch")]
    dir: PathBuf,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl Add {
    fn tag(self) -> Result<AddTag> {
        let Self { name, dir, mut description, .. } = self;
        let name = match name {
            Some(name) => name,
            None => {
                let branch = git::branch(&dir)?;
                if description.is_empty() {
                    description = format!("branch {branch}");
                }
                tag_of_branch(&branch)?
            }
        };
        Ok(AddTag { name, description, copy_from: String::new() })
    }
}

/// Runs the verb; what is there then is shown.
pub async fn run(at: &mut At, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    let change = match verb.unwrap_or(Verb::List) {
        Verb::List => None,
        Verb::Add(add) => Some(Change::Add(add.tag()?)),
        Verb::Copy { name, to, description } => Some(Change::Add(AddTag { name: to, description, copy_from: name })),
        Verb::Rename { name, to } => Some(Change::Rename(RenameTag { name, to })),
        Verb::Delete { name, yes: false } => return Err(unconfirmed(at, &name).await?.into()),
        Verb::Delete { name, .. } => Some(Change::Delete(DeleteTag { name })),
        Verb::Use { name } => {
            use_tag(at, name).await?;
            None
        }
    };
    let ChangeTagResponse { tags, current_tag } = match change {
        None => list(at).await?,
        change => {
            let request = ChangeTagRequest { project: at.project(), change };
            call(CALL_LIMIT, at.planning.change_tag(request)).await?
        }
    };
    let list = List::of_now(&at.server, tags.iter().map(|tag| item(tag, &current_tag)).collect());
    screen.show(|style| table(&tags, &current_tag, style) + &text::told_by(&at.server), &list)?;
    Ok(Verdict::Done)
}

/// The tags of the project, and the one that it uses.
pub async fn list(at: &mut At) -> Result<ChangeTagResponse> {
    let listed = call(CALL_LIMIT, at.planning.list_tags(ListTagsRequest { project: at.project() })).await?;
    Ok(ChangeTagResponse { tags: listed.tags, current_tag: listed.current_tag })
}

async fn use_tag(at: &mut At, name: String) -> Result<()> {
    let project = at.project();
    let request = ChangeProjectRequest { project, current_tag: Some(name), ..ChangeProjectRequest::default() };
    call(CALL_LIMIT, at.planning.change_project(request)).await?;
    Ok(())
}

/// What a deletion would take away.
async fn unconfirmed(at: &mut At, name: &str) -> Result<Fault> {
    let tags = list(at).await?.tags;
    let Some(tag) = tags.iter().find(|tag| tag.name == name) else {
        let fault = Fault::new(Code::NotFound, format!("`{}` has no tag `{name}`", at.place.project));
        return Ok(fault.hint("`tmctl tasks tags` lists them"));
    };
    Ok(would_delete(&at.place.project, tag))
}

fn would_delete(project: &str, tag: &Tag) -> Fault {
    let tasks = counted(tag.tasks as usize, "task");
    let place = Place { project: project.to_owned(), tag: tag.name.clone() };
    Fault::invalid(format!("the tag `{}` would be gone with {tasks} and their history", tag.name))
        .hint(format!("add --yes to do it; `tmctl tasks export{}` keeps a copy", options(&place)))
}

/// A table of tags.
pub fn table(tags: &[Tag], current: &str, style: Style) -> String {
    let mut table = Table::new(["TAG", "USED", "TASKS", "DONE", "REVISION", "CHANGED", "STATE", "WHAT FOR"]);
    for tag in tags {
        let done = tag.by_status.get("done").copied().unwrap_or(0);
        let state = match tag.draft_because.is_empty() {
            true => "-".into(),
            false => Cell::new(format!("draft: {}", tag.draft_because.join("; ")), Tone::Odd),
        };
        table.row([
            tag.name.as_str().into(),
            if tag.name == current { "yes" } else { "-" }.into(),
            tag.tasks.to_string().into(),
            done.to_string().into(),
            tag.revision.to_string().into(),
            text::clock(tag.updated_unix_ms).into(),
            state,
            tag.description.as_str().into(),
        ]);
    }
    table.render(style, "no tags")
}

/// A tag, for programs.
#[derive(Serialize)]
pub struct Item<'a> {
    name: &'a str,
    is_current: bool,
    description: &'a str,
    tasks: u32,
    by_status: std::collections::BTreeMap<&'a str, u32>,
    revision: u64,
    created: String,
    updated: String,
    draft_because: &'a [String],
}

/// See [`Item`].
pub fn item<'a>(tag: &'a Tag, current: &str) -> Item<'a> {
    Item {
        name: &tag.name,
        is_current: tag.name == current,
        description: &tag.description,
        tasks: tag.tasks,
        by_status: tag.by_status.iter().map(|(status, count)| (status.as_str(), *count)).collect(),
        revision: tag.revision,
        created: rfc3339(tag.created_unix_ms),
        updated: rfc3339(tag.updated_unix_ms),
        draft_because: &tag.draft_because,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;
    use crate::scripted::{Script, type_in};

    #[tokio::test]
    async fn a_tag_is_named_after_the_branch_of_a_folder() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().to_str().unwrap();
        let script = Script::default().on(|_: ChangeTagRequest| Ok(ChangeTagResponse::default()));
        let words = ["tasks", "--project", "garden", "tags", "add", "--from-branch", "--dir", dir];
        let typed = type_in(&script.serve(), &words).await;
        assert!(typed.code == 1 && typed.notes.contains("lies in no git repository"), "{}", typed.notes);
        std::fs::create_dir(home.path().join(".git")).unwrap();
        std::fs::write(home.path().join(".git/HEAD"), "ref: refs/heads/feature/door\n").unwrap();
        let typed = type_in(&script.serve(), &words).await;
        let asked = script.asked::<ChangeTagRequest>().concat();
        let wanted = r#"AddTag { name: "feature-door", description: "branch feature/door", copy_from: "" }"#;
        assert!(typed.code == 0 && asked.contains(wanted), "{asked} {}", typed.notes);
    }

    #[test]
    fn tags_as_table_and_json() {
        let project = samples::planning::project();
        let items = project.tags.iter().map(|tag| item(tag, "master")).collect();
        let text = table(&project.tags, "master", Style::default())
            + &fault_text(&would_delete("garden", &project.tags[1]))
            + &samples::json(&samples::list("grey-area:3002", items));
        insta::assert_snapshot!("tasks_tags", text);
    }
}
