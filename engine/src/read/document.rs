//! From the text of a file to its documents as trees, under a budget, with every error placed.

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span as YamlSpan};
use serde_json::Value;

use super::scalar;
use super::tree::{Content, Key, Node};
use crate::diagnostic::{Diagnostic, Span};

/// What one file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: usize,
    /// Levels of nesting.
    pub depth: usize,
    /// Values, counting those that aliases repeat.
    pub nodes: usize,
    /// Aliases.
    pub aliases: usize,
    /// Bytes of one text.
    pub scalar_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 4 << 20, depth: 32, nodes: 400_000, aliases: 200, scalar_bytes: 1 << 20 }
    }
}

/// Reads every document, and says whether that was all of them. What is wrong with one does not hide the next.
pub fn documents(
    source: u32,
    text: &str,
    budget: &Budget,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Vec<Node>, bool) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader =
        Reader { parser, source, text, budget, nodes: 0, aliases: 0, anchors: HashMap::new(), diagnostics };
    let mut documents = Vec::new();
    let mut is_whole = true;
    loop {
        match reader.document() {
            Ok(Some(node)) => documents.push(node),
            Ok(None) => return (documents, is_whole),
            Err(diagnostic) => {
                let is_final = diagnostic.code == "RC1004";
                reader.diagnostics.push(*diagnostic);
                is_whole = false;
                if is_final || !matches!(reader.parser.proceed_next_document(), Ok(true)) {
                    return (documents, is_whole);
                }
            }
        }
    }
}

struct Reader<'a, 'd> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    source: u32,
    text: &'a str,
    budget: &'a Budget,
    nodes: usize,
    aliases: usize,
    anchors: HashMap<usize, Node>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

type Read<T> = Result<T, Box<Diagnostic>>;

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Read<Option<(Event<'a>, Span)>> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.span(&span)))),
            Some(Err(error)) => {
                let offset = self.offset(error.marker().byte_offset());
                if *error.kind() == ErrorKind::RecursionLimitExceeded {
                    let span = Span { source: self.source, start: offset, end: offset };
                    let message = format!("values are nested more than {} levels deep", self.budget.depth);
                    return Err(self.over_budget(span, message));
                }
                Err(Box::new(self.syntax_error(&error.to_string(), offset)))
            }
        }
    }

    fn document(&mut self) -> Read<Option<Node>> {
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => return Ok(None),
                Some((Event::DocumentStart(..), _)) => {
                    self.anchors.clear();
                    let Some((event, span)) = self.next()? else { return Ok(None) };
                    let node = self.node(event, span, 0)?;
                    // A document of comments alone declares nothing.
                    if node.content == Content::Scalar(Value::Null) {
                        continue;
                    }
                    return Ok(Some(node));
                }
                Some(_) => {}
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Read<Node> {
        self.count(1, span)?;
        if depth > self.budget.depth {
            return Err(self.over_budget(
                span,
                format!("values are nested more than {} levels deep", self.budget.depth),
            ));
        }
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                if text.len() > self.budget.scalar_bytes {
                    let message =
                        format!("a text has {} bytes, more than {}", text.len(), self.budget.scalar_bytes);
                    return Err(self.over_budget(Span { end: span.start, ..span }, message));
                }
                let value = match style {
                    ScalarStyle::Plain => scalar::resolve(&text),
                    _ => Value::String(text.into_owned()),
                };
                (Content::Scalar(value), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                (Content::List(self.items(depth)?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                (Content::Mapping(self.entries(depth)?), anchor)
            }
            Event::Alias(id) => return self.alias(id, span),
            _ => (Content::Scalar(Value::Null), 0),
        };
        let node = Node { span, content };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Read<Vec<Node>> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(items)
    }

    fn entries(&mut self, depth: usize) -> Read<Vec<(Key, Node)>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        while let Some((event, span)) = self.next()? {
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, _, _, _) => Key { text: text.into_owned(), span },
                _ => return Err(Box::new(Diagnostic::error("RC1003", "a key must be text").at(span))),
            };
            let Some((event, value_span)) = self.next()? else { break };
            let value = self.node(event, value_span, depth + 1)?;
            if key.text == "<<" {
                let diagnostic =
                    Diagnostic::error("RC1005", "merge keys are not part of this language").at(key.span);
                self.diagnostics
                    .push(diagnostic.hint("say the fields again, or make a JobTemplate of what they share"));
                continue;
            }
            if !seen.insert(key.text.clone()) {
                let first =
                    entries.iter().find(|(other, _)| other.text == key.text).map(|(other, _)| other.span);
                let mut diagnostic =
                    Diagnostic::error("RC1006", format!("the key {:?} stands here twice", key.text))
                        .at(key.span);
                diagnostic.related.extend(first.map(|span| (span, "first here".to_owned())));
                self.diagnostics.push(diagnostic.hint("keep one of the two"));
                continue;
            }
            entries.push((key, value));
        }
        Ok(entries)
    }

    fn alias(&mut self, id: usize, span: Span) -> Read<Node> {
        self.aliases += 1;
        if self.aliases > self.budget.aliases {
            return Err(self.over_budget(span, format!("more than {} aliases", self.budget.aliases)));
        }
        let Some(node) = self.anchors.get(&id) else {
            return Err(Box::new(
                Diagnostic::error("RC1003", "an alias stands within its own anchor").at(span),
            ));
        };
        let size = size(node);
        let node = node.clone();
        self.count(size, span)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Read<()> {
        self.nodes += nodes;
        if self.nodes > self.budget.nodes {
            return Err(self
                .over_budget(span, format!("more than {} values, aliases counted out", self.budget.nodes)));
        }
        Ok(())
    }

    fn over_budget(&self, span: Span, message: String) -> Box<Diagnostic> {
        Box::new(
            Diagnostic::error("RC1004", message)
                .at(span)
                .hint("split it into several files, or say it shorter"),
        )
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let diagnostic = Diagnostic::error("RC1005", "tags are not part of this language").at(span);
            self.diagnostics.push(diagnostic.hint("remove the tag; quote the value where it must be text"));
        }
    }

    fn syntax_error(&self, message: &str, offset: u32) -> Diagnostic {
        let message = message.split(" at ").next().unwrap_or(message);
        let span = Span { source: self.source, start: offset, end: offset };
        let line = self.text[..offset as usize].rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(line..).unwrap_or_default();
        let indentation = &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()];
        if let Some(tab) = indentation.find('\t') {
            let at = u32::try_from(line + tab).unwrap_or(offset);
            let span = Span { source: self.source, start: at, end: at + 1 };
            return Diagnostic::error("RC1002", "a tab cannot indent YAML")
                .at(span)
                .hint("indent with spaces");
        }
        Diagnostic::error("RC1003", format!("this is not YAML: {message}")).at(span)
    }

    fn span(&self, span: &YamlSpan) -> Span {
        let start = self.offset(span.start.byte_offset());
        let end = self.offset(span.end.byte_offset()).max(start);
        // A block text ends where the next thing begins; its own end is its last character.
        let trimmed = self.text[start as usize..end as usize].trim_end().len();
        Span { source: self.source, start, end: start + u32::try_from(trimmed).unwrap_or(0) }
    }

    fn offset(&self, byte: Option<usize>) -> u32 {
        let mut byte = byte.unwrap_or(self.text.len()).min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        u32::try_from(byte).unwrap_or(u32::MAX)
    }
}

fn size(node: &Node) -> usize {
    let mut pending = vec![node];
    let mut count = 0;
    while let Some(node) = pending.pop() {
        count += 1;
        match &node.content {
            Content::Scalar(_) => {}
            Content::List(items) => pending.extend(items),
            Content::Mapping(entries) => pending.extend(entries.iter().map(|(_, node)| node)),
        }
    }
    count
}
