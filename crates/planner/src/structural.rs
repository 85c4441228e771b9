//! stand-in
use crate::{
    Complexity, Task, Tasks,
    prd::{Oddity, Prd},
    requirements::Requirement,
};
pub const NAME: &str = "structural";
pub struct Wish {
    pub tasks: Option<u32>,
    pub max_depth: u8,
}
pub struct Planned {
    pub tasks: Tasks,
    pub oddities: Vec<Oddity>,
}
pub fn plan(prd: &Prd, found: &[Requirement], _: &Wish) -> Planned {
    Planned {
        tasks: Tasks::new(section(prd, found, 9).into_iter().zip(1..).map(|(t, number)| Task { number, ..t })),
        oddities: vec![],
    }
}
pub fn section(_: &Prd, found: &[Requirement], _: u32) -> Vec<Task> {
    found
        .iter()
        .map(|r| Task {
            description: r.text.clone(),
            sources: vec![crate::Source {
                requirement: r.name.clone(),
                first_line: r.first_line,
                last_line: r.last_line,
            }],
            made_by: NAME.into(),
            ..Task::titled(1, title(&r.text))
        })
        .collect()
}
pub fn expand(task: &Task, _: Option<u32>) -> Vec<Task> {
    vec![Task::titled(1, format!("Design {}", task.title)), Task::titled(2, format!("Build {}", task.title))]
}
pub fn complexity(_: &Task) -> Complexity {
    Complexity { score: 5, ..Default::default() }
}
pub fn one(prompt: &str) -> Task {
    Task::titled(1, title(prompt))
}
pub fn title(text: &str) -> String {
    text.chars().take(60).collect()
}
