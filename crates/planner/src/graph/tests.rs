//! Breaches, fixes, orders and choices on small trees.

use super::*;
use crate::{Status, Task};

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

/// Tasks out of lines such as `2 <- 1, 3.1` and `3.1`.
pub(crate) fn tasks(lines: &[&str]) -> Tasks {
    let mut all = Tasks::default();
    for line in lines {
        let (at, on) = line.split_once(" <- ").unwrap_or((line, ""));
        let at = id(at);
        let dependencies = on.split(", ").filter(|on| !on.is_empty()).map(id).collect();
        let task = Task { dependencies, ..Task::titled(at.number(), format!("task {at}")) };
        match at.parent() {
            None => all.put(std::sync::Arc::new(task)),
            Some(parent) => all.get_mut(&parent).unwrap().subtasks.push(task),
        }
    }
    all
}

fn breaches(lines: &[&str]) -> Vec<String> {
    check(&tasks(lines)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_tree_has_no_breach() {
    assert!(breaches(&["1", "1.1", "1.2 <- 1.1", "2 <- 1", "3 <- 1.1", "3.1 <- 2"]).is_empty());
}

#[test]
fn each_wrong_dependency_is_named_once() {
    let found = breaches(&["1 <- 1", "2 <- 9, 1, 1", "3", "3.1 <- 3"]);
    insta::assert_snapshot!(found.join("\n"), @r"
    task 1 waits for itself
    task 2 waits for 9, which does not exist
    task 2 names 1 twice
    task 3.1 waits for 3, which it is part of
    ");
}

#[test]
fn circles_are_seen_through_every_level() {
    assert_eq!(breaches(&["1 <- 2", "2 <- 1"]), ["tasks wait for each other in a circle: 1 -> 2 -> 1"]);
    // 2 is not finished before 2.1 is, which waits for 1, which waits for 2.
    assert_eq!(breaches(&["1 <- 2", "2", "2.1 <- 1"]), ["tasks wait for each other in a circle: 1 -> 2 -> 2.1 -> 1"]);
    // 1.1 cannot begin before 1 may, which waits for 2, which waits for 1.1.
    assert_eq!(breaches(&["1 <- 2", "1.1", "2 <- 1.1"]).len(), 1);
}

#[test]
fn fixing_takes_only_what_must_go() {
    let broken = tasks(&["1 <- 3", "2 <- 1, 2, 7", "3 <- 2", "4 <- 1, 1"]);
    let fixes = fix(&broken);
    let after: Vec<_> = fixes.iter().map(|fix| format!("{}: {:?}", fix.id, fix.dependencies)).collect();
    assert_eq!(after, ["1: []", "2: [1]", "4: [1]"]);
}

#[test]
fn a_chain_of_ten_thousand_needs_no_deep_stack() {
    let mut all = Tasks::new((1..=10_000).map(|number| Task::titled(number, "t")));
    for number in 2..=10_000 {
        all.get_mut(&TaskId::top(number)).unwrap().dependencies = vec![TaskId::top(number - 1)];
    }
    assert!(check(&all).is_empty());
    assert_eq!(order(&all).first(), Some(&TaskId::top(1)));
    all.get_mut(&TaskId::top(1)).unwrap().dependencies = vec![TaskId::top(10_000)];
    assert_eq!(check(&all).len(), 1);
}

#[test]
fn an_order_puts_each_task_behind_what_it_waits_for() {
    let all = tasks(&["1 <- 3", "2 <- 1", "3", "3.1 <- 3.2", "3.2"]);
    let order: Vec<String> = order(&all).iter().map(ToString::to_string).collect();
    assert_eq!(order, ["3.2", "3.1", "3", "1", "2"]);
}

fn set(all: &mut Tasks, at: &str, status: Status) {
    all.get_mut(&id(at)).unwrap().status = status;
}

#[test]
fn parts_of_what_is_in_progress_come_first_and_the_choice_is_explained() {
    let mut all = tasks(&["1", "2", "2.1", "2.2 <- 2.1", "3 <- 2"]);
    all.get_mut(&id("1")).unwrap().priority = crate::Priority::High;
    assert_eq!(next(&all, 3).chosen, Some(id("1")));
    set(&mut all, "2", Status::InProgress);
    let found = next(&all, 3);
    assert_eq!((found.chosen, found.others), (Some(id("2.1")), vec![id("1")]));
    assert_eq!(found.reasons[0], "task 2, which it is part of, is in progress");
    set(&mut all, "2.1", Status::Done);
    assert_eq!(next(&all, 3).chosen, Some(id("2.2")));
}

#[test]
fn when_nothing_can_be_begun_it_says_why() {
    let mut all = tasks(&["1", "2 <- 1"]);
    set(&mut all, "1", Status::Blocked);
    assert_eq!(next(&all, 3).reasons, ["task 1 is blocked", "task 2 waits for 1"]);
    set(&mut all, "1", Status::Cancelled);
    assert_eq!(next(&all, 3).chosen, Some(id("2")));
    set(&mut all, "2", Status::Done);
    assert_eq!(next(&all, 3).reasons, ["everything is finished"]);
}

#[test]
fn a_tree_for_a_terminal_shows_levels_and_what_is_waited_for() {
    let mut all = tasks(&["1", "1.1", "1.2 <- 1.1", "1.2.1", "2 <- 1"]);
    set(&mut all, "1.1", Status::Done);
    insta::assert_snapshot!(tree(&all), @r"
    [ ] 1 task 1
    |- [x] 1.1 task 1.1
    `- [ ] 1.2 task 1.2  <- 1.1
       `- [ ] 1.2.1 task 1.2.1
    [ ] 2 task 2  <- 1 (open: 1)

    [ ] pending  [>] in progress  [?] review  [x] done
    [~] deferred  [-] cancelled  [!] blocked
    ");
}

#[test]
fn a_picture_is_the_same_every_time_and_escapes_what_people_write() {
    let mut all = tasks(&["1", "2 <- 1"]);
    all.get_mut(&id("2")).unwrap().title = "<script>alert('x')</script> & more than thirty characters".into();
    let picture = svg(&all);
    assert_eq!(picture, svg(&all));
    assert!(
        !picture.contains("<script>") && picture.contains("&lt;script&gt;") && picture.contains("marker-end"),
        "{picture}"
    );
}

#[test]
fn no_line_of_a_picture_runs_behind_a_box() {
    let picture = svg(&tasks(&[
        "1",
        "2 <- 1",
        "3 <- 2",
        "4 <- 1, 3",
        "5",
        "6 <- 4, 5",
        "7",
        "7.1 <- 8.1",
        "8",
        "8.1",
        "8.2 <- 7",
    ]));
    let numbers = |text: &str| -> Vec<i64> {
        text.split(|char: char| !char.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    let boxes: Vec<Vec<i64>> =
        picture.split("<g>").skip(1).map(|one| numbers(one.split("<rect").nth(1).unwrap())).collect();
    let is_free = |x: i64, y: i64| {
        !boxes.iter().any(|one| x > one[0] && x < one[0] + one[2] && y > one[1] && y < one[1] + one[3])
    };
    let ways: Vec<Vec<i64>> =
        picture.split("<path d=\"M").skip(2).map(|way| numbers(way.split('"').next().unwrap())).collect();
    assert_eq!((boxes.len(), ways.len()), (8, 8));
    for way in &ways {
        // A curve stays between the smallest and the largest x of its points: those of the long lines lie in a gap.
        if let [x1, .., out, lane, back, _, _, _, _, x2, _] = way[..]
            && way.len() == 15
        {
            let (low, high) = (out.min(back), out.max(back));
            assert!((low..=high).step_by(5).all(|x| is_free(x, lane)), "{way:?}");
            assert!((x1..=out).chain(back..=x2).all(|x| (0..1000).step_by(5).all(|y| is_free(x, y))), "{way:?}");
        } else {
            assert_eq!(way[6] - way[0], 70, "{way:?}");
        }
    }
    assert!(ways.iter().filter(|way| way.len() == 15).count() >= 3);
}

#[test]
fn a_title_stays_in_its_box_on_two_lines() {
    let drawn = |title: &str| -> Vec<String> {
        let picture = svg(&Tasks::new([Task::titled(1, title)]));
        assert!(picture.contains("width=\"692\""), "the legend has room beside a single box: {picture}");
        let texts = picture.split("fill=\"#111\">").skip(1);
        texts.map(|text| text.split('<').next().unwrap().to_owned()).collect()
    };
    let long = "The machine should draw less than 30 W when nobody";
    assert_eq!(drawn(long).join(" "), format!("1 {long}"));
    assert_eq!(drawn(long).len(), 2);
    assert_eq!(drawn("Short"), ["1 Short"]);
    for wide in ["W".repeat(80), "漢字".repeat(40)] {
        let lines = drawn(&wide);
        assert!(lines.len() <= 2 && lines.iter().all(|line| line.chars().count() * 11 < 240), "{lines:?}");
        assert!(lines.last().unwrap().ends_with('…'), "{lines:?}");
    }
}

#[test]
fn a_subtask_is_drawn_in_what_it_is_part_of_and_a_circle_of_such_lines_has_an_end() {
    let columns = |lines: &[&str]| {
        let picture = svg(&tasks(lines));
        let lefts: std::collections::BTreeSet<&str> =
            picture.split("<rect x=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        (lefts.len(), picture.matches("stroke-dasharray").count())
    };
    let legend = columns(&[]).0;
    assert_eq!(columns(&["1", "2", "2.1 <- 1"]), (legend + 1, 1));
    assert_eq!(columns(&["1", "1.1 <- 2.1", "1.2", "2", "2.1", "2.2 <- 1.2"]), (legend + 1, 2));
    assert_eq!(columns(&["1 <- 2", "2 <- 3", "3 <- 1", "4"]).0, legend + 2);
}

#[test]
fn who_waits_is_counted_through_every_level() {
    let mut all = tasks(&["1", "1.1", "2 <- 1", "2.1", "2.2", "3 <- 2.2", "4"]);
    set(&mut all, "1", Status::InProgress);
    let found = next(&all, 5);
    // 1.1 holds 1, which holds 2 with its subtasks, which hold 3.
    assert!(found.reasons.contains(&"4 tasks wait for it".to_owned()), "{:?}", found.reasons);
    assert_eq!(
        waiting(&all).into_iter().map(|(id, count)| (id.to_string(), count)).collect::<Vec<_>>(),
        [("1".into(), 1), ("2.2".into(), 1)]
    );
}

#[test]
fn parts_of_what_is_put_off_are_not_ready() {
    let mut all = tasks(&["1", "1.1", "1.1.1", "2 <- 9"]);
    set(&mut all, "1", Status::Deferred);
    set(&mut all, "1.1", Status::InProgress);
    assert!(!is_ready(&all, &id("1.1.1")));
    assert_eq!(
        next(&all, 5).reasons,
        [
            "task 1 is deferred",
            "task 1.1 is in-progress",
            "task 1.1.1 is pending",
            "task 2 waits for 9, which does not exist"
        ]
    );
}

#[test]
fn a_hundred_thousand_circles_are_fixed_in_one_go() {
    let mut all = Tasks::new((1..=1000).map(|number| Task::titled(number, "t")));
    for number in 1..=1000 {
        all.get_mut(&TaskId::top(number)).unwrap().dependencies =
            (1..=100).map(|step| TaskId::top((number + step * 7) % 1000 + 1)).collect();
    }
    let fixes = fix(&all);
    for fix in fixes {
        all.get_mut(&fix.id).unwrap().dependencies = fix.dependencies;
    }
    assert!(check(&all).is_empty());
}

#[test]
fn a_title_is_one_line_on_a_terminal() {
    let all = Tasks::new([Task::titled(1, "red \u{1b}[31m\nand\r more")]);
    assert!(tree(&all).starts_with("[ ] 1 red [31m and more\n"), "{}", tree(&all));
}
