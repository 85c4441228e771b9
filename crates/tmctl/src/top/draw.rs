//! A frame: panels of rows, as many of each as fit. Pure: from a state to cells.

use base::Fault;
use proto::admin::{AskItem, FailureItem, LoadPoint, NodeItem, WatchEventsResponse, WorkerItem};
use proto::planning::Job;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Row, Table, Widget};

use super::State;
use super::look::Picture;
use crate::table::Tone;
use crate::text::{self, one_line};

/// Whether the terminal has colours that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    On,
    Off,
}

/// A part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    Nodes,
    Workers,
    Asks,
    Jobs,
    Failures,
    Events,
}

impl Panel {
    /// In the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Nodes, Self::Workers, Self::Asks, Self::Jobs, Self::Failures, Self::Events];

    /// The one after `this`; behind the last come all together.
    pub fn after(this: Option<Self>) -> Option<Self> {
        match this {
            None => Self::ALL.first().copied(),
            Some(this) => Self::ALL.iter().skip_while(|panel| **panel != this).nth(1).copied(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "1 Nodes",
            Self::Workers => "2 Workers",
            Self::Asks => "3 Asks",
            Self::Jobs => "4 Jobs",
            Self::Failures => "5 Failures",
            Self::Events => "6 Events",
        }
    }
}

/// Looks that a spark shows; the last ones.
const SPARKS: usize = 12;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const KEYS: &str = " q quit   1-6 one panel   0 all   Tab next   ↑↓ scroll   r look now";

/// What a word means, for its colour alone: the word says it as well.
fn tone(word: &str) -> Tone {
    match word {
        "alive" | "ready" | "ok" | "done" | "mended" => Tone::Good,
        "suspect" | "stale" | "draining" | "degraded" | "starting" | "cancelled" | "medium" => Tone::Odd,
        "lost" | "down" | "failed" | "high" | "critical" => Tone::Bad,
        _ => Tone::Plain,
    }
}

impl Colours {
    fn style(self, tone: Tone) -> Style {
        match (self, tone) {
            (Self::Off, _) | (_, Tone::Plain) => Style::default(),
            (Self::On, Tone::Good) => Style::default().fg(Color::Green),
            (Self::On, Tone::Odd) => Style::default().fg(Color::Yellow),
            (Self::On, Tone::Bad) => Style::default().fg(Color::Red),
        }
    }

    fn word(self, word: &str) -> Cell<'static> {
        Cell::from(one_line(word)).style(self.style(tone(word)))
    }
}

/// Draws the state.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer, colours: Colours, now_unix_ms: u64) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    heading(state, colours, now_unix_ms).into_iter().zip(head.rows()).for_each(|(line, row)| line.render(row, buffer));
    Line::styled(KEYS, Style::default().add_modifier(Modifier::DIM)).render(foot, buffer);
    let Some(picture) = &state.picture else { return };
    let panel = |panel: Panel, area: Rect, above: usize, buffer: &mut Buffer| {
        let table = content(panel, picture, state, colours, now_unix_ms);
        table.render(panel, area, above, buffer);
    };
    if let Some(alone) = state.alone {
        return panel(alone, body, state.above, buffer);
    }
    let (nodes, workers) = (picture.nodes.nodes.len(), picture.workers.workers.len());
    // Frames and headings take three lines; asks and what is below get at least half of the screen.
    let tall = |count: usize| {
        Constraint::Max(u16::try_from(count.max(1)).unwrap_or(u16::MAX).saturating_add(3).min(body.height / 4))
    };
    let [top, middle, asks, low] =
        Layout::vertical([tall(nodes), tall(workers), Constraint::Fill(1), Constraint::Fill(1)]).areas(body);
    let halves = |area| Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas::<2>(area);
    panel(Panel::Nodes, top, 0, buffer);
    panel(Panel::Workers, middle, 0, buffer);
    let [left, right] = halves(asks);
    panel(Panel::Asks, left, 0, buffer);
    panel(Panel::Jobs, right, 0, buffer);
    let [left, right] = halves(low);
    panel(Panel::Failures, left, 0, buffer);
    panel(Panel::Events, right, 0, buffer);
}

/// How many rows the panel that is alone has.
pub fn rows(state: &State) -> usize {
    let (Some(panel), Some(picture)) = (state.alone, &state.picture) else { return 0 };
    match panel {
        Panel::Nodes => picture.nodes.nodes.len(),
        Panel::Workers => picture.workers.workers.len(),
        Panel::Asks => picture.asks.asks.len(),
        Panel::Jobs => picture.jobs.as_ref().map_or(0, Vec::len),
        Panel::Failures => picture.failures.failures.len(),
        Panel::Events => state.events.len(),
    }
}

/// How the cluster is, whose view that is and how old.
fn heading(state: &State, colours: Colours, now_unix_ms: u64) -> [Line<'static>; 2] {
    let fault = |fault: &Fault| {
        let hint = fault.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
        Line::styled(one_line(&format!("{}{hint}", fault.full_message())), colours.style(Tone::Bad))
    };
    let Some(picture) = &state.picture else {
        let told = state.fault.as_ref().map_or_else(|| Line::from("looking at the cluster"), fault);
        return [Line::from("Taskmaster"), told];
    };
    let Picture { nodes, health, mode, asks, failures, .. } = picture;
    let alive = nodes.nodes.iter().filter(|node| node.state == "alive").count();
    let locked = if mode.is_locked { ", locked" } else { "" };
    let line = vec![
        Span::from("Taskmaster  "),
        Span::styled(one_line(&health.verdict), colours.style(tone(&health.verdict))),
        Span::from(one_line(&format!(
            "  {alive} of {} nodes  {}{locked}  {} asks running  {} failures active",
            nodes.nodes.len(),
            mode.mode,
            asks.running,
            failures.active
        ))),
    ];
    let seen = text::seen_by(nodes.view.as_ref(), now_unix_ms);
    let second = match (&state.fault, health.reasons.first()) {
        (Some(told), _) => fault(told),
        (None, Some(reason)) => Line::from(one_line(&format!("{}; {reason}", seen.trim()))),
        (None, None) => Line::from(one_line(seen.trim())),
    };
    [Line::from(line), second]
}

/// Rows under a heading, and what stands there when there are none.
struct Content {
    heading: Vec<&'static str>,
    widths: Vec<Constraint>,
    rows: Vec<Vec<Cell<'static>>>,
    none: String,
}

impl Content {
    fn render(self, panel: Panel, area: Rect, above: usize, buffer: &mut Buffer) {
        let count = self.rows.len();
        let block = Block::new().borders(Borders::TOP).title(format!(" {} ({count}) ", panel.name()));
        if count == 0 {
            let inner = block.inner(area);
            block.render(area, buffer);
            return Line::from(self.none).render(inner, buffer);
        }
        let rows = self.rows.into_iter().skip(above).map(Row::new);
        let heading = Row::new(self.heading).style(Style::default().add_modifier(Modifier::DIM));
        Widget::render(Table::new(rows, self.widths).header(heading).block(block), area, buffer);
    }
}

fn content(panel: Panel, picture: &Picture, state: &State, colours: Colours, now_unix_ms: u64) -> Content {
    use Constraint::{Fill, Length};
    let (heading, widths, rows, none): (Vec<_>, Vec<_>, Vec<Vec<Cell<'static>>>, &str) = match panel {
        Panel::Nodes => (
            vec!["NAME", "STATE", "CPU", "", "FREE", "GPUS"],
            vec![Fill(2), Length(9), Length(5), Length(12), Length(9), Fill(3)],
            picture.nodes.nodes.iter().map(|one| node(one, picture, colours)).collect(),
            "no node has reported",
        ),
        Panel::Workers => (
            vec!["WORKER", "STATE", "RUNS", "WAITS", "LOADED"],
            vec![Fill(2), Length(9), Length(7), Length(5), Fill(3)],
            picture.workers.workers.iter().map(|one| worker(one, colours)).collect(),
            "no worker; give a node an engine",
        ),
        Panel::Asks => (
            vec!["OUTCOME", "MODEL", "WORKER", "TOOK"],
            vec![Length(11), Fill(1), Fill(1), Length(8)],
            picture.asks.asks.iter().map(|one| ask(one, colours)).collect(),
            "no ask came in yet",
        ),
        Panel::Jobs => (
            vec!["STATE", "DONE", "KIND", "AGE"],
            vec![Length(9), Length(9), Fill(1), Length(8)],
            picture.jobs.iter().flatten().map(|one| job(one, colours, now_unix_ms)).collect(),
            picture.jobs.as_ref().map_or_else(String::as_str, |_| "no jobs"),
        ),
        Panel::Failures => (
            vec!["WHEN", "WHAT", "DONE ABOUT IT"],
            vec![Length(8), Fill(3), Fill(2)],
            picture.failures.failures.iter().map(|one| failure(one, colours)).collect(),
            "nothing has failed",
        ),
        Panel::Events => (
            vec!["WHEN", "EVENT"],
            vec![Length(8), Fill(1)],
            state.events.iter().map(event).collect(),
            "nothing happened since top began",
        ),
    };
    Content { heading, widths, rows, none: one_line(none) }
}

fn node(node: &NodeItem, picture: &Picture, colours: Colours) -> Vec<Cell<'static>> {
    let load = picture.load.nodes.iter().find(|load| load.node == node.name);
    let points = load.map_or(&[][..], |load| &load.points);
    let name = if node.leader { format!("{} leads", node.name) } else { node.name.clone() };
    vec![
        Cell::from(one_line(&name)),
        colours.word(&node.state),
        text::percent(node.cpu_used).into(),
        spark(points.iter().map(|point| point.cpu_used)).into(),
        text::size(node.memory_free_bytes).into(),
        Cell::from(one_line(&gpus(node, points))),
    ]
}

/// Each GPU with what it did lately.
fn gpus(node: &NodeItem, points: &[LoadPoint]) -> String {
    let gpu = |(at, gpu): (usize, &proto::admin::GpuItem)| match gpu.fault.is_empty() {
        true => {
            let used = spark(points.iter().filter_map(|point| Some(point.gpus.get(at)?.used)));
            format!("{} {} {used}", gpu.name, text::percent(gpu.used))
        }
        false => format!("{}: {}", gpu.name, gpu.fault),
    };
    let all: Vec<_> = node.gpus.iter().enumerate().map(gpu).collect();
    text::or_dash(&all.join(", ")).to_owned()
}

/// The last shares of one as bars.
fn spark(shares: impl Iterator<Item = f64>) -> String {
    let shares: Vec<f64> = shares.collect();
    let last = shares.iter().skip(shares.len().saturating_sub(SPARKS));
    let bar = |share: &f64| {
        let step = (share.clamp(0.0, 1.0) * (BARS.len() - 1) as f64).round() as usize;
        BARS.get(step).copied().unwrap_or(' ')
    };
    last.map(bar).collect()
}

fn worker(worker: &WorkerItem, colours: Colours) -> Vec<Cell<'static>> {
    let WorkerItem { name, state, reason, slots, busy, queued, loaded, .. } = worker;
    let more = if reason.is_empty() { loaded.join(", ") } else { reason.clone() };
    vec![
        Cell::from(one_line(name)),
        colours.word(state),
        format!("{busy}/{slots}").into(),
        queued.to_string().into(),
        Cell::from(one_line(text::or_dash(&more))),
    ]
}

fn ask(ask: &AskItem, colours: Colours) -> Vec<Cell<'static>> {
    let tone = match ask.outcome.as_str() {
        "ok" => Tone::Good,
        "running" | "cancelled" => Tone::Plain,
        _ => Tone::Bad,
    };
    let model = if ask.model.is_empty() { &ask.asked_model } else { &ask.model };
    vec![
        Cell::from(one_line(&ask.outcome)).style(colours.style(tone)),
        Cell::from(one_line(model)),
        Cell::from(one_line(text::or_dash(&ask.worker))),
        text::seconds(ask.seconds).into(),
    ]
}

fn job(job: &Job, colours: Colours, now_unix_ms: u64) -> Vec<Cell<'static>> {
    let done = if job.total == 0 { "-".to_owned() } else { format!("{} of {}", job.done, job.total) };
    let project = job.place.as_ref().map_or("", |place| place.project.as_str());
    let age = now_unix_ms.saturating_sub(job.created_unix_ms) as f64 / 1000.0;
    vec![
        colours.word(&job.state),
        done.into(),
        Cell::from(one_line(&format!("{} {project}", job.kind))),
        text::seconds(age).into(),
    ]
}

fn failure(failure: &FailureItem, colours: Colours) -> Vec<Cell<'static>> {
    let FailureItem { at_unix_ms, subject, severity, remedy, outcome, detail, is_active, .. } = failure;
    let style = if *is_active { colours.style(tone(severity)) } else { Style::default() };
    let done = format!("{} {}", text::or_dash(remedy), if *is_active { "active" } else { outcome });
    vec![
        time_of_day(*at_unix_ms).into(),
        Cell::from(one_line(&format!("{subject}: {detail}"))).style(style),
        Cell::from(one_line(&done)),
    ]
}

fn event(event: &WatchEventsResponse) -> Vec<Cell<'static>> {
    let WatchEventsResponse { at_unix_ms, kind, subject, text } = event;
    vec![time_of_day(*at_unix_ms).into(), Cell::from(one_line(&format!("{kind} {subject}: {text}")))]
}

/// The hour of a stamp; the day stands in `tmctl failures` and `tmctl events`.
fn time_of_day(unix_ms: u64) -> String {
    let stamp = text::clock(unix_ms);
    stamp.split(' ').nth(1).unwrap_or(&stamp).to_owned()
}
