//! Globs as the language means them: `*` stops at `/`, `**` does not, and `!` in front excludes.

use globset::{GlobBuilder, GlobMatcher};

/// One compiled glob.
#[derive(Debug, Clone)]
pub struct Glob {
    matcher: GlobMatcher,
    excludes: bool,
}

impl Glob {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let (excludes, glob) = parse(pattern)?;
        Ok(Self { matcher: glob.compile_matcher(), excludes })
    }

    /// Whether it is a pattern, without compiling it: compiling costs a hundred times as much.
    pub fn check(pattern: &str) -> Result<(), String> {
        parse(pattern).map(|_| ())
    }

    /// Whether the text is matched, whatever a leading `!` says.
    pub fn is_match(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }
}

fn parse(pattern: &str) -> Result<(bool, globset::Glob), String> {
    let (excludes, bare) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
    if bare.is_empty() {
        return Err("it is empty".to_owned());
    }
    let glob = GlobBuilder::new(bare).literal_separator(true).backslash_escape(true).build();
    Ok((excludes, glob.map_err(|error| error.kind().to_string())?))
}

/// A list of patterns, compiled: the last one that matches decides, and an empty list selects everything. A list of
/// exclusions alone begins with everything.
#[derive(Debug, Clone)]
pub struct Globs(Vec<Glob>);

impl Globs {
    /// Of patterns. What is none matches nothing.
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().filter_map(|pattern| Glob::new(pattern).ok()).collect())
    }

    /// Whether they select a text.
    pub fn selects(&self, text: &str) -> bool {
        let begins = self.0.iter().all(|glob| glob.excludes);
        let globs = self.0.iter();
        globs.fold(begins, |selected, glob| if glob.is_match(text) { !glob.excludes } else { selected })
    }
}

/// Whether a list of patterns selects a text, see [`Globs`].
pub fn selects(patterns: &[String], text: &str) -> bool {
    Globs::new(patterns).selects(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(patterns: &[&str], text: &str) -> bool {
        selects(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>(), text)
    }

    #[test]
    fn a_star_stops_at_a_slash_and_two_do_not() {
        assert!(select(&["release/*"], "release/1"));
        assert!(!select(&["release/*"], "release/1/hotfix"));
        assert!(select(&["release/**"], "release/1/hotfix"));
        assert!(select(&["src/**"], "src/a/b.rs"));
        assert!(select(&["**/*.md"], "README.md"));
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        assert!(select(&[], "anything"));
        assert!(!select(&["**", "!main"], "main"));
        assert!(select(&["!main"], "other"));
        assert!(!select(&["!main"], "main"));
        assert!(select(&["**", "!release/**", "release/1"], "release/1"));
    }
}
