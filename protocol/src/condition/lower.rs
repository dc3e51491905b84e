//! From text to our tree: the `cel` crate parses, and what it found is checked and made smaller.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::{Env, ParseError};

use super::functions::Function;
use super::limits::{MAX_DEPTH, MAX_NESTED_MACROS};
use super::tree::{Kind, Macro, MacroKind, Node, Operator};
use super::value::{Text, Value};
use super::{ConditionError, limits};

/// The parser recurses, so it gets a stack of its own that is far larger than what the limits on the text
/// let it use; only pages that are touched cost anything.
const STACK_BYTES: usize = 16 << 20;

/// Parses a text that has passed [`limits::check`].
pub(super) fn parse(source: &str) -> Result<Node, ConditionError> {
    debug_assert!(limits::check(source).is_ok());
    let syntax = |message: &str| ConditionError::Syntax { message: message.to_owned(), offset: 0 };
    if source.trim().is_empty() {
        return Err(syntax("the expression is empty"));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("condition".to_owned()).stack_size(STACK_BYTES);
        let parsing = thread.spawn_scoped(scope, || parse_here(source));
        let parsing = parsing.map_err(|_| syntax("no thread could be started to parse the expression"))?;
        parsing.join().unwrap_or_else(|_| Err(syntax("the expression cannot be parsed")))
    })
}

fn parse_here(source: &str) -> Result<Node, ConditionError> {
    // Without macros they stay calls, which are easier to check and cheaper to evaluate than what they expand to.
    let parser = Env::default().with_optional_support(false).parser().error_recovery_limit(2);
    let (root, positions) = parser.parse_with_source_info(source).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || ConditionError::Syntax { message: "not a valid expression".to_owned(), offset: 0 },
            |error| syntax_error(source, error),
        )
    })?;
    Lowering { positions, macros: 0 }.node(&root, 0)
}

/// The parser's messages name its grammar; these name what the author wrote.
fn syntax_error(source: &str, error: &ParseError) -> ConditionError {
    // Lines and columns count from 1, columns in characters.
    let (line, column) = (error.pos.0.max(1) as usize, error.pos.1.max(1) as usize);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let offset = source[before..].char_indices().nth(column - 1).map_or(source.len(), |(at, _)| before + at);
    let text = error.msg.trim_start_matches("Syntax error: ");
    let quoted = || text.split_once('\'').and_then(|(_, rest)| rest.split("' expecting").next());
    let message = if let Some(token) = text.strip_prefix("token recognition error at: ") {
        let token = token.trim_matches('\'').trim();
        match source[offset..].chars().next() {
            Some('=') => "`=` is not an operator; use `==` to compare".to_owned(),
            Some('&') => "`&` is not an operator; use `&&`".to_owned(),
            Some('|') => "`|` is not an operator; use `||`".to_owned(),
            Some('"' | '\'') => "this string is not closed".to_owned(),
            _ => format!("unexpected `{token}`"),
        }
    } else if text.contains("'<EOF>'") && offset >= source.trim_end().len() {
        "the expression ends too early".to_owned()
    } else if text.starts_with("mismatched")
        || text.starts_with("extraneous")
        || text.starts_with("no viable")
    {
        match quoted() {
            Some(token) => format!("unexpected `{}`", token.trim_end_matches('\'')),
            None => text.to_owned(),
        }
    } else {
        text.to_owned()
    };
    ConditionError::Syntax { message, offset }
}

struct Lowering {
    positions: SourceInfo,
    /// Macros around the node at hand.
    macros: usize,
}

impl Lowering {
    fn node(&mut self, from: &IdedExpr, depth: usize) -> Result<Node, ConditionError> {
        let offset = self.offset(from);
        if depth > MAX_DEPTH {
            let message = format!("the expression nests deeper than {MAX_DEPTH}");
            return Err(ConditionError::TooComplex { message, offset });
        }
        let kind = match &from.expr {
            Expr::Literal(literal) => Kind::Literal(literal_value(literal, offset)?),
            Expr::Ident(name) => Kind::Variable(name.clone()),
            Expr::Select(select) => {
                Kind::Select(Box::new(self.node(&select.operand, depth + 1)?), select.field.clone())
            }
            Expr::List(list) => Kind::List(self.nodes(&list.elements, depth)?),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(unsupported("messages are not supported", offset));
                    };
                    entries.push((self.node(&entry.key, depth + 1)?, self.node(&entry.value, depth + 1)?));
                }
                Kind::Map(entries)
            }
            Expr::Call(call) => return self.call(call, offset, depth),
            Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                return Err(unsupported("messages are not supported", offset));
            }
        };
        // A selection's own position is its dot; an author looks for its beginning.
        let offset = match &kind {
            Kind::Select(of, _) => of.offset,
            _ => offset,
        };
        Ok(Node { offset, kind })
    }

    fn nodes(&mut self, from: &[IdedExpr], depth: usize) -> Result<Vec<Node>, ConditionError> {
        from.iter().map(|node| self.node(node, depth + 1)).collect()
    }

    fn boxed(&mut self, from: &IdedExpr, depth: usize) -> Result<Box<Node>, ConditionError> {
        self.node(from, depth + 1).map(Box::new)
    }

    fn call(&mut self, call: &CallExpr, offset: usize, depth: usize) -> Result<Node, ConditionError> {
        let name = call.func_name.as_str();
        if let Some(kind) = self.operator(name, &call.args, depth)? {
            return Ok(Node { offset, kind });
        }
        if name == operators::HAS && call.target.is_none() {
            let [argument] = call.args.as_slice() else {
                return Err(unsupported("`has` takes one selection, such as `has(event.tag)`", offset));
            };
            return match self.node(argument, depth + 1)?.kind {
                Kind::Select(of, field) => Ok(Node { offset, kind: Kind::Has(of, field) }),
                _ => Err(unsupported("`has` takes a selection, such as `has(event.tag)`", offset)),
            };
        }
        if let (Some(target), Some(kind)) = (&call.target, MacroKind::named(name)) {
            return self.macro_call(kind, target, &call.args, offset, depth);
        }
        let Some(function) = Function::named(name) else {
            return Err(ConditionError::UnknownFunction { name: name.to_owned(), offset });
        };
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            arguments.push(self.node(target, depth + 1)?);
        }
        arguments.extend(self.nodes(&call.args, depth)?);
        if !function.accepts(arguments.len()) {
            let message = format!("`{name}` does not take {} arguments", arguments.len());
            return Err(unsupported(&message, offset));
        }
        Ok(Node { offset, kind: Kind::Call(function, arguments) })
    }

    fn operator(
        &mut self,
        name: &str,
        arguments: &[IdedExpr],
        depth: usize,
    ) -> Result<Option<Kind>, ConditionError> {
        let kind = match (name, arguments) {
            (operators::LOGICAL_NOT, [of]) => Kind::Not(self.boxed(of, depth)?),
            (operators::NEGATE, [of]) => Kind::Negate(self.boxed(of, depth)?),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                Kind::Choose(self.boxed(condition, depth)?, self.boxed(yes, depth)?, self.boxed(no, depth)?)
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [_, _]) => {
                let mut flat = Vec::new();
                flatten(name, arguments, &mut flat);
                let nodes = flat.into_iter().map(|node| self.node(node, depth + 1));
                let nodes = nodes.collect::<Result<_, _>>()?;
                if name == operators::LOGICAL_AND { Kind::And(nodes) } else { Kind::Or(nodes) }
            }
            (operators::INDEX, [of, index]) => Kind::Index(self.boxed(of, depth)?, self.boxed(index, depth)?),
            (_, [one, two]) => match Operator::named(name) {
                Some(operator) => Kind::Binary(operator, self.boxed(one, depth)?, self.boxed(two, depth)?),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn macro_call(
        &mut self,
        kind: MacroKind,
        target: &IdedExpr,
        arguments: &[IdedExpr],
        offset: usize,
        depth: usize,
    ) -> Result<Node, ConditionError> {
        let (variable, filter, body) = match arguments {
            [variable, body] => (variable, None, body),
            [variable, filter, body] if kind == MacroKind::Map => (variable, Some(filter), body),
            _ => return Err(unsupported("this takes a variable and an expression", offset)),
        };
        let Expr::Ident(variable) = &variable.expr else {
            return Err(unsupported("the first argument must be a plain name", self.offset(variable)));
        };
        let range = self.node(target, depth + 1)?;
        self.macros += 1;
        if self.macros > MAX_NESTED_MACROS {
            let message =
                format!("`all`, `exists`, `map` and the like may nest at most {MAX_NESTED_MACROS} deep");
            return Err(ConditionError::TooComplex { message, offset });
        }
        let filter = filter.map(|filter| self.node(filter, depth + 1)).transpose()?;
        let body = self.node(body, depth + 1)?;
        self.macros -= 1;
        let variable = variable.clone();
        Ok(Node { offset, kind: Kind::Macro(Box::new(Macro { kind, range, variable, filter, body })) })
    }

    fn offset(&self, node: &IdedExpr) -> usize {
        self.positions.offset_for(node.id).map_or(0, |(start, _)| start as usize)
    }
}

/// The operands of a chain of one logical operator, from left to right.
fn flatten<'a>(name: &str, arguments: &'a [IdedExpr], flat: &mut Vec<&'a IdedExpr>) {
    for argument in arguments {
        match &argument.expr {
            Expr::Call(call) if call.func_name == name && call.target.is_none() => {
                flatten(name, &call.args, flat);
            }
            _ => flat.push(argument),
        }
    }
}

fn literal_value(literal: &LiteralValue, offset: usize) -> Result<Value<'static>, ConditionError> {
    Ok(match literal {
        LiteralValue::Null => Value::Null,
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::String(value) => Value::String(Text::Shared(value.inner().into())),
        LiteralValue::UInt(_) => {
            return Err(unsupported("unsigned numbers are not supported: leave out the `u`", offset));
        }
        LiteralValue::Bytes(_) => {
            return Err(unsupported("bytes are not supported: leave out the `b`", offset));
        }
    })
}

fn unsupported(message: &str, offset: usize) -> ConditionError {
    ConditionError::Unsupported { message: message.to_owned(), offset }
}

impl Operator {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            operators::EQUALS => Self::Equal,
            operators::NOT_EQUALS => Self::NotEqual,
            operators::LESS => Self::Less,
            operators::LESS_EQUALS => Self::LessOrEqual,
            operators::GREATER => Self::Greater,
            operators::GREATER_EQUALS => Self::GreaterOrEqual,
            operators::IN => Self::In,
            operators::ADD => Self::Add,
            operators::SUBSTRACT => Self::Subtract,
            operators::MULTIPLY => Self::Multiply,
            operators::DIVIDE => Self::Divide,
            operators::MODULO => Self::Remainder,
            _ => return None,
        })
    }

    /// As it is written.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl MacroKind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            operators::ALL => Self::All,
            operators::EXISTS => Self::Exists,
            operators::EXISTS_ONE => Self::ExistsOne,
            operators::MAP => Self::Map,
            operators::FILTER => Self::Filter,
            _ => return None,
        })
    }
}
