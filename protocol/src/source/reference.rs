//! Names of branches, tags and commits: which are taken. Functions on values.

/// What somebody wants of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Whatever the repository checks out by itself.
    Head,
    /// A commit by its whole SHA, in lower case.
    Commit(String),
    /// A whole name: `refs/heads/main`, `refs/pull/7/head`.
    Full(String),
    /// A branch, else a tag.
    Name(String),
}

/// Why a name is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It would be read as an option of a tool.
    #[error("the ref {0:?} begins with a dash")]
    Dash(String),
    /// It is no name of a ref.
    #[error("the ref {0:?} is no name of a branch, a tag or a commit")]
    Malformed(String),
}

impl Reference {
    /// Looks at a name, by the rules of `git check-ref-format` and some more.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text == "HEAD" {
            return Ok(Self::Head);
        }
        if text.starts_with('-') {
            return Err(ReferenceError::Dash(text.to_owned()));
        }
        if !is_well_formed(text) {
            return Err(ReferenceError::Malformed(text.to_owned()));
        }
        if is_commit(text) {
            return Ok(Self::Commit(text.to_ascii_lowercase()));
        }
        Ok(if text.starts_with("refs/") { Self::Full(text.to_owned()) } else { Self::Name(text.to_owned()) })
    }

    /// The refs of a git repository that may be meant, best first.
    pub fn candidates(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Commit(_) => Vec::new(),
            Self::Full(name) => vec![name.clone()],
            Self::Name(name) => {
                ["refs/heads/", "refs/tags/", "refs/"].map(|at| format!("{at}{name}")).to_vec()
            }
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Commit(text) | Self::Full(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

/// Whether it is the whole SHA of a commit.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_well_formed(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock");
    let special = "~^:?*[\\\"'$;&|<>`(){}!#%";
    !text.is_empty()
        && text.len() <= 512
        && text != "@"
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || special.contains(c))
        && text.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_taken() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        for (text, expected) in [
            ("HEAD", Reference::Head),
            ("main", Reference::Name("main".into())),
            ("release/1.0", Reference::Name("release/1.0".into())),
            ("grün", Reference::Name("grün".into())),
            ("refs/pull/7/head", Reference::Full("refs/pull/7/head".into())),
            (sha, Reference::Commit(sha.into())),
            (&sha.to_uppercase(), Reference::Commit(sha.into())),
            // Too short to be sure of: a name.
            ("0123456", Reference::Name("0123456".into())),
        ] {
            assert_eq!(Reference::parse(text), Ok(expected), "{text}");
        }
        let names = Reference::Name("x".into()).candidates();
        assert_eq!(names, ["refs/heads/x", "refs/tags/x", "refs/x"], "a branch before a tag");
    }

    #[test]
    fn names_that_are_refused() {
        for text in ["-x", "--upload-pack=id", "--", "-"] {
            assert_eq!(Reference::parse(text), Err(ReferenceError::Dash(text.to_owned())));
        }
        for text in [
            "",
            "a..b",
            "a b",
            "a:b",
            "a^",
            "a~1",
            "a*",
            "a?",
            "a[",
            "a\\b",
            "a\nb",
            "a\0b",
            "@",
            "a@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a/-b",
            "a.",
            "$(id)",
            "a;b",
            "a`b",
            "file('x')",
            "a|b",
        ] {
            assert_eq!(Reference::parse(text), Err(ReferenceError::Malformed(text.to_owned())), "{text:?}");
        }
    }

    proptest! {
        /// What is taken is no option, no range, no refspec and no expression.
        #[test]
        fn what_is_taken_is_one_name(text in ".{0,12}|[-a-z./@{}:^~]{1,12}") {
            if let Ok(reference) = Reference::parse(&text) {
                for name in reference.candidates() {
                    prop_assert!(!name.starts_with('-') && !name.contains(".."));
                    prop_assert!(!name.contains([':', '^', '~', '*', '\0', ' ']));
                }
            }
        }
    }
}
