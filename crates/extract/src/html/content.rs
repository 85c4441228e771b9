//! Which parts of a page are its content: menus, footers, banners and lists of links are not.

use std::collections::HashSet;

use super::tree::{Data, NodeId, ROOT, Tree};

/// What is never text, or is not seen.
const NEVER: &[&str] = &[
    "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "embed", "canvas", "audio", "video",
    "select", "option", "button", "input", "textarea", "datalist", "head", "title", "meta", "link", "map",
];
/// What surrounds the content.
const AROUND: &[&str] = &["nav", "footer", "aside", "dialog", "menu", "form"];
/// The same as roles.
const AROUND_ROLES: &[&str] = &["navigation", "banner", "contentinfo", "search", "complementary", "dialog", "alert"];
/// The same as words of classes and ids.
const AROUND_WORDS: &[&str] = &[
    "nav",
    "navbar",
    "navigation",
    "menu",
    "sidebar",
    "footer",
    "breadcrumb",
    "breadcrumbs",
    "cookie",
    "cookies",
    "consent",
    "banner",
    "advert",
    "advertisement",
    "ads",
    "share",
    "sharing",
    "social",
    "related",
    "newsletter",
    "subscribe",
    "promo",
    "popup",
    "modal",
    "pagination",
    "comments",
    "skip",
    "toc",
    "editsection",
    "noprint",
    "masthead",
];
/// A part with such a word that holds more than this share of the page's text is the content all the same.
const MOST_AROUND: f64 = 0.4;
/// Above this share of letters in links, a part with so many links is a menu.
const MENU_SHARE: f64 = 0.7;
const MENU_LINKS: usize = 4;
/// If less than this share of the visible text is left, the rules above misjudge the page.
const LEAST_CONTENT: f64 = 0.2;

/// What to take of a page.
pub(super) struct Content {
    /// Where the content begins.
    pub(super) root: NodeId,
    /// What in it is left out.
    left_out: HashSet<NodeId>,
    /// Whether the rules failed, and all visible text was taken.
    pub(super) is_whole: bool,
}

impl Content {
    /// The main content of a page.
    pub(super) fn of(tree: &Tree) -> Self {
        let body = tree.below(ROOT).find(|id| tree.name(*id) == "body").unwrap_or(ROOT);
        let sizes = Sizes::of(tree);
        let root = main_of(tree, body, &sizes).unwrap_or(body);
        let all = sizes.text(root);
        let left_out: HashSet<_> =
            tree.below(root).filter(|id| *id != root && is_around(tree, *id, &sizes, all, root == body)).collect();
        let is_left = sizes.text_without(tree, root, &left_out);
        if (is_left as f64) < LEAST_CONTENT * sizes.text(body) as f64 {
            return Self { root: body, left_out: HashSet::new(), is_whole: true };
        }
        Self { root, left_out, is_whole: false }
    }

    /// All of a page, for what is no page of its own.
    pub(super) fn whole(tree: &Tree) -> Self {
        let body = tree.below(ROOT).find(|id| tree.name(*id) == "body").unwrap_or(ROOT);
        Self { root: body, left_out: HashSet::new(), is_whole: false }
    }

    pub(super) fn has(&self, tree: &Tree, id: NodeId) -> bool {
        !is_unseen(tree, id) && !self.left_out.contains(&id)
    }
}

fn is_unseen(tree: &Tree, id: NodeId) -> bool {
    NEVER.contains(&tree.name(id))
        || tree.attribute(id, "hidden").is_some()
        || tree.attribute(id, "aria-hidden") == Some("true")
        || tree.attribute(id, "style").is_some_and(|style| {
            let style = style.replace(' ', "").to_ascii_lowercase();
            style.contains("display:none") || style.contains("visibility:hidden")
        })
}

/// The one element that says that it is the content.
fn main_of(tree: &Tree, body: NodeId, sizes: &Sizes) -> Option<NodeId> {
    let only = |is_it: &dyn Fn(NodeId) -> bool| {
        let mut found = tree.below(body).filter(|id| is_it(*id) && sizes.text(*id) > 0);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    };
    let by_name = only(&|id| tree.name(id) == "main" || tree.attribute(id, "role") == Some("main"));
    by_name.or_else(|| {
        let article = only(&|id| tree.name(id) == "article")?;
        (sizes.text(article) as f64 >= MOST_AROUND * sizes.text(body) as f64).then_some(article)
    })
}

fn is_around(tree: &Tree, id: NodeId, sizes: &Sizes, all: usize, is_body: bool) -> bool {
    let name = tree.name(id);
    if name.is_empty() || is_unseen(tree, id) {
        return false;
    }
    let share = sizes.text(id) as f64 / all.max(1) as f64;
    let is_named = AROUND.contains(&name)
        || (is_body && name == "header")
        || tree.attribute(id, "role").is_some_and(|role| AROUND_ROLES.contains(&role))
        || ["class", "id"].iter().any(|key| tree.attribute(id, key).is_some_and(has_word_around));
    if is_named && share <= MOST_AROUND {
        // A page's heading often stands in its header.
        let has_title = name == "header" && tree.below(id).any(|id| tree.name(id) == "h1");
        return !has_title;
    }
    let links = sizes.links(id);
    matches!(name, "ul" | "ol" | "div" | "section" | "table" | "p" | "dl")
        && links.count >= MENU_LINKS
        && links.letters as f64 > MENU_SHARE * sizes.text(id) as f64
}

fn has_word_around(names: &str) -> bool {
    let words = names.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.into_iter().any(|word| AROUND_WORDS.iter().any(|around| around.eq_ignore_ascii_case(word)))
}

/// Letters in links.
#[derive(Clone, Copy, Default)]
struct Links {
    letters: usize,
    count: usize,
}

/// How much text that is seen lies below each node.
struct Sizes(Vec<(usize, Links)>);

impl Sizes {
    fn of(tree: &Tree) -> Self {
        let order: Vec<NodeId> = tree.below(ROOT).collect();
        let mut sizes = Self(vec![Default::default(); order.iter().max().map_or(0, |last| last + 1)]);
        // Children come behind their parents, so that all are counted when it is the parent's turn.
        for id in order.into_iter().rev() {
            let mut own = (0, Links::default());
            if !is_unseen(tree, id) {
                if let Some(Data::Text(text)) = tree.node(id).map(|node| &node.data) {
                    own.0 = text.chars().filter(|letter| !letter.is_whitespace()).count();
                }
                for child in tree.children(id) {
                    own.0 += sizes.text(*child);
                    own.1.letters += sizes.links(*child).letters;
                    own.1.count += sizes.links(*child).count;
                }
                if tree.name(id) == "a" {
                    own.1 = Links { letters: own.0, count: 1 };
                }
            }
            if let Some(size) = sizes.0.get_mut(id) {
                *size = own;
            }
        }
        sizes
    }

    fn text(&self, id: NodeId) -> usize {
        self.0.get(id).map_or(0, |(text, _)| *text)
    }

    fn links(&self, id: NodeId) -> Links {
        self.0.get(id).map_or_else(Links::default, |(_, links)| *links)
    }

    /// What is left below a node without some others.
    fn text_without(&self, tree: &Tree, id: NodeId, left_out: &HashSet<NodeId>) -> usize {
        let (mut open, mut text) = (vec![id], 0);
        while let Some(next) = open.pop() {
            if left_out.contains(&next) || is_unseen(tree, next) {
                continue;
            }
            if matches!(tree.node(next).map(|node| &node.data), Some(Data::Text(_))) {
                text += self.text(next);
            }
            open.extend(tree.children(next));
        }
        text
    }
}
