//! Placeholders in texts: `${param:NAME}`, `${matrix:AXIS}`, `${var:NAME}`, `${secret:PATH:KEY}`.
//!
//! What a shell writes with `${…}` is left alone: only these words, followed by a colon and a name, count. `$${`
//! stands for a literal `${`.

use std::ops::Range;

/// The words that may stand before the colon.
const NAMESPACES: [&str; 4] = ["param", "matrix", "var", "secret"];

/// One placeholder in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// What is before the first colon.
    pub namespace: String,
    /// What is behind it.
    pub name: String,
    /// Its byte range in the text, with `${` and `}`.
    pub range: Range<usize>,
}

/// Every placeholder of a text, in order.
pub fn find(text: &str) -> Vec<Placeholder> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("${").map(|offset| from + offset) {
        from = at + 2;
        if text[..at].ends_with('$') {
            continue;
        }
        let Some(end) = text[from..].find('}').map(|offset| from + offset) else { break };
        if let Some((namespace, name)) = text[from..end].split_once(':')
            && NAMESPACES.contains(&namespace)
            && is_name(name)
        {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            found.push(Placeholder { namespace, name, range: at..end + 1 });
            from = end + 1;
        }
    }
    found
}

/// Replaces those placeholders for which there is a value, and leaves the others as they are.
pub fn replace(text: &str, value: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut from = 0;
    for placeholder in find(text) {
        if let Some(value) = value(&placeholder.namespace, &placeholder.name) {
            replaced.push_str(&text[from..placeholder.range.start]);
            replaced.push_str(&value);
            from = placeholder.range.end;
        }
    }
    replaced.push_str(&text[from..]);
    replaced
}

/// Takes the escapes out: the last thing to happen to a text, once.
pub fn unescape(text: &str) -> String {
    text.replace("$${", "${")
}

/// A name begins with a letter, a digit or `_`; so `${var:-x}` of a shell is none.
fn is_name(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_what_looks_like_them_is_not() {
        let text = "a ${secret:deploy/key:token} $${var:no} ${HOME} ${x:y} ${var:-no} ${var:yes} ${var:open";
        let names: Vec<_> = find(text).into_iter().map(|p| format!("{}|{}", p.namespace, p.name)).collect();
        assert_eq!(names, ["secret|deploy/key:token", "var|yes"]);
    }

    #[test]
    fn only_what_has_a_value_is_replaced_and_values_are_not_looked_into() {
        let value =
            |namespace: &str, name: &str| (namespace == "param").then(|| format!("<{name}${{param:x}}>"));
        assert_eq!(replace("é ${param:a} ${var:b} ${HOME}", value), "é <a${param:x}> ${var:b} ${HOME}");
        assert_eq!(unescape("$${param:a} $$ ${HOME}"), "${param:a} $$ ${HOME}");
    }
}
