//! Circles in what waits for what.

/// The edges that close a circle in a graph, found in one walk without recursion.
pub(crate) fn closing(next: &[Vec<usize>]) -> Vec<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; next.len()];
    let mut found = Vec::new();
    for root in 0..next.len() {
        if states.get(root) != Some(&State::New) {
            continue;
        }
        let mut way = vec![(root, 0_usize)];
        while let Some((node, taken)) = way.pop() {
            let to = next.get(node).and_then(|list| list.get(taken)).copied();
            if let Some(state) = states.get_mut(node) {
                *state = if to.is_some() { State::Open } else { State::Done };
            }
            let Some(to) = to else { continue };
            way.push((node, taken + 1));
            match states.get(to) {
                Some(State::New) => way.push((to, 0)),
                Some(State::Open) => found.push((node, to)),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_closes_a_circle_is_found() {
        assert_eq!(closing(&[vec![1], vec![2], vec![]]), []);
        assert_eq!(closing(&[vec![1], vec![2], vec![0]]), [(2, 0)]);
        assert_eq!(closing(&[vec![0, 1], vec![2], vec![1]]), [(0, 0), (2, 1)]);
        assert_eq!(closing(&[vec![1, 2], vec![3], vec![3], vec![]]), []);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let chain: Vec<Vec<usize>> = (0..200_000).map(|node| vec![(node + 1) % 200_000]).collect();
        assert_eq!(closing(&chain), [(199_999, 0)]);
    }
}
