//! Where a run is cut: at its best bound, and its halves again, until all parts are short enough. Which bound is best is
//! decided by what it parts and by the words behind it, so that an edit moves the cuts around it and no others: those
//! further off are the best of a part that the edit left as it was, or lost a rival, or got one.

use std::ops::Range;

use super::Sizing;
use super::pieces::{Bound, Piece};

/// So deep only a text is cut that was made for it; from there on the middle is taken, which ends soon.
const MOST_DEPTH: usize = 64;

/// The pieces of each chunk, in order.
pub(super) fn split(pieces: &[Piece], sizing: Sizing) -> Vec<Range<usize>> {
    let mut sum = 0u64;
    let mut sums = vec![0];
    sums.extend(pieces.iter().map(|piece| {
        sum += u64::from(piece.tokens);
        sum
    }));
    let tokens = |range: &Range<usize>| match (sums.get(range.start), sums.get(range.end)) {
        (Some(before), Some(all)) => all - before,
        _ => 0,
    };
    let least = u64::from(sizing.target_tokens / 2);
    let mut done = Vec::new();
    let mut open = vec![(0..pieces.len(), 0)];
    while let Some((range, depth)) = open.pop() {
        let worth = |at: &usize| {
            let side = tokens(&(range.start..*at)).min(tokens(&(*at..range.end)));
            let rival = pieces.get(*at).filter(|_| side >= least && depth < MOST_DEPTH);
            (side >= least, rival.map_or((Bound::Words, 0), |piece| (piece.bound, piece.weight)), side)
        };
        let bytes = match (pieces.get(range.start), pieces.get(range.end.saturating_sub(1))) {
            (Some(first), Some(last)) => last.end.saturating_sub(first.start) as usize,
            _ => 0,
        };
        let is_long = tokens(&range) > u64::from(sizing.most_tokens) || bytes > sizing.most_bytes();
        match (range.start + 1..range.end).filter(|_| is_long).max_by_key(worth) {
            Some(at) => open.extend([(at..range.end, depth + 1), (range.start..at, depth + 1)]),
            None if !range.is_empty() => done.push(range),
            None => {}
        }
    }
    done
}
