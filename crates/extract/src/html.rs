//! Pages: the main content with its headings, lists and tables. Nothing is run and nothing is fetched.

mod content;
mod tree;

use content::Content;
use tree::{Data, NodeId, ROOT, Tree};

use super::draft::{Draft, Rows};
use super::{Extracted, Kind, ReadError, Shape, decode, limits};
use crate::one_line;

/// Reads a page; `charset` is what the one who brought it said.
pub(super) fn read(bytes: &[u8], charset: Option<&str>) -> Result<Extracted, ReadError> {
    let told = charset.map(str::to_owned).or_else(|| decode::declared(bytes));
    let decoded = decode::decode(bytes, told.as_deref())?;
    let tree = Tree::parse(&decoded.text)?;
    let mut draft = Draft::new(Kind::Html);
    draft.notes(decoded.notes);
    let content = Content::of(&tree);
    about(&tree, &content, &mut draft);
    if content.is_whole {
        draft.note("the main content could not be told from what surrounds it: all of the page was taken");
    }
    Flow::new(&tree, &content, &mut draft).read()?;
    Ok(draft.finish())
}

/// Puts the words of a piece of HTML into a text, all of them.
pub(super) fn append(source: &str, draft: &mut Draft) -> Result<(), ReadError> {
    let tree = Tree::parse(source)?;
    Flow::new(&tree, &Content::whole(&tree), draft).read()
}

/// Title and date from a page's head.
fn about(tree: &Tree, content: &Content, draft: &mut Draft) {
    let meta = |wanted: &[&str]| {
        wanted.iter().find_map(|wanted| {
            let is_it = |id: &NodeId| {
                let names = ["property", "name", "itemprop"].iter().filter_map(|key| tree.attribute(*id, key));
                matches!(tree.name(*id), "meta") && names.into_iter().any(|name| name.eq_ignore_ascii_case(wanted))
            };
            tree.below(ROOT).find(is_it).and_then(|id| tree.attribute(id, "content"))
        })
    };
    if let Some(title) = meta(&["og:title"]) {
        draft.title(title);
    }
    // Pictures in SVG have titles as well.
    let titles = tree.below(ROOT).find(|id| tree.name(*id) == "title");
    if let Some(title) = titles {
        draft.title(&tree.text(title));
    }
    let dates =
        ["article:published_time", "date", "dc.date", "dcterms.created", "datePublished", "article:modified_time"];
    if let Some(date) = meta(&dates) {
        draft.dated(date);
    }
    // Elsewhere on a page stand the times of comments and of other pages.
    let time =
        tree.below(content.root).find(|id| tree.name(*id) == "time" && tree.attribute(*id, "datetime").is_some());
    if let Some(date) = time.and_then(|id| tree.attribute(id, "datetime")) {
        draft.dated(date);
    }
}

/// Goes over the content and cuts it into blocks.
struct Flow<'a> {
    tree: &'a Tree,
    content: &'a Content,
    draft: &'a mut Draft,
    /// The letters of the block that is being read.
    text: String,
    shape: Shape,
}

impl<'a> Flow<'a> {
    fn new(tree: &'a Tree, content: &'a Content, draft: &'a mut Draft) -> Self {
        Self { tree, content, draft, text: String::new(), shape: Shape::Paragraph }
    }

    fn read(mut self) -> Result<(), ReadError> {
        self.node(self.content.root, 0)?;
        self.flush()
    }

    /// Recursive, but never deeper than a page may be; a tree that was moved about while it was built may be.
    fn node(&mut self, id: NodeId, depth: usize) -> Result<(), ReadError> {
        limits::within("elements inside each other", depth, 2 * limits::DEPTH)?;
        if !self.content.has(self.tree, id) {
            return Ok(());
        }
        match self.tree.node(id).map(|node| &node.data) {
            Some(Data::Text(text)) => {
                self.letters(text);
                Ok(())
            }
            Some(Data::Element { .. }) => self.element(id, depth),
            _ => self.children(id, depth),
        }
    }

    fn children(&mut self, id: NodeId, depth: usize) -> Result<(), ReadError> {
        self.tree.children(id).iter().try_for_each(|child| self.node(*child, depth + 1))
    }

    fn element(&mut self, id: NodeId, depth: usize) -> Result<(), ReadError> {
        let name = self.tree.name(id);
        match name {
            "br" => self.text.push('\n'),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = name.as_bytes().get(1).map_or(1, |digit| digit.saturating_sub(b'0'));
                return self.block(id, depth, Shape::Heading(level));
            }
            "li" | "dd" | "dt" => return self.block(id, depth, Shape::Item),
            "pre" | "listing" => {
                self.flush()?;
                let text = self.tree.text(id);
                return self.draft.push(Shape::Code, &text);
            }
            "table" if self.is_data(id) => {
                self.flush()?;
                return self.table(id);
            }
            _ if is_block(name) => {
                // A paragraph in an item is the item's.
                let shape = if self.shape == Shape::Item { Shape::Item } else { Shape::Paragraph };
                return self.block(id, depth, shape);
            }
            _ => return self.children(id, depth),
        }
        Ok(())
    }

    fn block(&mut self, id: NodeId, depth: usize, shape: Shape) -> Result<(), ReadError> {
        self.flush()?;
        let around = std::mem::replace(&mut self.shape, shape);
        self.children(id, depth)?;
        self.flush()?;
        self.shape = around;
        Ok(())
    }

    /// Runs of blanks are one space, as browsers show them.
    fn letters(&mut self, text: &str) {
        for letter in text.chars() {
            let is_blank = letter.is_whitespace() && letter != '\u{a0}';
            if !is_blank {
                self.text.push(if letter == '\u{a0}' { ' ' } else { letter });
            } else if !self.text.ends_with([' ', '\n']) {
                self.text.push(' ');
            }
        }
    }

    fn flush(&mut self) -> Result<(), ReadError> {
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() {
            return Ok(());
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        self.draft.push(self.shape, &lines.join("\n"))
    }

    /// Whether a table holds values, and is not a frame for paragraphs.
    fn is_data(&self, id: NodeId) -> bool {
        let mut below = self.tree.below(id).filter(|inner| *inner != id);
        !below.any(|inner| {
            matches!(self.tree.name(inner), "table" | "h1" | "h2" | "h3" | "pre" | "ul" | "ol" | "article")
        })
    }

    fn table(&mut self, id: NodeId) -> Result<(), ReadError> {
        let mut rows = Rows::default();
        let mut caption = String::new();
        for inner in self.tree.below(id) {
            match self.tree.name(inner) {
                "caption" => caption = one_line(&self.seen_text(inner)),
                "tr" => rows.end_row(),
                "td" | "th" => rows.cell(&self.seen_text(inner)),
                _ => {}
            }
        }
        self.draft.push(Shape::Paragraph, &caption)?;
        self.draft.push(Shape::Table, &rows.text())
    }

    fn seen_text(&self, id: NodeId) -> String {
        let (mut open, mut text) = (vec![id], String::new());
        while let Some(next) = open.pop() {
            if !self.content.has(self.tree, next) {
                continue;
            }
            match self.tree.node(next).map(|node| &node.data) {
                Some(Data::Text(letters)) => text.push_str(letters),
                _ if matches!(self.tree.name(next), "br" | "p" | "div") => text.push(' '),
                _ => {}
            }
            open.extend(self.tree.children(next).iter().rev());
        }
        text
    }
}

fn is_block(name: &str) -> bool {
    const BLOCKS: &[&str] = &[
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "main",
        "nav",
        "ol",
        "p",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    BLOCKS.contains(&name)
}

#[cfg(test)]
mod tests;
