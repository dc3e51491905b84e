//! Placeholders in texts: `${secret:PATH:KEY}`, `${var:NAME}`, `${param:NAME}`, `${matrix:AXIS}`.

/// One placeholder in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// What is before the first colon: `secret`, `var`, `param`, `matrix`.
    pub namespace: String,
    /// What is behind it.
    pub name: String,
    /// Its byte range in the text, with `${` and `}`.
    pub range: std::ops::Range<usize>,
}

/// Every placeholder of a text, in order. `$${` stands for a literal `${` and is none; neither is what has
/// no colon, such as a shell's `${HOME}`.
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
            && !namespace.is_empty()
            && namespace.bytes().all(|byte| byte.is_ascii_lowercase())
        {
            found.push(Placeholder {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                range: at..end + 1,
            });
            from = end + 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_what_looks_like_them_is_not() {
        let text = "a ${secret:deploy/key:token} $${var:no} ${HOME} ${:x} ${var:yes} ${var:open";
        let names: Vec<_> = find(text).into_iter().map(|p| format!("{}|{}", p.namespace, p.name)).collect();
        assert_eq!(names, ["secret|deploy/key:token", "var|yes"]);
    }
}
