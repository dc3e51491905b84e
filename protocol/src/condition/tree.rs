//! The tree that is evaluated: what the parser found, less all that is not supported.

use super::functions::Function;
use super::value::Value;

/// A part of an expression, and where it stands.
pub(super) struct Node {
    /// In bytes from the beginning of the source.
    pub offset: usize,
    pub kind: Kind,
}

pub(super) enum Kind {
    Literal(Value<'static>),
    Variable(String),
    Select(Box<Node>, String),
    /// `has(a.b)`
    Has(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Choose(Box<Node>, Box<Node>, Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// The receiver, if there is one, is the first argument.
    Call(Function, Vec<Node>),
    Macro(Box<Macro>),
}

/// An operator whose both sides are always evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// `range.kind(variable, [filter,] body)`
pub(super) struct Macro {
    pub kind: MacroKind,
    pub range: Node,
    pub variable: String,
    /// Of `map` with three arguments.
    pub filter: Option<Node>,
    pub body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl Node {
    /// The parts of a part, in the order of the text; for a macro its range, filter and body.
    pub(super) fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Literal(_) | Kind::Variable(_) => Vec::new(),
            Kind::Select(of, _) | Kind::Has(of, _) | Kind::Not(of) | Kind::Negate(of) => vec![of],
            Kind::Index(one, two) | Kind::Binary(_, one, two) => vec![one, two],
            Kind::And(all) | Kind::Or(all) | Kind::List(all) | Kind::Call(_, all) => all.iter().collect(),
            Kind::Choose(one, two, three) => vec![one, two, three],
            Kind::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Kind::Macro(m) => {
                std::iter::once(&m.range).chain(m.filter.as_ref()).chain(std::iter::once(&m.body)).collect()
            }
        }
    }

    /// How it reads, for messages; only of selections from a variable, `None` for anything else.
    pub(super) fn path(&self) -> Option<String> {
        match &self.kind {
            Kind::Variable(name) => Some(name.clone()),
            Kind::Select(of, field) => Some(format!("{}.{field}", of.path()?)),
            Kind::Index(of, index) => match &index.kind {
                Kind::Literal(Value::String(key)) => Some(format!("{}[{:?}]", of.path()?, &**key)),
                Kind::Literal(Value::Int(index)) => Some(format!("{}[{index}]", of.path()?)),
                _ => None,
            },
            _ => None,
        }
    }
}
