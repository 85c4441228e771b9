//! Where each agent reads its instructions in a project's folder, by its own documentation.

use std::path::Path;

/// Agents whose files are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Amp: AGENTS.md
    Amp,
    /// Claude Code: CLAUDE.md
    Claude,
    /// Cline: .clinerules
    Cline,
    /// Codex: AGENTS.md
    Codex,
    /// Cursor: .cursor/rules/taskmaster.mdc
    Cursor,
    /// Gemini CLI: GEMINI.md
    Gemini,
    /// Kilo Code: .kilocode/rules/taskmaster.md
    Kilo,
    /// Kiro: .kiro/steering/taskmaster.md
    Kiro,
    /// OpenCode: AGENTS.md
    #[value(name = "opencode")]
    OpenCode,
    /// Roo Code: .roo/rules/taskmaster.md
    Roo,
    /// Trae: .trae/rules/project_rules.md
    Trae,
    /// Visual Studio Code with Copilot: .github/instructions/taskmaster.instructions.md
    Vscode,
    /// Windsurf: .windsurf/rules/taskmaster.md
    Windsurf,
    /// Zed: the first of its files that is there, else AGENTS.md
    Zed,
}

/// Zed reads one file alone, the first of these.
const OF_ZED: [&str; 9] = [
    ".rules",
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    ".github/copilot-instructions.md",
    "AGENT.md",
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
];

impl Profile {
    /// The file below `folder` that it reads.
    pub fn file(self, folder: &Path) -> &'static str {
        match self {
            Self::Amp | Self::Codex | Self::OpenCode => "AGENTS.md",
            Self::Claude => "CLAUDE.md",
            // Once a single file, today a folder.
            Self::Cline if folder.join(".clinerules").is_file() => ".clinerules",
            Self::Cline => ".clinerules/taskmaster.md",
            Self::Cursor => ".cursor/rules/taskmaster.mdc",
            Self::Gemini => "GEMINI.md",
            Self::Kilo => ".kilocode/rules/taskmaster.md",
            Self::Kiro => ".kiro/steering/taskmaster.md",
            Self::Roo => ".roo/rules/taskmaster.md",
            Self::Trae => ".trae/rules/project_rules.md",
            Self::Vscode => ".github/instructions/taskmaster.instructions.md",
            Self::Windsurf => ".windsurf/rules/taskmaster.md",
            Self::Zed => OF_ZED.into_iter().find(|name| folder.join(name).is_file()).unwrap_or("AGENTS.md"),
        }
    }

    /// What a new file must begin with to be read at every time.
    pub const fn head(self) -> &'static str {
        match self {
            Self::Cursor => "---\ndescription: Taskmaster\nalwaysApply: true\n---\n",
            Self::Kiro => "---\ninclusion: always\n---\n",
            Self::Vscode => "---\napplyTo: \"**\"\n---\n",
            Self::Windsurf => "---\ntrigger: always_on\n---\n",
            _ => "",
        }
    }
}
