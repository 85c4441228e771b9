//! stand-in
use crate::{Task, Tasks, requirements::Requirement};
pub const NEAR: f64 = 0.8;
#[derive(Default)]
pub struct Bounds {}
#[derive(serde::Serialize, Default)]
pub struct Gates {
    pub uncovered: Vec<String>,
}
impl Gates {
    pub fn is_passed(&self) -> bool {
        true
    }
    pub fn reasons(&self) -> Vec<String> {
        vec![]
    }
}
pub fn check(_: &Tasks, _: &[Requirement], _: &Bounds) -> Gates {
    Gates::default()
}
pub fn normal(t: &str) -> String {
    t.to_lowercase()
}
pub fn likeness(_: &Task, _: &Task) -> f64 {
    0.0
}
