//! `tmctl init` and `tmctl migrate`: a project's folder on this machine, made or brought into today's order.

pub mod home;

use std::path::{Path, PathBuf};

use base::{Code, Fault, Result, time};
use planner::projects::check_project;
use planner::tasks_file::{Layout, Made, Move, Provider, Roles};
use serde::Serialize;

use crate::client::Servers;
use crate::screen::{Ended, Screen, Verdict};
use crate::text::visible;
use home::{By, Home, Synced};

/// Where a server of the house listens for HTTP unless it was told otherwise.
const HTTP_PORT: u16 = 3001;
/// The role that models of clients go by.
const MODEL: &str = "main";

/// A folder to make into a project's.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The folder
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// What the project is called; what the folder says, or as it is called itself, when left out
    #[arg(long)]
    name: Option<String>,
    /// Where Task Master clients ask for models; the first server's HTTP address when left out
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// How they ask
    #[arg(long, value_parser = ["lmstudio", "openai-compatible"], default_value = "lmstudio")]
    provider: String,
    /// Which model, or the name of a role
    #[arg(long, default_value = MODEL)]
    model: String,
}

/// A folder whose files are where old clients put them.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// The folder
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

/// Makes what is missing; what is there stays.
pub fn init(servers: &Servers, screen: &mut Screen, init: Init) -> Result<Verdict, Ended> {
    let roles = Roles {
        provider: if init.provider == "lmstudio" { Provider::LmStudio } else { Provider::OpenAiCompatible },
        base_url: init.base_url.unwrap_or_else(|| base_url(servers)),
        model: init.model,
    };
    let name = name_for(&init.dir, init.name)?;
    let made = make(&init.dir, &name, &roles)?;
    // A config.json that was there stays as it is, and may name none, or another.
    if Home::of(&init.dir)?.project.as_ref() != Some(&name) {
        Synced::now(&name, String::new()).keep(&init.dir)?;
    }
    screen.show(|_| made_text(&name, &init.dir, &made), &made_json(&name, &made))?;
    Ok(Verdict::Done)
}

/// The layout of a project whose clients ask the first server for models.
pub fn lay_out(servers: &Servers, dir: &Path, name: &str) -> Result<Vec<Made>> {
    let roles = Roles { provider: Provider::LmStudio, base_url: base_url(servers), model: MODEL.to_owned() };
    make(dir, name, &roles)
}

fn make(dir: &Path, name: &str, roles: &Roles) -> Result<Vec<Made>> {
    Layout::new(dir).init(name, roles, &time::rfc3339(time::unix_ms())).map_err(Fault::from)
}

fn base_url(servers: &Servers) -> String {
    let host = servers.first_host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("http://{host}:{HTTP_PORT}/v1")
}

/// The project's name: the one that was typed, else what the folder says. A folder that was synced keeps its project.
fn name_for(folder: &Path, typed: Option<String>) -> Result<String> {
    let home = Home::of(folder)?;
    let Some(name) = typed else { return home.name().map_err(|fault| fault.hint("say what it is called with --name")) };
    check_project(&name)?;
    match &home.project {
        Some(project) if home.by == By::Sync && *project != name => {
            let what = format!("`{}` belongs to the project `{project}` already", folder.display());
            let hint = format!("`tmctl tasks sync --project {name}` brings its tasks to that project instead");
            Err(Fault::new(Code::Conflict, what).hint(hint))
        }
        _ => Ok(name),
    }
}

fn made_text(name: &str, dir: &Path, made: &[Made]) -> String {
    let line = |made: &Made| {
        let what = if made.is_new { "made " } else { "stays" };
        format!("{what}  {}\n", made.path.display())
    };
    let lines: String = made.iter().map(line).collect();
    let quoted = dir.display().to_string().replace('\'', r"'\''");
    let here = if dir == Path::new(".") { String::new() } else { format!(" --dir '{quoted}'") };
    visible(&format!("{lines}`tmctl tasks sync --project {name}{here}` brings its tasks and a server together\n"))
}

#[derive(Serialize)]
struct MadeItem {
    path: String,
    is_new: bool,
}

#[derive(Serialize)]
struct MadeJson<'a> {
    project: &'a str,
    items: Vec<MadeItem>,
}

fn made_json<'a>(project: &'a str, made: &[Made]) -> MadeJson<'a> {
    let item = |made: &Made| MadeItem { path: made.path.display().to_string(), is_new: made.is_new };
    MadeJson { project, items: made.iter().map(item).collect() }
}

/// Moves files to where they belong now; unless that was confirmed, says which.
pub fn migrate(screen: &mut Screen, migrate: &Migrate) -> Result<Verdict, Ended> {
    let layout = Layout::new(&migrate.dir);
    let moves = layout.moves().map_err(Fault::from)?;
    if migrate.yes {
        layout.migrate(&moves).map_err(Fault::from)?;
    }
    screen.show(|_| moves_text(&moves, migrate.yes), &moves_json(&moves, migrate.yes))?;
    if moves.iter().any(|step| !step.is_blocked) && !migrate.yes {
        return Err(Fault::invalid("nothing was moved: it was not confirmed").hint("add --yes to do it").into());
    }
    Ok(if moves.iter().any(|step| step.is_blocked) { Verdict::NotWell } else { Verdict::Done })
}

fn moves_text(moves: &[Move], is_done: bool) -> String {
    if moves.is_empty() {
        return "everything is where it belongs\n".to_owned();
    }
    let line = |Move { from, to, is_blocked }: &Move| {
        let what = match (is_blocked, is_done) {
            (true, _) => "stays: something is there already:",
            (false, true) => "moved",
            (false, false) => "would move",
        };
        visible(&format!("{what} {} -> {}\n", from.display(), to.display()))
    };
    moves.iter().map(line).collect()
}

#[derive(Serialize)]
struct MoveItem {
    from: String,
    to: String,
    is_blocked: bool,
}

#[derive(Serialize)]
struct MovesJson {
    is_done: bool,
    items: Vec<MoveItem>,
}

fn moves_json(moves: &[Move], is_done: bool) -> MovesJson {
    let item = |Move { from, to, is_blocked }: &Move| MoveItem {
        from: from.display().to_string(),
        to: to.display().to_string(),
        is_blocked: *is_blocked,
    };
    MovesJson { is_done, items: moves.iter().map(item).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::scripted::{Script, type_in};

    #[tokio::test]
    async fn a_folder_gives_its_project_a_name_that_a_server_takes() {
        let home = tempfile::tempdir().unwrap();
        let shed = home.path().join("My Shed");
        std::fs::create_dir(&shed).unwrap();
        let words = ["init", "--json", "--dir", shed.to_str().unwrap()];
        let typed = type_in(&Script::default().serve(), &words).await;
        let told: serde_json::Value = serde_json::from_str(&typed.data).unwrap();
        assert_eq!(told["project"], "My-Shed", "{}", typed.notes);
    }

    #[tokio::test]
    async fn the_name_that_was_typed_is_noted_even_beside_a_config_of_others() {
        let home = tempfile::tempdir().unwrap();
        let (dir, inner) = (home.path().to_str().unwrap(), home.path().join(".taskmaster"));
        let server = Script::default().serve();
        let refused = type_in(&server, &["init", "--dir", dir, "--name", "../x"]).await;
        assert!(refused.code != 0 && refused.notes.contains("hint: use 1 to 64 of a-z"), "{}", refused.notes);
        assert!(!inner.exists());
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("config.json"), r#"{"global":{"projectName":"Task Master"}}"#).unwrap();
        type_in(&server, &["init", "--dir", dir, "--name", "bar"]).await;
        let found = Home::of(home.path()).unwrap();
        assert_eq!((found.project.as_deref(), found.by), (Some("bar"), By::Init));
        std::fs::write(Synced::path(home.path()), r#"{"at":"","project":"bar","tasks_json":"{}"}"#).unwrap();
        let refused = type_in(&server, &["init", "--dir", dir, "--name", "baz"]).await;
        assert!(refused.notes.contains("belongs to the project `bar` already"), "{}", refused.notes);
        assert!(type_in(&server, &["init", "--dir", dir]).await.data.contains("--project bar"));
    }

    #[test]
    fn what_was_made_and_what_moves_is_told() {
        let made = |path: &str, is_new| Made { path: path.into(), is_new };
        let made = [made(".taskmaster/tasks", false), made(".taskmaster/config.json", true)];
        let step = |from: &str, is_blocked| Move { from: from.into(), to: ".taskmaster/x".into(), is_blocked };
        let moves = [step("tasks/tasks.json", false), step("scripts/prd.txt", true)];
        let text = made_text("garden", Path::new("."), &made)
            + &made_text("garden", Path::new("/srv/my garden"), &made)
            + &samples::json(&made_json("garden", &made))
            + &moves_text(&moves, false)
            + &moves_text(&moves, true)
            + &moves_text(&[], false)
            + &samples::json(&moves_json(&moves, true));
        insta::assert_snapshot!("folder", text);
    }
}
