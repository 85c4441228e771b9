//! The terminal while `top` has it: raw, on its second screen, given back as it was whatever ends it.
//!
//! Beside [`crate::screen`] the one place that writes: the drawing library keeps what stands there and writes differences.

use std::io;
use std::time::Duration;

use base::{Fault, time};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use ratatui::prelude::CrosstermBackend;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::State;
use super::draw::{self, Colours};
use crate::screen::Ended;

/// Keys that wait; a person types slower than a screen is drawn.
const KEYS_WAITING: usize = 16;
/// How long the reader of keys may not notice that nobody wants them any more.
const LISTENS: Duration = Duration::from_millis(100);

/// What was pressed, or happened to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `q`, Ctrl-C, a signal, or no terminal any more.
    End,
    /// Look now.
    Again,
    /// All panels.
    All,
    /// The next panel alone.
    Next,
    /// That panel alone, from 0.
    Panel(usize),
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// The terminal has another size.
    Resized,
    /// Nothing that means something here.
    Other,
}

/// The terminal.
pub struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<io::Stdout>>,
    colours: Colours,
    keys: mpsc::Receiver<Key>,
    signals: [Signal; 3],
}

impl Terminal {
    /// Takes the terminal.
    pub fn open(has_colour: bool) -> Result<Self, Ended> {
        let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let [interrupt, terminate, hangup] = signals;
        let signals = [interrupt?, terminate?, hangup?];
        enable_raw_mode().map_err(untaken)?;
        // From here on whatever fails gives it back.
        let given = Given;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(untaken)?;
        let inner = ratatui::Terminal::new(CrosstermBackend::new(io::stdout())).map_err(untaken)?;
        let (sender, keys) = mpsc::channel(KEYS_WAITING);
        // A thread of its own, for which nobody waits: reading a terminal that is gone may never come to an end.
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&sender)).map_err(untaken)?;
        std::mem::forget(given);
        Ok(Self { inner, colours: if has_colour { Colours::On } else { Colours::Off }, keys, signals })
    }

    /// Draws a frame.
    pub fn draw(&mut self, state: &State) -> Result<(), Ended> {
        let (colours, now) = (self.colours, time::unix_ms());
        self.inner.draw(|frame| draw::draw(state, frame.area(), frame.buffer_mut(), colours, now))?;
        Ok(())
    }

    /// What comes next.
    pub async fn key(&mut self) -> Key {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            key = self.keys.recv() => key.unwrap_or(Key::End),
            _ = interrupt.recv() => Key::End,
            _ = terminate.recv() => Key::End,
            _ = hangup.recv() => Key::End,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(Given);
    }
}

/// Gives the terminal back.
struct Given;

impl Drop for Given {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

fn untaken(error: io::Error) -> Ended {
    let fault = Fault::internal("could not take the terminal").because(error);
    Ended::Fault(fault.hint("`tmctl top --once` prints one frame as text"))
}

/// Reads keys until nobody wants them or the terminal is gone, which ends the channel.
fn listen(keys: &mpsc::Sender<Key>) {
    while !keys.is_closed() {
        let key = match event::poll(LISTENS) {
            Ok(false) => continue,
            Ok(true) => event::read().map(|event| meant(&event)),
            Err(error) => Err(error),
        };
        // A person who leans on a key needs not be heard each time.
        match key {
            Ok(Key::Other) => {}
            Ok(key) => drop(keys.try_send(key)),
            Err(_) => return,
        }
    }
}

fn meant(event: &Event) -> Key {
    let key = match event {
        Event::Key(key) if key.kind == KeyEventKind::Press => key,
        Event::Resize(..) => return Key::Resized,
        _ => return Key::Other,
    };
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::End,
        KeyCode::Char('q') => Key::End,
        KeyCode::Char('r') => Key::Again,
        KeyCode::Char('0') | KeyCode::Esc => Key::All,
        KeyCode::Tab => Key::Next,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Char(digit @ '1'..='9') => {
            Key::Panel(digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or(1) - 1)
        }
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys_mean_what_the_footer_says() {
        let key = |code, modifiers| meant(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |code| key(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Char('q')), Key::End);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Key::End);
        assert_eq!(plain(KeyCode::Char('c')), Key::Other);
        assert_eq!((plain(KeyCode::Char('1')), plain(KeyCode::Char('6'))), (Key::Panel(0), Key::Panel(5)));
        assert_eq!((plain(KeyCode::Char('0')), plain(KeyCode::Tab)), (Key::All, Key::Next));
        assert_eq!(meant(&Event::Resize(10, 10)), Key::Resized);
    }
}
