//! The functions that an expression may call.

use super::evaluate::{Evaluation, Fault};
use super::value::Value;

/// A function; a receiver counts as its first argument, so `size(x)` and `x.size()` are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Join,
    String,
    Int,
    Double,
    Bool,
}

/// Every function with its name and how many arguments it takes.
const FUNCTIONS: [(Function, &str, std::ops::RangeInclusive<usize>); 14] = [
    (Function::Size, "size", 1..=1),
    (Function::Contains, "contains", 2..=2),
    (Function::StartsWith, "startsWith", 2..=2),
    (Function::EndsWith, "endsWith", 2..=2),
    (Function::Matches, "matches", 2..=2),
    (Function::LowerAscii, "lowerAscii", 1..=1),
    (Function::UpperAscii, "upperAscii", 1..=1),
    (Function::Trim, "trim", 1..=1),
    (Function::Split, "split", 2..=2),
    (Function::Join, "join", 1..=2),
    (Function::String, "string", 1..=1),
    (Function::Int, "int", 1..=1),
    (Function::Double, "double", 1..=1),
    (Function::Bool, "bool", 1..=1),
];

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(_, candidate, _)| *candidate == name).map(|(function, ..)| *function)
    }

    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(function, ..)| *function == self).map_or("", |(_, name, _)| name)
    }

    pub(super) fn accepts(self, arguments: usize) -> bool {
        FUNCTIONS.iter().any(|(function, _, count)| *function == self && count.contains(&arguments))
    }
}

/// Calls a function whose arguments are all known.
pub(super) fn call<'a>(
    function: Function,
    arguments: &[Value<'a>],
    offset: usize,
    evaluation: &mut Evaluation<'a>,
) -> Result<Value<'a>, Fault> {
    for argument in arguments {
        if let Value::String(text) = argument {
            evaluation.charge(text.len() / 16)?;
        }
    }
    match (function, arguments) {
        (Function::Size, [Value::String(text)]) => Ok(Value::Int(text.chars().count() as i64)),
        (Function::Size, [Value::List(list)]) => Ok(Value::Int(list.len() as i64)),
        (Function::Size, [Value::Map(map)]) => Ok(Value::Int(map.len() as i64)),
        (Function::Contains, [Value::String(text), Value::String(part)]) => {
            Ok(Value::Bool(text.contains(&**part)))
        }
        (Function::StartsWith, [Value::String(text), Value::String(part)]) => {
            Ok(Value::Bool(text.starts_with(&**part)))
        }
        (Function::EndsWith, [Value::String(text), Value::String(part)]) => {
            Ok(Value::Bool(text.ends_with(&**part)))
        }
        (Function::Matches, [Value::String(text), Value::String(pattern)]) => {
            evaluation.matches(text, pattern, offset).map(Value::Bool)
        }
        (Function::LowerAscii, [Value::String(text)]) => Ok(Value::computed(text.to_ascii_lowercase())),
        (Function::UpperAscii, [Value::String(text)]) => Ok(Value::computed(text.to_ascii_uppercase())),
        (Function::Trim, [Value::String(text)]) => Ok(Value::computed(text.trim())),
        (Function::Split, [Value::String(text), Value::String(separator)]) => {
            evaluation.charge(text.len())?;
            Ok(Value::list(text.split(&**separator).map(Value::computed).collect()))
        }
        (Function::Join, [Value::List(list), separator @ ..]) => {
            let separator = match separator {
                [] => "",
                [Value::String(separator), ..] => separator,
                [other, ..] => {
                    return Err(Fault::at(
                        offset,
                        format!("`join` takes a string, this is {}", other.kind()),
                    ));
                }
            };
            let mut joined = String::new();
            for (index, item) in list.iter().enumerate() {
                let Value::String(item) = &item else {
                    return Err(Fault::at(
                        offset,
                        format!("`join` needs strings, this list has {}", item.kind()),
                    ));
                };
                evaluation.charge(1 + (item.len() + separator.len()) / 16)?;
                if index > 0 {
                    joined.push_str(separator);
                }
                joined.push_str(item);
            }
            Ok(Value::computed(joined))
        }
        (
            Function::String,
            [value @ (Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::String(_))],
        ) => Ok(Value::computed(&*value.display())),
        (Function::Int, [value]) => to_int(value).ok_or_else(|| not_convertible(value, "an int", offset)),
        (Function::Double, [value]) => {
            to_double(value).ok_or_else(|| not_convertible(value, "a double", offset))
        }
        (Function::Bool, [value]) => to_bool(value).ok_or_else(|| not_convertible(value, "a bool", offset)),
        (function, arguments) => {
            let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
            Err(Fault::at(offset, format!("`{}` cannot be used on {}", function.name(), kinds.join(" and "))))
        }
    }
}

fn to_int<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    match value {
        Value::Int(value) => Some(Value::Int(*value)),
        Value::Double(value) if value.trunc().abs() < 9_223_372_036_854_775_808.0 => {
            Some(Value::Int(value.trunc() as i64))
        }
        Value::String(text) => text.parse().ok().map(Value::Int),
        _ => None,
    }
}

fn to_double<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    match value {
        Value::Int(value) => Some(Value::Double(*value as f64)),
        Value::Double(value) => Some(Value::Double(*value)),
        Value::String(text) => text.parse().ok().map(Value::Double),
        _ => None,
    }
}

fn to_bool<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    match value {
        Value::Bool(value) => Some(Value::Bool(*value)),
        Value::String(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn not_convertible(value: &Value<'_>, wanted: &str, offset: usize) -> Fault {
    let shown: String = match value {
        Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        other => other.kind().to_owned(),
    };
    Fault::at(offset, format!("{shown} is not {wanted}"))
}
