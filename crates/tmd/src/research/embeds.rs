//! Which model embeds: the one that the role names, else the only one that can. Pure.
//!
//! A library that has vectors of a model stays with it: nodes come and go, and nothing is embedded anew for that.

use research::models::Embeds;

/// A model that can embed, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Able {
    /// What people call it.
    pub name: String,
    /// Its identity.
    pub id: String,
    /// Whether a worker could take a text now.
    pub can_serve: bool,
}

/// Decides. `named` are those of the role `embed`, best first, `None` where the configuration does not have it; `able` are
/// all, and `held` is the identity of the model that the library has vectors of.
pub fn decide(named: Option<&[Able]>, able: &[Able], held: Option<&str>) -> Embeds {
    let served = |one: &Able| one.can_serve.then(|| one.id.clone());
    if let Some(named) = named {
        let model = named.iter().find_map(served);
        let still = able.iter().find(|one| one.can_serve && Some(one.id.as_str()) == held);
        let note = match (&model, still) {
            (None, Some(still)) => format!(
                "no worker embeds with a model that `embed` under [roles] names: searches go by the vectors of `{}`",
                still.name
            ),
            _ => String::new(),
        };
        return Embeds { model, note };
    }
    let names = || able.iter().map(|one| format!("`{}`", one.name)).collect::<Vec<_>>().join(", ");
    match (held.map(|held| able.iter().find(|one| one.id == held)), able) {
        (Some(Some(one)), [_]) | (None, [one]) => Embeds { model: served(one), note: only(one) },
        (Some(Some(one)), _) => {
            let note = format!("its vectors are there; of {} another takes its place by {}", names(), written(one));
            Embeds { model: served(one), note: if one.can_serve { note } else { String::new() } }
        }
        (Some(None), [first, ..]) => {
            let note = format!(
                "the model of these vectors is on no node now: searches go by words alone until it is, or until {} \
                 has all embedded anew by another of {}",
                written(first),
                names()
            );
            Embeds { model: None, note }
        }
        (None, [first, ..]) => {
            let note = format!("several models embed ({}): name one, as {}", names(), written(first));
            Embeds { model: None, note }
        }
        (_, []) => Embeds::default(),
    }
}

fn only(one: &Able) -> String {
    let note = "the only model that embeds; `embed` under [roles] names another";
    if one.can_serve { note.to_owned() } else { String::new() }
}

fn written(one: &Able) -> String {
    format!("`embed = [\"{}\"]` under [roles]", one.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(name: &str, can_serve: bool) -> Able {
        Able { name: name.to_owned(), id: format!("sha-{name}"), can_serve }
    }

    #[test]
    fn the_only_model_that_embeds_does_so_without_a_word_in_the_configuration() {
        let one = [able("tiny", true)];
        for held in [None, Some("sha-tiny")] {
            let embeds = decide(None, &one, held);
            assert_eq!(embeds.model.as_deref(), Some("sha-tiny"));
            assert!(embeds.note.contains("the only model"), "{}", embeds.note);
        }
        assert_eq!(decide(None, &[], None), Embeds::default());
        assert_eq!(decide(None, &[able("tiny", false)], Some("sha-tiny")), Embeds::default());
    }

    #[test]
    fn of_several_none_is_taken_and_what_to_write_is_said() {
        let embeds = decide(None, &[able("a", true), able("b", true)], None);
        assert_eq!(embeds.model, None);
        assert_eq!(embeds.note, "several models embed (`a`, `b`): name one, as `embed = [\"a\"]` under [roles]");
    }

    #[test]
    fn a_library_stays_with_the_model_of_its_vectors_while_others_come_and_go() {
        let held = Some("sha-b");
        let taken = |able: &[Able]| decide(None, able, held).model;
        assert_eq!(taken(&[able("a", true), able("b", true)]).as_deref(), held);
        assert_eq!(taken(&[able("a", true), able("b", false)]), None, "it comes back");
        assert_eq!(taken(&[able("a", true)]), None, "its node comes back");
        assert!(decide(None, &[able("a", true)], held).note.contains("`embed = [\"a\"]` under [roles]"));
        assert_eq!(taken(&[]), None);
    }

    #[test]
    fn what_is_configured_comes_before_what_is_there() {
        let (a, b) = (able("a", true), able("b", true));
        let all = [a.clone(), b.clone()];
        assert_eq!(decide(Some(std::slice::from_ref(&b)), &all, Some("sha-a")).model.as_deref(), Some("sha-b"));
        let away = [able("b", false)];
        let embeds = decide(Some(&away), &[a, able("b", false)], Some("sha-a"));
        assert_eq!(embeds.model, None, "nothing is embedded anew because a node is off");
        assert!(embeds.note.ends_with("searches go by the vectors of `a`"), "{}", embeds.note);
    }
}
