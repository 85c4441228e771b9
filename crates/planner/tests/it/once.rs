//! What clients rely on who cannot know what others do, or whether they were heard.

use base::Code;
use planner::projects::{Key, Wanted};
use planner::{Edit, Status};

use crate::bed::{Place, add, append, conflict, done, id, refused, remove, set_status, set_title, wanted};

pub async fn the_second_of_two_clients_is_told_of_the_first(place: Place) {
    place.edit(vec![add("one"), add("two")]).await;
    let client = |title| Wanted { expected: vec![(id("1"), 1)], ..wanted(vec![set_title("1", title)]) };
    let first = done(place.there.change("home", "", &client("ann's")).await.unwrap());
    let crossed = conflict(place.here.change("home", "", &client("bob's")).await.unwrap());
    assert_eq!((&crossed.id, crossed.expected), (&id("1"), 1));
    let theirs = crossed.theirs.unwrap();
    assert_eq!((theirs.title.as_str(), theirs.version), ("ann's", 2));
    assert_eq!((crossed.yours[0].before.as_str(), crossed.yours[0].after.as_str()), ("ann's", "bob's"));
    assert_eq!(place.tasks().await, first.tasks);
    // Another task may have changed.
    let other = Wanted { expected: vec![(id("2"), 1)], ..wanted(vec![set_title("2", "second")]) };
    done(place.here.change("home", "", &other).await.unwrap());
    place.edit(vec![remove("1")]).await;
    let crossed = conflict(place.here.change("home", "", &client("bob's")).await.unwrap());
    assert_eq!((crossed.theirs, crossed.yours.len()), (None, 0));
}

pub async fn a_dry_run_changes_nothing(place: Place) {
    place.edit(vec![add("one")]).await;
    let before = place.store.list("").await.unwrap();
    let large = wanted(vec![append(500), remove("1")]);
    let would = done(place.here.change("home", "", &Wanted { dry_run: true, ..large.clone() }).await.unwrap());
    let undone = done(place.here.undo("home", "", None, "ann", true).await.unwrap());
    assert!(undone.tasks.is_empty());
    let after = place.store.list("").await.unwrap();
    assert_eq!((after.entries, after.revision), (before.entries, before.revision));
    let does = done(place.here.change("home", "", &large).await.unwrap());
    assert_eq!((would.revision, would.changes, would.added, would.notes), (2, does.changes, does.added, does.notes));
}

pub async fn the_same_key_twice_does_it_once_and_tells_the_same(place: Place) {
    place.edit(vec![add("one"), add("two"), Edit::AddDependency { id: id("2"), on: id("1") }]).await;
    for (key, edits) in [("small", vec![add("more"), remove("1")]), ("large", vec![append(300)])] {
        let keyed = Wanted { key: Some(Key::Client(key.into())), ..wanted(edits) };
        let first = done(place.here.change("home", "", &keyed).await.unwrap());
        place.edit(vec![add("in between")]).await;
        for projects in [&place.there, &place.here] {
            let again = done(projects.change("home", "", &keyed).await.unwrap());
            assert_eq!((again.revision, &again.added, &again.notes), (first.revision, &first.added, &first.notes));
            assert_eq!(again.changes[..], first.changes[..again.changes.len()]);
        }
    }
    let (both, key) = (wanted(vec![add("raced")]), Some(Key::Step("raced".into())));
    let both = Wanted { key, ..both };
    let (one, other) = tokio::join!(place.here.change("home", "", &both), place.there.change("home", "", &both));
    assert_eq!(done(one.unwrap()).revision, done(other.unwrap()).revision);
    assert_eq!(place.revision().await, 6);
    place.tasks().await;
    let long = Wanted { key: Some(Key::Client("k".repeat(129))), ..wanted(vec![add("x")]) };
    refused(place.here.change("home", "", &long).await, Code::InvalidArgument);
}

pub async fn a_key_of_a_client_is_for_one_change(place: Place) {
    let keyed = |key: Key, edit: Edit| Wanted { key: Some(key), ..wanted(vec![edit]) };
    let (client, step) = (|| Key::Client("k".into()), || Key::Step("job-1/split".into()));
    done(place.here.change("home", "", &keyed(client(), add("one"))).await.unwrap());
    refused(place.there.change("home", "", &keyed(client(), add("two"))).await, Code::Conflict);
    // A step that is tried again decides by the tasks as they are then.
    let first = done(place.here.change("home", "", &keyed(step(), add("three"))).await.unwrap());
    let again = done(place.there.change("home", "", &keyed(step(), add("four"))).await.unwrap());
    assert_eq!((again.revision, again.added), (first.revision, first.added));
    assert_eq!(place.tasks().await.top().len(), 2);
}

pub async fn what_changes_nothing_makes_no_event(place: Place) {
    place.edit(vec![add("one")]).await;
    let same = place.edit(vec![set_status("1", Status::Pending), set_title("1", "one")]).await;
    assert_eq!((same.revision, same.changes.len(), place.revision().await), (1, 0, 1));
    let draft = |reasons: &[&str]| Some(reasons.iter().map(ToString::to_string).collect());
    let marked = Wanted { draft: draft(&["nobody read it"]), ..wanted(vec![]) };
    done(place.here.change("home", "", &marked).await.unwrap());
    assert_eq!(place.there.tag("home", "").await.unwrap().draft_because, ["nobody read it"]);
    done(place.here.change("home", "", &wanted(vec![add("two")])).await.unwrap());
    assert_eq!(place.there.tag("home", "").await.unwrap().draft_because, ["nobody read it"]);
    done(place.here.change("home", "", &Wanted { draft: draft(&[]), ..wanted(vec![]) }).await.unwrap());
    assert!(place.there.tag("home", "").await.unwrap().draft_because.is_empty());
}
