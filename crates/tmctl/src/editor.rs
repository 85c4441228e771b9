//! `tmctl editor`: writes the MCP configuration of an editor, beside what is there already.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Fault, Result};
use serde_json::{Map, Value, json};

use crate::file;
use crate::screen::{Ended, Screen, Verdict};

/// What the entry is called, in every editor.
const NAME: &str = "taskmaster";
/// Where a server is looked for when nobody says.
pub const DEFAULT_SERVER: &str = "127.0.0.1:3002";

/// Which editor, and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The client to configure
    #[arg(value_enum)]
    editor: Editor,
    /// The project's folder
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Only show what would be written
    #[arg(long)]
    print: bool,
}

/// Clients of MCP whose files are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Editor {
    /// Visual Studio Code with Copilot: .vscode/mcp.json
    Vscode,
    /// Cursor: .cursor/mcp.json
    Cursor,
    /// Claude Code: .mcp.json
    Claude,
}

impl Editor {
    const fn file(self) -> &'static str {
        match self {
            Self::Vscode => ".vscode/mcp.json",
            Self::Cursor => ".cursor/mcp.json",
            Self::Claude => ".mcp.json",
        }
    }

    /// The field that holds the servers.
    const fn servers(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::Cursor | Self::Claude => "mcpServers",
        }
    }

    /// How the editor writes the folder that is open.
    const fn folder(self) -> &'static str {
        match self {
            Self::Vscode | Self::Cursor => "${workspaceFolder}",
            Self::Claude => ".",
        }
    }

    fn entry(self, servers: &[String]) -> Value {
        let mut arguments = vec!["mcp", "--dir", self.folder()];
        let listed = servers.join(",");
        if listed != DEFAULT_SERVER {
            arguments.extend(["--server", &listed]);
        }
        json!({ "type": "stdio", "command": "tmctl", "args": arguments })
    }
}

/// Writes it, or shows it.
pub fn run(screen: &mut Screen, servers: &[String], args: Args) -> Result<Verdict, Ended> {
    let path = args.dir.join(args.editor.file());
    let before = read(&path)?;
    let after =
        merged(args.editor, before.as_deref(), servers).map_err(|fault| at(&path, args.editor, servers, fault))?;
    let is_new = before.as_deref() != Some(after.as_str());
    if is_new && !args.print {
        write(&path, &after)?;
    }
    let shown = json!({ "path": path, "text": after, "is_written": is_new && !args.print });
    screen.note(&match (args.print, is_new) {
        (true, _) => format!("{} would be:\n", path.display()),
        (false, true) => format!("{} is now:\n", path.display()),
        (false, false) => format!("{} says so already:\n", path.display()),
    });
    screen.show(|_| after, &shown)?;
    if !args.print {
        screen.note(
            "a key, if the cluster wants one, belongs into the editor's environment as TMCTL_KEY, not into this file\n",
        );
    }
    Ok(Verdict::Done)
}

/// The text of the file with our server in it; all others stay as they are, in their order.
fn merged(editor: Editor, before: Option<&str>, servers: &[String]) -> Result<String> {
    let empty = || Value::Object(Map::new());
    let mut file = match before.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Fault::invalid("the file that is there is no plain JSON").because(error))?,
        None => empty(),
    };
    let not_an_object =
        || Fault::invalid(format!("the file that is there has no object where `{}` belongs", editor.servers()));
    let all = file.as_object_mut().ok_or_else(not_an_object)?;
    let known = all.entry(editor.servers()).or_insert_with(empty).as_object_mut().ok_or_else(not_an_object)?;
    match known.get_mut(NAME).and_then(Value::as_object_mut) {
        // What the owner added to our entry, such as an environment, stays.
        Some(ours) => {
            if let Value::Object(entry) = editor.entry(servers) {
                ours.extend(entry);
            }
        }
        None => drop(known.insert(NAME.to_owned(), editor.entry(servers))),
    }
    let text =
        serde_json::to_string_pretty(&file).map_err(|error| Fault::internal("could not write JSON").because(error))?;
    Ok(text + "\n")
}

/// What cannot be merged is shown, to be put in by hand: comments, for one, would be lost.
fn at(path: &Path, editor: Editor, servers: &[String], fault: Fault) -> Fault {
    let entry = json!({ NAME: editor.entry(servers) });
    let what = format!("could not change `{}`", path.display());
    let hint = format!("nothing was written; put this under `{}` yourself: {entry}", editor.servers());
    Fault::new(fault.code, what).because(fault).hint(hint)
}

/// The text of a file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!("could not read `{}`", path.display());
            Err(Fault::invalid(what).because(error).hint("look at the file and its rights"))
        }
    }
}

/// Writes a file, and the folders that it lies in.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            let what = format!("could not make `{}`", folder.display());
            Fault::invalid(what).because(error).hint("name the project's folder with --dir, or use --print")
        })?;
    }
    file::write(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::fault_text;

    fn here() -> Vec<String> {
        vec![DEFAULT_SERVER.to_owned()]
    }

    #[test]
    fn every_editor_gets_its_own_file() {
        let text: Vec<String> = [Editor::Vscode, Editor::Cursor, Editor::Claude]
            .map(|editor| format!("{}\n{}", editor.file(), merged(editor, None, &here()).unwrap()))
            .into();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn other_servers_stay_and_a_second_time_changes_nothing() {
        let before =
            r#"{"inputs":[1],"servers":{"zoo":{"command":"zoo"},"taskmaster":{"command":"old","env":{"A":"b"}}}}"#;
        let servers = vec!["grey-area:3002".to_owned(), "other:3002".to_owned()];
        let once = merged(Editor::Vscode, Some(before), &servers).unwrap();
        insta::assert_snapshot!(once);
        assert_eq!(merged(Editor::Vscode, Some(&once), &servers).unwrap(), once);
    }

    #[test]
    fn a_file_that_cannot_be_merged_is_left_alone_and_the_entry_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".mcp.json");
        for text in ["// mine\n{}", "[]", r#"{"mcpServers":[]}"#] {
            fs::write(&path, text).unwrap();
            let fault = merged(Editor::Claude, read(&path).unwrap().as_deref(), &here()).unwrap_err();
            let told = fault_text(&at(&path, Editor::Claude, &here(), fault));
            assert!(told.contains(r#""command":"tmctl""#), "{told}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
