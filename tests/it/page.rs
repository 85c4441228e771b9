//! The page at `/`, in a real browser: every section shows what the cluster has, what is clicked happens, a node that dies is
//! seen, nothing is asked of anybody else. Pictures of every section lie in `target/screenshots` afterwards.
//!
//! Without Chromium these tests say so and pass as skipped.

mod browser;

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::client::Client;

use crate::lab::{Lab, SOON, Setup, chat, until};
use browser::Browser;

const PRD: &str = "# Garden\n\n## Water\n\n- The pump must start when the soil is dry.\n- The pump must stop when the \
    tank is empty.\n\n## Light\n\n- The lamp must follow the sun.\n- The owner may switch the lamp by hand.\n\n## Reports\n\n\
    - The system must send a report every evening.\n- The report should show the water used.\n";
const NOTE: &str = "# The tank\n\nThe tank holds 300 litres.\n\n## Care\n\nIt is cleaned in spring, without soap.\n";
/// From a node's death to its being seen as lost on a page.
const SEEN: Duration = Duration::from_secs(12);

async fn browser() -> Option<Browser> {
    let browser = Browser::start().await.unwrap();
    if browser.is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: there is no Chromium; hint: deploy/install-tools.sh chromium");
    }
    browser
}

/// Every list of the page fits a phone.
async fn pictures(browser: &Browser, name: &str) {
    for width in [1280, 380] {
        browser.wide(width).await;
        browser.sees(&format!("innerWidth === {width}")).await;
        // What was drawn for another width is drawn anew within a second; two frames later it is on the screen.
        browser.value("new Promise((then) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => then(true))), 1100))").await;
        browser.sees("document.documentElement.scrollWidth <= innerWidth").await;
        browser.picture(&format!("{name}-{width}")).await;
    }
    browser.wide(1280).await;
}

async fn post(client: &Client, path: &str, body: Value) -> Value {
    let reply = client.post_json(path, &body).await.unwrap();
    assert!((200..300).contains(&reply.status), "{path}: {}", reply.text());
    reply.json().unwrap()
}

async fn goes_to(browser: &Browser, section: &str) {
    browser.click_text("nav a", section).await;
    browser.sees(&format!("document.querySelector('nav a[aria-current]')?.innerText === {}", json!(section))).await;
}

/// A gateway, two workers that write slowly, a plan with tasks, a document.
async fn house() -> Lab {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("ollama", 2, &["--token", "400ms"], "").await;
    let client = lab.http(0);
    post(&client, "/api/projects", json!({"name": "garden"})).await;
    let plan = json!({"work": "parse-prd", "prd": PRD, "planner": "structural"});
    let job = post(&client, "/api/projects/garden/jobs", plan).await["job"].as_str().unwrap().to_owned();
    until("the plan is made", SOON, async || {
        client.get(&format!("/api/jobs/{job}")).await.unwrap().json().unwrap()["state"] == "done"
    })
    .await;
    let wait = json!({"edits": [{"edit": "add-dependency", "id": "3", "on": "1"}, {"edit": "add-dependency", "id": "3", "on": "2"}]});
    post(&client, "/api/projects/garden/edits", wait).await;
    post(&client, "/api/research/collections/house/documents", json!({"source": "tank.md", "text": NOTE})).await;
    until("the note is found", SOON, async || {
        let found = post(&client, "/api/research/search", json!({"question": "how is the tank cleaned"})).await;
        !found["items"].as_array().unwrap().is_empty()
    })
    .await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn every_section_shows_what_is_there_and_what_is_clicked_happens() {
    let Some(browser) = browser().await else { return };
    let mut lab = house().await;
    let client = lab.http(0);
    let origin = format!("http://{}", lab.nodes[0].http);
    browser.wide(1280).await;
    browser.open(&format!("{origin}/")).await;
    browser.says("#standing", "3 of 3 nodes alive").await;

    let mut stream = client.stream("/v1/chat/completions", &chat("a long story", true)).await.unwrap();
    stream.next().await.unwrap();
    overview(&browser).await;
    asks(&browser).await;
    drop(stream);
    models(&browser).await;
    jobs(&browser, &client).await;
    tasks(&browser, &client).await;
    for engine in &lab.engines {
        engine.control(&json!({"token_ms": 1})).await.unwrap();
    }
    research(&browser).await;
    privacy(&browser, &lab).await;
    drains(&browser, &lab).await;

    goes_to(&browser, "Failures").await;
    let killed = Instant::now();
    lab.nodes[2].child.kill().await.unwrap();
    browser.sees("document.querySelector('#standing').innerText.includes('2 of 3 nodes alive')").await;
    let took = killed.elapsed();
    assert!(took < SEEN, "it was seen after {took:?}");
    browser.says("main", "node w1 is").await;
    browser.sees("document.querySelectorAll('.events li').length > 0").await;
    browser.sees("document.querySelector('main table') !== null").await;
    pictures(&browser, "failures").await;
    goes_to(&browser, "Overview").await;
    browser.sees("[...document.querySelectorAll('main tr')].some((row) => row.innerText.includes('w1') && row.innerText.includes('lost'))")
        .await;
    browser.scheme("dark").await;
    pictures(&browser, "overview-dark").await;
    assert_eq!(browser.troubles(&origin, &[]), Vec::<String>::new());
    assert!(browser.asked().iter().any(|url| url.ends_with("/api/cluster/live")), "{:?}", browser.asked());
}

async fn overview(browser: &Browser) {
    for node in ["gateway", "w0", "w1"] {
        browser.says("main svg.map", node).await;
    }
    // The ask that runs goes from where it came in to a worker.
    browser.sees("document.querySelector('svg.map .flow') !== null").await;
    browser
        .sees("[...document.querySelectorAll('main td')].some((cell) => cell.innerText.includes('w0/engine'))")
        .await;
    browser.sees("document.querySelectorAll('.chart .line').length >= 3").await;
    browser.says("main", "Seen by gateway").await;
    pictures(browser, "overview").await;
}

async fn asks(browser: &Browser) {
    goes_to(browser, "Asks").await;
    browser.says("main", "1 ask runs now").await;
    browser.says("main tbody tr", "gateway → w").await;
    pictures(browser, "asks").await;
    browser.click_text("main td button", "Why?").await;
    browser.sees("['w0/engine', 'w1/engine', 'chosen'].every((text) => dialog.innerText.includes(text))").await;
    browser.picture("asks-why").await;
    browser.click_text("dialog button", "Close").await;
    browser.sees("!dialog.open").await;
}

async fn models(browser: &Browser) {
    goes_to(browser, "Models").await;
    browser.says("main tbody", "fake").await;
    browser.says("main tbody", "w0/engine").await;
    browser.says("main tbody", "w1/engine").await;
    pictures(browser, "models").await;
}

async fn jobs(browser: &Browser, client: &Client) {
    goes_to(browser, "Jobs").await;
    browser.says("main tbody", "done").await;
    post(client, "/api/projects/garden/tags", json!({"name": "slow"})).await;
    let plan = json!({"work": "parse-prd", "prd": PRD, "planner": "model", "tag": "slow"});
    let job = post(client, "/api/projects/garden/jobs", plan).await["job"].as_str().unwrap().to_owned();
    browser.says("main tbody", &job).await;
    browser.says("main tbody tr", "running").await;
    pictures(browser, "jobs").await;
    let state = async || client.get(&format!("/api/jobs/{job}")).await.unwrap().json().unwrap()["state"].clone();
    browser.click(&format!("button[aria-label='Cancel {job}']")).await;
    browser.click("#no").await;
    browser.sees("!dialog.open").await;
    assert_eq!(state().await, "running");
    browser.click(&format!("button[aria-label='Cancel {job}']")).await;
    browser.sees("dialog.open && document.getElementById('yes') !== null").await;
    browser.click("#yes").await;
    browser.says("main tbody tr", "cancelled").await;
    assert_eq!(state().await, "cancelled");
}

async fn tasks(browser: &Browser, client: &Client) {
    goes_to(browser, "Tasks").await;
    browser.sees("document.querySelectorAll('.board button.task').length >= 3").await;
    browser.sees("document.querySelectorAll('.graph .task').length >= 3").await;
    browser.sees("document.querySelectorAll('.graph .edge').length === 2").await;
    pictures(browser, "tasks").await;
    let stored = async || {
        client.get("/api/projects/garden/tasks/1").await.unwrap().json().unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(stored().await, "pending");
    browser.click("[data-task='1']").await;
    browser.says("dialog", "Task 1").await;
    browser.picture("tasks-one").await;
    browser.click("dialog [data-status='in-progress']").await;
    browser
        .sees("document.querySelector('dialog [data-status=\"in-progress\"]').getAttribute('aria-pressed') === 'true'")
        .await;
    assert_eq!(stored().await, "in-progress");
    // Escape closes it, and the board has moved the card.
    browser.key("Escape", 27).await;
    browser.sees("!dialog.open").await;
    browser.says("section[aria-label='in-progress']", "1 ").await;
}

async fn research(browser: &Browser) {
    goes_to(browser, "Research").await;
    browser.says("main", "house").await;
    browser.click("#question").await;
    browser.types("When is the tank cleaned?").await;
    // By keyboard to who shall write it: the fake engine's prose is nobody's answer.
    browser.key("Tab", 9).await;
    browser.key("Tab", 9).await;
    browser.key("n", 78).await;
    browser.sees("document.getElementById('writer').value === 'extractive'").await;
    browser.click("#ask").await;
    browser.says("#outcome", "cleaned in spring").await;
    browser.sees("document.querySelector('#outcome .cite') !== null").await;
    pictures(browser, "research").await;
    browser.click("#outcome .cite").await;
    browser.says("dialog mark", "It is cleaned in spring, without soap.").await;
    browser.says("dialog", "The tank holds 300 litres.").await;
    browser.picture("research-passage").await;
    browser.click_text("dialog button", "Close").await;
    browser.sees("!dialog.open").await;
}

async fn privacy(browser: &Browser, lab: &Lab) {
    goes_to(browser, "Privacy").await;
    browser.says("main", "nothing left the house").await;
    browser.sees("document.querySelectorAll('main tbody tr').length > 0").await;
    pictures(browser, "privacy").await;
    browser.click_text(".modes button", "hybrid").await;
    browser.says("dialog", "Change to hybrid?").await;
    browser.click("#yes").await;
    browser.sees("[...document.querySelectorAll('.modes button')].some((one) => one.innerText === 'hybrid' && one.getAttribute('aria-pressed') === 'true')").await;
    until("every node is hybrid", SOON, async || {
        let mut all = true;
        for node in &lab.nodes {
            all &= node.mode().await.is_ok_and(|mode| mode == "hybrid");
        }
        all
    })
    .await;
    browser.click_text(".modes button", "local-only").await;
    browser.says("#standing", "local-only").await;
}

async fn drains(browser: &Browser, lab: &Lab) {
    goes_to(browser, "Overview").await;
    browser.click("button[aria-label='Drain w0']").await;
    browser.click("#yes").await;
    lab.nodes_are(0, "draining", &["w0"], SOON).await;
    browser.click("button[aria-label='Take back in w0']").await;
    lab.nodes_are(0, "alive", &["w0"], SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_on_the_page_has_no_data_before_a_key_is_given_and_keeps_it_in_its_tab() {
    let Some(browser) = browser().await else { return };
    let mut lab = Lab::single();
    lab.node(Setup::new("alone")).await;
    let key = lab.nodes[0].create_key("phone").await.unwrap();
    let config = lab.nodes[0].config().to_owned();
    let open = std::fs::read_to_string(&config).unwrap();
    lab.nodes[0].child.kill().await.unwrap();
    std::fs::write(&config, format!("{open}\n[auth]\nkeys = \"store\"\n")).unwrap();
    lab.nodes[0].again().await;
    let origin = format!("http://{}", lab.nodes[0].http);
    browser.wide(380).await;
    browser.open(&format!("{origin}/#/privacy")).await;
    browser.says("dialog", "answers only holders of a key").await;
    assert!(!browser.text().await.contains("alone"), "{}", browser.text().await);
    browser.picture("key-380").await;
    browser.types("tm-wrong").await;
    browser.key("Enter", 13).await;
    browser.says("dialog", "does not know that key").await;
    browser.types(&key).await;
    browser.click("dialog button").await;
    browser.says("#standing", "1 of 1 nodes alive").await;
    browser.says("#seen", "Seen by alone").await;
    browser.sees("document.querySelectorAll('.modes button').length === 5").await;
    let kept = browser.value("[sessionStorage.length, localStorage.length, document.cookie.length]").await;
    assert_eq!(kept, json!([1, 0, 0]));
    // It is the tab's, so it is there after the page is loaded anew.
    browser.open(&format!("{origin}/")).await;
    browser.says("#standing", "1 of 1 nodes alive").await;
    assert_eq!(browser.troubles(&origin, &["401 (Unauthorized)"]), Vec::<String>::new());

    // A node that is gone is told from one that is well.
    lab.nodes[0].child.kill().await.unwrap();
    browser.says("#notices", "Trying again").await;
    browser.says("#standing", "not heard").await;
    browser.picture("stale-380").await;
}
