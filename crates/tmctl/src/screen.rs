//! The only place that writes to the terminal: data to stdout, everything else to stderr; a closed pipe is success.

use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use base::{Code, Fault};
use serde::Serialize;

use crate::progress::Live;
use crate::text;

/// How a command came to its end when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done; exit code 0.
    Done,
    /// Shown, but what it shows is not well; exit code 1.
    NotWell,
}

/// Why a command stopped early.
#[derive(Debug)]
pub enum Ended {
    /// Something went wrong.
    Fault(Fault),
    /// Whoever read the output has enough.
    PipeClosed,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            return Self::PipeClosed;
        }
        Self::Fault(
            Fault::internal("could not write the output").because(error).hint("look at the disk and the terminal"),
        )
    }
}

/// Whether what is written is for eyes, a program, or both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// JSON instead of tables.
    pub json: bool,
    /// Stdout is a terminal; what a terminal would obey is made visible.
    pub is_terminal: bool,
    /// Colours are wanted and can be shown.
    pub has_colour: bool,
    /// The columns of the terminal that stdout is; what is piped is never shortened.
    pub width: Option<usize>,
}

/// Where output goes.
pub struct Screen {
    data: Box<dyn Write>,
    notes: Box<dyn Write>,
    notes_are_live: bool,
    /// Where a person answers; none without a person.
    answers: Option<Box<dyn BufRead>>,
    /// How it is written.
    pub style: Style,
}

impl Screen {
    /// The screen of this process.
    pub fn of_process(json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let has_variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|_| is_terminal);
        // A terminal that says 0 does not know.
        let width = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let has_colour = is_terminal && !is_dumb && !has_variable("NO_COLOR");
        let style = Style { json, is_terminal, has_colour, width };
        let screen = Self::new(Box::new(io::stdout()), Box::new(io::stderr()), style);
        let notes_are_seen = io::stderr().is_terminal();
        let is_asked = notes_are_seen && io::stdin().is_terminal();
        let answers = is_asked.then(|| Box::new(BufReader::new(io::stdin())) as Box<dyn BufRead>);
        Self { notes_are_live: notes_are_seen && !is_dumb, answers, ..screen }
    }

    /// A screen that writes data and notes to these.
    pub fn new(data: Box<dyn Write>, notes: Box<dyn Write>, style: Style) -> Self {
        Self { data, notes, notes_are_live: false, answers: None, style }
    }

    /// The same, with somebody who answers this.
    #[cfg(test)]
    pub fn with_answers(self, answers: &'static str) -> Self {
        Self { answers: Some(Box::new(answers.as_bytes())), ..self }
    }

    /// Whether a note can be written over by the next.
    pub const fn notes_are_live(&self) -> bool {
        self.notes_are_live
    }

    /// Writes `json` when JSON is wanted, else `text`.
    pub fn show(&mut self, text: impl FnOnce(Style) -> String, json: &impl Serialize) -> Result<(), Ended> {
        if self.style.json { self.json(json) } else { self.data(&text(self.style)) }
    }

    /// Writes one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Ended> {
        let line = serde_json::to_string(value)
            .map_err(|error| Fault::internal("could not write JSON").because(error).hint("leave out --json"))?;
        self.data(&format!("{line}\n"))
    }

    /// Writes to stdout and flushes, so that a stream is seen as it comes.
    pub fn data(&mut self, text: &str) -> Result<(), Ended> {
        self.data.write_all(text.as_bytes())?;
        Ok(self.data.flush()?)
    }

    /// Takes what is seen on a terminal away, so that what comes stands in its place; anywhere else it comes below.
    pub fn begin_again(&mut self) -> Result<(), Ended> {
        if self.style.is_terminal && !self.style.json { self.data("\x1b[H\x1b[2J") } else { Ok(()) }
    }

    /// Writes what a model said; on a terminal without the characters that the terminal would obey.
    pub fn model_text(&mut self, text: &str) -> Result<(), Ended> {
        if self.style.is_terminal { self.data(&text::visible(text)) } else { self.data(text) }
    }

    /// Writes to stderr. That nobody reads there is no reason to stop.
    pub fn note(&mut self, text: &str) {
        let _ = self.notes.write_all(text.as_bytes()).and_then(|()| self.notes.flush());
    }

    /// Where long work tells how far it is; where lines stay, not more often than after each `pause`.
    pub fn progress(&mut self, pause: Duration) -> Live<'_> {
        Live::new(self, pause)
    }

    /// Asks a person whether to go on; nothing is known when there is none. Only `y` and `yes` are a yes.
    pub fn ask(&mut self, question: &str) -> Option<bool> {
        self.answers.as_ref()?;
        self.note(&format!("{question} [y/N] "));
        let mut line = String::new();
        // Blocking is fine here: while a person thinks, nothing else of this process has anything to do.
        self.answers.as_mut()?.read_line(&mut line).ok()?;
        Some(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Tells how the command ended; gives the exit code.
    pub fn close(&mut self, ended: Result<Verdict, Ended>) -> u8 {
        match ended {
            Ok(Verdict::Done) | Err(Ended::PipeClosed) => 0,
            Ok(Verdict::NotWell) => 1,
            Err(Ended::Fault(fault)) => {
                let text = if self.style.json { fault_json(&fault) } else { fault_text(&fault) };
                self.note(&text);
                u8::try_from(fault.code.exit_code()).unwrap_or(1)
            }
        }
    }
}

/// The environment as text; what is none cannot be a setting, but must not end the program either.
pub fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// A fault for eyes: what could not be done, what to do next, when to come back.
pub fn fault_text(fault: &Fault) -> String {
    let mut text = format!("error: {}\n", text::visible(&fault.full_message()));
    if let Some(hint) = &fault.hint {
        text.push_str(&format!("  hint: {}\n", text::visible(hint)));
    }
    if let Some(after) = fault.retry_after_s() {
        text.push_str(&format!("  come back in {}\n", text::seconds(after as f64)));
    }
    text
}

fn fault_json(fault: &Fault) -> String {
    #[derive(Serialize)]
    struct Told<'a> {
        code: Code,
        message: String,
        hint: Option<&'a str>,
        retry_after_s: Option<u64>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        error: Told<'a>,
    }
    let error = Told {
        code: fault.code,
        message: fault.full_message(),
        hint: fault.hint.as_deref(),
        retry_after_s: fault.retry_after_s(),
    };
    serde_json::to_string(&Line { error }).map_or_else(|_| fault_text(fault), |line| line + "\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_success() {
        let mut screen = Screen::new(Box::new(Closed), Box::new(io::sink()), Style::default());
        let ended = screen.data("x").map(|()| Verdict::Done);
        assert_eq!(screen.close(ended), 0);
    }

    #[test]
    fn exit_codes_are_those_of_the_table() {
        let mut screen = Screen::new(Box::new(io::sink()), Box::new(io::sink()), Style::default());
        assert_eq!(screen.close(Ok(Verdict::NotWell)), 1);
        assert_eq!(screen.close(Err(Fault::new(Code::NotFound, "x").into())), 1);
        assert_eq!(screen.close(Err(Fault::new(Code::Unreachable, "x").into())), 3);
    }

    #[test]
    fn a_fault_tells_what_to_do_next() {
        let fault = Fault::new(Code::Overloaded, "could not take the ask: \u{1b}[2Jall 4 slots are busy")
            .hint("ask again, or add a worker")
            .retry_after(Duration::from_millis(2500));
        insta::assert_snapshot!("fault", fault_text(&fault));
        insta::assert_snapshot!("fault_json", fault_json(&fault));
    }
}
