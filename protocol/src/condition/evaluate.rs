//! Evaluation with a budget, of data or of nothing: without a context every variable is unknown, and the
//! result tells what can be said in spite of that.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value as Json;

use super::ConditionError;
use super::functions;
use super::tree::{Kind, Macro, MacroKind, Node, Operator};
use super::value::{Map, Value};

/// How much work one evaluation may do: about one unit a part of the expression that is visited, and one for
/// every 16 bytes that are compared or made. The whole of it takes some ten milliseconds.
pub const BUDGET: usize = 1_000_000;

/// What making a regular expression costs; the automaton is small, see [`Evaluation::matches`].
const REGEX_COST: usize = 10_000;

/// Evaluates; `None` leaves every variable unknown.
pub(super) fn evaluate<'a>(root: &'a Node, context: Option<&'a Json>) -> Result<Value<'a>, ConditionError> {
    let mut evaluation = Evaluation { context, locals: Vec::new(), budget: BUDGET, regexes: HashMap::new() };
    let result = evaluation.node(root).and_then(|value| {
        // Parts of a value may be shared many times over; whoever reads it walks them all.
        let size = evaluation.size(&value);
        evaluation.charge(size).map(|()| value)
    });
    result.map_err(|fault| match fault {
        Fault::At { offset, message } => ConditionError::Evaluation { message, offset },
        Fault::Budget => ConditionError::TooExpensive,
    })
}

/// Why an evaluation did not go on.
#[derive(Debug)]
pub(super) enum Fault {
    At { offset: usize, message: String },
    Budget,
}

impl Fault {
    pub(super) fn at(offset: usize, message: String) -> Self {
        Self::At { offset, message }
    }
}

/// One evaluation.
pub(super) struct Evaluation<'a> {
    context: Option<&'a Json>,
    /// Variables of the macros around, innermost last.
    locals: Vec<(&'a str, Value<'a>)>,
    budget: usize,
    regexes: HashMap<String, regex_lite::Regex>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn charge(&mut self, cost: usize) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(cost).ok_or(Fault::Budget)?;
        Ok(())
    }

    /// Whether a text matches a pattern somewhere. The engine takes time in proportion to text and automaton,
    /// so the automaton is kept to some hundred states and the text is charged for.
    pub(super) fn matches(&mut self, text: &str, pattern: &str, offset: usize) -> Result<bool, Fault> {
        self.charge(text.len() * 16)?;
        if !self.regexes.contains_key(pattern) {
            self.charge(REGEX_COST)?;
            let regex = regex_lite::RegexBuilder::new(pattern).size_limit(16 << 10).build();
            let regex =
                regex.map_err(|error| Fault::at(offset, format!("bad regular expression: {error}")))?;
            self.regexes.insert(pattern.to_owned(), regex);
        }
        Ok(self.regexes.get(pattern).is_some_and(|regex| regex.is_match(text)))
    }

    fn node(&mut self, node: &'a Node) -> Result<Value<'a>, Fault> {
        self.charge(1)?;
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Variable(name) => self.variable(name, node.offset),
            Kind::Select(of, field) => {
                let value = self.node(of)?;
                select(&value, field, node).transpose().unwrap_or_else(|| Err(missing(node)))
            }
            Kind::Has(of, field) => {
                let value = self.node(of)?;
                if matches!(value, Value::Unknown) {
                    return Ok(Value::Unknown);
                }
                Ok(Value::Bool(select(&value, field, node)?.is_some()))
            }
            Kind::Index(of, index) => {
                let (value, index) = (self.node(of)?, self.node(index)?);
                self.charge_lookup(&value, &index)?;
                item(&value, &index, node)
            }
            Kind::Not(of) => match self.node(of)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                Value::Unknown => Ok(Value::Unknown),
                other => Err(Fault::at(node.offset, format!("`!` needs a bool, this is {}", other.kind()))),
            },
            Kind::Negate(of) => match self.node(of)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| overflow(node)),
                Value::Double(value) => Ok(Value::Double(-value)),
                Value::Unknown => Ok(Value::Unknown),
                other => Err(Fault::at(node.offset, format!("`-` needs a number, this is {}", other.kind()))),
            },
            Kind::And(all) => self.logic(all, false),
            Kind::Or(all) => self.logic(all, true),
            Kind::Binary(operator, one, two) => {
                let (one, two) = (self.node(one)?, self.node(two)?);
                self.binary(*operator, &one, &two, node)
            }
            Kind::Choose(condition, yes, no) => match self.node(condition)? {
                Value::Bool(true) => self.node(yes),
                Value::Bool(false) => self.node(no),
                Value::Unknown => self.either(yes, no),
                other => Err(Fault::at(node.offset, format!("`?` needs a bool, this is {}", other.kind()))),
            },
            Kind::List(items) => {
                let items: Vec<Value<'_>> =
                    items.iter().map(|item| self.node(item)).collect::<Result<_, _>>()?;
                Ok(if has_unknown(&items) { Value::Unknown } else { Value::list(items) })
            }
            Kind::Map(entries) => self.map(entries, node),
            Kind::Call(function, arguments) => {
                let arguments: Vec<Value<'_>> =
                    arguments.iter().map(|argument| self.node(argument)).collect::<Result<_, _>>()?;
                if has_unknown(&arguments) {
                    return Ok(Value::Unknown);
                }
                functions::call(*function, &arguments, node.offset, self)
            }
            Kind::Macro(call) => self.macro_call(call, node),
        }
    }

    fn variable(&mut self, name: &'a str, offset: usize) -> Result<Value<'a>, Fault> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(local, _)| *local == name) {
            return Ok(value.clone());
        }
        let Some(context) = self.context else { return Ok(Value::Unknown) };
        let value = context.get(name).map(Value::from_json);
        value.ok_or_else(|| Fault::at(offset, format!("unknown variable `{name}`")))
    }

    /// `&&` (`decisive` is false) and `||` (`decisive` is true): one decisive side decides, whatever the
    /// others are, errors included.
    fn logic(&mut self, sides: &'a [Node], decisive: bool) -> Result<Value<'a>, Fault> {
        let (mut unknown, mut fault) = (false, None);
        for side in sides {
            match self.node(side) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(Value::Unknown) => unknown = true,
                Ok(other) => {
                    let symbol = if decisive { "||" } else { "&&" };
                    let message = format!("`{symbol}` needs bools, this is {}", other.kind());
                    fault = fault.or(Some(Fault::at(side.offset, message)));
                }
                Err(Fault::Budget) => return Err(Fault::Budget),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        match fault {
            _ if unknown => Ok(Value::Unknown),
            Some(fault) => Err(fault),
            None => Ok(Value::Bool(!decisive)),
        }
    }

    /// One of two, nobody knows which: known only where both are the same.
    fn either(&mut self, yes: &'a Node, no: &'a Node) -> Result<Value<'a>, Fault> {
        Ok(match (self.node(yes)?, self.node(no)?) {
            (Value::Bool(one), Value::Bool(two)) if one == two => Value::Bool(one),
            _ => Value::Unknown,
        })
    }

    fn map(&mut self, entries: &'a [(Node, Node)], node: &Node) -> Result<Value<'a>, Fault> {
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (key, value) = (self.node(key)?, self.node(value)?);
            if has_unknown(&[key.clone(), value.clone()]) {
                return Ok(Value::Unknown);
            }
            if !matches!(key, Value::String(_) | Value::Int(_) | Value::Bool(_)) {
                return Err(Fault::at(node.offset, format!("a key cannot be {}", key.kind())));
            }
            if made.iter().any(|(other, _)| other.equals(&key)) {
                return Err(Fault::at(node.offset, format!("key {:?} is repeated", short(&key.display()))));
            }
            made.push((key, value));
        }
        Ok(Value::Map(Map::Shared(made.into())))
    }

    fn binary(
        &mut self,
        operator: Operator,
        one: &Value<'a>,
        two: &Value<'a>,
        node: &Node,
    ) -> Result<Value<'a>, Fault> {
        if matches!(one, Value::Unknown) || matches!(two, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let cost = self.size(one).min(self.size(two));
        self.charge(cost)?;
        let order = |matching: fn(Ordering) -> bool| match one.compare(two) {
            Some(order) => Ok(Value::Bool(matching(order))),
            None if is_number(one) && is_number(two) => Ok(Value::Bool(false)),
            None => Err(mismatch(operator, one, two, node)),
        };
        match operator {
            Operator::Equal => Ok(Value::Bool(one.equals(two))),
            Operator::NotEqual => Ok(Value::Bool(!one.equals(two))),
            Operator::Less => order(Ordering::is_lt),
            Operator::LessOrEqual => order(Ordering::is_le),
            Operator::Greater => order(Ordering::is_gt),
            Operator::GreaterOrEqual => order(Ordering::is_ge),
            Operator::In => match two {
                Value::List(list) => {
                    for item in list.iter() {
                        let cost = 1 + self.size(&item).min(self.size(one));
                        self.charge(cost)?;
                        if item.equals(one) {
                            return Ok(Value::Bool(true));
                        }
                    }
                    Ok(Value::Bool(false))
                }
                Value::Map(map) if can_be_key(one) => {
                    self.charge_lookup(two, one)?;
                    Ok(Value::Bool(map.get(one).is_some()))
                }
                _ => Err(mismatch(operator, one, two, node)),
            },
            Operator::Add => self.add(one, two, node),
            _ => arithmetic(operator, one, two, node),
        }
    }

    fn add(&mut self, one: &Value<'a>, two: &Value<'a>, node: &Node) -> Result<Value<'a>, Fault> {
        match (one, two) {
            (Value::String(one), Value::String(two)) => {
                self.charge((one.len() + two.len()) / 16)?;
                Ok(Value::computed([&**one, &**two].concat()))
            }
            (Value::List(one), Value::List(two)) => {
                self.charge(one.len() + two.len())?;
                Ok(Value::list(one.iter().chain(two.iter()).collect()))
            }
            _ => arithmetic(Operator::Add, one, two, node),
        }
    }

    fn macro_call(&mut self, call: &'a Macro, node: &Node) -> Result<Value<'a>, Fault> {
        let items: Vec<Value<'a>> = match self.node(&call.range)? {
            Value::List(list) => {
                self.charge(list.len())?;
                list.iter().collect()
            }
            Value::Map(map) => {
                self.charge(map.len())?;
                map.iter().map(|(key, _)| key).collect()
            }
            Value::Unknown => return Ok(Value::Unknown),
            other => {
                let message = format!("this needs a list or a map, not {}", other.kind());
                return Err(Fault::at(node.offset, message));
            }
        };
        let depth = self.locals.len();
        self.locals.push((&call.variable, Value::Unknown));
        let result = self.fold(call, items, node);
        self.locals.truncate(depth);
        result
    }

    fn fold(&mut self, call: &'a Macro, items: Vec<Value<'a>>, node: &Node) -> Result<Value<'a>, Fault> {
        let (mut made, mut true_count, mut unknown, mut fault) = (Vec::new(), 0u32, false, None);
        let decisive = call.kind == MacroKind::Exists;
        for item in items {
            if let Some(local) = self.locals.last_mut() {
                local.1 = item.clone();
            }
            if let Some(filter) = &call.filter {
                match self.truth(filter, node)? {
                    Some(false) => continue,
                    Some(true) => {}
                    None => unknown = true,
                }
            }
            match call.kind {
                MacroKind::Map => made.push(self.node(&call.body)?),
                MacroKind::Filter => match self.truth(&call.body, node)? {
                    Some(true) => made.push(item),
                    Some(false) => {}
                    None => unknown = true,
                },
                MacroKind::ExistsOne => match self.truth(&call.body, node)? {
                    Some(value) => true_count += u32::from(value),
                    None => unknown = true,
                },
                MacroKind::All | MacroKind::Exists => match self.truth(&call.body, node) {
                    Ok(Some(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                    Ok(Some(_)) => {}
                    Ok(None) => unknown = true,
                    Err(Fault::Budget) => return Err(Fault::Budget),
                    Err(error) => fault = fault.or(Some(error)),
                },
            }
        }
        match (call.kind, fault) {
            _ if unknown || has_unknown(&made) => Ok(Value::Unknown),
            (_, Some(fault)) => Err(fault),
            (MacroKind::Map | MacroKind::Filter, None) => Ok(Value::list(made)),
            (MacroKind::ExistsOne, None) => Ok(Value::Bool(true_count == 1)),
            (MacroKind::All | MacroKind::Exists, None) => Ok(Value::Bool(!decisive)),
        }
    }

    fn truth(&mut self, body: &'a Node, node: &Node) -> Result<Option<bool>, Fault> {
        match self.node(body)? {
            Value::Bool(value) => Ok(Some(value)),
            Value::Unknown => Ok(None),
            other => Err(Fault::at(node.offset, format!("this needs a bool, not {}", other.kind()))),
        }
    }

    /// Looking a key up in a computed map compares it with each key.
    fn charge_lookup(&mut self, of: &Value<'a>, key: &Value<'a>) -> Result<(), Fault> {
        let comparisons = match of {
            Value::Map(Map::Shared(entries)) => entries.len(),
            _ => 1,
        };
        let cost = comparisons * (1 + self.size(key));
        self.charge(cost)
    }

    /// What looking at all of a value costs. It stops counting at the budget.
    fn size(&self, value: &Value<'_>) -> usize {
        match value {
            Value::String(text) => text.len() / 16,
            Value::List(list) => {
                let mut size = 1;
                for item in list.iter() {
                    size += 1 + self.size(&item);
                    if size > self.budget {
                        break;
                    }
                }
                size
            }
            Value::Map(map) => {
                let mut size = 1;
                for (key, value) in map.iter() {
                    size += 2 + self.size(&key) + self.size(&value);
                    if size > self.budget {
                        break;
                    }
                }
                size
            }
            _ => 0,
        }
    }
}

fn select<'a>(value: &Value<'a>, field: &str, node: &Node) -> Result<Option<Value<'a>>, Fault> {
    match value {
        Value::Map(map) => Ok(map.get(&Value::text(field))),
        Value::Unknown => Ok(Some(Value::Unknown)),
        other => {
            let of = match &node.kind {
                Kind::Select(of, _) | Kind::Has(of, _) => of.path(),
                _ => None,
            };
            let of = of.map_or_else(|| "this".to_owned(), |path| format!("`{path}`"));
            Err(Fault::at(node.offset, format!("{of} is {}, it has no field `{field}`", other.kind())))
        }
    }
}

fn item<'a>(value: &Value<'a>, index: &Value<'a>, node: &Node) -> Result<Value<'a>, Fault> {
    match (value, index) {
        (Value::Unknown, _) | (_, Value::Unknown) => Ok(Value::Unknown),
        (Value::Map(map), key) => map.get(key).ok_or_else(|| match node.path() {
            Some(_) => missing(node),
            None => Fault::at(node.offset, format!("no such key: {}", short(&key.display()))),
        }),
        // A whole number is an index however it is written.
        #[allow(clippy::cast_possible_truncation, reason = "a list is far shorter than 2^53")]
        (Value::List(_), Value::Double(index)) if index.fract() == 0.0 && index.abs() < 9e15 => {
            item(value, &Value::Int(*index as i64), node)
        }
        (Value::List(list), Value::Int(index)) => {
            let item = usize::try_from(*index).ok().and_then(|index| list.get(index));
            item.ok_or_else(|| {
                Fault::at(node.offset, format!("index {index} is outside of a list of {}", list.len()))
            })
        }
        (Value::List(_), other) => Err(Fault::at(
            node.offset,
            format!("the index of a list must be an int, this is {}", other.kind()),
        )),
        (other, _) => Err(Fault::at(node.offset, format!("{} cannot be indexed", other.kind()))),
    }
}

fn arithmetic<'a>(
    operator: Operator,
    one: &Value<'a>,
    two: &Value<'a>,
    node: &Node,
) -> Result<Value<'a>, Fault> {
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => {
            if *two == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
                return Err(Fault::at(node.offset, "division by zero".to_owned()));
            }
            let result = match operator {
                Operator::Add => one.checked_add(*two),
                Operator::Subtract => one.checked_sub(*two),
                Operator::Multiply => one.checked_mul(*two),
                Operator::Divide => one.checked_div(*two),
                _ => one.checked_rem(*two),
            };
            result.map(Value::Int).ok_or_else(|| overflow(node))
        }
        (Value::Double(one), Value::Double(two)) => match operator {
            Operator::Add => Ok(Value::Double(one + two)),
            Operator::Subtract => Ok(Value::Double(one - two)),
            Operator::Multiply => Ok(Value::Double(one * two)),
            Operator::Divide => Ok(Value::Double(one / two)),
            _ => Err(mismatch(operator, &Value::Double(*one), &Value::Double(*two), node)),
        },
        _ => Err(mismatch(operator, one, two, node)),
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::Double(_))
}

/// Keys of maps are texts, numbers and truth values; asking for another is a mistake and not a no.
fn can_be_key(value: &Value<'_>) -> bool {
    matches!(value, Value::String(_) | Value::Int(_) | Value::Double(_) | Value::Bool(_))
}

fn has_unknown(values: &[Value<'_>]) -> bool {
    values.iter().any(|value| matches!(value, Value::Unknown))
}

fn missing(node: &Node) -> Fault {
    let key = node.path().unwrap_or_else(|| match &node.kind {
        Kind::Select(_, field) => field.clone(),
        _ => String::new(),
    });
    Fault::at(node.offset, format!("no such key: {key}"))
}

fn overflow(node: &Node) -> Fault {
    Fault::at(node.offset, "the result does not fit into 64 bits".to_owned())
}

fn mismatch(operator: Operator, one: &Value<'_>, two: &Value<'_>, node: &Node) -> Fault {
    let symbol = operator.symbol();
    Fault::at(node.offset, format!("`{symbol}` cannot be used on {} and {}", one.kind(), two.kind()))
}
