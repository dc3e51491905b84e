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

/// Replaces those placeholders for which there is a value and takes the escapes out of the rest: the last thing to
/// happen to a text, once. Values come through as they are.
pub fn finish(text: &str, value: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut finished = String::with_capacity(text.len());
    let mut from = 0;
    for placeholder in find(text) {
        if let Some(value) = value(&placeholder.namespace, &placeholder.name) {
            finished.push_str(&unescape(&text[from..placeholder.range.start]));
            finished.push_str(&value);
            from = placeholder.range.end;
        }
    }
    finished.push_str(&unescape(&text[from..]));
    finished
}

/// Makes data safe to stand in a text that is looked into for placeholders later: it comes out of [`unescape`] as it
/// is, whatever it holds.
pub fn escape(data: &str) -> String {
    data.replace("${", "$${")
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

    #[test]
    fn finishing_takes_escapes_out_of_the_text_and_not_out_of_values() {
        let value = |namespace: &str, _: &str| (namespace == "secret").then(|| "$${x}".to_owned());
        assert_eq!(finish("$${a} ${secret:p} $${b}", value), "${a} $${x} ${b}");
    }

    #[test]
    fn data_comes_through_as_it_is_and_is_never_a_placeholder() {
        for data in ["${secret:a:b}", "$${secret:a}", "$$${secret:a}", "$", "${", "a $${HOME} ${x}", "$$"] {
            let escaped = escape(data);
            assert_eq!(find(&escaped), [], "{data}");
            assert_eq!(unescape(&escaped), data);
        }
    }
}
