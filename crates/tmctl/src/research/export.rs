//! `tmctl research export`: the documents of a collection as files, and a list of them that says what each is.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Code, Fault, Result};
use proto::research::{Document, ExportRequest, ExportResponse};
use serde_json::{Value, json};

use super::{HOUSE, shelf};
use crate::client::{Servers, call, told};
use crate::file;
use crate::progress::{News, PAUSE};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, counted, visible};

/// Until the first document comes.
const LIMIT: Duration = Duration::from_secs(120);
/// The list of what was written.
const MANIFEST: &str = "manifest.jsonl";
/// What it is called until all is written.
const UNFINISHED: &str = "manifest.unfinished";
/// Longer endings of names are none.
const MOST_ENDING: usize = 10;

/// What to write, and where.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The folder; it is made if it does not exist, and must hold no export
    dir: PathBuf,
    /// The collection
    #[arg(long, default_value = HOUSE, value_name = "NAME")]
    collection: String,
}

/// Writes the documents.
pub async fn run(servers: &Servers, screen: &mut Screen, export: Export) -> Result<Verdict, Ended> {
    let Export { dir, collection } = export;
    let mut research = servers.connect().await?.research();
    let request = ExportRequest { collection: collection.clone() };
    let mut documents = call(LIMIT, research.export(request)).await?;
    let mut manifest = begin(&dir)?;
    let mut live = screen.progress(PAUSE);
    let (mut count, mut bytes) = (0usize, 0u64);
    while let Some(one) = documents.message().await.map_err(|status| told(&status))? {
        bytes += one.content.len() as u64;
        count += 1;
        put(&dir, &mut manifest, &one)?;
        let status = one.document.as_ref().map(|document| document.source.as_str()).unwrap_or_default();
        live.show(&News { status, ..News::default() });
    }
    drop(live);
    let path = dir.join(MANIFEST);
    manifest.flush().and_then(|()| fs::rename(dir.join(UNFINISHED), &path)).map_err(|error| could_not(&path, error))?;
    let json =
        json!({ "collection": collection, "dir": dir.display().to_string(), "documents": count, "bytes": bytes });
    let shown = || {
        format!("wrote {} of {collection}, {}, into {}\n", counted(count, "document"), text::size(bytes), dir.display())
    };
    screen.show(|_| visible(&shown()), &json)?;
    Ok(Verdict::Done)
}

/// Makes the folder and its list. A second export into the same one would mix two states.
fn begin(dir: &Path) -> Result<BufWriter<fs::File>> {
    let files = dir.join("files");
    fs::create_dir_all(&files).map_err(|error| could_not(&files, error))?;
    let path = dir.join(UNFINISHED);
    let there = |what: &str| {
        Err(Fault::new(Code::Conflict, format!("there is {what} in `{}`", dir.display())).hint("name another folder"))
    };
    if dir.join(MANIFEST).exists() {
        return there("an export");
    }
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => Ok(BufWriter::new(file)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            there("an export that did not come to its end")
        }
        Err(error) => Err(could_not(&path, error)),
    }
}

fn could_not(path: &Path, error: std::io::Error) -> Fault {
    file::could_not("write", &path.display().to_string(), error)
}

fn put(dir: &Path, manifest: &mut impl Write, one: &ExportResponse) -> Result<()> {
    let document = one.document.clone().unwrap_or_default();
    let name = format!("files/{}", name_of(&document)?);
    file::write_drawn_bytes(&dir.join(&name), &one.content)?;
    let mut line = shelf::document_item(&document);
    if let Value::Object(fields) = &mut line {
        fields.insert("file".to_owned(), name.into());
    }
    writeln!(manifest, "{line}").map_err(|error| could_not(&dir.join(UNFINISHED), error))
}

/// The id, with the ending of its source where that is one. What a server says cannot name a file elsewhere.
fn name_of(document: &Document) -> Result<String> {
    let is_id = !document.id.is_empty() && document.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return Err(Fault::new(Code::Internal, "the server sent a document without an id").hint("`tmctl doctor`"));
    }
    let last = document.source.rsplit(['/', '?', '#']).next().unwrap_or_default();
    let ending = last.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| {
        (1..=MOST_ENDING).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    Ok(ending.map_or_else(|| document.id.clone(), |ending| format!("{}.{}", document.id, ending.to_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_names_a_file_elsewhere() {
        let named =
            |id: &str, source: &str| name_of(&Document { id: id.into(), source: source.into(), ..Document::default() });
        for (source, name) in [
            ("file://a/b.MD", "0a.md"),
            ("https://a/b.html?x=../../y", "0a"),
            ("file:/a/b.tar/../..", "0a"),
            ("note", "0a"),
            ("x.a/b", "0a"),
        ] {
            assert_eq!(named("0a", source).unwrap(), name, "{source}");
        }
        assert!(named("../x", "a.md").is_err() && named("", "a.md").is_err());
    }

    #[test]
    fn a_second_export_into_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = begin(folder.path()).unwrap();
        let document = Document { id: "0a".into(), source: "file://a/b.md".into(), ..Document::default() };
        put(
            folder.path(),
            &mut manifest,
            &ExportResponse { document: Some(document), content: b"text".to_vec().into() },
        )
        .unwrap();
        drop(manifest);
        assert_eq!(fs::read(folder.path().join("files/0a.md")).unwrap(), b"text");
        let line: Value = serde_json::from_slice(&fs::read(folder.path().join(UNFINISHED)).unwrap()).unwrap();
        assert_eq!((&line["file"], &line["id"]), (&json!("files/0a.md"), &json!("0a")));
        assert!(begin(folder.path()).unwrap_err().message.contains("did not come to its end"));
        fs::rename(folder.path().join(UNFINISHED), folder.path().join(MANIFEST)).unwrap();
        assert!(begin(folder.path()).unwrap_err().message.contains("there is an export in"));
    }
}
