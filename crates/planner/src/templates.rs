//! Documents to begin with, for what people build at home. Each is a PRD as one would write it, to be edited first.

/// A document to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// What it is asked for by.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The document, in Markdown.
    pub prd: &'static str,
}

const ALL: &[Template] = &[
    Template {
        name: "inference-cluster",
        title: "Inference cluster",
        prd: include_str!("templates/inference-cluster.md"),
    },
    Template { name: "media-server", title: "Media server", prd: include_str!("templates/media-server.md") },
    Template {
        name: "monitoring-stack",
        title: "Monitoring stack",
        prd: include_str!("templates/monitoring-stack.md"),
    },
    Template { name: "nas-backup", title: "NAS with backup", prd: include_str!("templates/nas-backup.md") },
    Template { name: "photo-library", title: "Photo library", prd: include_str!("templates/photo-library.md") },
    Template { name: "smart-home", title: "Smart home", prd: include_str!("templates/smart-home.md") },
    Template { name: "vpn-access", title: "VPN access", prd: include_str!("templates/vpn-access.md") },
];

/// Every template, by name.
pub fn all() -> &'static [Template] {
    ALL
}

/// The template with a name.
pub fn get(name: &str) -> Option<&'static Template> {
    ALL.iter().find(|template| template.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates;
    use crate::prd::Prd;
    use crate::requirements::extract;
    use crate::structural::{self, Wish};

    #[test]
    fn every_template_is_planned_and_passes_the_gates() {
        for template in all() {
            let prd = Prd::read(template.prd.as_bytes()).unwrap();
            let all = extract(&prd);
            assert_eq!((prd.title.as_str(), &prd.oddities, &all.oddities), (template.title, &vec![], &vec![]));
            assert!(all.requirements.len() >= 12, "{}: {}", template.name, all.requirements.len());
            assert!(!all.not_wanted.is_empty(), "{}", template.name);
            for tasks in [None, Some(1), Some(10)] {
                let planned = structural::plan(&prd, &all.requirements, &Wish { tasks, max_depth: 2 });
                let gates = gates::check(&planned.tasks, &all.requirements);
                assert_eq!(gates.reasons(), Vec::<String>::new(), "{}", template.name);
                assert_eq!(gates.near_duplicates, [], "{}", template.name);
            }
            let planned = structural::plan(&prd, &all.requirements, &Wish::default());
            assert!(planned.oddities.is_empty() && (5..=20).contains(&planned.tasks.top().len()), "{planned:#?}");
            assert!(planned.tasks.top().iter().any(|task| !task.dependencies.is_empty()), "{}", template.name);
        }
    }

    #[test]
    fn a_template_is_found_by_its_name() {
        assert!(all().iter().all(|template| get(template.name) == Some(template)));
        assert!(all().is_sorted_by_key(|template| template.name));
        assert_eq!(get("no such"), None);
    }
}
