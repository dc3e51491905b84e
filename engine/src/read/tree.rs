//! A document as a tree in which every value and key knows its place.

use serde_json::Value;

use crate::diagnostic::Span;

/// One value of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its place. That of a mapping or list is where it begins.
    pub span: Span,
    /// What it is.
    pub content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Null, true or false, a number, text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order in which it was written.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Its place.
    pub span: Span,
}

impl Node {
    /// The value without places.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Mapping(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.text.clone(), node.to_value())).collect())
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The text, where it is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// The place of what a JSON pointer names; with `#key` behind it, the place of the key. In a list an item may
    /// also be named by its `name`.
    pub fn span_of(&self, pointer: &str) -> Option<Span> {
        let (path, wants_key) = pointer.strip_suffix("#key").map_or((pointer, false), |path| (path, true));
        let mut node = self;
        let mut key_span = node.span;
        for token in path.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            match &node.content {
                Content::Mapping(_) => {
                    // `needs` is another word for `depends_on`.
                    let other = || node.entry("needs").filter(|_| token == "depends_on");
                    let (key, child) = node.entry(&token).or_else(other)?;
                    (key_span, node) = (key.span, child);
                }
                Content::List(items) => {
                    let by_name =
                        || items.iter().find(|item| item.get("name").and_then(Self::as_str) == Some(&token));
                    let by_index = token.parse::<usize>().ok().and_then(|index| items.get(index));
                    node = by_index.or_else(by_name)?;
                    key_span = node.span;
                }
                Content::Scalar(_) => return None,
            }
        }
        // A mapping or list has no text of its own to point at: its key has.
        let is_scalar = matches!(node.content, Content::Scalar(_));
        Some(if wants_key || !is_scalar { key_span } else { node.span })
    }

    /// The place of a value, or of the nearest thing around it that has one.
    pub fn nearest(&self, pointer: &str) -> Option<Span> {
        let mut pointer = pointer.trim_end_matches("#key");
        loop {
            if let Some(span) = self.span_of(pointer) {
                return Some(span);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    fn entry(&self, key: &str) -> Option<(&Key, &Self)> {
        match &self.content {
            Content::Mapping(entries) => {
                entries.iter().find(|(candidate, _)| candidate.text == key).map(|(key, node)| (key, node))
            }
            _ => None,
        }
    }
}
