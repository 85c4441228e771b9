//! Which reader a document gets: by its first bytes where those are beyond doubt, by its media type, by its name, and
//! last by guessing.

use super::{Hint, ReadError, archive::Archive};

/// A reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    /// Values divided by commas or tabs.
    Rows,
    Markdown,
    Html,
    Pdf,
    Code,
    Docx,
    Odt,
    Pptx,
    Sheet,
    Epub,
}

/// Where office programs before 2007 put everything, and those of today what is encrypted.
pub(super) const COMPOUND: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
/// How far a guess looks.
const LOOK: usize = 1024;
/// Among so many first bytes, what is no text has one that no text has.
const HEAD: usize = 64;

/// First bytes of what is known to be unreadable.
const UNREADABLE: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"OggS", "a recording"),
    (b"ID3", "a recording"),
    (b"SQLite format 3\0", "a database"),
];

impl Format {
    pub(super) fn of(bytes: &[u8], hint: &Hint<'_>) -> Result<Self, ReadError> {
        if bytes.is_empty() {
            return Err(ReadError::Empty);
        }
        if let Some(what) = unreadable(bytes) {
            return Err(ReadError::Unreadable { what: what.to_owned() });
        }
        let told = Self::of_media(hint.media).or_else(|| Self::of_name(hint.name));
        if bytes.starts_with(b"%PDF-") {
            return Ok(Self::Pdf);
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            return Self::of_archive(bytes, told);
        }
        if bytes.starts_with(COMPOUND) {
            return Self::of_compound(bytes);
        }
        match told {
            Some(Self::Docx | Self::Odt | Self::Pptx | Self::Epub | Self::Sheet) => {
                Err(ReadError::broken("office document", "it is no zip archive"))
            }
            Some(format) => Ok(format),
            None => Ok(Self::guessed(bytes)),
        }
    }

    /// Whether its reader is simple enough to run beside everything else.
    pub(super) fn is_harmless(self, bytes: usize) -> bool {
        /// Markdown that is made to be slow takes a second for this much, without optimisation; no more is risked here.
        const MARKDOWN_BYTES: usize = 1 << 20;
        match self {
            Self::Plain | Self::Rows | Self::Code => true,
            Self::Markdown => bytes <= MARKDOWN_BYTES,
            Self::Html | Self::Pdf | Self::Docx | Self::Odt | Self::Pptx | Self::Sheet | Self::Epub => false,
        }
    }

    /// What says nothing, such as `application/octet-stream`, is `None`; so are `text/plain`, which servers say of anything,
    /// and `application/vnd.ms-excel`, which browsers say of rows.
    fn of_media(media: &str) -> Option<Self> {
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match media.as_str() {
            "text/markdown" | "text/x-markdown" => Self::Markdown,
            "text/html" | "application/xhtml+xml" => Self::Html,
            "application/pdf" | "application/x-pdf" => Self::Pdf,
            "text/csv" | "text/tab-separated-values" => Self::Rows,
            "application/epub+zip" => Self::Epub,
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Self::Docx,
            "application/vnd.openxmlformats-officedocument.presentationml.presentation" => Self::Pptx,
            "application/vnd.oasis.opendocument.text" => Self::Odt,
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
            | "application/vnd.oasis.opendocument.spreadsheet" => Self::Sheet,
            "application/json" | "application/xml" | "text/xml" | "application/yaml" | "application/toml" => Self::Code,
            "text/javascript" | "application/javascript" | "text/css" => Self::Code,
            _ if media.starts_with("text/x-") => Self::Code,
            _ => return None,
        })
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
        Some(match extension.as_str() {
            "md" | "markdown" | "mdx" | "mkd" => Self::Markdown,
            "html" | "htm" | "xhtml" => Self::Html,
            "pdf" => Self::Pdf,
            "csv" | "tsv" => Self::Rows,
            "docx" | "docm" => Self::Docx,
            "odt" | "ott" => Self::Odt,
            "pptx" | "pptm" => Self::Pptx,
            "xlsx" | "xlsm" | "xlsb" | "xls" | "ods" => Self::Sheet,
            "epub" => Self::Epub,
            "txt" | "text" | "log" | "rst" | "adoc" | "org" | "tex" | "srt" | "vtt" => Self::Plain,
            _ if CODE.contains(&extension.as_str()) => Self::Code,
            _ if matches!(name, "Makefile" | "Dockerfile" | "Justfile" | "CMakeLists.txt") => Self::Code,
            _ => return None,
        })
    }

    /// An archive is what its parts say, whatever it is called.
    fn of_archive(bytes: &[u8], told: Option<Self>) -> Result<Self, ReadError> {
        let archive = Archive::open(bytes)?;
        if archive.has("word/document.xml") {
            return Ok(Self::Docx);
        }
        if archive.has("ppt/presentation.xml") {
            return Ok(Self::Pptx);
        }
        if archive.has("xl/workbook.xml") || archive.has("xl/workbook.bin") {
            return Ok(Self::Sheet);
        }
        if archive.has("META-INF/container.xml") {
            return Ok(Self::Epub);
        }
        match (archive.has("content.xml"), told) {
            (true, Some(Self::Sheet)) => Ok(Self::Sheet),
            (true, Some(Self::Odt)) => Ok(Self::Odt),
            (true, _) => match archive.declared_media().as_str() {
                "application/vnd.oasis.opendocument.spreadsheet" => Ok(Self::Sheet),
                "application/vnd.oasis.opendocument.text" => Ok(Self::Odt),
                _ => Err(ReadError::Unreadable { what: "an OpenDocument that is no text and no sheet".to_owned() }),
            },
            (false, _) => Err(ReadError::Unreadable { what: "a zip archive".to_owned() }),
        }
    }

    /// The names of its parts stand in it in UTF-16.
    fn of_compound(bytes: &[u8]) -> Result<Self, ReadError> {
        let has = |name: &str| {
            let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            bytes.windows(name.len()).any(|window| window == name)
        };
        if has("EncryptedPackage") {
            return Err(ReadError::Encrypted);
        }
        if has("Workbook") {
            return Ok(Self::Sheet);
        }
        Err(ReadError::Unreadable { what: "a document of an office program before 2007".to_owned() })
    }

    fn guessed(bytes: &[u8]) -> Self {
        let first = bytes.get(..LOOK.min(bytes.len())).unwrap_or_default();
        let first = String::from_utf8_lossy(first).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
        if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| first.starts_with(tag)) {
            return Self::Html;
        }
        if first.starts_with("<?xml") && first.contains("<html") {
            return Self::Html;
        }
        if first.starts_with("#!") { Self::Code } else { Self::Plain }
    }
}

/// What it is, where no reader would find a letter in it: a picture, a program, an archive, raw data. What may be a
/// document, and what a person might take for one, is not said to be none.
pub(super) fn no_document(bytes: &[u8]) -> Option<&'static str> {
    const DOCUMENTS: [&[u8]; 4] = [b"{\\rtf", b"%PDF-", b"PK", COMPOUND];
    if DOCUMENTS.iter().any(|magic| bytes.starts_with(magic)) {
        return None;
    }
    let head = bytes.get(..4 * LOOK).unwrap_or(bytes);
    unreadable(bytes).or(super::decode::is_raw(head).then_some("raw data"))
}

/// A text may begin with the letters `ID3` as well.
fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"{\\rtf") {
        return Some("rich text");
    }
    let is_no_text = bytes.iter().take(HEAD).any(|byte| *byte < b'\t' || *byte == 0x1b || *byte >= 0x80);
    let (_, what) = UNREADABLE.iter().find(|(magic, _)| bytes.starts_with(magic))?;
    is_no_text.then_some(what)
}

/// Extensions of source code, and of data that only makes sense as it stands.
const CODE: &[&str] = &[
    "asm",
    "awk",
    "bash",
    "bat",
    "bicep",
    "c",
    "cc",
    "clj",
    "cljs",
    "cmake",
    "coffee",
    "conf",
    "cpp",
    "cs",
    "css",
    "cu",
    "cue",
    "cxx",
    "d",
    "dart",
    "dhall",
    "diff",
    "el",
    "elm",
    "ex",
    "exs",
    "f90",
    "fish",
    "fs",
    "fsx",
    "gleam",
    "go",
    "gradle",
    "graphql",
    "groovy",
    "h",
    "hcl",
    "hh",
    "hpp",
    "hs",
    "hxx",
    "ini",
    "java",
    "jl",
    "js",
    "json",
    "json5",
    "jsonc",
    "jsonl",
    "jsx",
    "kt",
    "kts",
    "less",
    "lisp",
    "lua",
    "m",
    "mjs",
    "mk",
    "ml",
    "mli",
    "mm",
    "mts",
    "nim",
    "nix",
    "nu",
    "pas",
    "patch",
    "php",
    "pl",
    "pm",
    "properties",
    "proto",
    "ps1",
    "py",
    "pyi",
    "r",
    "rb",
    "rkt",
    "rs",
    "s",
    "sass",
    "scala",
    "scm",
    "scss",
    "service",
    "sh",
    "sol",
    "sql",
    "svelte",
    "swift",
    "tcl",
    "tf",
    "toml",
    "ts",
    "tsx",
    "v",
    "vb",
    "vhd",
    "vim",
    "vue",
    "xml",
    "yaml",
    "yml",
    "zig",
    "zsh",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], media: &str, name: &str) -> Result<Format, String> {
        Format::of(bytes, &Hint { media, name }).map_err(|error| error.to_string())
    }

    #[test]
    fn bytes_beat_the_media_type_and_that_beats_the_name() {
        assert_eq!(of(b"%PDF-1.7", "text/html", "a.md"), Ok(Format::Pdf));
        assert_eq!(of(b"# a", "text/html; charset=utf-8", "a.md"), Ok(Format::Html));
        assert_eq!(of(b"# a", "text/plain", "a.MD"), Ok(Format::Markdown));
        assert_eq!(of(b"a", "application/octet-stream", "a.rs"), Ok(Format::Code));
        assert_eq!(of(b"\n <!DOCTYPE html>", "", ""), Ok(Format::Html));
        assert_eq!(of(b"#!/bin/sh", "", "run"), Ok(Format::Code));
        assert_eq!(of(b"just words", "", "README"), Ok(Format::Plain));
    }

    #[test]
    fn what_cannot_be_read_is_called_by_its_name() {
        assert_eq!(of(b"\x89PNG\r\n\x1a\n", "", "a.txt").unwrap_err(), "it is a picture, which cannot be read");
        assert_eq!(of(b"\x1f\x8b\x08", "", "a.docx").unwrap_err(), "it is a gzip archive, which cannot be read");
        assert_eq!(of(b"ID3 is a form of tags", "", ""), Ok(Format::Plain));
        let compound = |part: &str| {
            let name = part.encode_utf16().flat_map(u16::to_le_bytes);
            of(&COMPOUND.iter().copied().chain(name).collect::<Vec<_>>(), "", "a.docx")
        };
        assert_eq!(compound("EncryptedPackage").unwrap_err(), "it is encrypted");
        assert_eq!(compound("Workbook"), Ok(Format::Sheet));
        assert_eq!(
            compound("WordDocument").unwrap_err(),
            "it is a document of an office program before 2007, which cannot be read"
        );
        assert_eq!(
            of(b"words", "", "a.docx").unwrap_err(),
            "it is not a well-formed office document: it is no zip archive"
        );
        assert_eq!(of(b"", "", "a.docx").unwrap_err(), "it holds no text");
    }
}
