//! state.json: which tag a folder's clients work in. Fields of others stay as they are.

use std::path::Path;

use super::disk::{FileError, change_json, read_bytes, unwritable};
use super::fields::{set, text_of};
use super::{MAIN_TAG, read};
use crate::Extra;

/// The tag that clients of this folder work in.
pub fn current_tag(path: &Path) -> Result<String, FileError> {
    let fields = read_bytes(path)?.map(|bytes| fields(path, &bytes)).transpose()?.unwrap_or_default();
    Ok(text_of(&fields, "currentTag").unwrap_or_else(|| MAIN_TAG.to_owned()))
}

/// Makes `tag` the one that clients of this folder work in; `now` is RFC 3339.
pub fn set_current_tag(path: &Path, tag: &str, now: &str) -> Result<(), FileError> {
    change_json(path, |bytes| {
        let mut fields = bytes.map(|bytes| fields(path, bytes)).transpose()?.unwrap_or_default();
        let text = switched(&mut fields, tag, now).map_err(|error| unwritable(path, &error))?;
        Ok((text, ()))
    })
}

/// The text of a state.json that says `tag`.
pub(super) fn switched(fields: &mut Extra, tag: &str, now: &str) -> serde_json::Result<String> {
    set(fields, "currentTag", tag)?;
    set(fields, "lastSwitched", now)?;
    super::write::object(fields)
}

fn fields(path: &Path, bytes: &[u8]) -> Result<Extra, FileError> {
    let fields = read::object(bytes, "the current tag, as an object");
    fields.map(|fields| fields.into_extra()).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_switch_changes_the_tag_and_keeps_what_others_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(current_tag(&path).unwrap(), "master");
        fs::write(&path, r#"{"branchTagMapping": {"x": 1.0}, "currentTag": "a", "migrationNoticeShown": true}"#)
            .unwrap();
        assert_eq!(current_tag(&path).unwrap(), "a");
        set_current_tag(&path, "b", "2026-01-31T12:00:00Z").unwrap();
        assert_eq!(current_tag(&path).unwrap(), "b");
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
        {
          "branchTagMapping": {"x": 1.0},
          "currentTag": "b",
          "migrationNoticeShown": true,
          "lastSwitched": "2026-01-31T12:00:00Z"
        }
        "#);
        fs::write(&path, "[]").unwrap();
        assert!(current_tag(&path).is_err());
    }
}
