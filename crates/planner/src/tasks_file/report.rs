//! The complexity report: what was said about how hard tasks are, kept beside them for those who split them.
//!
//! A new analysis replaces what the old report said about the same tasks and leaves the rest, as other clients do.

use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::disk::{FileError, change_json, read_bytes, unwritable};
use super::fields::{self, Fields, number};
use super::write::{Alone, Object, pretty};
use super::{ReadError, read};
use crate::{Complexity, Extra, Raw, TaskId};

/// A complexity report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComplexityReport {
    /// What was said about each task, in the order of their addresses.
    pub analyses: Vec<Analysis>,
    /// Entries that name no task or no score.
    unread: Vec<Raw>,
    meta: Extra,
    extra: Extra,
}

/// What was said about one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Its address.
    pub task: TaskId,
    /// What it was called then.
    pub title: String,
    /// The judgement.
    pub complexity: Complexity,
    /// Fields that nobody here knows.
    pub extra: Extra,
}

/// What stands in a report's `meta` about the analysis that wrote it.
#[derive(Clone, Debug)]
pub struct ReportFacts<'a> {
    /// When, as RFC 3339.
    pub generated_at: &'a str,
    /// How many tasks the tag has.
    pub total_tasks: usize,
    /// From which score on a task should be split.
    pub threshold: u8,
    /// What the project is called.
    pub project: &'a str,
    /// Whether the judgement rests on research.
    pub used_research: bool,
}

/// Reads a report, if there is one.
pub fn read_report(path: &Path) -> Result<Option<ComplexityReport>, FileError> {
    read_bytes(path)?.map(|bytes| report_of(path, &bytes)).transpose()
}

/// Merges new analyses into the report at `path`, which need not be there, and answers what it holds then.
pub fn merge_report(path: &Path, newer: Vec<Analysis>, facts: &ReportFacts<'_>) -> Result<ComplexityReport, FileError> {
    change_json(path, |bytes| {
        let mut report = bytes.map(|bytes| report_of(path, bytes)).transpose()?.unwrap_or_default();
        report.merge(newer, facts).map_err(|error| unwritable(path, &error))?;
        Ok((report.write().map_err(|error| unwritable(path, &error))?, report))
    })
}

fn report_of(path: &Path, bytes: &[u8]) -> Result<ComplexityReport, FileError> {
    ComplexityReport::read(bytes).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}

impl ComplexityReport {
    /// Reads a report's text.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut report = Self::default();
        for (name, raw) in read::object(bytes, "a complexity report, as an object")?.0 {
            match (name.as_str(), serde_json::from_str::<Vec<&RawValue>>(raw.get()), Fields::of(raw)) {
                ("complexityAnalysis", Ok(entries), _) => entries.into_iter().for_each(|entry| match analysis(entry) {
                    Some(analysis) => report.analyses.push(analysis),
                    None => report.unread.push(Raw(entry.to_owned())),
                }),
                ("meta", _, Some(meta)) => report.meta = meta.into_extra(),
                _ => report.extra.push((name, Raw(raw.to_owned()))),
            }
        }
        report.analyses.sort_by(|one, other| one.task.cmp(&other.task));
        Ok(report)
    }

    /// What was said about `task`.
    pub fn get(&self, task: &TaskId) -> Option<&Analysis> {
        self.analyses.iter().find(|analysis| analysis.task == *task)
    }

    /// Replaces what was said about the tasks of `newer`, and leaves the rest.
    pub fn merge(&mut self, newer: Vec<Analysis>, facts: &ReportFacts<'_>) -> serde_json::Result<()> {
        let analysed = newer.len();
        self.analyses.retain(|old| newer.iter().all(|new| new.task != old.task));
        self.analyses.extend(newer);
        self.analyses.sort_by(|one, other| one.task.cmp(&other.task));
        fields::set(&mut self.meta, "generatedAt", facts.generated_at)?;
        fields::set(&mut self.meta, "tasksAnalyzed", analysed)?;
        fields::set(&mut self.meta, "totalTasks", facts.total_tasks)?;
        fields::set(&mut self.meta, "analysisCount", self.analyses.len())?;
        fields::set(&mut self.meta, "thresholdScore", facts.threshold)?;
        fields::set(&mut self.meta, "projectName", facts.project)?;
        fields::set(&mut self.meta, "usedResearch", facts.used_research)
    }

    /// The text of the file.
    pub fn write(&self) -> serde_json::Result<String> {
        pretty(self)
    }
}

fn analysis(raw: &RawValue) -> Option<Analysis> {
    let mut fields = Fields::of(raw)?;
    fields.part_twins()?;
    let text = |name: &str| fields.get(name).and_then(fields::text).unwrap_or_default();
    let id = fields.get("taskId")?;
    let task = number(id).map(TaskId::top).or_else(|| fields::text(id)?.parse().ok())?;
    let score =
        fields.get("complexityScore")?.get().parse::<f64>().ok().filter(|score| (1.0..=10.0).contains(score))?;
    let complexity = Complexity {
        // Guarded: between 1 and 10.
        score: score.round() as u8,
        recommended_subtasks: fields.get("recommendedSubtasks").and_then(number).unwrap_or_default(),
        expansion_prompt: text("expansionPrompt"),
        reasoning: text("reasoning"),
    };
    let title = text("taskTitle");
    fields.0.retain(|(name, _)| !KNOWN.contains(&name.as_str()));
    Some(Analysis { task, title, complexity, extra: fields.into_extra() })
}

/// The fields of an analysis.
const KNOWN: [&str; 6] =
    ["taskId", "taskTitle", "complexityScore", "recommendedSubtasks", "expansionPrompt", "reasoning"];

impl Serialize for ComplexityReport {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = Object::begin(to)?;
        object.put("meta", &Alone(&self.meta))?;
        object.put("complexityAnalysis", &Entries(self))?;
        object.end(&self.extra)
    }
}

/// The analyses, and behind them what could not be read.
struct Entries<'a>(&'a ComplexityReport);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = to.serialize_seq(None)?;
        self.0.analyses.iter().try_for_each(|analysis| list.serialize_element(analysis))?;
        self.0.unread.iter().try_for_each(|raw| list.serialize_element(raw))?;
        list.end()
    }
}

impl Serialize for Analysis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = Object::begin(to)?;
        self.put_id(&mut object)?;
        object.put("taskTitle", &self.title)?;
        object.put("complexityScore", &self.complexity.score)?;
        object.put("recommendedSubtasks", &self.complexity.recommended_subtasks)?;
        object.put("expansionPrompt", &self.complexity.expansion_prompt)?;
        object.put("reasoning", &self.complexity.reasoning)?;
        object.end(&self.extra)
    }
}

impl Analysis {
    fn put_id<M: SerializeMap>(&self, object: &mut Object<M>) -> Result<(), M::Error> {
        match self.task.depth() {
            1 => object.put("taskId", &self.task.number()),
            _ => object.put("taskId", &self.task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{
      "meta": {"generatedAt": "2025-01-01T00:00:00Z", "tasksAnalyzed": 2, "thresholdScore": 5, "ours": 1.0},
      "complexityAnalysis": [
        {"taskId": 2, "taskTitle": "two", "complexityScore": 7, "recommendedSubtasks": 4, "expansionPrompt": "e",
         "reasoning": "r", "confidence": 0.90},
        {"taskId": "1", "taskTitle": "one", "complexityScore": 3},
        {"taskId": "none", "complexityScore": 3}
      ],
      "notes": [1.00]
    }"#;

    fn judged(number: u32, score: u8) -> Analysis {
        let complexity =
            Complexity { score, recommended_subtasks: 2, expansion_prompt: "split".into(), reasoning: "large".into() };
        Analysis { task: TaskId::top(number), title: format!("task {number}"), complexity, extra: Extra::new() }
    }

    #[test]
    fn a_new_analysis_replaces_the_old_one_of_its_task_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task-complexity-report.json");
        assert_eq!(read_report(&path).unwrap(), None);
        std::fs::write(&path, OLD).unwrap();
        let now = "2026-01-31T12:00:00Z";
        let facts =
            ReportFacts { generated_at: now, total_tasks: 3, threshold: 5, project: "home", used_research: false };
        let merged = merge_report(&path, vec![judged(1, 9), judged(3, 2)], &facts).unwrap();
        assert_eq!(read_report(&path).unwrap().as_ref(), Some(&merged));
        let scores: Vec<_> = merged.analyses.iter().map(|a| (a.task.number(), a.complexity.score)).collect();
        assert_eq!(scores, [(1, 9), (2, 7), (3, 2)]);
        let text = std::fs::read_to_string(&path).unwrap();
        for kept in [
            "\"ours\": 1.0",
            "\"confidence\": 0.90",
            "\"notes\": [1.00]",
            "\"taskId\": \"none\"",
            "\"tasksAnalyzed\": 2",
            "\"analysisCount\": 3",
            "\"totalTasks\": 3",
            "\"taskId\": 2",
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }
}
