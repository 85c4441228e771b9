//! `tmctl top` on a real terminal: it draws what there is, follows the terminal's size, and gives it back whatever ends it.
//!
//! The terminal is made by `script` of util-linux; where that is missing, the test says so and passes as skipped.

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tests::process::binary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;

use crate::lab::{Lab, SOON, Setup, bounded, chat, until};

/// What gives the screen back.
const GIVEN_BACK: &str = "\u{1b}[?1049l";

struct Screen {
    script: tokio::process::Child,
    group: Pid,
    keys: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// `top` on a terminal of 80 by 24; `None` where no terminal can be made.
    fn open(server: &str) -> Option<Self> {
        let tmctl = binary("tmctl").unwrap();
        let line = format!("stty rows 24 cols 80; exec {} --server {server} top", tmctl.display());
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut script) = tokio::process::Command::from(command).spawn() else {
            let _ = writeln!(std::io::stderr(), "skipped: there is no `script`; hint: deploy/install-tools.sh script");
            return None;
        };
        let group = Pid::from_raw(script.id().unwrap() as i32).unwrap();
        let (keys, mut told) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let kept = shown.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = told.read(&mut bytes).await {
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Some(Self { script, group, keys, shown })
    }

    /// What was sent to the terminal.
    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The same as words: blanks are jumped over and not written.
    fn text(&self) -> String {
        words(&self.raw())
    }

    async fn says(&self, text: &str) {
        let end = Instant::now() + SOON;
        while !self.text().contains(text) {
            assert!(Instant::now() < end, "the screen never says {text:?}: {}", self.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        bounded("top ends", SOON, self.script.wait()).await.unwrap()
    }

    /// Gives the terminal so many rows.
    fn resize(&self, rows: u32) {
        let terminal = std::fs::read_link(format!("/proc/{}/fd/0", self.top())).unwrap();
        let size = ["rows", &rows.to_string()];
        assert!(Command::new("stty").arg("-F").arg(&terminal).args(size).status().unwrap().success());
    }

    /// The process of `top` itself.
    fn top(&self) -> u32 {
        let script = self.script.id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It is reaped behind this, or was waited for: then there is no such group, since ids are not given anew so soon.
        if self.script.id().is_some() {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

/// What is written, with a blank for each jump of the cursor.
fn words(raw: &str) -> String {
    let mut parts = raw.split("\u{1b}[");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|one: char| one.is_ascii_alphabetic()).unwrap_or(0);
        words.push_str(if part[end..].starts_with('H') { " " } else { "" });
        words.push_str(part.get(end + 1..).unwrap_or_default());
    }
    words
}

fn is_gone(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// Waits until what stands on the screen was told by that node.
async fn seen_by(screen: &Screen, node: &str) {
    let (text, mut rows, mut resized) = (format!("seen by {node}"), 30, Instant::now());
    until(&text, SOON, async || {
        // Only what is different is drawn, except on a screen of another size.
        if resized.elapsed() > Duration::from_secs(1) {
            (rows, resized) = (55 - rows, Instant::now());
            screen.resize(rows);
        }
        screen.text().contains(&text)
    })
    .await;
}

async fn node() -> Lab {
    let mut lab = Lab::single();
    let url = lab.engine("ollama", &[]).await;
    lab.node(Setup::new("alone").worker("engine", "ollama", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn one_frame_can_be_printed_and_what_is_no_terminal_is_not_drawn_on() {
    let lab = node().await;
    lab.http(0).ask("/v1/chat/completions", &chat("hello", false)).await.unwrap();
    let frame = lab.nodes[0].done(&["top", "--once"]).await;
    for text in ["1 of 1 nodes", "local-only", "alone/engine", "ready", "as seen by alone", " ok "] {
        assert!(frame.contains(text), "no {text} in\n{frame}");
    }
    assert!(frame.lines().count() == 24 && !frame.contains('\u{1b}'), "{frame}");
    let refused = lab.nodes[0].tmctl(&["top"]).await;
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("hint: `tmctl top --once`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_follows_its_terminal_and_gives_it_back_whatever_ends_it() {
    let lab = node().await;
    let Some(mut screen) = Screen::open(&lab.nodes[0].grpc) else { return };
    screen.says("alone/engine").await;
    // What happens is seen without a key.
    lab.nodes[0].set_mode("hybrid").await.unwrap();
    screen.says("hybrid").await;
    screen.press(b"6").await;
    until("the panel is the first", SOON, async || screen.raw().contains("\u{1b}[3;2H6")).await;
    let before = screen.raw().len();
    screen.resize(30);
    // Of another size everything is drawn anew, down to a row that was not there before.
    until("the new screen is drawn on", SOON, async || screen.raw()[before..].contains("\u{1b}[30;")).await;
    let anew = words(&screen.raw()[before..]);
    assert!(anew.contains("6 Events") && !anew.contains("LOADED"), "the panel has the screen for itself: {anew:?}");
    screen.press(b"q").await;
    assert!(screen.end().await.success());
    assert!(screen.raw().contains(GIVEN_BACK), "{:?}", screen.raw());

    let mut screen = Screen::open(&lab.nodes[0].grpc).unwrap();
    screen.says("alone/engine").await;
    screen.press(&[3]).await;
    assert!(screen.end().await.success(), "Ctrl-C is an end like any other");
    assert!(screen.raw().contains(GIVEN_BACK));

    // The terminal goes: nothing may stay behind.
    let screen = Screen::open(&lab.nodes[0].grpc).unwrap();
    screen.says("alone/engine").await;
    let top = screen.top();
    let program = std::fs::read_link(PathBuf::from(format!("/proc/{top}/exe"))).unwrap();
    assert!(program.ends_with("tmctl"), "{program:?}");
    drop(screen);
    until("top is gone with its terminal", Duration::from_secs(5), async || is_gone(top)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_says_when_its_node_is_gone_and_goes_on_at_another() {
    let mut lab = Lab::cluster().await;
    for name in ["one", "two"] {
        lab.node(Setup::new(name)).await;
    }
    lab.nodes_are(0, "alive", &["one", "two"], SOON).await;
    lab.nodes_are(1, "alive", &["one", "two"], SOON).await;
    let servers = format!("{},{}", lab.nodes[0].grpc, lab.nodes[1].grpc);
    let Some(mut screen) = Screen::open(&servers) else { return };
    screen.says("Taskmaster").await;
    seen_by(&screen, "one").await;
    lab.nodes[0].child.kill().await.unwrap();
    seen_by(&screen, "two").await;
    screen.press(b"q").await;
    assert!(screen.end().await.success());
}
