//! Changes of tasks: sent all at once, shown before and after, refused with both versions when somebody was first.

use base::{Fault, Result};
use proto::planning::{Change, Conflict, Difference, EditRequest, EditResponse, Expected, Place, change};
use serde::Serialize;

use crate::client::{CALL_LIMIT, call};
use crate::place::{At, options};
use crate::screen::{Ended, Screen, Verdict};
use crate::tasks::item::{self, Item};
use crate::text::{counted, visible};

/// Texts longer than this, or of several lines, stand below each other.
const ONE_LINE: usize = 60;

/// Who made a change when a person did, without a word on where from.
pub const BY_HAND: &str = "tmctl";

/// Changes that belong together, and what is to be told of them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// All of them or none.
    pub edits: Vec<change::Edit>,
    /// What the caller has seen.
    pub expected: Vec<Expected>,
    /// For the history.
    pub why: String,
    /// Behind the name of the caller's key.
    pub who: String,
}

impl Wanted {
    /// One change.
    pub fn one(edit: change::Edit, why: Option<String>) -> Self {
        Self { edits: vec![edit], expected: Vec::new(), why: why.unwrap_or_default(), who: BY_HAND.to_owned() }
    }

    fn request(&self, at: &At, dry_run: bool) -> EditRequest {
        let changes = self.edits.iter().map(|edit| Change { edit: Some(edit.clone()) });
        EditRequest {
            place: at.place(),
            changes: changes.collect(),
            expected: self.expected.clone(),
            dry_run,
            why: self.why.clone(),
            who: self.who.clone(),
        }
    }

    /// What would become of them.
    pub async fn look(&self, at: &mut At) -> Result<EditResponse> {
        call(CALL_LIMIT, at.planning.edit(self.request(at, true))).await
    }

    /// Makes them.
    pub async fn make(&self, at: &mut At) -> Result<EditResponse> {
        call(CALL_LIMIT, at.planning.edit(self.request(at, false))).await
    }
}

/// Makes changes and tells what became of them.
pub async fn make(at: &mut At, screen: &mut Screen, wanted: &Wanted) -> Result<Verdict, Ended> {
    let response = wanted.make(at).await?;
    show(screen, &at.place, &response)
}

/// Makes changes that take something away, if that was confirmed; else says what they would do.
pub async fn make_confirmed(at: &mut At, screen: &mut Screen, wanted: &Wanted, yes: bool) -> Result<Verdict, Ended> {
    if yes {
        return make(at, screen, wanted).await;
    }
    let response = wanted.look(at).await?;
    if response.conflict.is_some() {
        return show(screen, &at.place, &response);
    }
    screen.note(&format!("this would be done:\n{}", body(&response)));
    Err(Fault::invalid("nothing was changed: it was not confirmed")
        .hint(format!("add --yes to do it; `tmctl tasks undo{}` takes it back", options(&at.place)))
        .into())
}

/// What became of changes of a place; a conflict is not well.
pub fn show(screen: &mut Screen, place: &Place, response: &EditResponse) -> Result<Verdict, Ended> {
    screen.show(|_| text(place, response), &json(response))?;
    Ok(if response.conflict.is_some() { Verdict::NotWell } else { Verdict::Done })
}

/// What became of changes, and how they are taken back.
pub fn text(place: &Place, response: &EditResponse) -> String {
    match &response.conflict {
        Some(conflict) => conflict_text(place, conflict),
        None if response.differences.is_empty() => format!("{}nothing is different\n", notes(response)),
        None => {
            let (revision, place) = (response.revision, visible(&options(place)));
            format!("{}revision {revision}; `tmctl tasks undo {revision}{place}` takes it back\n", body(response))
        }
    }
}

/// The differences, and what else should be known.
pub fn body(response: &EditResponse) -> String {
    differences(&response.differences) + &notes(response)
}

fn notes(response: &EditResponse) -> String {
    response.notes.iter().map(|note| visible(&format!("note: {note}\n"))).collect()
}

fn conflict_text(place: &Place, conflict: &Conflict) -> String {
    let theirs = match &conflict.theirs {
        Some(task) => format!("as it is now, version {}:\n\n{}", task.version, item::page(task)),
        None => "it is gone\n".to_owned(),
    };
    format!(
        "nothing was changed: somebody else changed {id} after its version {}\n\n{theirs}\nwhat was wanted:\n\n{}\n  \
         hint: look at both, then change it again; `tmctl tasks history {id}{place}` tells who it was\n",
        conflict.expected_version,
        differences(&conflict.yours),
        id = visible(&conflict.id),
        place = visible(&options(place)),
    )
}

/// A line for each difference, more where texts are long.
pub fn differences(all: &[Difference]) -> String {
    visible(&all.iter().map(difference).collect::<String>())
}

fn difference(difference: &Difference) -> String {
    let Difference { id, field, before, after } = difference;
    let lines = |sign: &str, text: &str| text.lines().map(|line| format!("    {sign} {line}\n")).collect::<String>();
    let fits = |text: &str| !text.contains('\n') && text.chars().count() <= ONE_LINE;
    let or_nothing = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
    match (field.as_str(), before.is_empty(), after.is_empty()) {
        ("task", true, _) => format!("+ {id} {after}\n"),
        ("task", _, true) => format!("- {id} {before}\n"),
        _ if fits(before) && fits(after) => {
            format!("~ {id} {field}: {} -> {}\n", or_nothing(before), or_nothing(after))
        }
        _ => {
            let (before, after, same) = unlike(before, after);
            let same = if same == 0 { String::new() } else { format!(" ({} as before)", counted(same, "line")) };
            format!("~ {id} {field}:{same}\n{}{}", lines("-", &before), lines("+", &after))
        }
    }
}

/// The lines in which two texts differ, without those that both begin or end with; and how many these are.
fn unlike(before: &str, after: &str) -> (String, String, usize) {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let first = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (old.split_at(first).1, new.split_at(first).1);
    let last = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let middle = |lines: &[&str]| lines.split_at(lines.len() - last).0.join("\n");
    (middle(old), middle(new), first + last)
}

/// What became of changes, for programs.
#[derive(Serialize)]
pub struct Json<'a> {
    revision: u64,
    differences: Vec<DifferenceItem<'a>>,
    notes: &'a [String],
    added: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<ConflictItem<'a>>,
}

#[derive(Serialize)]
struct ConflictItem<'a> {
    id: &'a str,
    expected_version: u64,
    theirs: Option<Item<'a>>,
    yours: Vec<DifferenceItem<'a>>,
}

/// A difference, for programs.
#[derive(Serialize)]
pub struct DifferenceItem<'a> {
    id: &'a str,
    field: &'a str,
    before: &'a str,
    after: &'a str,
}

/// See [`Json`].
pub fn json(response: &EditResponse) -> Json<'_> {
    Json {
        revision: response.revision,
        differences: items(&response.differences),
        notes: &response.notes,
        added: &response.added,
        conflict: response.conflict.as_ref().map(|conflict| ConflictItem {
            id: &conflict.id,
            expected_version: conflict.expected_version,
            theirs: conflict.theirs.as_ref().map(Item::new),
            yours: items(&conflict.yours),
        }),
    }
}

/// Differences, for programs.
pub fn items(differences: &[Difference]) -> Vec<DifferenceItem<'_>> {
    fn item(Difference { id, field, before, after }: &Difference) -> DifferenceItem<'_> {
        DifferenceItem { id, field, before, after }
    }
    differences.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn garden() -> Place {
        Place { project: "garden".into(), tag: "spring".into() }
    }

    fn done() -> EditResponse {
        EditResponse {
            revision: 5,
            differences: samples::planning::differences(),
            notes: vec!["2.2 waits for nobody now".into()],
            added: vec!["3".into()],
            conflict: None,
        }
    }

    #[test]
    fn what_became_different_is_told_as_text_and_json() {
        insta::assert_snapshot!("changes", text(&garden(), &done()) + &samples::json(&json(&done())));
        assert_eq!(text(&garden(), &EditResponse::default()), "nothing is different\n");
    }

    #[test]
    fn lines_that_stay_are_not_shown_as_removed_and_added() {
        let difference = |before: &str, after: &str| {
            let (before, after) = (before.to_owned(), after.to_owned());
            differences(&[Difference { id: "1".into(), field: "details".into(), before, after }])
        };
        let noted = difference("Dig it.\nMind the roots.", "Dig it.\nMind the roots.\n\nThe soil is wet.");
        assert_eq!(noted, "~ 1 details: (2 lines as before)\n    + \n    + The soil is wet.\n");
        assert_eq!(difference("a\nb\nc", "a\nx\nc"), "~ 1 details: (2 lines as before)\n    - b\n    + x\n");
        assert_eq!(difference("a\na", "a"), "~ 1 details: (1 line as before)\n    - a\n");
        assert_eq!(difference("a\nb", ""), "~ 1 details:\n    - a\n    - b\n");
    }

    #[test]
    fn a_conflict_shows_both_versions() {
        let theirs = samples::planning::tasks().pop();
        let yours = samples::planning::differences().split_off(3);
        let conflict = Conflict { id: "2".into(), expected_version: 3, theirs, yours };
        let response = EditResponse { conflict: Some(conflict.clone()), ..EditResponse::default() };
        let gone = EditResponse { conflict: Some(Conflict { theirs: None, ..conflict }), ..EditResponse::default() };
        insta::assert_snapshot!(
            "changes_conflict",
            text(&garden(), &response) + &text(&garden(), &gone) + &samples::json(&json(&response))
        );
    }
}
