//! The complexity report as other clients read it: what was said about how hard tasks are.

use serde::Serialize;

use super::write::pretty;
use crate::{Complexity, TaskId};

/// What was said about one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Its address.
    pub task: TaskId,
    /// What it is called.
    pub title: String,
    /// The judgement.
    pub complexity: Complexity,
}

/// What stands in a report's `meta`.
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

/// The text of the file.
pub fn complexity_report(analyses: &[Analysis], facts: &ReportFacts<'_>) -> serde_json::Result<String> {
    let meta = Meta {
        generated_at: facts.generated_at,
        tasks_analyzed: analyses.len(),
        total_tasks: facts.total_tasks,
        analysis_count: analyses.len(),
        threshold_score: facts.threshold,
        project_name: facts.project,
        used_research: facts.used_research,
    };
    pretty(&Report { meta, complexity_analysis: analyses.iter().map(entry).collect() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    meta: Meta<'a>,
    complexity_analysis: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    generated_at: &'a str,
    tasks_analyzed: usize,
    total_tasks: usize,
    analysis_count: usize,
    threshold_score: u8,
    project_name: &'a str,
    used_research: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    task_id: Id<'a>,
    task_title: &'a str,
    complexity_score: u8,
    recommended_subtasks: u32,
    expansion_prompt: &'a str,
    reasoning: &'a str,
}

/// A number where that says it all.
#[derive(Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Top(u32),
    Below(&'a TaskId),
}

fn entry(analysis: &Analysis) -> Entry<'_> {
    let Analysis { task, title, complexity } = analysis;
    Entry {
        task_id: if task.depth() == 1 { Id::Top(task.number()) } else { Id::Below(task) },
        task_title: title,
        complexity_score: complexity.score,
        recommended_subtasks: complexity.recommended_subtasks,
        expansion_prompt: &complexity.expansion_prompt,
        reasoning: &complexity.reasoning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_form_that_other_clients_read() {
        let judged = |task: TaskId, score| {
            let complexity = Complexity {
                score,
                recommended_subtasks: 2,
                expansion_prompt: "split".into(),
                reasoning: "large".into(),
            };
            Analysis { title: format!("task {task}"), task, complexity }
        };
        let facts = ReportFacts {
            generated_at: "2026-01-31T12:00:00Z",
            total_tasks: 3,
            threshold: 5,
            project: "home",
            used_research: false,
        };
        let report = complexity_report(&[judged(TaskId::top(1), 9), judged(TaskId::top(1).child(2), 3)], &facts);
        insta::assert_snapshot!(report.unwrap(), @r#"
        {
          "meta": {
            "generatedAt": "2026-01-31T12:00:00Z",
            "tasksAnalyzed": 2,
            "totalTasks": 3,
            "analysisCount": 2,
            "thresholdScore": 5,
            "projectName": "home",
            "usedResearch": false
          },
          "complexityAnalysis": [
            {
              "taskId": 1,
              "taskTitle": "task 1",
              "complexityScore": 9,
              "recommendedSubtasks": 2,
              "expansionPrompt": "split",
              "reasoning": "large"
            },
            {
              "taskId": "1.2",
              "taskTitle": "task 1.2",
              "complexityScore": 3,
              "recommendedSubtasks": 2,
              "expansionPrompt": "split",
              "reasoning": "large"
            }
          ]
        }
        "#);
    }
}
