//! Which variables and fields an expression refers to, and whether they exist.

use std::collections::{BTreeMap, BTreeSet};

use super::ConditionError;
use super::tree::{Kind, Node};
use super::value::Value;

/// A variable, or a field of one, that an expression refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The variable and the fields selected from it by name: `needs.build.result` and `needs["build"].result`
    /// are both `["needs", "build", "result"]`.
    pub path: Vec<String>,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Whether the expression only asks if the last field exists (`has`).
    pub tested: bool,
}

/// The names that an expression may refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    variables: BTreeMap<String, Option<BTreeSet<String>>>,
    members: BTreeMap<String, BTreeSet<String>>,
}

impl Scope {
    /// A scope with these variables, whose fields are not known.
    pub fn new<I>(variables: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let variables = variables.into_iter().map(|name| (name.into(), None)).collect();
        Self { variables, members: BTreeMap::new() }
    }

    /// Says which fields a variable has; others are refused.
    #[must_use]
    pub fn fields<I>(mut self, variable: &str, fields: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let fields = fields.into_iter().map(Into::into).collect();
        self.variables.insert(variable.to_owned(), Some(fields));
        self
    }

    /// Says which fields every field of a variable has, as `result` of every job in `needs`; others are refused.
    #[must_use]
    pub fn fields_of_each(mut self, variable: &str, fields: &[&str]) -> Self {
        self.members.insert(variable.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect());
        self
    }

    /// The names of the variables, for suggestions.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// The known fields of a variable, or of a field of one (`needs.build`), for suggestions.
    pub fn fields_of(&self, variable: &str) -> impl Iterator<Item = &str> {
        let fields = match variable.split_once('.') {
            Some((variable, _)) => self.members.get(variable),
            None => self.variables.get(variable).and_then(Option::as_ref),
        };
        fields.into_iter().flatten().map(String::as_str)
    }
}

pub(super) fn check(references: &[Reference], scope: &Scope) -> Result<(), ConditionError> {
    for reference in references {
        let offset = reference.offset;
        let Some(variable) = reference.path.first() else { continue };
        let Some(fields) = scope.variables.get(variable) else {
            return Err(ConditionError::UnknownVariable { name: variable.clone(), offset });
        };
        let asks_only = reference.tested && reference.path.len() == 2;
        if let (Some(fields), Some(name)) = (fields, reference.path.get(1))
            && !fields.contains(name)
            && !asks_only
        {
            let (variable, name) = (variable.clone(), name.clone());
            return Err(ConditionError::UnknownField { variable, name, offset });
        }
        if let (Some(members), [_, field, name, rest @ ..]) =
            (scope.members.get(variable), &reference.path[..])
            && !members.contains(name)
            && !(reference.tested && rest.is_empty())
        {
            let variable = format!("{variable}.{field}");
            return Err(ConditionError::UnknownField { variable, name: name.clone(), offset });
        }
    }
    Ok(())
}

/// All references, in the order of the text.
pub(super) fn collect(root: &Node) -> Vec<Reference> {
    let mut found = Vec::new();
    walk(root, &mut Vec::new(), &mut found);
    found.sort_by_key(|reference| reference.offset);
    found
}

fn walk<'a>(node: &'a Node, locals: &mut Vec<&'a str>, found: &mut Vec<Reference>) {
    if let Some((path, tested)) = path(node) {
        if !locals.contains(&path[0].as_str()) {
            found.push(Reference { path, offset: node_start(node), tested });
        }
        return;
    }
    if let Kind::Macro(call) = &node.kind {
        walk(&call.range, locals, found);
        locals.push(&call.variable);
        call.filter.iter().for_each(|filter| walk(filter, locals, found));
        walk(&call.body, locals, found);
        locals.pop();
    } else {
        node.children().into_iter().for_each(|child| walk(child, locals, found));
    }
}

/// The path that a node spells, if it spells one, and whether it is only tested.
fn path(node: &Node) -> Option<(Vec<String>, bool)> {
    let (of, field, tested) = match &node.kind {
        Kind::Variable(name) => return Some((vec![name.clone()], false)),
        Kind::Select(of, field) => (of, field.clone(), false),
        Kind::Has(of, field) => (of, field.clone(), true),
        Kind::Index(of, index) => match &index.kind {
            Kind::Literal(Value::String(key)) => (of, key.to_string(), false),
            _ => return None,
        },
        _ => return None,
    };
    let (mut fields, _) = path(of)?;
    fields.push(field);
    Some((fields, tested))
}

fn node_start(node: &Node) -> usize {
    match &node.kind {
        Kind::Select(of, _) | Kind::Has(of, _) | Kind::Index(of, _) => node_start(of),
        _ => node.offset,
    }
}
