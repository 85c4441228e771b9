//! Arguments that several tools have.

use super::{Argument, Kind};

pub(super) const fn may(name: &'static str, kind: Kind, about: &'static str) -> Argument {
    Argument { name, kind, is_required: false, about }
}

pub(super) const fn must(name: &'static str, kind: Kind, about: &'static str) -> Argument {
    Argument { name, kind, is_required: true, about }
}

/// Where a tool works; every tool takes these.
pub(super) const PLACE: &[Argument] = &[
    may("projectRoot", Kind::Text, "the project's folder; its last part is the project's name"),
    may("project", Kind::Text, "the project's name, instead of its folder"),
    may("tag", Kind::Text, "the list of tasks that is meant; without it the project's current one"),
    may("file", Kind::Text, "where tasks.json lies in the project's folder; for the editor's side only"),
];

pub(super) const RESEARCH: Argument = may("research", Kind::Flag, "asks the research model first");
pub(super) const PLANNER: Argument =
    may("planner", Kind::OneOf(&["auto", "model", "structural"]), "who makes it; structural needs no model");
pub(super) const WAIT: Argument =
    may("waitSeconds", Kind::Number, "how long to wait for the end of the job, at most 50; then its id is given back");
pub(super) const ONCE: Argument =
    may("once", Kind::Text, "a word of yours: the same one twice is one job; with other arguments it is refused");
pub(super) const VERSION: Argument = may(
    "expectedVersion",
    Kind::Number,
    "the task's version that you have seen; when somebody changed it since, nothing is done and both versions are shown",
);
pub(super) const STRENGTH: Argument = may("strength", Kind::OneOf(&["light", "regular", "heavy"]), "by how much");
pub(super) const DEPENDENCIES: Argument = may("dependencies", Kind::Texts, "ids of what must be done before");
pub(super) const TITLE: Argument = may("title", Kind::Text, "what is to be done, in one line");
pub(super) const DESCRIPTION: Argument = may("description", Kind::Text, "in a sentence or two");
pub(super) const DETAILS: Argument = may("details", Kind::Text, "how");
pub(super) const SKIP: Argument = may("skipGenerate", Kind::Flag, "without effect: no files are written unasked");
pub(super) const COLLECTIONS: Argument = may("collections", Kind::Texts, "only these collections; all without it");
pub(super) const CATEGORIES: Argument = may("categories", Kind::Texts, "only documents of one of these categories");
