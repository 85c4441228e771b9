//! The tree of a page, as html5ever builds it: nodes in one list that name each other by number, so that no depth of
//! nesting can exhaust a stack.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, LocalName, Namespace, ParseOpts, QualName, ns, parse_document};

use super::super::{ReadError, limits};

/// Which node of its tree.
pub(super) type NodeId = usize;
/// The document itself.
pub(super) const ROOT: NodeId = 0;
/// So much is parsed before the limits are looked at again: 4,096 elements at most.
const PIECE_BYTES: usize = 12 << 10;

/// What a node is.
pub(super) enum Data {
    Element {
        name: QualName,
        attributes: Vec<Attribute>,
    },
    Text(StrTendril),
    /// Comments and the like, and the document.
    Other,
}

/// A node.
pub(super) struct Node {
    pub(super) data: Data,
    pub(super) children: Vec<NodeId>,
    parent: Option<NodeId>,
    depth: usize,
}

/// A page.
pub(super) struct Tree(Vec<Node>);

impl Tree {
    pub(super) fn parse(source: &str) -> Result<Self, ReadError> {
        let mut parser = parse_document(Sink::new(), ParseOpts::default());
        let mut rest = source;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.ceil_char_boundary(PIECE_BYTES));
            parser.process(StrTendril::from_slice(piece));
            parser.tokenizer.sink.sink.check()?;
            rest = behind;
        }
        let sink = parser.finish();
        sink.check()?;
        Ok(Self(sink.nodes.into_inner()))
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.0.get(id)
    }

    pub(super) fn children(&self, id: NodeId) -> &[NodeId] {
        self.node(id).map_or(&[], |node| &node.children)
    }

    /// The name of an element in lower case; empty for what is none.
    pub(super) fn name(&self, id: NodeId) -> &str {
        match self.node(id).map(|node| &node.data) {
            Some(Data::Element { name, .. }) => &name.local,
            _ => "",
        }
    }

    pub(super) fn attribute(&self, id: NodeId, wanted: &str) -> Option<&str> {
        let Data::Element { attributes, .. } = &self.node(id)?.data else { return None };
        attributes.iter().find(|attribute| &*attribute.name.local == wanted).map(|attribute| &*attribute.value)
    }

    /// Every node below one, itself first, in the order of the page.
    pub(super) fn below(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let mut open = vec![id];
        std::iter::from_fn(move || {
            let next = open.pop()?;
            open.extend(self.children(next).iter().rev());
            Some(next)
        })
    }

    /// All letters below a node.
    pub(super) fn text(&self, id: NodeId) -> String {
        let texts = self.below(id).filter_map(|id| match &self.node(id)?.data {
            Data::Text(text) => Some(&**text),
            _ => None,
        });
        texts.collect()
    }
}

/// What html5ever builds into.
struct Sink {
    nodes: RefCell<Vec<Node>>,
    deepest: Cell<usize>,
}

impl Sink {
    fn new() -> Self {
        let document = Node { data: Data::Other, children: Vec::new(), parent: None, depth: 0 };
        Self { nodes: RefCell::new(vec![document]), deepest: Cell::new(0) }
    }

    fn check(&self) -> Result<(), ReadError> {
        limits::within("elements inside each other", self.deepest.get(), limits::DEPTH)?;
        limits::within("nodes of the page", self.nodes.borrow().len(), limits::NODES)
    }

    fn make(&self, data: Data) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { data, children: Vec::new(), parent: None, depth: 0 });
        nodes.len() - 1
    }

    /// Puts a child into a parent, in front of that child of it, or at its end.
    fn put(&self, parent: NodeId, child: NodeOrText<NodeId>, at: Option<usize>) {
        let at = at.unwrap_or_else(|| self.nodes.borrow().get(parent).map_or(0, |parent| parent.children.len()));
        let child = match child {
            NodeOrText::AppendNode(child) => child,
            NodeOrText::AppendText(text) => {
                if self.joined(parent, at, &text) {
                    return;
                }
                self.make(Data::Text(text))
            }
        };
        self.detach(child);
        let mut nodes = self.nodes.borrow_mut();
        let Some(into) = nodes.get_mut(parent) else { return };
        into.children.insert(at.min(into.children.len()), child);
        let depth = into.depth + 1;
        if let Some(node) = nodes.get_mut(child) {
            node.parent = Some(parent);
            node.depth = depth;
            self.deepest.set(self.deepest.get().max(depth));
        }
    }

    /// Adds text to the text before that place, if there is some.
    fn joined(&self, parent: NodeId, at: usize, text: &StrTendril) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        let before = at.checked_sub(1).and_then(|at| nodes.get(parent)?.children.get(at).copied());
        match before.and_then(|before| nodes.get_mut(before)) {
            Some(Node { data: Data::Text(before), .. }) => {
                before.push_tendril(text);
                true
            }
            _ => false,
        }
    }

    fn detach(&self, child: NodeId) {
        let mut nodes = self.nodes.borrow_mut();
        let parent = nodes.get_mut(child).and_then(|node| node.parent.take());
        if let Some(parent) = parent.and_then(|parent| nodes.get_mut(parent)) {
            parent.children.retain(|other| *other != child);
        }
    }
}

/// The name of an element; names are shared, so that this costs no copy of their letters.
#[derive(Debug)]
struct Name(QualName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl TreeSink for Sink {
    type Handle = NodeId;
    type Output = Self;
    type ElemName<'a> = Name;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        ROOT
    }

    fn elem_name(&self, target: &NodeId) -> Name {
        let nodes = self.nodes.borrow();
        match nodes.get(*target).map(|node| &node.data) {
            Some(Data::Element { name, .. }) => Name(name.clone()),
            // html5ever asks for the names of elements only.
            _ => Name(QualName::new(None, ns!(html), LocalName::from(""))),
        }
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _: ElementFlags) -> NodeId {
        self.make(Data::Element { name, attributes })
    }

    fn create_comment(&self, _: StrTendril) -> NodeId {
        self.make(Data::Other)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> NodeId {
        self.make(Data::Other)
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        self.put(*parent, child, None);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, before: &NodeId, child: NodeOrText<NodeId>) {
        let has_parent = self.nodes.borrow().get(*element).is_some_and(|node| node.parent.is_some());
        if has_parent { self.append_before_sibling(element, child) } else { self.append(before, child) }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// What is in a template is not shown, and stands in the template itself here.
    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        *target
    }

    fn same_node(&self, one: &NodeId, other: &NodeId) -> bool {
        one == other
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &NodeId, child: NodeOrText<NodeId>) {
        if let NodeOrText::AppendNode(child) = &child {
            self.detach(*child);
        }
        let place = {
            let nodes = self.nodes.borrow();
            let parent = nodes.get(*sibling).and_then(|node| node.parent);
            parent.and_then(|id| Some((id, nodes.get(id)?.children.iter().rposition(|other| other == sibling)?)))
        };
        if let Some((parent, at)) = place {
            self.put(parent, child, Some(at));
        }
    }

    fn add_attrs_if_missing(&self, target: &NodeId, more: Vec<Attribute>) {
        if let Some(Node { data: Data::Element { attributes, .. }, .. }) = self.nodes.borrow_mut().get_mut(*target) {
            for attribute in more {
                if attributes.iter().all(|there| there.name != attribute.name) {
                    attributes.push(attribute);
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &NodeId) {
        self.detach(*target);
    }

    fn reparent_children(&self, node: &NodeId, parent: &NodeId) {
        let children = self.nodes.borrow_mut().get_mut(*node).map(|node| std::mem::take(&mut node.children));
        for child in children.unwrap_or_default() {
            if let Some(child) = self.nodes.borrow_mut().get_mut(child) {
                child.parent = None;
            }
            self.put(*parent, NodeOrText::AppendNode(child), None);
        }
    }
}
