//! Markdown: the text that a reader sees, without its marks. Links become their words; HTML in it becomes its words too.

use pulldown_cmark::{Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::draft::{Draft, Rows};
use super::{Extracted, Kind, ReadError, Shape, decode, html, limits};

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    limits::letters(bytes)?;
    let decoded = decode::decode(bytes, None)?;
    let mut draft = Draft::new(Kind::Markdown);
    draft.notes(decoded.notes);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_GFM
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut reader = Walk { draft, text: String::new(), rows: Rows::default(), items: 0, inside: Inside::Text };
    for event in Parser::new_ext(&decoded.text, options) {
        reader.take(event)?;
    }
    reader.flush()?;
    Ok(reader.draft.finish())
}

/// What the letters that come next belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Text,
    Code,
    Html,
    About,
}

struct Walk {
    draft: Draft,
    /// The letters of the block that is being read.
    text: String,
    rows: Rows,
    /// Items of lists inside each other.
    items: usize,
    inside: Inside,
}

impl Walk {
    fn take(&mut self, event: Event<'_>) -> Result<(), ReadError> {
        match event {
            Event::Start(tag) => self.start(&tag)?,
            Event::End(tag) => self.end(tag)?,
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text.push_str(&text);
            }
            Event::Html(text) => self.text.push_str(&text),
            // A tag within a sentence; the words between two of them come as text.
            Event::InlineHtml(tag) if tag.to_ascii_lowercase().starts_with("<br") => self.text.push('\n'),
            Event::InlineHtml(_) | Event::FootnoteReference(_) => {}
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.flush()?,
            Event::TaskListMarker(is_done) => self.text.push_str(if is_done { "[x] " } else { "[ ] " }),
        }
        Ok(())
    }

    fn start(&mut self, tag: &Tag<'_>) -> Result<(), ReadError> {
        match tag {
            Tag::Item => {
                self.flush()?;
                self.items += 1;
            }
            Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::MetadataBlock(_) => {
                self.flush()?;
                self.inside = match tag {
                    Tag::CodeBlock(_) => Inside::Code,
                    Tag::HtmlBlock => Inside::Html,
                    _ => Inside::About,
                };
            }
            Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::BlockQuote(_)
            | Tag::List(_)
            | Tag::FootnoteDefinition(_)
            | Tag::Table(_) => self.flush()?,
            // What is inside a sentence, and what is not switched on.
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) -> Result<(), ReadError> {
        match tag {
            TagEnd::Heading(level) => self.push(Shape::Heading(number(level))),
            TagEnd::CodeBlock => {
                self.inside = Inside::Text;
                self.push(Shape::Code)
            }
            TagEnd::HtmlBlock => {
                self.inside = Inside::Text;
                let source = std::mem::take(&mut self.text);
                html::append(&source, &mut self.draft)
            }
            TagEnd::MetadataBlock(kind) => {
                self.inside = Inside::Text;
                let text = std::mem::take(&mut self.text);
                about(&text, kind, &mut self.draft);
                Ok(())
            }
            TagEnd::TableCell => {
                self.rows.cell(&std::mem::take(&mut self.text));
                Ok(())
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                self.rows.end_row();
                Ok(())
            }
            TagEnd::Table => {
                let rows = self.rows.text();
                self.draft.push(Shape::Table, &rows)
            }
            TagEnd::Item => {
                let done = self.flush();
                self.items = self.items.saturating_sub(1);
                done
            }
            TagEnd::Paragraph | TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition => self.flush(),
            _ => Ok(()),
        }
    }

    /// Puts away what was read, as a paragraph or an item.
    fn flush(&mut self) -> Result<(), ReadError> {
        self.push(if self.items > 0 { Shape::Item } else { Shape::Paragraph })
    }

    fn push(&mut self, shape: Shape) -> Result<(), ReadError> {
        if self.inside != Inside::Text {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        self.draft.push(shape, &text)
    }
}

const fn number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

/// Title and date of a front matter: lines such as `title: "Backups"`, or `date = 2024-05-01` between pluses.
fn about(text: &str, kind: MetadataBlockKind, draft: &mut Draft) {
    let divider = match kind {
        MetadataBlockKind::YamlStyle => ':',
        MetadataBlockKind::PlusesStyle => '=',
    };
    for line in text.lines() {
        let Some((key, value)) = line.split_once(divider) else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        match key.trim_end() {
            "title" => draft.title(value),
            "date" => draft.dated(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        let read = read(source.as_bytes()).unwrap();
        super::super::check(&read).unwrap();
        super::super::tests::shown(&read)
    }

    #[test]
    fn a_reader_sees_words_without_marks() {
        insta::assert_snapshot!(shown(
            "---\ntitle: \"The *NAS*\"\ndate: 2024-05-01\ntags: [a]\n---\n\n# Set-up & use\n\nThe **NAS** has `raid5`, \
             see [the *guide*](http://a.example/x) and ![a picture](p.png).[^1]\nSecond line  \nafter a break, ~~gone~~ \
             <b>bold</b>.\n\n> Quoted\n> words\n\n- one\n  - nested *two*\n\n    more of two\n- [x] done\n\n3. three\n\n\
             | Disk | Size |\n|---|---:|\n| sda | 4 `TB` |\n| a\\|b | |\n\n```sh\n  zpool status\n\nexit\n```\n\n\
             <div align=\"center\"><p>Centred <a href=\"x\">link</a></p><script>alert(1)</script></div>\n\n\
             <!-- hidden -->\n\nSetext\n------\n\n[^1]: A footnote.\n"
        ), @"
        Markdown `The *NAS*` 2024-05-01T00:00:00.000Z
        [Heading(1)] Set-up & use
        [Paragraph] The NAS has raid5, see the guide and a picture. Second line
        after a break, gone bold.
        [Paragraph] Quoted words
        [Item] one
        [Item] nested two
        [Item] more of two
        [Item] [x] done
        [Item] three
        [Table] Disk | Size
        sda | 4 TB
        a|b
        [Code]   zpool status

        exit
        [Paragraph] Centred link
        [Heading(2)] Setext
        [Paragraph] A footnote.
        ");
    }

    #[test]
    fn a_title_is_the_first_heading_where_nothing_else_is_told() {
        assert_eq!(read(b"intro\n\n## b\n\n# The title\n").unwrap().title, "The title");
        assert_eq!(read(b"## b\n").unwrap().title, "");
        assert_eq!(read(b"+++\ntitle = 'T'\ndate = 2024-05-01\n+++\n# H\n").unwrap().title, "T");
    }
}
