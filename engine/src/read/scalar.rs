//! What an unquoted word of YAML means: the core schema of YAML 1.2, and nothing beyond it. `yes`, `on` and `010`
//! are what they look like.

use serde_json::{Number, Value};

/// The value of a plain scalar.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

/// A number of the core schema, apart from octal, hexadecimal, infinity and not-a-number, which mean nothing here
/// and stay text. Leading zeros stay text too: `010` is 8 to some readers and 10 to others.
fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = digits.bytes().next()?;
    if !first.is_ascii_digit() && first != b'.' {
        return None;
    }
    let has_leading_zero = digits.len() > 1 && first == b'0' && digits.as_bytes()[1].is_ascii_digit();
    if has_leading_zero {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        return text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok();
    }
    let is_float = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    let float: f64 = if is_float { text.parse().ok()? } else { return None };
    Number::from_f64(float).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_mean_what_yaml_1_2_says() {
        for (text, value) in [
            ("true", json!(true)),
            ("False", json!(false)),
            ("null", json!(null)),
            ("~", json!(null)),
            ("0", json!(0)),
            ("-17", json!(-17)),
            ("+5", json!(5)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_value_stays_text() {
        for text in [
            "yes", "no", "on", "off", "y", "010", "0o17", "0x1f", "1_000", "12:30", "1.2.3", ".inf", ".nan",
            "-", "20m", "e5", "+",
        ] {
            assert_eq!(resolve(text), json!(text), "{text}");
        }
    }
}
