//! Chromium without a screen, driven over the pipe of its DevTools protocol: no port, no library, one process group.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tests::process::binary;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::oneshot;

use crate::lab::until;

/// No command of the protocol takes longer.
const CALL: Duration = Duration::from_secs(30);
/// What a page shows is there by then.
pub const SHOWN: Duration = Duration::from_secs(15);
/// Where Debian, Nix and others put it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, String>>>>>;

/// A browser with one page.
pub struct Browser {
    child: tokio::process::Child,
    group: Pid,
    commands: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    events: Arc<Mutex<Vec<Value>>>,
    last: AtomicU64,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one with an empty profile; `None` where there is none.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = found() else { return Ok(None) };
        let profile = tempfile::tempdir()?;
        // The protocol wants the descriptors 3 and 4, which a shell can give without unsafe code.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]).arg(program).args([
            "--headless=new",
            "--remote-debugging-pipe",
            // A test runs as root in a container as well, and loads nothing but the house's own page.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--lang=en",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Command::from(command).spawn().context("could not start the browser")?;
        let group = child.id().and_then(|id| Pid::from_raw(id as i32)).context("the browser ended at once")?;
        let (commands, told) = (child.stdin.take(), child.stdout.take());
        let (waiting, events) = (Waiting::default(), Arc::default());
        tokio::spawn(listen(told.context("no pipe")?, waiting.clone(), Arc::clone(&events)));
        let commands = tokio::sync::Mutex::new(commands.context("no pipe")?);
        let (last, session) = (AtomicU64::new(0), String::new());
        let mut browser = Self { child, group, commands, waiting, events, last, session, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().context("no session")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(Some(browser))
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, answer);
        self.commands.lock().await.write_all(format!("{message}\0").as_bytes()).await?;
        match tokio::time::timeout(CALL, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => bail!("{method}: {error}"),
            Ok(Err(_)) => bail!("the browser ended before it answered {method}"),
            Err(_) => bail!("{method} was not answered within {CALL:?}"),
        }
    }

    /// Goes to an address.
    pub async fn open(&self, url: &str) {
        let told = self.call("Page.navigate", json!({"url": url})).await.unwrap();
        assert!(told["errorText"].is_null(), "{url}: {told}");
    }

    /// The value of an expression on the page.
    pub async fn value(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let told = self.call("Runtime.evaluate", params).await.unwrap();
        assert!(told["exceptionDetails"].is_null(), "{expression}: {}", told["exceptionDetails"]);
        told["result"]["value"].clone()
    }

    /// What stands on the page.
    pub async fn text(&self) -> String {
        self.value("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true; shows the page when it does not become so.
    pub async fn sees(&self, expression: &str) {
        let end = std::time::Instant::now() + SHOWN;
        while self.value(expression).await != json!(true) {
            assert!(std::time::Instant::now() < end, "never: {expression}; the page says:\n{}", self.text().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a text stands in the first element that `selector` finds.
    pub async fn says(&self, selector: &str, text: &str) {
        self.sees(&format!("(({{ innerText, textContent }}) => innerText ?? textContent)(document.querySelector({}) ?? {{}})?.includes({})", json!(selector), json!(text)))
            .await;
    }

    /// Clicks with the mouse in the middle of the first element that `selector` finds.
    pub async fn click(&self, selector: &str) {
        self.press(&format!("document.querySelector({})", json!(selector)), selector).await;
    }

    /// Clicks the first element of `selector` whose text contains `text`.
    pub async fn click_text(&self, selector: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll({})].find((one) => one.innerText.includes({}))",
            json!(selector),
            json!(text)
        );
        self.press(&found, text).await;
    }

    async fn press(&self, element: &str, what: &str) {
        let mut spot = Value::Null;
        until(&format!("{what} can be clicked"), SHOWN, async || {
            // Found only when nothing else lies over its middle, as for a person.
            let middle = format!(
                "(() => {{ const one = {element}; if (!one) return null; one.scrollIntoView({{block: 'center'}}); \
                 const box = one.getBoundingClientRect(); const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]; \
                 const top = document.elementFromPoint(x, y); return top && (one.contains(top) || top.contains(one)) ? [x, y] : null; }})()"
            );
            // Where it still stands after a moment: the page is drawn anew while it is read.
            let before = std::mem::replace(&mut spot, self.value(&middle).await);
            spot.is_array() && spot == before
        })
        .await;
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({"type": kind, "x": spot[0], "y": spot[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", params).await.unwrap();
        }
    }

    /// Types into what has the focus.
    pub async fn types(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await.unwrap();
    }

    /// Presses a key such as `Tab`, `Enter` or `n`.
    pub async fn key(&self, name: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let text = match (kind, name) {
                ("keyDown", "Enter") => "\r",
                ("keyDown", name) if name.len() == 1 => name,
                _ => "",
            };
            let params = json!({"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", params).await.unwrap();
        }
    }

    /// Makes the window this wide.
    pub async fn wide(&self, width: u32) {
        let params = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", params).await.unwrap();
    }

    /// Light or dark.
    pub async fn scheme(&self, name: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": name}]});
        self.call("Emulation.setEmulatedMedia", features).await.unwrap();
    }

    /// Keeps a picture of the whole page beside the build's output, where a person can look at it.
    pub async fn picture(&self, name: &str) {
        let metrics = self.call("Page.getLayoutMetrics", json!({})).await.unwrap();
        let size = &metrics["cssContentSize"];
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let params = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let told = self.call("Page.captureScreenshot", params).await.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(told["data"].as_str().unwrap()).unwrap();
        let folder = binary("tmd").unwrap().ancestors().nth(2).unwrap().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Errors of the console, exceptions, breaches of the policy, and requests to anywhere but `origin`, as far as they do
    /// not contain one of `expected`.
    pub fn troubles(&self, origin: &str, expected: &[&str]) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let trouble = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => Some(params.to_string()),
                "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
                "Log.entryAdded" if params["entry"]["level"] == "error" => Some(params["entry"].to_string()),
                "Network.requestWillBeSent" => {
                    let url = params["request"]["url"].as_str().unwrap_or_default();
                    let is_ours = url.starts_with(&format!("{origin}/")) || url.starts_with("data:");
                    (!is_ours && url != "about:blank").then(|| format!("a request to {url}"))
                }
                _ => None,
            }
        };
        let all = events.iter().filter_map(trouble);
        all.filter(|trouble| !expected.iter().any(|expected| trouble.contains(expected))).collect()
    }

    /// The addresses that were asked for.
    pub fn asked(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let sent = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is reaped behind this, so the id of the group cannot have become another's.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.start_kill();
    }
}

/// Takes what the browser says to whoever waits for it, and keeps the rest.
async fn listen(told: tokio::process::ChildStdout, waiting: Waiting, events: Arc<Mutex<Vec<Value>>>) {
    let mut told = BufReader::new(told);
    loop {
        let mut message = Vec::new();
        match told.read_until(0, &mut message).await {
            Ok(read) if read > 0 => {}
            _ => break,
        }
        message.pop();
        let Ok(mut message) = serde_json::from_slice::<Value>(&message) else { continue };
        let Some(id) = message["id"].as_u64() else {
            events.lock().unwrap().push(message);
            continue;
        };
        if let Some(answer) = waiting.lock().unwrap().remove(&id) {
            let error = message["error"]["message"].as_str().map(str::to_owned);
            let _ = answer.send(error.map_or_else(|| Ok(message["result"].take()), Err));
        }
    }
    waiting.lock().unwrap().clear();
}

fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    NAMES
        .iter()
        .find_map(|name| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))
}
