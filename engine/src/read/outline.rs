//! What a text that cannot be read as YAML seems to declare, by a light look at its lines: enough that whatever
//! refers to it is not reported as an error too.

use crate::address::Address;
use crate::config::{Kind, Scope};

/// The addresses of the documents of a text, as far as their lines show them.
pub fn addresses(text: &str) -> Vec<Address> {
    let mut found = Vec::new();
    let mut document = Outline::default();
    for line in text.lines().map(|line| line.strip_prefix('\u{feff}').unwrap_or(line)) {
        if line == "---" || line.starts_with("--- ") {
            found.extend(std::mem::take(&mut document).address());
        } else {
            document.line(line);
        }
    }
    found.extend(document.address());
    found
}

#[derive(Default)]
struct Outline {
    kind: Option<Kind>,
    name: Option<String>,
    project: Option<String>,
    in_metadata: bool,
}

impl Outline {
    fn line(&mut self, line: &str) {
        let is_top_level = !line.starts_with([' ', '\t', '#', '}', ']']) && !line.trim().is_empty();
        if is_top_level {
            self.in_metadata = line.starts_with("metadata:");
            if let Some(kind) = line.strip_prefix("kind:") {
                self.kind = word(kind).parse().ok();
            }
        }
        if self.in_metadata {
            for part in line.split(['{', ',', '}']) {
                let part = part.trim();
                for (field, value) in [("name:", &mut self.name), ("project:", &mut self.project)] {
                    if let Some(text) = part.strip_prefix(field) {
                        value.get_or_insert_with(|| word(text).to_owned());
                    }
                }
            }
        }
    }

    fn address(self) -> Option<Address> {
        let kind = self.kind?;
        let project = self.project.filter(|_| kind.scope() != Scope::Workspace);
        Some(Address::new(kind, project.as_deref(), &self.name.filter(|name| !name.is_empty())?))
    }
}

/// A value without its quotes and the comment behind it.
fn word(text: &str) -> &str {
    text.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broken_documents_declare_shows_in_their_lines() {
        let text = "\u{feff}kind: Project # a\r\nmetadata: {name: \"web\"\r\n---\nmetadata:\n\tname: ci\n  project: web\n\
                    spec:\n  name: other\nkind: Pipeline\n--- # next\nkind: Projct\nmetadata: {name: x}\n---\n{}\n";
        let shown: Vec<String> = addresses(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["Project/web", "Pipeline/web/ci"]);
    }
}
