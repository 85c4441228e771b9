//! What is asked again before the first byte of an answer, and where: the rule of the one place that tries again. Pure.
//!
//! A failure is tried on another worker. Broken JSON is no failure of the worker, and a worse model's answer is no better
//! one: it is asked for once more in all, of the same worker where the answer may turn out otherwise, else of another one.

use base::{Code, Fault, Sampling, WorkerId};

/// Workers that one ask is tried on before its first byte.
const MOST_WORKERS: usize = 4;

/// Why a run brought no answer that may leave.
#[derive(Debug)]
pub enum Miss {
    /// It broke.
    Failed(Fault),
    /// It brought other JSON than the client is promised, or none.
    Broken(Fault),
}

/// Where an ask goes after a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the worker that it came from.
    Same,
    /// To another one.
    Elsewhere,
    /// Back to the client.
    Nowhere,
}

/// What an ask was tried on.
#[derive(Default)]
pub struct Tries {
    /// Workers that it does not go to again.
    pub failed: Vec<WorkerId>,
    was_broken: bool,
}

impl Tries {
    /// Where to go after a run that missed, with what the client is told when that is nowhere.
    pub fn after(&mut self, miss: Miss, sampling: Sampling) -> (Fault, Way) {
        let (fault, is_over, way) = match miss {
            Miss::Failed(fault) => (fault, false, Way::Elsewhere),
            Miss::Broken(fault) => {
                let way = if sampling == Sampling::Varying { Way::Same } else { Way::Elsewhere };
                (fault, std::mem::replace(&mut self.was_broken, true), way)
            }
        };
        let may_help = fault.code.is_retriable() || fault.code == Code::ModelNotFound;
        let is_over = is_over || self.failed.len() + 1 >= MOST_WORKERS;
        (fault, if may_help && !is_over { way } else { Way::Nowhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(misses: impl IntoIterator<Item = Miss>, sampling: Sampling) -> Vec<Way> {
        let mut tries = Tries::default();
        let mut after = |miss| {
            let way = tries.after(miss, sampling).1;
            if way == Way::Elsewhere {
                tries.failed.push(WorkerId::new("n/w"));
            }
            way
        };
        misses.into_iter().map(&mut after).collect()
    }

    fn fault(code: Code) -> Fault {
        Fault::new(code, "no")
    }

    #[test]
    fn a_failure_goes_elsewhere_while_another_worker_may_help() {
        let failed = || Miss::Failed(fault(Code::EngineFailed));
        let most = [Way::Elsewhere, Way::Elsewhere, Way::Elsewhere, Way::Nowhere];
        assert_eq!(ways([failed(), failed(), failed(), failed()], Sampling::Deterministic), most);
        assert_eq!(ways([Miss::Failed(fault(Code::ModelNotFound))], Sampling::Varying), [Way::Elsewhere]);
        assert_eq!(ways([Miss::Failed(fault(Code::InvalidArgument))], Sampling::Varying), [Way::Nowhere]);
    }

    #[test]
    fn broken_json_is_asked_for_once_more_in_all() {
        let (failed, broken) = (|| Miss::Failed(fault(Code::EngineFailed)), || Miss::Broken(fault(Code::EngineFailed)));
        assert_eq!(ways([broken(), broken()], Sampling::Varying), [Way::Same, Way::Nowhere]);
        assert_eq!(ways([broken(), broken()], Sampling::Deterministic), [Way::Elsewhere, Way::Nowhere]);
        let between = [Way::Same, Way::Elsewhere, Way::Nowhere];
        assert_eq!(ways([broken(), failed(), broken()], Sampling::Varying), between);
        assert_eq!(ways([Miss::Broken(fault(Code::ContextExceeded))], Sampling::Varying), [Way::Nowhere]);
    }
}
