//! Plans are measured: what passes, what makes a draft.

use super::*;
use crate::Source;
use crate::requirements::Strength;

fn requirement(number: u32) -> Requirement {
    Requirement {
        name: format!("R{number}"),
        label: String::new(),
        text: format!("thing {number}"),
        strength: Strength::Must,
        first_line: number,
        last_line: number,
        section: 0,
        acceptance: Vec::new(),
        depends_on: Vec::new(),
    }
}

fn covering(number: u32, title: &str) -> Task {
    let source = Source { requirement: format!("R{number}"), first_line: number, last_line: number };
    Task { sources: vec![source], ..Task::titled(number, title) }
}

fn checked(tasks: impl IntoIterator<Item = Task>) -> Gates {
    check(&Tasks::new(tasks), &[requirement(1), requirement(2)])
}

#[test]
fn a_plan_that_covers_everything_passes() {
    let gates = checked([covering(1, "one"), covering(2, "two")]);
    assert!(gates.is_passed(), "{:?}", gates.reasons());
    assert_eq!((gates.requirements, gates.covered, gates.tasks), (2, 2, 2));
    assert!(!check(&Tasks::default(), &[]).is_passed());
}

#[test]
fn a_requirement_may_be_covered_by_a_subtask() {
    let mut first = covering(1, "one");
    first.subtasks = vec![Task { number: 1, ..covering(2, "two") }];
    assert!(checked([first]).is_passed());
}

#[test]
fn each_fault_has_its_reason() {
    let two = || [covering(1, "one"), covering(2, "two")];
    let with = |change: &dyn Fn(&mut [Task; 2])| {
        let mut tasks = two();
        change(&mut tasks);
        checked(tasks).reasons().join("; ")
    };
    for (reason, expected) in [
        (with(&|tasks| tasks[0].sources.clear()), "1 requirement without a task: R1"),
        (with(&|tasks| tasks[0].title = " ".into()), "a task has no title"),
        (with(&|tasks| tasks[0].number = 0), "no number"),
        (with(&|tasks| tasks[0].title = "TWO!".into()), "1 pair of the same task: 1 and 2"),
        (with(&|tasks| tasks[0].dependencies = vec![TaskId::top(9)]), "task 1 waits for 9, which does not exist"),
        (with(&|tasks| tasks[0].dependencies = vec![TaskId::top(1)]), "task 1 waits for itself"),
        (with(&|tasks| tasks[0].sources[0].requirement = "R7".into()), "1 sources that are no requirement"),
        (with(&|tasks| tasks[0].title = "x".repeat(201)), "task 1: the length of the title is 201, where 200"),
        (
            with(&|tasks| {
                tasks[0].dependencies = vec![TaskId::top(2)];
                tasks[1].dependencies = vec![TaskId::top(1)];
            }),
            "in a circle",
        ),
        (
            with(&|tasks| {
                tasks[0].subtasks = vec![Task { dependencies: vec![TaskId::top(2)], ..Task::titled(1, "sub") }];
                tasks[1].dependencies = vec![TaskId::top(1)];
            }),
            "in a circle",
        ),
    ] {
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn a_circle_through_what_tasks_are_part_of_is_found_as_edits_find_it() {
    let mut first = covering(1, "one");
    first.dependencies = vec![TaskId::top(2)];
    first.subtasks = vec![Task::titled(1, "a")];
    let mut second = covering(2, "two");
    second.subtasks = vec![Task { dependencies: vec![TaskId::top(1).child(1)], ..Task::titled(1, "b") }];
    assert!(!checked([first, second]).acyclic);
}

#[test]
fn a_subtask_that_waits_for_its_parent_is_a_circle() {
    let mut first = covering(1, "one");
    first.subtasks = vec![Task { dependencies: vec![TaskId::top(1)], ..Task::titled(1, "sub") }];
    assert!(!checked([first, covering(2, "two")]).acyclic);
}

#[test]
fn titles_are_the_same_whatever_their_case_marks_and_number() {
    assert_eq!(normal("2. Éclairs — für ALLE!"), normal("eclairs fur alle"));
    assert_ne!(normal("72 h buffer"), normal("24 h buffer"));
    assert_eq!(normal("12"), "12");
}

fn likeness(a: &Task, b: &Task) -> f64 {
    Words::of(&a.title, &a.description).likeness(&Words::of(&b.title, &b.description))
}

#[test]
fn near_duplicates_are_shown_and_make_a_draft() {
    let a = covering(1, "Build the import of old data from the vendor");
    let b = covering(2, "Build the import of all data from the vendor");
    assert!(likeness(&a, &b) >= NEAR, "{}", likeness(&a, &b));
    let gates = checked([a.clone(), b]);
    assert_eq!(gates.near_duplicates, [(TaskId::top(1), TaskId::top(2))]);
    assert_eq!(gates.reasons(), ["1 pair of almost the same task: 1 and 2"]);
    assert!(likeness(&a, &covering(2, "Print pages")) < 0.1);
    let vents = |house: u32| covering(house, &format!("Open the vents of house {house} to sixty percent at noon"));
    assert!(checked([vents(1), vents(2)]).is_passed());
    assert!(checked([covering(1, "Show the list view"), covering(2, "Show the map view")]).near_duplicates.is_empty());
}

#[test]
fn ten_thousand_tasks_are_checked_in_no_time() {
    let requirements: Vec<Requirement> = (1..=10_000).map(requirement).collect();
    let tasks = |title: &dyn Fn(u32) -> String| Tasks::new((1..=10_000).map(|number| covering(number, &title(number))));
    let chained = |number: u32| format!("Build the part {number} of the very same long thing");
    for tasks in [tasks(&chained), tasks(&|number| format!("w{} v{} u{}", number % 100, number % 99, number % 101))] {
        let began = std::time::Instant::now();
        let gates = check(&tasks, &requirements);
        assert_eq!(gates.covered, 10_000);
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }
}
