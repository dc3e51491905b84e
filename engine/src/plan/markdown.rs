//! A plan as Markdown, for a comment under a change: what widens or destroys stands first and whole, the rest as far as
//! the room goes, and what is hidden is counted.
//!
//! Whatever comes from a configuration stands in code spans and fences that are longer than any run of backticks in
//! it. There it can neither mention anybody, nor be HTML or Markdown.

use std::fmt::Write as _;

use super::lines::{self, Line, Sign};
use super::{Action, ActionKind, Plan};
use crate::diff::Difference;
use crate::printable::printable;

/// What forges take in one comment, in characters.
pub const LIMIT: usize = 65_536;

/// Kept free for what is said about the hidden part.
const RESERVE: usize = 512;

/// A plan as Markdown of at most `limit` characters.
pub fn markdown(plan: &Plan, limit: usize) -> String {
    let mut page = Page { text: String::new(), length: 0, room: limit.saturating_sub(RESERVE) };
    if !plan.has_changes() {
        page.must("### No changes\n\nThe applied state is what the configuration says.\n");
        for hint in &plan.hints {
            page.add(&format!("\n{}\n", code(hint)));
        }
        return page.text;
    }
    page.must(&format!("### {}\n\n", lines::summary(plan)));
    let mut hidden = Hidden::default();
    for obstacle in &plan.obstacles {
        let refusal = format!("> **Refused:** {}  \n> {}\n\n", code(&obstacle.to_string()), obstacle.hint());
        hidden.consequences += u64::from(!page.add(&refusal));
    }
    let rows = [("gains", &plan.reach.added), ("loses", &plan.reach.removed)];
    section(
        &mut page,
        &mut hidden.consequences,
        "Reach",
        rows.into_iter().flat_map(|(word, rows)| {
            rows.iter().map(move |row| format!("- {word} {}\n", code(&lines::reach(row))))
        }),
    );
    section(
        &mut page,
        &mut hidden.consequences,
        "Findings",
        plan.findings.iter().map(|finding| {
            let open = if finding.is_open() { ", not accepted" } else { "" };
            let severity = finding.severity.as_str();
            let mut text = format!("- **{}** ({severity}{open}) {}\n", finding.code, code(&finding.message));
            for detail in &finding.details {
                let _ = writeln!(text, "  - {}", code(detail));
            }
            if let Some(acceptance) = lines::acceptance(finding) {
                let _ = writeln!(text, "  - {}", code(&acceptance));
            }
            text
        }),
    );
    let (destructive, other): (Vec<&Action>, Vec<&Action>) =
        plan.changes().partition(|action| action.action == ActionKind::Delete);
    section(
        &mut page,
        &mut hidden.deletes,
        "Deletes",
        destructive.iter().map(|action| format!("- {}\n", code(&lines::title(action).1))),
    );
    section(&mut page, &mut hidden.effects, "Elsewhere", elsewhere(plan));
    section(&mut page, &mut hidden.changes, "Changes", other.iter().map(|action| heading(action)));
    for action in other.iter().chain(&destructive).filter(|action| !action.differences.is_empty()) {
        hidden.details += u64::from(!page.add(&details(action)));
    }
    for effect in plan.effects.iter().filter(|effect| !effect.differences.is_empty()) {
        hidden.details += u64::from(!page.add(&folded(&lines::effect(effect).1, &effect.differences)));
    }
    for hint in &plan.hints {
        hidden.details += u64::from(!page.add(&format!("\n{}\n", code(hint))));
    }
    page.room = limit;
    hidden.say(&mut page);
    page.add(&format!("\nFingerprint: `{}`\n", plan.fingerprint));
    page.text
}

/// What found no room, by kind.
#[derive(Default)]
struct Hidden {
    consequences: u64,
    deletes: u64,
    effects: u64,
    changes: u64,
    details: u64,
}

impl Hidden {
    fn say(&self, page: &mut Page) {
        let parts: Vec<String> = [
            (self.consequences, "consequence", "consequences"),
            (self.deletes, "delete", "deletes"),
            (self.effects, "effect elsewhere", "effects elsewhere"),
            (self.changes, "change", "changes"),
            (self.details, "difference", "differences"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
        if !parts.is_empty() {
            let what = parts.join(", ");
            page.add(&format!(
                "\n**Not shown for want of room: {what}.** `reactorcide plan` shows all of it.\n"
            ));
        }
    }
}

/// A part with a title, as much of it as there is room for.
fn section(page: &mut Page, hidden: &mut u64, title: &str, items: impl Iterator<Item = String>) {
    let mut title = Some(format!("#### {title}\n\n"));
    for item in items {
        let whole = format!("{}{item}", title.as_deref().unwrap_or_default());
        if page.add(&whole) {
            title = None;
        } else {
            *hidden += 1;
        }
    }
    if title.is_none() {
        page.add("\n");
    }
}

/// What is done elsewhere; what deletes comes first.
fn elsewhere(plan: &Plan) -> impl Iterator<Item = String> {
    let lines = plan.effects.iter().map(lines::effect);
    let (first, other): (Vec<_>, Vec<_>) = lines.partition(|(sign, _)| *sign == Sign::Remove);
    first.into_iter().chain(other).map(|(_, text)| format!("- {}\n", code(&text)))
}

fn heading(action: &Action) -> String {
    let (sign, title) = lines::title(action);
    let word = match sign {
        Sign::Add => "create",
        Sign::Remove => "delete",
        Sign::Change | Sign::Context if action.action == ActionKind::Rename => "rename",
        Sign::Change | Sign::Context => "update",
    };
    format!("- {word} {}\n", code(&title))
}

/// The differences of an action, folded.
fn details(action: &Action) -> String {
    folded(&lines::title(action).1, &action.differences)
}

/// Differences under a title, folded.
fn folded(title: &str, differences: &[Difference]) -> String {
    let mut body = String::new();
    for Line { sign, text, inner } in differences.iter().flat_map(lines::difference) {
        // The colours of a diff know no mark for a change.
        let mark = if sign == Sign::Change { '!' } else { sign.mark() };
        let indent = if inner { "    " } else { "" };
        let _ = writeln!(body, "{mark} {indent}{text}");
    }
    let fence = "`".repeat(longest_run(&body).max(2) + 1);
    // A summary is HTML: the title must not be.
    let title = html(title);
    format!("<details><summary><code>{title}</code></summary>\n\n{fence}diff\n{body}{fence}\n\n</details>\n")
}

/// A text as a code span.
fn code(text: &str) -> String {
    let text = printable(text);
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// A text within HTML, in which nothing is a tag, an entity, a mention or a mark of Markdown.
fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || " /.-".contains(character) || !character.is_ascii() {
            shown.push(character);
        } else {
            let _ = write!(shown, "&#{};", u32::from(character));
        }
    }
    shown
}

struct Page {
    text: String,
    /// In characters.
    length: usize,
    room: usize,
}

impl Page {
    /// Adds a piece if there is room for all of it.
    fn add(&mut self, piece: &str) -> bool {
        let length = piece.chars().count();
        if self.length + length > self.room {
            return false;
        }
        self.length += length;
        self.text.push_str(piece);
        true
    }

    /// Adds a piece that is short.
    fn must(&mut self, piece: &str) {
        self.length += piece.chars().count();
        self.text.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::{Kind, Resource};
    use crate::plan::tests::{applied, desired, plan, resource};

    fn pipeline(name: &str, command: &str) -> Resource {
        let job = json!({"image": "debian:12", "command": command});
        resource(Kind::Pipeline, &format!("web/{name}"), json!({"jobs": {"build": job}}))
    }

    fn shown(before: Vec<Resource>, after: Vec<Resource>, limit: usize) -> String {
        markdown(&plan(&desired(after), &applied(before)), limit)
    }

    #[test]
    fn nothing_of_a_script_is_markdown() {
        let command = "echo '```'\n</details> @everyone <script>\n````\n[x](y)";
        let text = shown(vec![], vec![pipeline("ci", command)], LIMIT);
        let fence = text.lines().find(|line| line.ends_with("diff")).expect("a fence");
        assert_eq!(fence, "`````diff");
        let inside =
            text.split(fence).nth(1).and_then(|rest| rest.split("\n`````\n").next()).expect("its end");
        let outside = text.replace(inside, "");
        for hostile in ["@everyone", "<script>", "[x](y)"] {
            assert!(inside.contains(hostile) && !outside.contains(hostile), "{hostile}");
        }
        assert_eq!(outside.matches("</details>").count(), 1);
    }

    #[test]
    fn what_is_deleted_is_shown_even_where_the_rest_finds_no_room() {
        let old: Vec<Resource> = (0..40).map(|number| pipeline(&format!("old-{number}"), "make")).collect();
        let mut new: Vec<Resource> =
            (0..40).map(|number| pipeline(&format!("new-{number}"), &"x\n".repeat(3_000))).collect();
        new.push(resource(Kind::Project, "web", json!({})));
        let text = shown(old, new, 20_000);
        assert!(text.chars().count() <= 20_000);
        for number in 0..40 {
            assert!(text.contains(&format!("- `Pipeline/web/old-{number}`")), "{number}");
        }
        assert!(text.contains("Not shown for want of room: "), "{text}");
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_code_spans_end(
            commands in prop::collection::vec("(`|~|@a|<b>|\n|x|\u{202e}|é){0,300}", 0..12),
            limit in 600_usize..4_000,
        ) {
            let after = commands.iter().enumerate().map(|(number, command)| pipeline(&format!("p{number}"), command)).collect();
            let text = shown(vec![], after, limit);
            prop_assert!(text.chars().count() <= limit, "{} > {limit}", text.chars().count());
            prop_assert!(!text.contains('\u{202e}'), "a turn");
            // Outside of fences there is no mention and no tag but ours.
            let mut fence: Option<String> = None;
            for line in text.lines() {
                match &fence {
                    Some(open) if line == open => fence = None,
                    Some(_) => {}
                    None if line.starts_with("```") => fence = Some(line.trim_end_matches("diff").to_owned()),
                    None => prop_assert!(!line.contains("@a") && !line.contains("<b>"), "{line}"),
                }
            }
            prop_assert_eq!(fence, None);
        }
    }
}
