//! How far a long piece of work is: one line that changes on a terminal, a few lines that stay elsewhere.

use std::time::{Duration, Instant};

use proto::admin::PullModelResponse;

use crate::text;

/// More often nobody sees.
const REDRAW: Duration = Duration::from_millis(100);
/// Where lines stay, one for each part of this size is enough.
const STEP_PERCENT: u64 = 25;
const BAR_CELLS: u64 = 24;
/// Back to the begin of the line, and empty it.
pub(super) const AGAIN: &str = "\r\u{1b}[2K";

/// What was shown so far.
pub struct Progress {
    is_live: bool,
    status: String,
    step: u64,
    drawn: Option<Instant>,
}

impl Progress {
    /// Nothing was shown yet; `is_live` where a line can be written over.
    pub const fn new(is_live: bool) -> Self {
        Self { is_live, status: String::new(), step: 0, drawn: None }
    }

    /// What to write now; `None` when that would say nothing new.
    pub fn line(&mut self, told: &PullModelResponse, now: Instant) -> Option<String> {
        let percent = percent(told.completed_bytes, told.total_bytes);
        let is_new = told.status != self.status;
        if self.is_live {
            let is_due = self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= REDRAW);
            if !is_new && !is_due && percent != Some(100) {
                return None;
            }
            self.drawn = Some(now);
        } else {
            let step = percent.unwrap_or(0) / STEP_PERCENT;
            if !is_new && step <= self.step {
                return None;
            }
            self.step = step;
        }
        told.status.clone_into(&mut self.status);
        let status = text::visible(&told.status).replace('\n', " ");
        let how_far = percent.map(|percent| {
            let bar = if self.is_live { bar(percent) } else { String::new() };
            format!("{bar}  {}  {percent} %", text::part(told.completed_bytes, told.total_bytes))
        });
        let line = format!("{status}{}", how_far.unwrap_or_default());
        Some(if self.is_live { format!("{AGAIN}{line}") } else { line + "\n" })
    }

    /// What to write when the work is over, so that what follows stands alone.
    pub const fn end(&self) -> &'static str {
        if self.is_live && self.drawn.is_some() { AGAIN } else { "" }
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
        let told = |status: &str, sixteenths: u64, total_bytes| PullModelResponse {
            worker: String::new(),
            status: status.into(),
            completed_bytes: sixteenths << 28,
            total_bytes,
        };
        let mut news = vec![told("pulling manifest", 0, 0)];
        news.extend((0..=16).map(|part| told("pulling 46e0c10c", part, 4 << 30)));
        news.extend([told("verifying sha256 digest", 0, 0), told("success", 0, 0)]);
        let at = |number: u32| begin + Duration::from_millis(40) * number;
        let lines = news.iter().zip(0..).filter_map(|(told, number)| progress.line(told, at(number)));
        let text: String = lines.collect::<Vec<_>>().concat();
        (text + progress.end()).replace(AGAIN, "<again>\n")
    }

    #[test]
    fn a_terminal_shows_one_line_that_changes() {
        insta::assert_snapshot!("models_progress_live", shown(true));
    }

    #[test]
    fn elsewhere_a_few_lines_stay() {
        insta::assert_snapshot!("models_progress_plain", shown(false));
    }

    #[test]
    fn odd_numbers_are_shown_and_break_nothing() {
        let mut progress = Progress::new(true);
        let told = PullModelResponse {
            worker: String::new(),
            status: "a\u{1b}[2Jb".into(),
            completed_bytes: u64::MAX,
            total_bytes: 1,
        };
        let line = progress.line(&told, Instant::now()).unwrap();
        assert!(line.contains("100 %") && line.contains("a\\u{1b}[2Jb"), "{line}");
    }
}
