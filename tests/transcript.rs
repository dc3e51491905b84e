//! A session of commands as a text, as it would stand on a terminal, and its comparison with a file that people can
//! read. `SNAPSHOTS=overwrite cargo test` writes the files anew; look at the difference before you commit it.

use std::fmt::Write as _;
use std::path::Path;

use regex_lite::Regex;

use crate::docker::{Ended, Project};

/// What was typed and what it printed.
pub struct Transcript<'a> {
    project: &'a Project,
    text: String,
}

impl<'a> Transcript<'a> {
    pub fn of(project: &'a Project) -> Self {
        Self { project, text: String::new() }
    }

    /// Runs a command. Its output follows, each line of standard error with `2| `, and an exit code other than 0.
    pub fn run(&mut self, line: &str) -> &mut Self {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ended = self.project.execute(&arguments);
        self.append(&format!("reactorcide {line}"), &ended)
    }

    /// What another way of running it gave.
    pub fn append(&mut self, line: &str, ended: &Ended) -> &mut Self {
        let _ = writeln!(self.text, "$ {line}");
        self.text.push_str(&ended.stdout);
        if !ended.stdout.is_empty() && !ended.stdout.ends_with('\n') {
            self.text.push_str("<no end of line>\n");
        }
        ended.stderr.lines().for_each(|line| {
            let _ = writeln!(self.text, "{}", format!("2| {line}").trim_end());
        });
        match ended.code {
            Some(0) => {}
            Some(code) => {
                let _ = writeln!(self.text, "[exit code {code}]");
            }
            None => self.text.push_str("[ended by a signal]\n"),
        }
        self.text.push('\n');
        self
    }

    /// Says what a person does between two commands.
    pub fn remark(&mut self, what: &str) -> &mut Self {
        let _ = writeln!(self.text, "# {what}\n");
        self
    }

    /// Changes a file between two commands.
    pub fn write(&mut self, path: &str, text: &str) -> &mut Self {
        self.project.write(path, text);
        self.remark(&format!("{path} is written"))
    }

    /// Compares all of it with `tests/transcripts/NAME.txt`, and returns it.
    pub fn compare(&self, name: &str) -> String {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts").join(format!("{name}.txt"));
        let expected = snapbox::Data::read_from(&file, Some(snapbox::data::DataFormat::Text));
        let shown = self.settled().trim_end().to_owned() + "\n";
        snapbox::Assert::new()
            .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
            .eq(snapbox::Data::text(&shown).raw(), expected.raw());
        shown
    }

    /// The text with what differs from one time to the next replaced by what it is.
    fn settled(&self) -> String {
        let directory = self.project.path().canonicalize().expect("the project's directory");
        let text = self.text.replace(&directory.to_string_lossy().into_owned(), "[DIRECTORY]");
        let mut settled = text.replace(&self.project.path().to_string_lossy().into_owned(), "[DIRECTORY]");
        for (pattern, word) in [
            (r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "[ID]"),
            (r"\b[0-9a-f]{64}\b", "[FINGERPRINT]"),
            (r"\b[0-9a-f]{32}\b", "[FINGERPRINT]"),
            (r"\b(mk|dk)-[0-9a-f]{16}\b", "$1-[KEY]"),
            (r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", "[TIME]"),
            (r"http://127\.0\.0\.1:[0-9]+", "http://127.0.0.1:[PORT]"),
            // The width of a table's column follows from its widest duration.
            (r" *\b[0-9]+\.[0-9]s\b *", " [SECONDS] "),
            (r"(?m) +$", ""),
            (r"reads up to [0-9]+", "reads up to [FORMAT]"),
            (r#""(at|started_at|ended_at)":( ?)[0-9]{13}"#, r#""$1":$2[TIME]"#),
            (r#""as_of": "[-0-9]{10}""#, r#""as_of": "[DATE]""#),
        ] {
            settled = Regex::new(pattern).expect("a pattern").replace_all(&settled, word).into_owned();
        }
        settled
    }
}
