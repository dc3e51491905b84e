//! From the bytes of files to a configuration, or to everything that is wrong with them.
//!
//! bytes → text → documents as trees with places, under a budget → each against the JSON Schema of its kind → a
//! typed, normalised spec → the rules across documents ([`crate::check`]). One error does not hide another, and a
//! document that is wrong still counts as declared, so that what refers to it is not an error too.

mod document;
mod explain;
mod outline;
mod resource;
mod salvage;
mod scalar;
mod text;
mod tree;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

pub use document::Budget;
use serde_json::Value;
pub use tree::{Content, Key, Node};

use crate::address::Address;
use crate::config::{Catalog, Configuration, Declared, Positions, SourceFile};
use crate::diagnostic::{Diagnostic, Span};
use crate::parallel;
use crate::store::Owner;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Its path as people should see it.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What came of reading: as much of the configuration as could be understood, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The files and the resources.
    pub configuration: Configuration,
    /// Errors and warnings, by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// Whether the configuration may be used.
    pub fn is_valid(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != crate::diagnostic::Severity::Error)
    }
}

/// What a configuration is read in: what others have applied, and for whom it is read.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// What may be referred to without being declared here.
    pub given: Catalog,
    /// The config set that it is; one of a project's repository may not declare everything.
    pub owner: Owner,
}

/// Reads files that stand alone. The order in which they are given does not matter.
pub fn read(files: Vec<InputFile>, budget: &Budget) -> Reading {
    read_in(files, budget, Context::default())
}

/// Reads files in a context.
pub fn read_in(files: Vec<InputFile>, budget: &Budget, context: Context) -> Reading {
    parse(files, budget).in_context(context)
}

/// Files that were read one by one, before they are held against each other and their context.
pub struct Parsed(Vec<Part>);

/// Reads a file that holds one document of a schema, or nothing: its tree, what is wrong with it, and its text.
pub fn one(file: InputFile, budget: &Budget, schema: &Value) -> (Option<Node>, Vec<Diagnostic>, SourceFile) {
    let mut found = Vec::new();
    let (text, documents) = match text::decode(0, &file.path, file.bytes, budget) {
        Ok(text) => {
            let (documents, _) = document::documents(0, &text, budget, &mut found);
            (text, documents)
        }
        Err((diagnostic, text)) => {
            found.push(*diagnostic);
            (text, Vec::new())
        }
    };
    let source = SourceFile { path: file.path, text: text.into() };
    let mut documents = documents.into_iter();
    let node = documents.next().unwrap_or_else(|| {
        let span = Span { source: 0, start: 0, end: 0 };
        Node { span, content: Content::Mapping(Vec::new()) }
    });
    if let Some(second) = documents.next() {
        let message = "the file holds more than one document";
        found.push(Diagnostic::error("RC1007", message).at(second.span).hint("keep one"));
    }
    if found.is_empty() {
        let validator = jsonschema::draft7::new(schema).expect("a generated schema is a valid one");
        for error in validator.iter_errors(&node.to_value()) {
            explain::explain_by(&error, &node, schema, &mut found);
        }
    }
    (Some(node).filter(|_| found.iter().all(|one| one.span.is_some())), found, source)
}

/// Reads files one by one. The order in which they are given does not matter.
pub fn parse(mut files: Vec<InputFile>, budget: &Budget) -> Parsed {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Parsed(read_files(files, budget))
}

impl Parsed {
    /// Holds them against each other and their context.
    pub fn in_context(self, context: Context) -> Reading {
        together(self.0, context)
    }
}

fn together(mut parts: Vec<Part>, context: Context) -> Reading {
    let mut reading = Reading::default();
    let mut addresses = Addresses::default();
    let salvaged: Vec<Declared> = parts.iter_mut().flat_map(|part| part.salvaged.drain(..)).collect();
    for part in &mut parts {
        reading.diagnostics.append(&mut part.diagnostics);
        addresses.broken.append(&mut part.broken);
        for declared in part.resources.drain(..) {
            addresses.add(&mut reading, declared);
        }
    }
    addresses.broken.retain(|address| !reading.configuration.resources.contains_key(address));
    reading.configuration.sources = parts.into_iter().map(|part| part.source).collect();
    if reading.configuration.resources.is_empty() && reading.diagnostics.is_empty() {
        let message = "no resource is declared";
        reading.diagnostics.push(
            Diagnostic::error("RC1001", message).hint("`reactorcide init` writes a directory to start from"),
        );
    }
    if let Owner::Project(project) = &context.owner {
        reading.diagnostics.extend(crate::check::scope(&reading.configuration, project));
    }
    let declared: BTreeSet<Address> = reading.configuration.resources.keys().cloned().collect();
    for (address, resource) in context.given {
        let resource = Arc::unwrap_or_clone(resource);
        let given = Declared { resource, span: GIVEN, positions: Positions::default() };
        reading.configuration.resources.entry(address).or_insert(given);
    }
    let found = crate::check::check(&reading.configuration, &addresses.broken);
    reading.diagnostics.extend(found);
    if !salvaged.is_empty() {
        let found = check_salvaged(&reading.configuration, salvaged, &addresses.broken);
        reading.diagnostics.extend(found);
    }
    // What is wrong with something that others have applied is not wrong here.
    reading.diagnostics.retain(|one| one.span.is_none_or(|span| span.source != GIVEN.source));
    reading.configuration.resources.retain(|address, _| declared.contains(address));
    reading
        .diagnostics
        .sort_by(|a, b| (a.span, &a.path, a.code, &a.message).cmp(&(b.span, &b.path, b.code, &b.message)));
    reading.diagnostics.dedup();
    reading
}

/// The place of what stands in no file.
const GIVEN: Span = Span { source: u32::MAX, start: 0, end: 0 };

/// What else is wrong in what is left of documents with errors. What is wrong in the others is found once more.
fn check_salvaged(
    configuration: &Configuration,
    salvaged: Vec<Declared>,
    broken: &BTreeSet<Address>,
) -> Vec<Diagnostic> {
    let mut whole = configuration.clone();
    for declared in salvaged {
        whole.resources.entry(declared.resource.address()).or_insert(declared);
    }
    let mut found = crate::check::check(&whole, broken);
    found.retain(salvage::is_believable);
    found
}

/// What one file holds.
struct Part {
    source: SourceFile,
    resources: Vec<Declared>,
    salvaged: Vec<Declared>,
    broken: BTreeSet<Address>,
    diagnostics: Vec<Diagnostic>,
}

/// Reads the files side by side where there are many.
fn read_files(files: Vec<InputFile>, budget: &Budget) -> Vec<Part> {
    let files: Vec<_> = files.into_iter().enumerate().map(|file| Mutex::new(Some(file))).collect();
    parallel::map(&files, |file| {
        let (source, file) = file.lock().ok().and_then(|mut file| file.take()).expect("each is taken once");
        read_file(source, file, budget)
    })
}

fn read_file(source: usize, file: InputFile, budget: &Budget) -> Part {
    let source = u32::try_from(source).expect("fewer than four billion files");
    let mut part = Part {
        source: SourceFile { path: file.path, text: "".into() },
        resources: Vec::new(),
        salvaged: Vec::new(),
        broken: BTreeSet::new(),
        diagnostics: Vec::new(),
    };
    match text::decode(source, &part.source.path, file.bytes, budget) {
        Ok(text) => {
            let text: Arc<str> = text.into();
            let (documents, is_whole) = document::documents(source, &text, budget, &mut part.diagnostics);
            for (number, node) in documents.into_iter().enumerate() {
                let positions = Positions::new(Arc::clone(&text), source, number);
                resource::read(
                    &node,
                    positions,
                    &mut part.resources,
                    &mut part.salvaged,
                    &mut part.broken,
                    &mut part.diagnostics,
                );
            }
            if !is_whole {
                part.broken.extend(outline::addresses(&text));
            }
            part.source.text = text;
        }
        Err((diagnostic, text)) => {
            part.diagnostics.push(*diagnostic);
            part.broken.extend(outline::addresses(&text));
            part.source.text = text.into();
        }
    }
    part
}

/// One document of a text that was read before, as a tree.
pub(crate) fn document(text: &str, source: u32, number: usize) -> Option<Node> {
    // It was within the budget then.
    let budget = Budget {
        bytes: usize::MAX,
        depth: 1_000,
        nodes: usize::MAX,
        aliases: usize::MAX,
        scalar_bytes: usize::MAX,
    };
    document::documents(source, text, &budget, &mut Vec::new()).0.into_iter().nth(number)
}

/// Whether two texts hold the same documents, wherever their parts stand; false where one cannot be read.
pub(crate) fn same_documents(one: &str, other: &str, budget: &Budget) -> bool {
    let values = |text: &str| {
        let mut diagnostics = Vec::new();
        let (documents, is_whole) = document::documents(0, text, budget, &mut diagnostics);
        let values: Vec<_> = documents.iter().map(Node::to_value).collect();
        (is_whole, diagnostics.len(), values)
    };
    let (one, other) = (values(one), values(other));
    one.0 && one == other
}

#[derive(Default)]
struct Addresses {
    /// Declared by documents that are wrong.
    broken: BTreeSet<Address>,
}

impl Addresses {
    fn add(&mut self, reading: &mut Reading, declared: Declared) {
        let address = declared.resource.address();
        let name_span =
            |declared: &Declared| declared.positions.get("/metadata/name").unwrap_or(declared.span);
        if let Some(first) = reading.configuration.resources.get(&address) {
            let span: Span = name_span(&declared);
            let diagnostic = Diagnostic::error("RC1020", format!("{address} is declared twice")).at(span);
            let diagnostic =
                diagnostic.related(name_span(first), "first here").hint("rename one of the two or remove it");
            reading.diagnostics.push(diagnostic);
            return;
        }
        reading.configuration.resources.insert(address, declared);
    }
}
