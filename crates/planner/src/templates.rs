//! stand-in
pub struct Template {
    pub name: &'static str,
    pub title: &'static str,
    pub prd: &'static str,
}
pub fn all() -> &'static [Template] {
    &[]
}
