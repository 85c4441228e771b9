//! The history of a tag, and taking changes back.

use base::Code;
use planner::projects::Wanted;
use planner::{Edit, Status};

use crate::bed::{Place, add, append, conflict, done, id, refused, remove, set_status, set_title, titles, wanted};

pub async fn it_tells_who_did_what_and_why_newest_first(place: Place) {
    place.edit(vec![add("one")]).await;
    let why = Wanted { who: "bob".into(), why: "it rained".into(), ..wanted(vec![set_title("1", "roof")]) };
    place.there.change("home", "", &why).await.unwrap();
    for number in 3..=120 {
        place.edit(vec![set_title("1", &format!("title {number}"))]).await;
    }
    place.edit(vec![add("two")]).await;
    let history = async |id: Option<&str>, before, limit| {
        let id = id.map(crate::bed::id);
        let events = place.there.history("home", "master", id.as_ref(), before, limit).await.unwrap();
        events.iter().map(|event| event.revision).collect::<Vec<_>>()
    };
    assert_eq!(history(None, None, 3).await, [121, 120, 119]);
    assert_eq!(history(None, Some(102), 4).await, [101, 100, 99, 98]);
    assert_eq!(history(None, None, 1000).await, (1..=121).rev().collect::<Vec<_>>());
    assert_eq!(history(None, Some(1), 10).await, [0u64; 0]);
    assert_eq!(history(Some("2"), None, 10).await, [121]);
    assert_eq!(history(Some("1"), None, 2).await, [120, 119]);
    assert_eq!(history(Some("9"), None, 2).await, [0u64; 0]);
    let event = place.here.history("home", "", None, Some(3), 1).await.unwrap().remove(0);
    assert_eq!((event.who.as_str(), event.what.as_str(), event.why.as_str()), ("bob", "change 1", "it rained"));
    assert_eq!(event.changes[0].to_string(), "1: title: `one` -> `roof`");
    let large = Wanted { why: "x".repeat(10_000), ..wanted(vec![append(300)]) };
    place.here.change("home", "", &large).await.unwrap();
    let event = place.here.history("home", "", None, None, 1).await.unwrap().remove(0);
    assert_eq!((event.changes.len(), event.left_out), (100, 200));
    assert!(event.why.len() < 500);
}

pub async fn small_changes_are_undone_and_that_as_well(place: Place) {
    place.edit(vec![add("one"), add("two")]).await;
    let sub = Edit::Add { parent: Some(id("1")), task: crate::bed::titled("part") };
    place.edit(vec![set_title("1", "first"), sub, remove("2"), add("three")]).await;
    place.edit(vec![add("unrelated")]).await;
    let undone = done(place.there.undo("home", "", Some(2), "bob", false).await.unwrap());
    assert_eq!(undone.revision, 4);
    let tasks = place.tasks().await;
    assert_eq!(titles(&tasks), ["one", "two", "unrelated"]);
    assert_eq!((tasks.count(), tasks.top()[0].version), (3, 4));
    done(place.here.undo("home", "", None, "bob", false).await.unwrap());
    assert_eq!(titles(&place.tasks().await), ["first", "three", "unrelated"]);
    assert_eq!(place.tasks().await.count(), 4);
    let history = place.here.history("home", "", None, None, 2).await.unwrap();
    assert_eq!((history[0].what.as_str(), history[1].who.as_str()), ("undid change 4", "bob"));
    let never = place.here.undo("home", "", Some(99), "ann", false).await.unwrap_err();
    assert_eq!((never.code, never.message.as_str()), (Code::NotFound, "could not undo change 99: there is none"));
}

pub async fn changes_of_many_tasks_are_undone_and_that_as_well(place: Place) {
    place.edit(vec![add("one"), add("two")]).await;
    let before = place.tasks().await;
    place.edit(vec![append(300), set_title("1", "first")]).await;
    let many = place.tasks().await;
    done(place.there.undo("home", "", Some(2), "bob", false).await.unwrap());
    let undone = place.tasks().await;
    assert_eq!(titles(&undone), titles(&before));
    // What did not become different keeps its version, so that nobody is told of a conflict without need.
    assert_eq!((undone.top()[0].version, undone.top()[1].version), (3, 1));
    done(place.here.undo("home", "", None, "bob", false).await.unwrap());
    assert_eq!(titles(&place.tasks().await), titles(&many));
    done(place.here.undo("home", "", None, "bob", false).await.unwrap());
    assert_eq!(titles(&place.tasks().await), titles(&before));
    // Two changes of all tasks can be undone, not the one before them.
    place.edit(vec![remove("1"), add("other")]).await;
    for status in [Status::Done, Status::Review] {
        place.edit(vec![append(60), Edit::SetStatus { ids: vec![id("2")], status }]).await;
    }
    place.edit(vec![append(60)]).await;
    done(place.here.undo("home", "", None, "bob", false).await.unwrap());
}

pub async fn what_was_touched_since_is_not_undone(place: Place) {
    place.edit(vec![add("one"), add("two"), add("three")]).await;
    place.edit(vec![set_title("1", "first"), remove("3")]).await;
    place.edit(vec![set_status("1", Status::Done)]).await;
    let before = place.tasks().await;
    let crossed = conflict(place.there.undo("home", "", Some(2), "bob", false).await.unwrap());
    assert_eq!((crossed.id, crossed.theirs.unwrap().status), (id("1"), Status::Done));
    assert_eq!(place.tasks().await, before);
    // One that was changed and then removed does not come back.
    place.edit(vec![set_title("2", "second")]).await;
    place.edit(vec![remove("2")]).await;
    let crossed = conflict(place.there.undo("home", "", Some(4), "bob", false).await.unwrap());
    assert_eq!((crossed.id, crossed.theirs), (id("2"), None));
    // The same with all tasks at once.
    place.edit(vec![append(300)]).await;
    place.edit(vec![remove("5")]).await;
    let crossed = conflict(place.there.undo("home", "", Some(6), "bob", false).await.unwrap());
    assert_eq!((crossed.id, crossed.theirs), (id("5"), None));
    place.edit(vec![set_title("7", "x")]).await;
    let crossed = conflict(place.there.undo("home", "", Some(6), "bob", false).await.unwrap());
    assert_eq!(crossed.id, id("7"));
    assert_eq!(place.revision().await, 8);
}

pub async fn what_would_break_a_rule_is_not_undone(place: Place) {
    place.edit(vec![add("one")]).await;
    place.edit(vec![add("two")]).await;
    place.edit(vec![Edit::AddDependency { id: id("1"), on: id("2") }]).await;
    let before = place.tasks().await;
    let fault = refused(place.there.undo("home", "", Some(2), "bob", false).await, Code::Conflict);
    assert!(fault.message.contains("task 1 waits for 2"), "{fault:?}");
    assert_eq!(place.tasks().await, before);
    done(place.there.undo("home", "", Some(3), "bob", false).await.unwrap());
    done(place.there.undo("home", "", Some(2), "bob", false).await.unwrap());
    assert_eq!(titles(&place.tasks().await), ["one"]);
}
