//! Projects and tags come, change, and go.

use std::time::Duration;

use base::Code;
use futures_util::StreamExt;
use planner::projects::ProjectChange;

use crate::bed::{Place, add, append, refused, titles, wanted};

pub async fn a_name_is_taken_once_and_bad_ones_are_refused(place: Place) {
    refused(place.there.create("home", "", "").await, Code::Conflict);
    place.here.add_tag("home", "one", "", "", "ann").await.unwrap();
    refused(place.there.add_tag("home", "one", "", "", "ann").await, Code::Conflict);
    refused(place.there.add_tag("home", "one", "", "master", "ann").await, Code::Conflict);
    for bad in ["", "a/b", "..", "-a", "a b", "a\0b", "a\u{202e}b", "Ä", "a\nb", &"a".repeat(65)] {
        refused(place.here.create(bad, "", "").await, Code::InvalidArgument);
        refused(place.here.add_tag("home", bad, "", "", "ann").await, Code::InvalidArgument);
        refused(place.here.rename_tag("home", "one", bad).await, Code::InvalidArgument);
        refused(place.here.snapshot(bad, "master").await, Code::InvalidArgument);
        refused(place.here.change(bad, "master", &wanted(vec![add("x")])).await, Code::InvalidArgument);
    }
    refused(place.here.create("large", &"x".repeat(100_000), "").await, Code::TooLarge);
    refused(place.here.add_tag("home", "large", &"x".repeat(100_000), "", "ann").await, Code::TooLarge);
    assert_eq!(place.here.list().await.unwrap().len(), 1);
    assert_eq!(place.here.tags("home").await.unwrap().len(), 2);
}

pub async fn what_is_not_there_is_not_found(place: Place) {
    let unknown = refused(place.here.snapshot("nowhere", "").await, Code::NotFound);
    assert_eq!(unknown.hint.as_deref(), Some("there are `home`"));
    for tag in ["", "master"] {
        refused(place.here.snapshot("nowhere", tag).await, Code::NotFound);
        refused(place.here.change("nowhere", tag, &wanted(vec![add("x")])).await, Code::NotFound);
        refused(place.here.undo("nowhere", tag, None, "ann", false).await, Code::NotFound);
        refused(place.here.history("nowhere", tag, None, None, 1).await, Code::NotFound);
        refused(place.here.tag("nowhere", tag).await, Code::NotFound);
    }
    refused(place.here.tags("nowhere").await, Code::NotFound);
    refused(place.here.delete("nowhere").await, Code::NotFound);
    refused(place.here.change_project("nowhere", &ProjectChange::default()).await, Code::NotFound);
    refused(place.here.add_tag("nowhere", "one", "", "", "ann").await, Code::NotFound);
    refused(place.here.snapshot("home", "one").await, Code::NotFound);
    refused(place.here.add_tag("home", "two", "", "one", "ann").await, Code::NotFound);
    refused(place.here.rename_tag("home", "one", "two").await, Code::NotFound);
    refused(place.here.delete_tag("home", "one").await, Code::NotFound);
    let change = ProjectChange { current_tag: Some("one".into()), ..ProjectChange::default() };
    refused(place.here.change_project("home", &change).await, Code::NotFound);
    assert_eq!(place.store.list("projects/").await.unwrap().entries.len(), 2);
}

pub async fn the_current_tag_is_what_calls_without_one_mean(place: Place) {
    place.edit(vec![add("in master")]).await;
    place.here.add_tag("home", "other", "of mine", "", "ann").await.unwrap();
    let change = ProjectChange {
        current_tag: Some("other".into()),
        description: Some("a house".into()),
        language: Some("German".into()),
        ..ProjectChange::default()
    };
    place.there.change_project("home", &change).await.unwrap();
    let project = place.here.project("home").await.unwrap();
    assert_eq!((project.description.as_str(), project.language.as_str()), ("a house", "German"));
    let snapshot = place.here.snapshot("home", "").await.unwrap();
    assert_eq!((snapshot.tag.as_str(), snapshot.about.name.as_str(), snapshot.tasks.count()), ("other", "other", 0));
    place.here.rename_tag("home", "other", "renamed").await.unwrap();
    assert_eq!(place.there.tag("home", "").await.unwrap().name, "renamed");
    place.here.delete_tag("home", "renamed").await.unwrap();
    assert_eq!(place.there.snapshot("home", "").await.unwrap().tag, "master");
}

pub async fn a_tag_tells_of_its_changes_until_it_is_gone(place: Place) {
    place.here.add_tag("home", "spring", "", "", "ann").await.unwrap();
    let (tag, revisions) = place.there.watch("home", "spring").await.unwrap();
    let mut revisions = Box::pin(revisions);
    let mut next = async || tokio::time::timeout(Duration::from_secs(20), revisions.next()).await.unwrap();
    let before = next().await.unwrap().unwrap();
    // A change of another tag, whose name only begins alike, is none of this one.
    place.here.add_tag("home", "springtime", "", "", "ann").await.unwrap();
    for tag in ["springtime", "spring"] {
        place.here.change("home", tag, &wanted(vec![add("sow")])).await.unwrap();
    }
    assert_eq!((tag.as_str(), next().await.unwrap().unwrap()), ("spring", before + 1));
    place.here.delete_tag("home", "spring").await.unwrap();
    assert_eq!(next().await.unwrap().unwrap_err().code, Code::NotFound);
    assert!(next().await.is_none());
    refused(place.here.watch("home", "spring").await.map(drop), Code::NotFound);
}

pub async fn models_of_its_own_stay_with_a_project(place: Place) {
    let models = |main: &str, research: Option<&str>| {
        ProjectChange::default().with_models(Some(main.into()), research.map(str::to_owned), None)
    };
    place.here.change_project("home", &models(" qwen3:4b ", Some("llama3.1:70b"))).await.unwrap();
    place.there.change_project("home", &models("", None)).await.unwrap();
    let own = place.here.project("home").await.unwrap().models;
    assert_eq!((own.main.as_str(), own.research.as_str(), own.fallback.as_str()), ("", "llama3.1:70b", ""));
}

pub async fn a_copy_has_the_tasks_and_a_life_of_its_own(place: Place) {
    for count in [3, 300] {
        let copy = format!("copy-{count}");
        place.edit(vec![append(count)]).await;
        place.there.add_tag("home", &copy, "of mine", "master", "bob").await.unwrap();
        let (original, copied) = (place.tasks().await, place.here.snapshot("home", &copy).await.unwrap());
        assert_eq!(titles(&copied.tasks), titles(&original));
        assert_eq!((copied.about.revision, copied.about.description.as_str()), (1, "of mine"));
        let events = place.here.history("home", &copy, None, None, 10).await.unwrap();
        assert_eq!((events.len(), events[0].who.as_str()), (1, "bob"));
        place.here.change("home", &copy, &wanted(vec![add("only here")])).await.unwrap();
        assert_eq!(place.tasks().await, original);
    }
}

pub async fn a_renamed_tag_keeps_tasks_and_history(place: Place) {
    place.here.add_tag("home", "old", "", "", "ann").await.unwrap();
    place.here.add_tag("home", "taken", "", "", "ann").await.unwrap();
    place.here.change("home", "old", &wanted(vec![append(3)])).await.unwrap();
    place.here.change("home", "old", &wanted(vec![add("later")])).await.unwrap();
    let before = place.there.snapshot("home", "old").await.unwrap();
    refused(place.here.rename_tag("home", "old", "taken").await, Code::Conflict);
    refused(place.here.rename_tag("home", "old", "old").await, Code::Conflict);
    refused(place.here.rename_tag("home", "master", "main").await, Code::InvalidArgument);
    place.here.rename_tag("home", "old", "new").await.unwrap();
    for projects in [&place.here, &place.there] {
        refused(projects.snapshot("home", "old").await, Code::NotFound);
        let after = projects.snapshot("home", "new").await.unwrap();
        assert_eq!((after.tasks, after.about.revision), (before.tasks.clone(), 2));
    }
    assert_eq!(place.there.history("home", "new", None, None, 10).await.unwrap().len(), 2);
    place.there.undo("home", "new", None, "ann", false).await.unwrap();
    assert_eq!(place.here.snapshot("home", "new").await.unwrap().tasks.count(), 3);
    // The name is free again, and brings nothing back.
    place.here.add_tag("home", "old", "", "", "ann").await.unwrap();
    assert!(place.there.snapshot("home", "old").await.unwrap().tasks.is_empty());
}

pub async fn what_was_deleted_shows_nowhere_again(place: Place) {
    refused(place.here.delete_tag("home", "master").await, Code::InvalidArgument);
    place.here.add_tag("home", "gone", "", "", "ann").await.unwrap();
    for edits in [vec![append(200)], vec![add("one more")]] {
        place.here.change("home", "gone", &wanted(edits.clone())).await.unwrap();
        place.edit(edits).await;
    }
    place.there.snapshot("home", "gone").await.unwrap();
    place.here.delete_tag("home", "gone").await.unwrap();
    refused(place.there.snapshot("home", "gone").await, Code::NotFound);
    place.here.add_tag("home", "gone", "", "", "ann").await.unwrap();
    let again = place.there.snapshot("home", "gone").await.unwrap();
    assert_eq!((again.tasks.count(), again.about.revision, again.about.tasks), (0, 0, 0));
    assert!(place.there.history("home", "gone", None, None, 10).await.unwrap().is_empty());
    refused(place.there.undo("home", "gone", None, "ann", false).await, Code::NotFound);
    assert_eq!((place.records("events").await, place.records("undo").await), (2, 2));

    // More tags than one transaction deletes.
    for tag in 0..70 {
        place.here.add_tag("home", &format!("tag-{tag}"), "", "", "ann").await.unwrap();
    }
    place.here.delete("home").await.unwrap();
    refused(place.there.snapshot("home", "master").await, Code::NotFound);
    assert_eq!(place.store.list("projects/").await.unwrap().entries, []);
    place.there.create("home", "", "").await.unwrap();
    assert_eq!(place.here.tags("home").await.unwrap().len(), 1);
    assert!(place.tasks().await.is_empty());
}
