//! A file of a configuration, and lines and columns in it.

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path as people should see it, with `/`.
    pub path: String,
    /// Its content.
    pub text: std::sync::Arc<str>,
}

/// A line and a column, both counted from 1; columns in characters, a tab being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl SourceFile {
    /// The place of a byte. What is past the end is at the end; what is inside a character is at its beginning.
    pub fn place(&self, offset: u32) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset as usize)];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Place { line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1 }
    }

    /// A line without its end; empty where there is none.
    pub fn line(&self, number: usize) -> &str {
        let line = self.text.split('\n').nth(number.saturating_sub(1)).unwrap_or_default();
        line.strip_suffix('\r').unwrap_or(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let file = SourceFile { path: String::new(), text: "ä\tb\r\n😀x".into() };
        for (offset, line, column) in
            [(0, 1, 1), (1, 1, 1), (2, 1, 2), (3, 1, 3), (6, 2, 1), (10, 2, 2), (99, 2, 3)]
        {
            assert_eq!(file.place(offset), Place { line, column }, "{offset}");
        }
        assert_eq!(file.line(1), "ä\tb");
        assert_eq!(file.line(2), "😀x");
        assert_eq!(file.line(3), "");
    }
}
