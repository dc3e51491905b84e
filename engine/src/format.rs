//! Gives the text of a configuration its usual look: two blanks for each level, lists below their key, no blanks at the
//! ends of lines, no two empty lines. Words, quotes, order and comments stay as they are.
//!
//! Lines are told apart by what the parser says of them: those that go on with a text or a flow of the line above, and
//! those that begin a key or an item, whose columns give the levels. What was made is read again: if it does not mean
//! exactly the same, nothing is changed.

use std::collections::BTreeSet;

use granit_parser::{Event, Options, Parser, ScalarStyle};

use crate::read::{Budget, same_documents};

/// Why a text keeps its look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read.
    #[error("it is not YAML that can be read; `reactorcide validate` says where")]
    Unreadable,
    /// It uses what this does not know how to move.
    #[error("line {0} begins with an anchor, a tag or a complex key, which are left as they are")]
    Unusual(usize),
    /// It would mean something else afterwards.
    #[error("it could not be formatted without changing what it means")]
    Meaning,
    /// Each time it would look different.
    #[error("its look does not settle; it is left as it is")]
    Unsettled,
}

/// How often a text is formatted until its look stays.
const PASSES: usize = 4;

/// The text in its usual look, which stays if it is formatted again.
pub fn format(text: &str) -> Result<String, FormatError> {
    let mut formatted = pass(text)?;
    for _ in 1..PASSES {
        let again = pass(&formatted)?;
        if again == formatted {
            return Ok(formatted);
        }
        formatted = again;
    }
    Err(FormatError::Unsettled)
}

fn pass(text: &str) -> Result<String, FormatError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let marks = Marks::of(&text)?;
    let mut writer = Writer::default();
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        writer.line(number, line, &lines, &marks)?;
    }
    let formatted = writer.finish();
    if same_documents(&text, &formatted, &Budget::default()) {
        Ok(formatted)
    } else {
        Err(FormatError::Meaning)
    }
}

/// What the parser says of lines, all counted from 0.
#[derive(Default)]
struct Marks {
    /// Where keys of block mappings begin: line and column.
    keys: BTreeSet<(usize, usize)>,
    /// Lines that go on with what began above: the line where it began.
    continued: std::collections::BTreeMap<usize, usize>,
    /// Lines of block texts, with the first of each.
    block: std::collections::BTreeMap<usize, usize>,
}

impl Marks {
    fn of(text: &str) -> Result<Self, FormatError> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        let parser = Parser::new_from_str_with_options(text, options);
        let mut marks = Self::default();
        // For each open collection: whether it is a mapping in block style that waits for a key, where it began.
        let mut open: Vec<Open> = Vec::new();
        for event in parser {
            let (event, span) = event.map_err(|_| FormatError::Unreadable)?;
            let at = (span.start.line().saturating_sub(1), span.start.col());
            let end = (span.end.line().saturating_sub(1), span.end.col());
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    value(&mut open);
                    let is_flow = text_at(text, at).starts_with(['{', '[']);
                    let is_map = matches!(event, Event::MappingStart(..));
                    let in_flow = is_flow || open.last().is_some_and(|outer| outer.in_flow);
                    open.push(Open { is_map, awaits_key: is_map, in_flow, is_flow, line: at.0 });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    if let Some(closed) = open.pop()
                        && closed.is_flow
                    {
                        marks.continues(closed.line, end.0);
                    }
                }
                Event::Scalar(_, style, ..) => {
                    if open.last().is_some_and(|outer| outer.is_map && outer.awaits_key && !outer.in_flow) {
                        marks.keys.insert(at);
                    }
                    value(&mut open);
                    match style {
                        ScalarStyle::Literal | ScalarStyle::Folded => marks.block_text(text, at.0, end),
                        _ => marks.continues(at.0, end.0),
                    }
                }
                Event::Alias(_) => value(&mut open),
                _ => {}
            }
        }
        Ok(marks)
    }

    fn continues(&mut self, from: usize, to: usize) {
        // What is within something else ends before it: the outermost has the last word.
        for line in from + 1..=to {
            self.continued.insert(line, from);
        }
    }

    /// The lines of a block text: from its first one up to what comes next.
    fn block_text(&mut self, text: &str, first: usize, next: (usize, usize)) {
        let lines: Vec<&str> = text.lines().collect();
        let end = if next.0 >= lines.len()
            || next.1 > 0 && next.0 + 1 == lines.len() && next.1 >= lines[next.0].len()
        {
            lines.len()
        } else {
            next.0
        };
        let last = (first..end)
            .rev()
            .find(|line| !lines[*line].trim().is_empty() && !is_comment_after(&lines, first, *line));
        for line in first..last.map_or(first, |last| last + 1) {
            self.block.insert(line, first);
        }
    }
}

/// Whether a line is a comment that stands further out than a block text above it.
fn is_comment_after(lines: &[&str], first: usize, line: usize) -> bool {
    lines[line].trim_start().starts_with('#') && indent(lines[line]) < indent(lines[first])
}

struct Open {
    is_map: bool,
    awaits_key: bool,
    in_flow: bool,
    is_flow: bool,
    line: usize,
}

/// A node ended or began: in a mapping, keys and values take turns.
fn value(open: &mut [Open]) {
    if let Some(outer) = open.last_mut().filter(|outer| outer.is_map) {
        outer.awaits_key = !outer.awaits_key;
    }
}

fn text_at(text: &str, (line, column): (usize, usize)) -> &str {
    let line = text.lines().nth(line).unwrap_or_default();
    line.char_indices().nth(column).map_or("", |(at, _)| &line[at..])
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// A level of the block structure.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    is_list: bool,
    /// The column that it has.
    old: usize,
    /// The column that it gets.
    new: usize,
}

#[derive(Default)]
struct Writer {
    text: String,
    levels: Vec<Level>,
    /// Comments and empty lines that wait for the line that they belong to.
    waiting: Vec<String>,
    /// The old and the new column of each line.
    moved: std::collections::BTreeMap<usize, (usize, usize)>,
    /// The old and the new column of each block text, by its first line.
    blocks: std::collections::BTreeMap<usize, (usize, usize)>,
}

impl Writer {
    fn line(&mut self, number: usize, line: &str, all: &[&str], marks: &Marks) -> Result<(), FormatError> {
        if let Some(first) = marks.block.get(&number) {
            self.block_line(*first, line, all, marks);
        } else if let Some(begin) = marks.continued.get(&number) {
            let (old, new) = self.moved.get(begin).copied().unwrap_or_default();
            let column = (indent(line) + new).saturating_sub(old).max(new + 2);
            // A bracket that closes stands below what it closes.
            let closes = line.trim_start().starts_with(['}', ']']);
            let column = if closes && indent(line) <= old { new } else { column };
            // In a quoted text an empty line is part of the text.
            self.put(if line.trim().is_empty() { 0 } else { column }, line.trim());
        } else if line.trim().is_empty() || line.trim_start().starts_with('#') {
            self.waiting.push(line.trim().to_owned());
        } else if line.starts_with("---") || line.starts_with("...") || line.starts_with('%') {
            self.flush(0);
            self.levels.clear();
            self.put(0, line.trim_end());
        } else {
            self.structure(number, line, marks)?;
        }
        Ok(())
    }

    /// A line that begins items, a key or a value.
    fn structure(&mut self, number: usize, line: &str, marks: &Marks) -> Result<(), FormatError> {
        let mut column = indent(line);
        if line[column..].starts_with(['&', '!', '?']) || line[column..].starts_with('\t') {
            return Err(FormatError::Unusual(number + 1));
        }
        let first = column;
        let mut start = None;
        let mut dashes = 0;
        while line[column..] == *"-" || line[column..].starts_with("- ") {
            let new = self.level(true, column);
            start.get_or_insert(new);
            dashes += 1;
            column += 1 + indent(&line[column + 1..]);
        }
        let rest = line[column..].trim_end();
        let characters = line[..column].chars().count();
        if marks.keys.contains(&(number, characters)) {
            let new = self.level(false, column);
            start.get_or_insert(new);
        } else if start.is_none() {
            // A value on a line of its own.
            self.levels.retain(|level| level.old < column);
            start = Some(self.levels.last().map_or(0, |level| level.new + 2));
        }
        let new = start.unwrap_or_default();
        self.flush(new);
        self.moved.insert(number, (first, new));
        self.put(new, format!("{}{rest}", "- ".repeat(dashes)).trim_end());
        Ok(())
    }

    /// The new column of a key or a dash in an old one.
    fn level(&mut self, is_list: bool, old: usize) -> usize {
        while let Some(top) = self.levels.last() {
            // A list may stand in the column of the key that it belongs to.
            let ends = top.old > old || top.old == old && top.is_list && !is_list;
            if !ends {
                break;
            }
            self.levels.pop();
        }
        match self.levels.last() {
            Some(top) if top.old == old && top.is_list == is_list => top.new,
            top => {
                let new = top.map_or(0, |top| top.new + 2);
                self.levels.push(Level { is_list, old, new });
                new
            }
        }
    }

    /// A line of a block text: as far in from its own first line as before.
    fn block_line(&mut self, first: usize, line: &str, all: &[&str], marks: &Marks) {
        if line.trim().is_empty() {
            self.put(0, "");
            return;
        }
        let (base, new) = *self.blocks.entry(first).or_insert_with(|| {
            let own = marks.block.iter().filter(|(_, begin)| **begin == first).map(|(line, _)| all[*line]);
            let base = own.filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(indent(line));
            let parent = self.levels.last().map_or(0, |level| level.new);
            (base, parent + 2)
        });
        self.put(new + indent(line) - base, line.trim_start_matches(' '));
    }

    /// Comments and empty lines before a line of this column.
    fn flush(&mut self, column: usize) {
        let waiting = std::mem::take(&mut self.waiting);
        for (index, line) in waiting.iter().enumerate() {
            if line.is_empty() {
                let doubled = self.text.is_empty()
                    || self.text.ends_with("\n\n")
                    || waiting.get(index + 1).is_some_and(String::is_empty);
                if !doubled {
                    self.text.push('\n');
                }
            } else {
                self.put(column, line);
            }
        }
    }

    fn put(&mut self, column: usize, line: &str) {
        if !line.is_empty() {
            self.text.extend(std::iter::repeat_n(' ', column));
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn finish(mut self) -> String {
        self.flush(0);
        let end = self.text.trim_end_matches('\n').len();
        self.text.truncate(end);
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text
    }
}

#[cfg(test)]
mod tests;
