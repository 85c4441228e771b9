//! `tmctl top`: the cluster on one screen, drawn anew as it changes; `--once` prints one frame as text.

mod draw;
mod look;
mod terminal;

use std::collections::VecDeque;
use std::time::Duration;

use base::{Code, Fault, time};
use proto::admin::WatchEventsResponse;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tonic::Streaming;

use self::draw::{Colours, Panel};
use self::look::{Looker, Picture};
use self::terminal::{Key, Terminal};
use crate::client::Servers;
use crate::screen::{Ended, Screen, Verdict};

/// A frame that is printed where no terminal says how large it is.
const PRINTED: (u16, u16) = (80, 24);
/// Events that are remembered.
const EVENTS_KEPT: usize = 100;
/// Several events in a burst make one look.
const SOONEST: Duration = Duration::from_millis(200);

/// How it is shown.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one frame as text, and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = pause)]
    every: f64,
}

fn pause(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.2..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("give between 0.2 and 60 seconds".to_owned()),
    }
}

/// What is on the screen, and how it is looked at.
#[derive(Default)]
struct State {
    picture: Option<Picture>,
    /// Why the last look failed; what is shown is then old.
    fault: Option<Fault>,
    events: VecDeque<WatchEventsResponse>,
    /// The panel that has the screen for itself.
    alone: Option<Panel>,
    /// Rows of it that are above the screen.
    above: usize,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    Draw,
    Look,
    End,
}

/// Draws until `q`, Ctrl-C, a signal, or the end of the terminal.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    if screen.style.json {
        return Err(Fault::invalid("top has no JSON")
            .hint("nodes, workers, failures, jobs and others have: add --json")
            .into());
    }
    let mut looker = Looker::new(servers);
    if args.once {
        let picture = looker.look().await?;
        let state = State { picture: Some(picture), ..State::default() };
        let width = screen.style.width.and_then(|width| u16::try_from(width).ok()).unwrap_or(PRINTED.0);
        screen.data(&printed(&state, width, PRINTED.1, time::unix_ms()))?;
        return Ok(Verdict::Done);
    }
    if !screen.style.is_terminal {
        return Err(Fault::new(Code::NotSupported, "top draws on a terminal, and stdout is none")
            .hint("`tmctl top --once` prints one frame as text")
            .into());
    }
    let mut terminal = Terminal::open(screen.style.has_colour)?;
    let ended = live(&mut looker, &mut terminal, Duration::from_secs_f64(args.every)).await;
    // Before anything is said: what is written on the other screen would be lost.
    drop(terminal);
    ended
}

async fn live(looker: &mut Looker<'_>, terminal: &mut Terminal, every: Duration) -> Result<Verdict, Ended> {
    let mut state = State::default();
    let mut events: Option<Streaming<WatchEventsResponse>> = None;
    terminal.draw(&state)?;
    let mut due = tokio::time::Instant::now();
    loop {
        // Keys are answered while a node is slow to answer.
        let (told, fresh) = {
            let looking = std::pin::pin!(async {
                tokio::time::sleep_until(due).await;
                let told = looker.look().await;
                (told, looker.take_events().await)
            });
            match until_told(looking, &mut events, &mut state, terminal).await? {
                Some(told) => told,
                None => return Ok(Verdict::Done),
            }
        };
        due = tokio::time::Instant::now() + every;
        match told {
            Ok(picture) => (state.picture, state.fault) = (Some(picture), None),
            Err(fault) => {
                (state.fault, events) = (Some(fault), None);
            }
        }
        if fresh.is_some() {
            events = fresh;
        }
        terminal.draw(&state)?;
        if events.is_some() && wait_for_news(&mut events, &mut state, terminal, due).await? == Wish::End {
            return Ok(Verdict::Done);
        }
        due = due.min(tokio::time::Instant::now() + SOONEST);
    }
}

/// Draws what comes until `looking` ends; `None` when the person has seen enough.
async fn until_told<T>(
    mut looking: std::pin::Pin<&mut impl Future<Output = T>>,
    events: &mut Option<Streaming<WatchEventsResponse>>,
    state: &mut State,
    terminal: &mut Terminal,
) -> Result<Option<T>, Ended> {
    loop {
        tokio::select! {
            // However many keys come: what was asked goes on.
            biased;
            told = &mut looking => return Ok(Some(told)),
            key = terminal.key() => match pressed(state, key) {
                Wish::End => return Ok(None),
                Wish::Draw => terminal.draw(state)?,
                Wish::Look | Wish::Nothing => {}
            },
            event = next(events) => note(state, event),
        }
    }
}

/// Waits for something that is worth a new look: the time, an event, or a wish.
async fn wait_for_news(
    events: &mut Option<Streaming<WatchEventsResponse>>,
    state: &mut State,
    terminal: &mut Terminal,
    due: tokio::time::Instant,
) -> Result<Wish, Ended> {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => return Ok(Wish::Look),
            event = next(events) => {
                note(state, event);
                return Ok(Wish::Look);
            }
            key = terminal.key() => match pressed(state, key) {
                Wish::Draw => terminal.draw(state)?,
                Wish::Nothing => {}
                wish => return Ok(wish),
            },
        }
    }
}

/// The next event; never comes without a stream, and a stream that ends is let go: the next look opens another.
async fn next(events: &mut Option<Streaming<WatchEventsResponse>>) -> Option<WatchEventsResponse> {
    let Some(stream) = events else { return std::future::pending().await };
    let event = stream.message().await.ok().flatten();
    if event.is_none() {
        *events = None;
    }
    event
}

fn note(state: &mut State, event: Option<WatchEventsResponse>) {
    let Some(event) = event else { return };
    state.events.push_front(event);
    state.events.truncate(EVENTS_KEPT);
}

fn pressed(state: &mut State, key: Key) -> Wish {
    match key {
        Key::End => return Wish::End,
        Key::Other => return Wish::Nothing,
        Key::Resized => {}
        Key::Again => return Wish::Look,
        Key::All => (state.alone, state.above) = (None, 0),
        Key::Next => (state.alone, state.above) = (Panel::after(state.alone), 0),
        Key::Panel(number) => match Panel::ALL.get(number) {
            Some(panel) => (state.alone, state.above) = (Some(*panel), 0),
            None => return Wish::Nothing,
        },
        Key::Down => state.above = (state.above + 1).min(draw::rows(state).saturating_sub(1)),
        Key::Up => state.above = state.above.saturating_sub(1),
    }
    Wish::Draw
}

/// A frame as text.
fn printed(state: &State, width: u16, height: u16, now_unix_ms: u64) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    draw::draw(state, buffer.area, &mut buffer, Colours::Off, now_unix_ms);
    let line = |row: u16| {
        let cells = (0..width).filter_map(|column| buffer.cell((column, row)));
        cells.map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned() + "\n"
    };
    (0..height).map(line).collect()
}

#[cfg(test)]
mod tests;
