//! The journal summed up: for each destination and purpose how often, how much, and what was refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::chain::next_line;
use super::head::files;
use super::line::{DIALLED, DROPPED, ENDED, FAILED, LOOKED_UP, Line, MODEL_PULLED, REFUSED};
use crate::policy::Verdict;

/// More destinations than this are summed up under one name.
const MOST: usize = 500;
/// What they are called.
const OTHERS: &str = "(others)";

/// What was dialled and refused in a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// By destination.
    pub sums: Vec<Sum>,
    /// Events that are not in it because the journal could not take them.
    pub dropped: u64,
    /// Lines that could not be read.
    pub unread: u64,
    /// When the journal begins, in milliseconds since the Unix epoch; 0 where it is empty.
    pub from_ms: u64,
}

/// One destination, for one purpose and with one verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// What for.
    pub purpose: String,
    /// Where.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What the rule said.
    pub verdict: String,
    /// Connections that stood, and questions to name servers.
    pub count: u64,
    /// Connections that did not come about.
    pub failed: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Bytes that went there, of connections that have ended.
    pub sent: u64,
    /// Bytes that came back, of connections that have ended.
    pub received: u64,
    /// Connections that have ended.
    pub ended: u64,
    /// When the last one was, in milliseconds since the Unix epoch.
    pub last_ms: u64,
    /// What the last one was for.
    pub reason: String,
}

impl Sum {
    /// Whether something left the house.
    pub fn left_the_house(&self) -> bool {
        self.verdict == Verdict::External.as_str()
    }
}

/// Sums up the journal in `dir` from `since_ms` on.
pub fn tally(dir: &Path, since_ms: u64) -> io::Result<Tally> {
    let (mut told, mut sums) = (Tally::default(), BTreeMap::new());
    let files = files(dir)?;
    for (at, (_, path)) in files.iter().enumerate() {
        let begins = first_ms(path);
        if told.from_ms == 0 {
            told.from_ms = begins.unwrap_or_default();
        }
        // Whatever is in it was before.
        if files.get(at + 1).and_then(|(_, next)| first_ms(next)).is_some_and(|next| next < since_ms) {
            continue;
        }
        let file = match File::open(path) {
            Ok(file) => file,
            // It had its time since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        while let Some(bytes) = next_line(&mut reader)? {
            // The last one may still be being written.
            let Some(bytes) = bytes.strip_suffix(b"\n") else { break };
            match serde_json::from_slice::<Line>(bytes) {
                Ok(line) => add(&mut told, &mut sums, line, since_ms),
                Err(_) => told.unread += 1,
            }
        }
    }
    told.sums = sums.into_values().collect();
    Ok(told)
}

/// When the first line of a file was written.
fn first_ms(path: &Path) -> Option<u64> {
    let bytes = next_line(&mut BufReader::new(File::open(path).ok()?)).ok()??;
    Some(serde_json::from_slice::<Line>(&bytes).ok()?.at_ms)
}

type Place = (String, String, u16, String);

fn add(told: &mut Tally, sums: &mut BTreeMap<Place, Sum>, line: Line, since_ms: u64) {
    if line.at_ms < since_ms {
        return;
    }
    let times = line.count();
    let is_connection = [DIALLED, ENDED, FAILED, REFUSED, LOOKED_UP].contains(&line.event.as_str());
    if line.event == DROPPED {
        told.dropped += times;
    }
    let line = match line.event.as_str() {
        // The engine dials by itself, and outside; nobody here knows where.
        MODEL_PULLED => Line {
            host: line.what.clone(),
            purpose: "pull".to_owned(),
            verdict: Verdict::External.as_str().to_owned(),
            reason: format!("worker {}", line.by),
            ..line
        },
        _ if is_connection => line,
        _ => return,
    };
    let place = (line.host, line.purpose, line.port.unwrap_or_default(), line.verdict);
    let place = match sums.len() < MOST || sums.contains_key(&place) {
        true => place,
        false => (OTHERS.to_owned(), place.1, 0, place.3),
    };
    let sum = sums.entry(place).or_insert_with_key(|(host, purpose, port, verdict)| Sum {
        host: host.clone(),
        purpose: purpose.clone(),
        port: *port,
        verdict: verdict.clone(),
        ..Sum::default()
    });
    match line.event.as_str() {
        ENDED => {
            sum.ended += times;
            sum.sent += line.sent.unwrap_or_default();
            sum.received += line.received.unwrap_or_default();
        }
        FAILED => sum.failed += times,
        REFUSED => sum.refused += times,
        _ => sum.count += times,
    }
    if line.at_ms >= sum.last_ms {
        (sum.last_ms, sum.reason) = (line.at_ms, line.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_one_sum_for_each_purpose_and_verdict() {
        let line = |at_ms, event: &str, host: &str, verdict: &str| Line {
            at_ms,
            event: event.to_owned(),
            host: host.to_owned(),
            port: Some(443),
            purpose: "cloud".to_owned(),
            verdict: verdict.to_owned(),
            reason: format!("ask-{at_ms}"),
            ..Line::default()
        };
        let (mut told, mut sums) = (Tally::default(), BTreeMap::new());
        for one in [
            line(1, DIALLED, "api.example", "external"),
            line(10, DIALLED, "api.example", "external"),
            Line { sent: Some(7), received: Some(9), ..line(12, ENDED, "api.example", "external") },
            Line { times: Some(3), ..line(11, FAILED, "api.example", "external") },
            Line { times: Some(2), ..line(13, REFUSED, "bad.example", "refused_external") },
            Line { times: Some(5), event: DROPPED.to_owned(), at_ms: 14, ..Line::default() },
            Line { event: "mode-set".to_owned(), at_ms: 15, ..Line::default() },
            Line { event: MODEL_PULLED.to_owned(), what: "m".to_owned(), at_ms: 16, ..Line::default() },
        ] {
            add(&mut told, &mut sums, one, 10);
        }
        let sums: Vec<Sum> = sums.into_values().collect();
        assert_eq!((told.dropped, sums.len()), (5, 3));
        let [good, bad, pulled] = sums.as_slice() else { panic!("{sums:?}") };
        assert_eq!((good.count, good.failed, good.sent, good.received, good.ended), (1, 3, 7, 9, 1));
        assert_eq!((good.last_ms, good.reason.as_str(), good.left_the_house()), (12, "ask-12", true));
        assert_eq!((bad.count, bad.refused, bad.left_the_house()), (0, 2, false));
        assert_eq!((pulled.host.as_str(), pulled.purpose.as_str(), pulled.left_the_house()), ("m", "pull", true));
    }

    #[test]
    fn destinations_without_end_are_summed_up_under_one_name() {
        let (mut told, mut sums) = (Tally::default(), BTreeMap::new());
        for n in 0..MOST + 100 {
            let line = Line { at_ms: 1, event: DIALLED.to_owned(), host: n.to_string(), ..Line::default() };
            add(&mut told, &mut sums, line, 0);
        }
        assert_eq!(sums.len(), MOST + 1);
        assert_eq!(sums.values().map(|sum| sum.count).sum::<u64>(), MOST as u64 + 100);
    }
}
