//! One name for one model: where two want the same, the first keeps it and the other gets its origin behind it.

use std::collections::HashSet;

use super::Shelved;

/// The node's own files come first, then by path, so that names stay the same from look to look.
pub(super) fn make_unique(models: &mut [Shelved]) {
    models.sort_by(|a, b| (a.origin, a.variant.is_some(), &a.path).cmp(&(b.origin, b.variant.is_some(), &b.path)));
    let mut taken = HashSet::new();
    for model in models.iter_mut() {
        if taken.insert(model.name.clone()) {
            continue;
        }
        let wanted = std::mem::take(&mut model.name);
        let with_origin = format!("{wanted}@{}", model.origin.as_str());
        let further = (2_u64..).map(|number| format!("{with_origin}-{number}"));
        let name = std::iter::once(with_origin.clone()).chain(further).find(|name| !taken.contains(name));
        model.name = name.unwrap_or(with_origin);
        taken.insert(model.name.clone());
        model.notes.push(format!("another model is called `{wanted}`, so this one is `{}`", model.name));
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
}
