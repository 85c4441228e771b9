//! What becomes of a piece of the document: a requirement, the acceptance of one, a thing not wanted, or nothing.

use crate::prd::Oddity;
use crate::words::{self, Class};

use super::blocks::{self, Block, Kind};
use super::finder::{Finder, Piece, Scene};
use super::order::{self, Subject};
use super::roles::{self, Role};
use super::{Requirement, label};

/// The longest text of a requirement, in bytes; its lines tell the rest.
pub(super) const LONGEST: usize = 1_200;

impl Finder<'_> {
    /// Decides what a piece is; gives the requirement that it became.
    pub(super) fn decide(&mut self, scene: &mut Scene, piece: &Piece<'_>) -> Option<usize> {
        let role = self.role(scene);
        if role == Role::Unwanted {
            self.not_wanted.push(piece.text.to_owned());
            return None;
        }
        if self.is_named_by_its_head(scene, piece) {
            return None;
        }
        let is_acceptance = role == Role::Acceptance || self.is_scenario(scene, piece);
        if is_acceptance && self.accept(scene.section, piece.first_line, piece.text) {
            return None;
        }
        if piece.text.ends_with('?') {
            return None;
        }
        let speaks =
            piece.is_listed || roles::strength(&piece.hits).is_some() || words::has(&piece.hits, Class::Ability);
        let by_place = match role {
            Role::Wanted => speaks,
            Role::Acceptance => piece.text.split_whitespace().count() >= 3,
            Role::Plain => piece.is_listed && scene.takes_lists,
            Role::Context | Role::Unwanted => false,
        };
        let is_named = role != Role::Context && label::leading(piece.text).is_some();
        let by_words = piece.is_binding() || piece.is_story() || is_named;
        if by_place || by_words {
            return self.push(scene, piece, None);
        }
        if piece.is_listed && role == Role::Plain {
            self.passed_over.push((scene.section, piece.first_line));
        }
        None
    }

    /// Takes `Out of scope: …` and `Acceptance: …` within a list for what they say that they are.
    pub(super) fn is_named_by_its_head(&mut self, scene: &Scene, piece: &Piece<'_>) -> bool {
        let Some((head, rest)) = piece.text.split_once(':') else { return false };
        if head.split_whitespace().count() > 4 || !has_words(rest) {
            return false;
        }
        match roles::of_heading(head) {
            Some(Role::Unwanted) => self.not_wanted.push(rest.trim().to_owned()),
            Some(Role::Acceptance) => return self.accept(scene.section, piece.first_line, rest.trim()),
            _ => return false,
        }
        true
    }

    pub(super) fn role(&self, scene: &Scene) -> Role {
        scene.lead.as_ref().map_or_else(|| self.roles.role(scene.section), |lead| lead.role)
    }

    /// Whether a piece is a step such as `Given …`, or `Then …` behind one.
    pub(super) fn is_scenario(&self, scene: &mut Scene, piece: &Piece<'_>) -> bool {
        let begins = |class| piece.hits.iter().any(|hit| hit.class == class && hit.start == 0);
        scene.is_given = begins(Class::Given) || scene.is_given && begins(Class::Then);
        scene.is_given
    }

    /// Gives acceptance to the requirement that it stands behind; says whether there is one.
    pub(super) fn accept(&mut self, section: usize, line: u32, text: &str) -> bool {
        let mut here = Some(section);
        while let Some(index) = here {
            if !self.last.contains_key(&index) && self.roles.is_feature_above(self.prd, index) {
                self.heading(index, &[]);
            }
            if let Some(requirement) = self.last.get(&index).and_then(|&last| self.found.get_mut(last)) {
                requirement.acceptance.push((line, cut(text)));
                return true;
            }
            // An acceptance heading speaks of what is right above it, and no further up.
            here = if index == section { self.roles.parent(index) } else { None };
        }
        false
    }

    /// Makes a heading below a list of features a requirement, with the first sentence that says something about it.
    pub(super) fn heading(&mut self, section: usize, blocks: &[Block]) {
        let Some(here) = self.prd.sections.get(section) else { return };
        let (name, said) = match label::leading(&here.heading) {
            Some((name, said)) if !said.is_empty() => (Some(name.to_owned()), said),
            _ => (None, label::unnumbered(&here.heading)),
        };
        let said = blocks::clean(said);
        let prose = blocks.iter().filter(|block| block.kind == Kind::Paragraph && has_words(&block.text));
        let mut sentences = prose.flat_map(|block| blocks::sentences(&block.text));
        let about = sentences.find(|(_, sentence)| !order::is_statement(sentence)).map(|(_, sentence)| sentence);
        let text = match about {
            Some(about) => format!("{said}: {about}"),
            None => said,
        };
        let last_line = if about.is_some() { here.last_line } else { here.first_line };
        let hits = words::scan(&text);
        let piece = Piece { text: &text, first_line: here.first_line, last_line, hits, is_listed: false };
        let scene = Scene::of(section);
        self.push(&scene, &piece, name);
    }

    /// Keeps a requirement. One that says the same as an earlier one is that one.
    pub(super) fn push(&mut self, scene: &Scene, piece: &Piece<'_>, label: Option<String>) -> Option<usize> {
        let (label, text) = match (label, label::leading(piece.text)) {
            (Some(label), _) => (label, piece.text),
            (None, Some((label, text))) if has_words(text) => (label.to_owned(), text),
            _ => (String::new(), piece.text),
        };
        let prefix = scene.lead.as_ref().map_or("", |lead| lead.prefix.as_str());
        let text = cut(&format!("{prefix}{text}"));
        let by_lead = scene.lead.as_ref().and_then(|lead| lead.strength);
        let strength = roles::strength(&piece.hits).or(by_lead).unwrap_or(self.roles.strength(scene.section));
        let index = self.found.len();
        if let Some(first) = self.known(&text, piece, index) {
            return first;
        }
        self.found.push(Requirement {
            name: String::new(),
            label,
            text,
            strength,
            first_line: piece.first_line,
            last_line: piece.last_line,
            section: scene.section,
            acceptance: Vec::new(),
            depends_on: Vec::new(),
        });
        self.last.insert(scene.section, index);
        self.inner_orders(piece, index);
        Some(index)
    }

    /// The earlier requirement with the same text, if there is one. Names repetitions and contradictions.
    fn known(&mut self, text: &str, piece: &Piece<'_>, index: usize) -> Option<Option<usize>> {
        let normal = words::normal(text);
        if normal.is_empty() {
            return Some(None);
        }
        let earlier = |index: usize| self.found.get(index).map_or(0, |requirement| requirement.first_line);
        let (first, last) = (piece.first_line, piece.last_line);
        if let Some(&same) = self.by_text.get(&normal) {
            let what = format!("the same requirement as in line {}; it is planned once", earlier(same));
            self.oddities.push(Oddity::new(first, last, what));
            return Some(Some(same));
        }
        let mut is_denied = false;
        let mut sense = String::with_capacity(normal.len());
        for word in normal.split(' ') {
            if is_negation(word) {
                is_denied = !is_denied;
            } else {
                sense.push_str(word);
                sense.push(' ');
            }
        }
        match self.by_sense.get(&sense) {
            Some(&(other, was_denied)) if was_denied != is_denied => {
                let what = format!("says the opposite of line {}; both are planned", earlier(other));
                self.oddities.push(Oddity::new(first, last, what));
            }
            Some(_) => {}
            None => {
                self.by_sense.insert(sense, (index, is_denied));
            }
        }
        self.by_text.insert(normal, index);
        None
    }

    /// Keeps statements about order. Says whether the piece is such a statement and nothing else.
    pub(super) fn orders_in(&mut self, section: usize, piece: &Piece<'_>) -> bool {
        let is_only = order::is_only(piece.text, &piece.hits);
        if is_only {
            self.orders.extend(order::read(piece.text, &piece.hits, piece.first_line, Subject::Section(section)));
        }
        is_only
    }

    fn inner_orders(&mut self, piece: &Piece<'_>, index: usize) {
        let orders = order::read(piece.text, &piece.hits, piece.first_line, Subject::Requirement(index));
        self.orders.extend(orders);
    }
}

/// Whether a text says something: at least one word of two letters, and no endless one.
pub(super) fn has_words(text: &str) -> bool {
    const ENDLESS: usize = 200;
    let is_word = |word: &str| word.chars().filter(|c| c.is_alphabetic()).count() >= 2;
    text.split_whitespace().any(|word| word.len() < ENDLESS && is_word(word))
        && !text.split_whitespace().all(|word| word.len() >= ENDLESS)
}

/// Whether a row has a cell that says something, and not names and placeholders only.
pub(super) fn has_sense(cells: &[String]) -> bool {
    let says = |cell: &&String| {
        has_words(cell) && !matches!(cell.to_ascii_lowercase().as_str(), "undefined" | "null" | "nan" | "tbd" | "n/a")
    };
    let told = cells.iter().filter(says);
    told.clone().count() >= 2 || told.clone().any(|cell| cell.split_whitespace().count() >= 2)
}

fn is_negation(word: &str) -> bool {
    words::scan(word).iter().any(|hit| hit.class == Class::Not)
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", text.get(..text.floor_char_boundary(LONGEST - 1)).unwrap_or_default().trim_end())
}
