//! Tasks as every face has them: what is not there, what crossed, what clashed, what was odd about a file.

use base::{Code, Fault, Result};
use planner::TaskId;
use planner::projects::{Conflict, Snapshot};
use planner::sync::{self, Clash};
use planner::tasks_file::Read;

/// Refuses ids that nobody has.
pub(crate) fn all_there(snapshot: &Snapshot, ids: &[TaskId]) -> Result<()> {
    match ids.iter().find(|id| snapshot.tasks.get(id).is_none()) {
        Some(id) => Err(planner::work::no_task(snapshot, id)),
        None => Ok(()),
    }
}

/// Why a change was not made where two crossed; each face says by itself how to go on.
pub(crate) fn crossed(conflict: &Conflict) -> Fault {
    Fault::new(Code::Conflict, format!("task {} was changed by somebody else", conflict.id))
}

/// What both sides of a merge have, which do not fit together.
pub(crate) struct Sides {
    /// The field; `task` for all of it.
    pub(crate) field: String,
    /// What it is here.
    pub(crate) ours: Option<String>,
    /// What it is there.
    pub(crate) theirs: Option<String>,
}

impl Sides {
    /// Those of a conflict.
    pub(crate) fn of(conflict: &sync::Conflict) -> Self {
        let (field, ours, theirs) = match &conflict.clash {
            Clash::Field { field, ours, theirs } => (field.as_str(), ours.clone(), theirs.clone()),
            Clash::RemovedHere => ("task", None, Some(conflict.title.clone())),
            Clash::RemovedThere => ("task", Some(conflict.title.clone()), None),
            Clash::Cycle { on } => ("dependencies", None, Some(on.to_string())),
        };
        Self { field: field.to_owned(), ours, theirs }
    }
}

/// What was odd about a file, in words; beyond what is kept, how much more.
pub(crate) fn oddities(read: &Read) -> Vec<String> {
    let mut all: Vec<String> = read.oddities.iter().map(ToString::to_string).collect();
    if read.more_oddities > 0 {
        all.push(format!("and {} more", read.more_oddities));
    }
    all
}

#[cfg(test)]
mod tests {
    use planner::tasks_file::{Oddity, TasksFile};

    use super::*;

    #[test]
    fn oddities_that_were_not_kept_are_counted() {
        let oddity = Oddity { line: 2, tag: String::new(), place: String::new(), what: "has no tags".into() };
        let mut read = Read { file: TasksFile::default(), oddities: vec![oddity], more_oddities: 0 };
        assert_eq!(oddities(&read), ["line 2: the file has no tags"]);
        read.more_oddities = 7;
        assert_eq!(oddities(&read), ["line 2: the file has no tags", "and 7 more"]);
    }
}
