//! What can be said of an expression without any data.
//!
//! Two things are looked for: a result that no variable can change (`false && x`), and conjunctions that ask
//! one path for different values (`event.type == "push" && event.type == "tag"`). Neither is ever wrong:
//! where nothing is found, nothing is said.

use super::evaluate;
use super::tree::{Kind, Node, Operator};
use super::value::Value;

pub(super) fn value(root: &Node) -> Option<bool> {
    match evaluate::evaluate(root, None) {
        Ok(Value::Bool(value)) => Some(value),
        Ok(Value::Unknown) if never_true(root) => Some(false),
        _ => None,
    }
}

/// Whether a node cannot be true, whatever the variables are.
fn never_true(node: &Node) -> bool {
    if matches!(evaluate::evaluate(node, None), Ok(Value::Bool(false))) {
        return true;
    }
    match &node.kind {
        Kind::And(all) => all.iter().any(never_true) || contradict(all),
        Kind::Or(all) => all.iter().all(never_true),
        Kind::Choose(_, yes, no) => never_true(yes) && never_true(no),
        _ => false,
    }
}

/// What a conjunct says about a path.
struct Claim<'a> {
    path: String,
    /// It has one of these values, or, if `negated`, none of them.
    values: Vec<&'a Value<'static>>,
    negated: bool,
}

/// Whether some path would need two values at once.
fn contradict(conjuncts: &[Node]) -> bool {
    let mut claims = Vec::new();
    conjuncts.iter().for_each(|conjunct| claim(conjunct, false, &mut claims));
    claims.iter().filter(|claim| !claim.negated).any(|positive| {
        let left = positive.values.iter().filter(|value| {
            let mut about_the_same = claims.iter().filter(|other| other.path == positive.path);
            about_the_same.all(|other| other.values.iter().any(|v| v.equals(value)) != other.negated)
        });
        left.count() == 0
    })
}

fn claim<'a>(node: &'a Node, negated: bool, claims: &mut Vec<Claim<'a>>) {
    match &node.kind {
        Kind::Not(of) => match &of.kind {
            // not (a or b) is (not a) and (not b)
            Kind::Or(all) => all.iter().for_each(|side| claim(side, !negated, claims)),
            _ => claim(of, !negated, claims),
        },
        Kind::And(all) if !negated => all.iter().for_each(|side| claim(side, false, claims)),
        Kind::Binary(operator @ (Operator::Equal | Operator::NotEqual), one, two) => {
            let negated = negated != (*operator == Operator::NotEqual);
            let pair =
                literal(two).map(|value| (one, value)).or_else(|| literal(one).map(|value| (two, value)));
            if let Some((path, value)) = pair
                && let Some(path) = path.path()
            {
                claims.push(Claim { path, values: vec![value], negated });
            }
        }
        Kind::Binary(Operator::In, one, two) => {
            if let (Some(path), Kind::List(items)) = (one.path(), &two.kind)
                && let Some(values) = items.iter().map(literal).collect()
            {
                claims.push(Claim { path, values, negated });
            }
        }
        Kind::Select(..) | Kind::Variable(_) | Kind::Index(..) => {
            // A path that stands alone must be true, or false under `!`.
            if let Some(path) = node.path() {
                claims.push(Claim { path, values: vec![&Value::Bool(true)], negated });
            }
        }
        _ => {}
    }
}

fn literal(node: &Node) -> Option<&Value<'static>> {
    match &node.kind {
        Kind::Literal(value @ (Value::String(_) | Value::Int(_) | Value::Bool(_) | Value::Null)) => {
            Some(value)
        }
        _ => None,
    }
}
