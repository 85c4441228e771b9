//! How far a long piece of work is: one line that changes on a terminal, a few lines that stay elsewhere.

use std::time::{Duration, Instant};

use crate::screen::Screen;
use crate::table::clip;
use crate::text;

/// More often nobody sees.
const REDRAW: Duration = Duration::from_millis(100);
/// Where lines stay, one for each part of this size is enough.
const STEP_PERCENT: u64 = 25;
const BAR_CELLS: u64 = 24;
/// For work whose status changes with each of its parts: where lines stay, one now and then is enough.
pub const PAUSE: Duration = Duration::from_secs(5);
/// So many characters of a status are shown, however narrow the terminal is.
const LEAST: usize = 8;
/// Back to the begin of the line, and empty it.
pub const AGAIN: &str = "\r\u{1b}[2K";

/// How far it is now.
#[derive(Clone, Debug, Default)]
pub struct News<'a> {
    /// What is worked on.
    pub status: &'a str,
    /// How much of the whole is done.
    pub done: u64,
    /// 0 where it is not known.
    pub whole: u64,
    /// Both in words.
    pub figures: String,
}

/// What was shown so far.
struct Progress {
    is_live: bool,
    /// Where lines stay, the least time between two that tell of no more than another status.
    pause: Duration,
    /// Columns that a line has; a longer one could not be written over.
    width: Option<usize>,
    status: String,
    step: u64,
    drawn: Option<Instant>,
}

impl Progress {
    /// Nothing was shown yet; `is_live` where a line can be written over.
    const fn new(is_live: bool) -> Self {
        Self { is_live, pause: Duration::ZERO, width: None, status: String::new(), step: 0, drawn: None }
    }

    /// The same, for work whose status changes often.
    fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The same, on a terminal of so many columns.
    fn within(self, width: Option<usize>) -> Self {
        Self { width, ..self }
    }

    /// What to write now; `None` when that would say nothing new.
    fn line(&mut self, news: &News<'_>, now: Instant) -> Option<String> {
        let percent = percent(news.done, news.whole);
        let is_new = news.status != self.status;
        let since = self.drawn.map(|drawn| now.duration_since(drawn));
        if self.is_live {
            if !is_new && since.is_some_and(|since| since < REDRAW) && percent != Some(100) {
                return None;
            }
        } else {
            let step = percent.unwrap_or(0) / STEP_PERCENT;
            let is_due = is_new && since.is_none_or(|since| since >= self.pause);
            if !is_due && step <= self.step {
                return None;
            }
            self.step = step;
        }
        self.drawn = Some(now);
        news.status.clone_into(&mut self.status);
        let status = text::visible(news.status).replace('\n', " ");
        let how_far = percent.map(|percent| {
            let bar = if self.is_live { bar(percent) } else { String::new() };
            format!("{bar}  {}  {percent} %", news.figures)
        });
        let how_far = how_far.unwrap_or_default();
        let status = match self.width.filter(|_| self.is_live) {
            Some(width) => clip(&status, width.saturating_sub(how_far.chars().count() + 1).max(LEAST)),
            None => status,
        };
        let line = format!("{status}{how_far}");
        Some(if self.is_live { format!("{AGAIN}{line}") } else { line + "\n" })
    }

    /// What to write so that what follows stands alone; the next line is drawn anew.
    fn end(&mut self) -> &'static str {
        if self.is_live && self.drawn.take().is_some() { AGAIN } else { "" }
    }
}

/// The progress of one piece of work on a screen. However the work ends, its line is gone when this is.
pub struct Live<'a> {
    /// For data between the lines; [`Live::end`] comes before them.
    pub screen: &'a mut Screen,
    progress: Progress,
}

impl<'a> Live<'a> {
    /// On `screen`, of work whose status changes often: where lines stay, not more often than after each `pause`.
    pub fn new(screen: &'a mut Screen, pause: Duration) -> Self {
        let progress = Progress::new(screen.notes_are_live()).within(screen.style.width).with_pause(pause);
        Self { screen, progress }
    }

    /// Tells how far it is. Whoever wants JSON looks at no bar, and errors stand alone then.
    pub fn show(&mut self, news: &News<'_>) {
        if !self.screen.style.json
            && let Some(line) = self.progress.line(news, Instant::now())
        {
            self.screen.note(&line);
        }
    }

    /// Writes a note that stays.
    pub fn note(&mut self, text: &str) {
        let end = self.progress.end();
        self.screen.note(&format!("{end}{}", text::visible(text)));
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        self.screen.note(self.progress.end());
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// `None` where the whole is not known.
fn percent(part: u64, whole: u64) -> Option<u64> {
    let percent = (u128::from(part.min(whole)) * 100).checked_div(whole.into())?;
    u64::try_from(percent).ok()
}

fn bar(percent: u64) -> String {
    let full = (percent * BAR_CELLS / 100).min(BAR_CELLS);
    let cells = |count: u64, cell: &str| cell.repeat(usize::try_from(count).unwrap_or(0));
    format!("  [{}{}]", cells(full, "="), cells(BAR_CELLS - full, " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pull of 4 GiB in steps of 1/16, one each 40 ms.
    fn shown(is_live: bool) -> String {
        let mut progress = Progress::new(is_live);
        let begin = Instant::now();
        let told = |status: &'static str, sixteenths: u64, whole: u64| {
            let done = sixteenths << 28;
            News { status, done, whole, figures: text::part(done, whole) }
        };
        let mut news = vec![told("pulling manifest", 0, 0)];
        news.extend((0..=16).map(|part| told("pulling 46e0c10c", part, 4 << 30)));
        news.extend([told("verifying sha256 digest", 0, 0), told("success", 0, 0)]);
        let at = |number: u32| begin + Duration::from_millis(40) * number;
        let lines = news.iter().zip(0..).filter_map(|(news, number)| progress.line(news, at(number)));
        let text: String = lines.collect::<Vec<_>>().concat();
        (text + progress.end()).replace(AGAIN, "<again>\n")
    }

    #[test]
    fn a_terminal_shows_one_line_that_changes() {
        insta::assert_snapshot!("progress_live", shown(true));
    }

    #[test]
    fn elsewhere_a_few_lines_stay() {
        insta::assert_snapshot!("progress_plain", shown(false));
    }

    #[test]
    fn a_line_that_is_written_over_is_no_wider_than_the_terminal() {
        let mut progress = Progress::new(true).within(Some(80));
        let status = "parse-prd: B. Node registry and provisioning of everything else";
        let news = News { status, done: 2, whole: 9, figures: "2 of 9, 8.9 s left".into() };
        let line = progress.line(&news, Instant::now()).unwrap().replace(AGAIN, "");
        assert!(line.chars().count() < 80 && line.contains('…') && line.ends_with("22 %"), "{line}");
    }

    #[test]
    fn odd_numbers_are_shown_and_break_nothing() {
        let mut progress = Progress::new(true);
        let news = News { status: "a\u{1b}[2Jb", done: u64::MAX, whole: 1, figures: String::new() };
        let line = progress.line(&news, Instant::now()).unwrap();
        assert!(line.contains("100 %") && line.contains("a\\u{1b}[2Jb"), "{line}");
    }

    #[test]
    fn a_status_that_changes_often_is_told_now_and_then() {
        let mut progress = Progress::new(false).with_pause(Duration::from_secs(5));
        let begin = Instant::now();
        let told = (0..20u64).filter_map(|second| {
            let status = format!("section {second}");
            let news = News { status: &status, done: second, whole: 1000, figures: String::new() };
            progress.line(&news, begin + Duration::from_secs(second))
        });
        assert_eq!(told.count(), 4);
    }
}
