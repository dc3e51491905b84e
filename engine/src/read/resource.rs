//! From the tree of a document to a resource.

use std::collections::BTreeSet;

use serde_json::Value;

use super::explain::explain;
use super::salvage::salvage;
use super::tree::{Content, Node};
use crate::address::Address;
use crate::config::{API_VERSION, Declared, Kind, Metadata, Positions, Resource, Scope, Spec};
use crate::diagnostic::Diagnostic;
use crate::suggest::nearest;

/// Reads one document. What is wrong with it goes to `diagnostics`, its address then to `broken`, and what is left
/// without that to `salvaged`.
pub fn read(
    node: &Node,
    positions: Positions,
    resources: &mut Vec<Declared>,
    salvaged: &mut Vec<Declared>,
    broken: &mut BTreeSet<Address>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(kind) = envelope(node, diagnostics) else {
        // Whatever refers to it is not wrong only because its kind is misspelt.
        let kind = node.get("kind").and_then(Node::as_str).and_then(|text| nearest(text, kinds()));
        broken.extend(kind.and_then(|kind| address_of(node, kind.parse().ok()?)));
        return;
    };
    let before = diagnostics.len();
    let mut value = node.to_value();
    if let Value::Object(document) = &mut value {
        // Reported by the envelope already, with better words.
        document.insert("apiVersion".to_owned(), API_VERSION.into());
    }
    let validator = crate::schema::validator(kind);
    // Telling that nothing is wrong is many times faster than looking for what is.
    if !validator.is_valid(&value) {
        for error in validator.iter_errors(&value) {
            explain(&error, node, kind, diagnostics);
        }
    }
    let refused = |(pointer, message): (String, String)| {
        Diagnostic::error("RC1013", message).at(node.nearest(&pointer).unwrap_or(node.span))
    };
    if diagnostics.len() > before {
        broken.extend(address_of(node, kind));
        let mut found = Vec::new();
        let rest = salvage(kind, value, &mut found);
        diagnostics.extend(found.into_iter().map(refused));
        salvaged.extend(rest.map(|resource| Declared { resource, span: node.span, positions }));
        return;
    }
    match typed(kind, value) {
        Ok(resource) => {
            resources.push(Declared { resource, span: node.span, positions });
        }
        Err(first) => {
            let mut found = Vec::new();
            let rest = salvage(kind, node.to_value(), &mut found);
            if found.is_empty() {
                found.push(first);
            }
            diagnostics.extend(found.into_iter().map(refused));
            salvaged.extend(rest.map(|resource| Declared { resource, span: node.span, positions }));
            broken.extend(address_of(node, kind));
        }
    }
}

/// What must be right before a document can be said to be of a kind.
fn envelope(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Kind> {
    let Content::Mapping(entries) = &node.content else {
        let diagnostic = Diagnostic::error(
            "RC1007",
            "a document must be a mapping with apiVersion, kind, metadata and spec",
        );
        diagnostics.push(diagnostic.at(node.span));
        return None;
    };
    match node.get("apiVersion") {
        None => {
            let first = entries.first().map_or(node.span, |(key, _)| key.span);
            let diagnostic = Diagnostic::error("RC1008", "apiVersion is missing").at(first);
            diagnostics.push(diagnostic.hint(format!("begin the document with `apiVersion: {API_VERSION}`")));
        }
        Some(version) if version.as_str() != Some(API_VERSION) => {
            let diagnostic = Diagnostic::error("RC1008", "this apiVersion is not known").at(version.span);
            diagnostics.push(diagnostic.hint(format!("write `apiVersion: {API_VERSION}`")));
        }
        Some(_) => {}
    }
    let Some(kind) = node.get("kind") else {
        let first = entries.first().map_or(node.span, |(key, _)| key.span);
        let diagnostic = Diagnostic::error("RC1009", "kind is missing").at(first);
        diagnostics
            .push(diagnostic.hint(format!("say what the document declares: one of {}", kinds().join(", "))));
        return None;
    };
    match kind.as_str().map(|text| (text, text.parse::<Kind>())) {
        Some((_, Ok(kind))) => Some(kind),
        Some((text, Err(_))) => {
            let diagnostic = Diagnostic::error("RC1009", format!("there is no kind {text:?}")).at(kind.span);
            diagnostics.push(diagnostic.hint(match nearest(text, kinds()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("the kinds are {}", kinds().join(", ")),
            }));
            None
        }
        None => {
            diagnostics.push(Diagnostic::error("RC1009", "kind must be text").at(kind.span));
            None
        }
    }
}

fn kinds() -> [&'static str; Kind::ALL.len()] {
    Kind::ALL.map(Kind::as_str)
}

/// The address that a document means, as far as it can be told.
fn address_of(node: &Node, kind: Kind) -> Option<Address> {
    let metadata = node.get("metadata")?;
    let project = metadata.get("project").and_then(Node::as_str).filter(|_| kind.scope() != Scope::Workspace);
    Some(Address::new(kind, project, metadata.get("name")?.as_str()?))
}

pub(super) fn typed(kind: Kind, mut value: Value) -> Result<Resource, (String, String)> {
    let metadata = serde_path_to_error::deserialize::<_, Metadata>(value["metadata"].take())
        .map_err(|error| (pointer("/metadata", error.path()), error.inner().to_string()))?;
    let spec = Spec::from_value(kind, value["spec"].take())
        .map_err(|error| (pointer("/spec", error.path()), error.inner().to_string()))?;
    Ok(Resource { metadata, spec })
}

fn pointer(root: &str, path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(root.to_owned(), |pointer, segment| match segment {
        Segment::Seq { index } => crate::diff::join(&pointer, &index.to_string()),
        Segment::Map { key } => crate::diff::join(&pointer, key),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}
