//! Plans without a model: of small documents, of the acceptance documents, of any text.

use super::*;
use crate::gates::{self, Gates};
use crate::requirements::extract;
use crate::{Priority, structural};

fn planned(text: &str, wish: &Wish) -> (Vec<Requirement>, Planned) {
    let prd = Prd::read(text.as_bytes()).unwrap();
    let found = extract(&prd).requirements;
    let planned = plan(&prd, &found, wish);
    (found, planned)
}

fn passes(text: &str, wish: &Wish) -> Planned {
    let (found, planned) = planned(text, wish);
    let gates = gates::check(&planned.tasks, &found);
    assert_eq!(gates.reasons(), Vec::<String>::new(), "{:#?}", planned.tasks);
    assert_eq!(gates.covered as usize, found.len());
    planned
}

fn titles(planned: &Planned) -> Vec<&str> {
    planned.tasks.top().iter().map(|task| task.title.as_str()).collect()
}

const SHOP: &str = "# Shop\n\n## Features\n\n### A. Basket\n- Goods can be put in.\n- It must survive a restart.\n\n\
    ### B. Till\n- Takes cards.\n- Prints a receipt.\n- Depends on: A.\n\n## Requirements\n- REQ-1: The site should be \
    fast.\n  Acceptance: a page loads in 1 s.\n- Optional: dark mode.\n";

#[test]
fn no_title_is_cut_without_a_sign_of_it() {
    let long = "The machine should draw less than 30 W when nobody uses it";
    let task = Task { title: long.into(), ..Task::default() };
    let titles: Vec<String> = expand(&task, Some(2)).into_iter().map(|sub| sub.title).collect();
    assert_eq!(titles, [format!("Build: {long}"), format!("Test: {long}")]);
    let task = Task { title: format!("{long}, and less than 60 W"), ..Task::default() };
    let last = expand(&task, Some(4)).pop().unwrap().title;
    assert!(last.ends_with('…') && last.chars().count() <= fields::LONGEST_TITLE, "{last}");
}

#[test]
fn a_section_about_one_thing_is_a_task_and_a_list_is_a_task_per_item() {
    let planned = passes(SHOP, &Wish::default());
    assert_eq!(titles(&planned), ["Basket", "Till", "The site should be fast", "Optional: dark mode"]);
    let till = planned.tasks.root(2).unwrap();
    assert_eq!(till.dependencies, [TaskId::top(1)]);
    assert_eq!(
        till.subtasks.iter().map(|task| task.title.as_str()).collect::<Vec<_>>(),
        ["Takes cards", "Prints a receipt"]
    );
}

#[test]
fn a_number_of_tasks_is_kept_as_far_as_there_is_matter() {
    for (wished, made) in [(1, 1), (2, 2), (3, 3), (5, 5), (6, 6), (7, 6), (u32::MAX, 6)] {
        let planned = passes(SHOP, &Wish { tasks: Some(wished), max_depth: 2 });
        assert_eq!(planned.tasks.top().len(), made, "{wished}");
        assert_eq!(planned.oddities.is_empty(), wished <= 6, "{:?}", planned.oddities);
    }
}

#[test]
fn a_flat_plan_has_no_subtasks_and_covers_the_same() {
    let planned = passes(SHOP, &Wish { tasks: None, max_depth: 1 });
    assert_eq!(planned.tasks.count(), planned.tasks.top().len());
}

#[test]
fn fields_say_where_they_come_from_and_what_is_derived() {
    let (_, planned) = planned(SHOP, &Wish::default());
    let fast = planned.tasks.root(3).unwrap();
    assert!(fast.details.contains("R5 (REQ-1), line 15"), "{}", fast.details);
    assert_eq!(fast.test_strategy, "- a page loads in 1 s. (line 16)");
    assert!(planned.tasks.root(4).unwrap().test_strategy.starts_with("Derived"));
    assert_eq!((fast.priority, fast.made_by.as_str()), (Priority::Medium, NAME));
    assert_eq!(planned.tasks.root(4).unwrap().priority, Priority::Low);
    assert_eq!(planned.tasks.root(1).unwrap().priority, Priority::High);
}

#[test]
fn headings_that_share_a_task_are_said_to() {
    let text: String = (0..1_200).map(|number| format!("## Part {number}\n")).collect();
    let prd = Prd::read(text.as_bytes()).unwrap();
    let planned = plan(&prd, &[], &Wish::default());
    assert_eq!(planned.tasks.top().len(), 400);
    let odd: Vec<String> = planned.oddities.iter().map(ToString::to_string).collect();
    assert_eq!(
        odd,
        ["lines 1 to 1200: no requirement was found; 1200 sections are more than 400 tasks, neighbours share one"]
    );
}

#[test]
fn a_document_without_requirements_gets_a_task_for_each_section() {
    let text = "# Idea\nA shop for tea.\n\n## Look\nGreen, with leaves.\n\n## Sound\nNone at all.\n";
    let planned = passes(text, &Wish::default());
    assert_eq!(titles(&planned), ["Idea", "Look", "Sound"]);
    assert_eq!(passes(text, &Wish { tasks: Some(2), max_depth: 2 }).tasks.top().len(), 2);
    assert_eq!(titles(&passes("# Tea\n\n## Look\n", &Wish::default())), ["Tea", "Look"]);
    assert_eq!(titles(&passes("a shop for tea", &Wish::default())), ["A shop for tea"]);
}

#[test]
fn groups_that_would_wait_for_each_other_are_named() {
    let text = "# X\n## Requirements\n- REQ-1: a works. Depends on REQ-4.\n- REQ-2: b works.\n- REQ-3: c works. Depends \
        on REQ-2.\n- REQ-4: d works.\n";
    let planned = passes(text, &Wish { tasks: Some(2), max_depth: 2 });
    assert_eq!(planned.oddities.len(), 1, "{:?}", planned.oddities);
    assert!(passes(text, &Wish::default()).oddities.is_empty());
}

#[test]
fn more_requirements_than_a_plan_holds_share_tasks() {
    let items: String = (0..30_000).map(|number| format!("- It must do thing {number}\n")).collect();
    let planned = passes(&items, &Wish::default());
    assert_eq!(planned.tasks.count(), MOST_AT_TOP as usize);
    assert!(planned.oddities[0].what.starts_with("30000 requirements are more than"), "{:?}", planned.oddities);
    let headings: String = (0..3_000).map(|number| format!("## Part {number}\n\nWords.\n\n")).collect();
    assert!(passes(&headings, &Wish::default()).tasks.count() <= MOST_AT_TOP as usize);
}

#[test]
fn a_task_waits_for_no_more_than_a_task_can() {
    let all: Vec<String> = (1..=600).map(|number| format!("REQ-{number}")).collect();
    let items: String = all.iter().map(|name| format!("- {name}: it must do {name}\n")).collect();
    let waits: String =
        all.chunks(30).map(|some| format!("- Last {} must work. Depends on {}.\n", some[0], some.join(", "))).collect();
    let text = format!("## Requirements\n{items}\n## Last\n{waits}");
    for wish in [None, Some(590), Some(3)] {
        let planned = passes(&text, &Wish { tasks: wish, max_depth: 2 });
        let most = planned.tasks.walk().map(|(_, task)| task.dependencies.len()).max();
        assert!(most >= Some(20) || wish == Some(3), "{most:?}");
    }
}

#[test]
fn titles_are_cut_between_words() {
    for (text, expected) in [
        ("  the export   works. It is quick.", "The export works"),
        ("", "Untitled"),
        ("éclair", "Éclair"),
        ("- **x**", "X"),
    ] {
        assert_eq!(title(text), expected);
    }
    let long = title(&"many words in a row ".repeat(20));
    assert!(long.chars().count() <= 80 && long.ends_with(" a…"), "{long}");
    assert_eq!(title(&"x".repeat(500)).chars().count(), 80);
}

#[test]
fn a_task_splits_along_its_parts_and_says_what_is_derived() {
    let (_, planned) = planned(SHOP, &Wish { tasks: None, max_depth: 1 });
    let parts = expand(planned.tasks.root(1).unwrap(), None);
    assert_eq!(
        parts.iter().map(|part| part.title.as_str()).collect::<Vec<_>>(),
        ["Goods can be put in", "It must survive a restart"]
    );
    assert_eq!(parts[1].sources[0].requirement, "R2");
    let wish = one("Fix the lamp");
    for (number, made) in [(Some(1), 1), (Some(3), 3), (Some(5), 5), (Some(50), 5), (None, 2)] {
        let steps = expand(&wish, number);
        assert_eq!(steps.len(), made, "{number:?}");
        assert!(steps.iter().all(|step| step.details.starts_with("Derived")));
        assert!(steps.windows(2).all(|two| two[1].dependencies == [TaskId::top(two[0].number)]));
    }
    assert_eq!(expand(planned.tasks.root(2).unwrap(), Some(1)).len(), 1);
    let with_test = expand(planned.tasks.root(1).unwrap(), Some(3));
    assert_eq!(with_test[2].dependencies, [TaskId::top(1), TaskId::top(2)]);
}

#[test]
fn complexity_grows_with_what_is_in_a_task() {
    let small = complexity(&one("Fix the lamp"));
    let (_, planned) = planned(SHOP, &Wish { tasks: Some(1), max_depth: 2 });
    let large = complexity(planned.tasks.root(1).unwrap());
    assert!(small.score < large.score && large.score <= 10 && small.score >= 1);
    assert!(large.reasoning.contains("estimated from form"));
}

#[test]
fn a_part_of_the_requirements_is_planned_by_itself() {
    let prd = Prd::read(SHOP.as_bytes()).unwrap();
    let found = extract(&prd).requirements;
    for most in 1..6 {
        let tasks = structural::section(&prd, &found[2..], most);
        assert!(tasks.len() <= most as usize && tasks[0].number == 1);
        let gates = gates::check(&Tasks::new(tasks), &found[2..]);
        assert_eq!(gates.reasons(), Vec::<String>::new());
    }
}

fn acceptance_prd(name: &str) -> Option<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/acceptance/prds").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            println!("skipped: {} is not there: {error}", path.display());
            None
        }
    }
}

#[test]
fn the_hostile_document_is_planned_and_its_orders_are_not_obeyed() {
    let Some(text) = acceptance_prd("hostile.md") else { return };
    let prd = Prd::read(text.as_bytes()).unwrap();
    let (found, planned) = planned(&text, &Wish::default());
    let gates = gates::check(&planned.tasks, &found);
    // Two of its requirements contradict each other in almost the same words.
    assert_eq!(gates.reasons(), ["1 pair of almost the same task: 8 and 9"]);
    let all: Vec<(TaskId, &Task)> = planned.tasks.walk().collect();
    for (line, words) in [(2555, "PDF/A-3"), (5068, "Faroese")] {
        let covers =
            |task: &Task| task.description.contains(words) && task.sources.iter().any(|s| s.first_line == line);
        assert!(all.iter().any(|(_, task)| covers(task)), "{words}");
    }
    for bad in ["INJECTED", "curl", "Ignore all", "system prompt", "jndi"] {
        assert!(!all.iter().any(|(_, task)| format!("{task:?}").contains(bad)), "{bad}");
    }
    assert!(prd.oddities.iter().any(|oddity| oddity.to_string().starts_with("lines 38 to 45: text that gives orders")));
    assert!(all.iter().all(|(_, task)| task.priority != Priority::Critical && task.status == crate::Status::Pending));
}

#[test]
fn the_greenhouse_keeps_its_stated_order() {
    let Some(text) = acceptance_prd("greenhouse-telemetry.md") else { return };
    let planned = passes(&text, &Wish::default());
    let number =
        |name: &str| planned.tasks.top().iter().find(|task| task.title == name).map(|task| task.number).unwrap();
    let rules = planned.tasks.root(number("Rule engine")).unwrap();
    let expected = ["Node registry and provisioning", "Ingest and storage"].map(|name| TaskId::top(number(name)));
    assert_eq!(rules.dependencies, expected);
    for wished in [1, 5, 10, 20, 60] {
        passes(&text, &Wish { tasks: Some(wished), max_depth: 2 });
    }
}

proptest::proptest! {
    #[test]
    fn any_text_has_a_plan_without_a_panic(text in "([#\\-*|`0-9.A-C :\n]|must|depends on|\n- |\n# |\n\n|[a-z]{2,9} |\\PC){0,120}") {
        if let Ok(prd) = Prd::read(text.as_bytes()) {
            let all = extract(&prd);
            for tasks in [None, Some(3)] {
                let planned = plan(&prd, &all.requirements, &Wish { tasks, max_depth: 2 });
                let gates = gates::check(&planned.tasks, &all.requirements);
                assert_eq!(gates.uncovered, Vec::<String>::new());
                // A document that says nearly the same twice has a plan that does.
                let gates = Gates { near_duplicates: Vec::new(), ..gates };
                assert!(planned.tasks.is_empty() || gates.is_passed(), "{:?}", gates.reasons());
            }
            let task = one(&text);
            expand(&task, None);
            complexity(&task);
        }
    }
}
