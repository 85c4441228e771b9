//! Goes through a document section by section and decides what each piece of it is.

use std::collections::HashMap;

use crate::prd::{Oddity, Prd};
use crate::words::{self, Class, Hit};

use super::blocks::{self, Block, Kind};
use super::keep::{LONGEST, has_sense, has_words};
use super::order::{self, Order, Subject};
use super::roles::{self, Role, Roles};
use super::{Requirement, Strength, label};

/// What was found so far.
pub(super) struct Finder<'a> {
    pub prd: &'a Prd,
    pub roles: &'a Roles,
    /// Whether a list item is a requirement even where nothing says so.
    pub takes_any_list: bool,
    /// Whether there was any list or table.
    pub has_lists: bool,
    pub found: Vec<Requirement>,
    pub oddities: Vec<Oddity>,
    pub not_wanted: Vec<String>,
    /// Items of lists that ask for nothing: their sections and lines.
    pub passed_over: Vec<(usize, u32)>,
    pub orders: Vec<Order>,
    /// Steps that a section numbers: a requirement, the one before it, and the line.
    pub sequence: Vec<(usize, usize, u32)>,
    /// The requirements that numbers of lists stand before, by section and number.
    pub numbered: HashMap<(usize, u32), usize>,
    /// The last requirement of each section.
    pub last: HashMap<usize, usize>,
    pub by_text: HashMap<String, usize>,
    /// Texts without their `not`s: the first with each, and whether it had one.
    pub by_sense: HashMap<String, (usize, bool)>,
}

/// Where in a section the finder is.
pub(super) struct Scene {
    pub section: usize,
    /// What the last line that announces a list says about it.
    pub lead: Option<Lead>,
    /// The last list item: how far it was set in, and which requirement it became.
    item: Option<(usize, Option<usize>)>,
    /// Whether the piece before was a step of a scenario.
    pub is_given: bool,
    /// The last numbered item of a section of steps: how far it was set in, and its requirement.
    step: Option<(usize, usize)>,
    /// Whether its lists are of requirements, although only some items say so.
    pub takes_lists: bool,
}

impl Scene {
    /// The beginning of a section.
    pub fn of(section: usize) -> Self {
        Self { section, lead: None, item: None, is_given: false, step: None, takes_lists: false }
    }
}

/// What a line says about the list below it.
pub(super) struct Lead {
    pub role: Role,
    pub strength: Option<Strength>,
    /// What stands in front of each item's text.
    pub prefix: String,
    /// Items set in no further than this are not announced by it.
    indent: Option<usize>,
}

/// A piece that may become a requirement.
pub(super) struct Piece<'t> {
    pub text: &'t str,
    pub first_line: u32,
    pub last_line: u32,
    pub hits: Vec<Hit>,
    /// Whether it is an item of a list or a row of a table.
    pub is_listed: bool,
}

impl<'t> Piece<'t> {
    fn of(block: &'t Block) -> Self {
        let (hits, is_listed) = (words::scan(&block.text), block.is_listed());
        Self { text: &block.text, first_line: block.first_line, last_line: block.last_line, hits, is_listed }
    }

    /// Whether a word says that it must or should be so; in a list, also that it may.
    pub fn is_binding(&self) -> bool {
        roles::strength(&self.hits).is_some_and(|strength| strength != Strength::May || self.is_listed)
    }

    /// Whether it is told as a user's wish.
    pub fn is_story(&self) -> bool {
        words::has(&self.hits, Class::Story) && words::has(&self.hits, Class::Wish)
    }
}

impl<'a> Finder<'a> {
    pub fn new(prd: &'a Prd, roles: &'a Roles) -> Self {
        Self {
            prd,
            roles,
            takes_any_list: false,
            has_lists: false,
            found: Vec::new(),
            oddities: Vec::new(),
            not_wanted: Vec::new(),
            passed_over: Vec::new(),
            orders: Vec::new(),
            sequence: Vec::new(),
            numbered: HashMap::new(),
            last: HashMap::new(),
            by_text: HashMap::new(),
            by_sense: HashMap::new(),
        }
    }

    pub fn run(&mut self) {
        for (index, section) in self.prd.sections.iter().enumerate() {
            let blocks = blocks::cut(self.prd, section);
            let mut scene = Scene::of(index);
            scene.takes_lists = self.takes_any_list || self.roles.role(index) == Role::Plain && asks_in_lists(&blocks);
            self.has_lists |= blocks.iter().any(Block::is_listed);
            for (place, block) in blocks.iter().enumerate() {
                let next = blocks.get(place + 1);
                self.block(&mut scene, block, next);
            }
            let is_met = self.last.contains_key(&index);
            if !is_met && self.roles.is_feature(self.prd, index) {
                self.heading(index, &blocks);
            }
        }
    }

    fn block(&mut self, scene: &mut Scene, block: &Block, next: Option<&Block>) {
        match &block.kind {
            Kind::Item { indent, .. } => self.item(scene, block, *indent, next),
            Kind::Row { cells, head } => self.row(scene, block, cells, head),
            Kind::Paragraph => self.paragraph(scene, block, next),
            Kind::Log | Kind::Code => self.pasted(scene, block),
        }
    }

    /// Pasted text is searched for what is marked as a requirement only.
    fn pasted(&mut self, scene: &mut Scene, block: &Block) {
        let piece = Piece::of(block);
        let is_level = |word: &str| matches!(word, "debug" | "info" | "warn" | "warning" | "error" | "trace" | "fatal");
        let shouted = |hit: &&Hit| {
            let word = block.text.get(hit.start..hit.end).unwrap_or_default();
            hit.class == Class::Marker && word.chars().all(char::is_uppercase)
        };
        let marked = piece.hits.iter().find(shouted).and_then(|hit| {
            let named = block.text.get(hit.start..).filter(|text| label::leading(text).is_some());
            named.or_else(|| block.text.get(hit.end..))
        });
        let is_binding = piece.is_binding();
        let said = match (&block.kind, marked) {
            (_, Some(behind)) => behind,
            (Kind::Code, None) if is_binding && label::leading(&block.text).is_some() => block.text.as_str(),
            (Kind::Log, None) if is_binding => {
                let mut words = block.text.split_whitespace();
                let has_level = words
                    .by_ref()
                    .take(4)
                    .any(|word| is_level(&word.to_ascii_lowercase().replace(['[', ']', ':'], "")));
                if has_level {
                    return;
                }
                block.text.split_once(' ').map_or("", |(_, behind)| behind)
            }
            (Kind::Code, None) if self.is_scenario(scene, &piece) => {
                self.accept(scene.section, block.first_line, &block.text);
                return;
            }
            _ => return,
        };
        let text = said.trim_start_matches([':', '-', ' ', ']', '=']);
        if has_words(text) {
            let piece = Piece { text, ..piece };
            self.push(scene, &piece, None);
        }
    }

    fn item(&mut self, scene: &mut Scene, block: &Block, indent: usize, next: Option<&Block>) {
        scene.lead.take_if(|lead| lead.indent.is_some_and(|outer| indent <= outer));
        if !has_words(&block.text) {
            return;
        }
        let has_deeper =
            matches!(next.map(|next| &next.kind), Some(Kind::Item { indent: inner, .. }) if *inner > indent);
        if (has_deeper || block.text.ends_with(':')) && self.announces(scene, block, Some(indent), next) {
            scene.item = None;
            return;
        }
        let piece = Piece::of(block);
        if self.orders_in(scene.section, &piece) {
            return;
        }
        let is_own = roles::strength(&piece.hits).is_some() || label::leading(&block.text).is_some();
        if self.role(scene) != Role::Unwanted && self.is_named_by_its_head(scene, &piece) {
            return;
        }
        let outer = scene.item.filter(|(outer, _)| indent > *outer).and_then(|(_, outer)| outer);
        if let Some(requirement) = outer.filter(|_| !is_own && scene.lead.is_none()).and_then(|i| self.found.get_mut(i))
        {
            if requirement.text.len() + block.text.len() < LONGEST {
                requirement.text = format!("{}; {}", requirement.text.trim_end_matches(['.', ';']), block.text);
            }
            requirement.last_line = requirement.last_line.max(block.last_line);
            return;
        }
        let became = self.decide(scene, &piece);
        scene.item = Some((indent, became));
        if let (Some(became), Kind::Item { number: Some(number), .. }) = (became, &block.kind) {
            self.numbered.entry((scene.section, *number)).or_insert(became);
            self.step(scene, indent, became, block.first_line);
        }
    }

    /// Lets a numbered step wait for the one before it, where the section says that these are steps.
    fn step(&mut self, scene: &mut Scene, indent: usize, became: usize, line: u32) {
        let outermost = scene.step.map_or(indent, |(outer, _)| outer);
        if indent > outermost || !Roles::is_sequence(self.prd, scene.section) {
            return;
        }
        if let Some((_, before)) = scene.step.replace((indent, became)).filter(|(_, before)| *before != became) {
            self.sequence.push((became, before, line));
        }
    }

    fn row(&mut self, scene: &mut Scene, block: &Block, cells: &[String], head: &[String]) {
        let mut piece = Piece::of(block);
        let named = cells.iter().find(|cell| label::is_one(cell));
        let is_wanted = self.role(scene) == Role::Wanted && has_sense(cells);
        if !(named.is_some() || is_wanted || piece.is_binding()) {
            if self.role(scene) == Role::Unwanted && has_words(&block.text) {
                self.not_wanted.push(block.text.clone());
            }
            return;
        }
        let columns = Columns::of(head);
        let is_told = |(at, cell): &(usize, &String)| {
            has_letter(cell) && Some(*cell) != named && columns.order != Some(*at) && !columns.is_rank(*at, cell)
        };
        let told: Vec<&str> = cells.iter().enumerate().filter(is_told).map(|(_, cell)| cell.as_str()).collect();
        let Some((first, rest)) = told.split_first() else { return };
        let is_short = !rest.is_empty() && first.split_whitespace().count() <= 3;
        let text = if is_short { format!("{first}: {}", rest.join("; ")) } else { told.join("; ") };
        let label = named.map(|name| name.trim_matches(['[', ']', '(', ')', '`']).to_owned());
        piece.text = &text;
        if cells.iter().enumerate().any(|(at, cell)| columns.is_rank(at, cell) && words::normal(cell) == "low") {
            piece.hits.push(Hit { class: Class::May, start: 0, end: 0 });
        }
        let became = self.push(scene, &piece, label);
        let order =
            columns.order.and_then(|at| cells.get(at)).filter(|cell| cell.split([',', ';', ' ']).any(label::is_one));
        if let (Some(index), Some(order)) = (became, order) {
            let statement = format!("depends on {order}");
            let subject = Subject::Requirement(index);
            self.orders.extend(order::read(&statement, &words::scan(&statement), block.first_line, subject));
        }
    }

    fn paragraph(&mut self, scene: &mut Scene, block: &Block, next: Option<&Block>) {
        if self.announces(scene, block, None, next) {
            return;
        }
        scene.lead = None;
        scene.item = None;
        if is_data(&block.text) {
            return;
        }
        let whole = Piece::of(block);
        let is_named = label::leading(&block.text).is_some();
        if is_named && self.orders_in(scene.section, &whole) {
            return;
        }
        if is_named || whole.is_story() || self.is_scenario(scene, &whole) {
            self.decide(scene, &whole);
            return;
        }
        for (place, sentence) in blocks::sentences(&block.text) {
            let piece = Piece {
                text: sentence,
                first_line: block.line_at(place),
                last_line: block.line_at(place + sentence.len() - 1),
                hits: words::scan(sentence),
                is_listed: false,
            };
            if self.orders_in(scene.section, &piece) || !has_words(sentence) {
                continue;
            }
            self.decide(scene, &piece);
        }
    }

    /// Whether a piece announces a list: it ends with a colon, or is the name of a role and no more.
    fn announces(&mut self, scene: &mut Scene, block: &Block, indent: Option<usize>, next: Option<&Block>) -> bool {
        let ends = block.text.ends_with(':');
        let is_short = block.text.split_whitespace().count() <= 5 && !block.text.ends_with(['.', '!', '?']);
        let has_list = matches!(next.map(|next| &next.kind), Some(Kind::Item { .. } | Kind::Row { .. }));
        let role = roles::of_heading(&block.text).filter(|role| is_short && (ends || *role != Role::Context));
        if !has_list || !(ends || role.is_some() && indent.is_none()) {
            return false;
        }
        let strength = roles::strength(&words::scan(&block.text));
        let wanted = strength.map(|_| Role::Wanted);
        let upper = scene.lead.as_ref().map_or_else(|| self.roles.role(scene.section), |lead| lead.role);
        let is_prefix = indent.is_some() && role.is_none();
        let prefix = if is_prefix { format!("{} ", block.text) } else { String::new() };
        scene.lead = Some(Lead { role: role.or(wanted).unwrap_or(upper), strength, prefix, indent });
        true
    }
}

/// Whether an item of a list says that it must or should be so: what stands beside it is wanted as well then.
fn asks_in_lists(blocks: &[Block]) -> bool {
    let asks = |block: &Block| roles::strength(&words::scan(&block.text)).is_some_and(|said| said != Strength::May);
    blocks.iter().any(|block| matches!(block.kind, Kind::Item { .. }) && asks(block))
}

/// What the columns of a table are for.
struct Columns {
    /// The one that says what comes before a row.
    order: Option<usize>,
    /// The one that says how much a row matters.
    rank: Option<usize>,
}

impl Columns {
    fn of(head: &[String]) -> Self {
        let ranks = ["priority", "prio", "strength", "moscow", "prioritat", "prioridad", "priorite"];
        Self {
            order: head.iter().position(|cell| words::has(&words::scan(cell), Class::Waits)),
            rank: head.iter().position(|cell| ranks.contains(&words::normal(cell).as_str())),
        }
    }

    fn is_rank(&self, at: usize, cell: &str) -> bool {
        let ranks = ["must", "should", "may", "could", "high", "medium", "low"];
        self.rank == Some(at) || ranks.contains(&words::normal(cell).as_str())
    }
}

fn has_letter(cell: &str) -> bool {
    cell.contains(char::is_alphanumeric)
}

/// Whether a paragraph is a piece of JSON or the like, and not words.
fn is_data(text: &str) -> bool {
    let is_pair = text.contains("\":") || text.contains("\",");
    text.starts_with(['{', '}']) || text.starts_with(['[', '"']) && is_pair
}
