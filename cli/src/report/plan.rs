//! Shows a plan to people: reach, changes, findings, and one line that sums up.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use reactorcide_engine::diff::Difference;
use reactorcide_engine::plan::{Action, ActionKind, Plan};
use reactorcide_engine::policy::ReachRow;
use reactorcide_engine::store::Counts;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{printable, value};

const ADD: Style = AnsiColor::Green.on_default();
const CHANGE: Style = AnsiColor::Yellow.on_default();
const REMOVE: Style = AnsiColor::Red.on_default();
const STRONG: Style = Style::new().bold();

/// What is said where there is nothing to do.
pub const NO_CHANGES: &str = "No changes. The applied state is what the configuration says.\n";

/// A plan as text with styles.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    if !plan.has_changes() {
        text.push_str(NO_CHANGES);
        hints(plan, &mut text);
        return text;
    }
    reach(plan, &mut text);
    for action in plan.changes() {
        self::action(action, &mut text);
    }
    if !plan.findings.is_empty() {
        let _ = writeln!(text, "{STRONG}Findings{STRONG:#}");
        for finding in &plan.findings {
            let _ = writeln!(text, "  {CHANGE}{}{CHANGE:#} {}", finding.code, printable(&finding.message));
            for detail in &finding.details {
                let _ = writeln!(text, "        {}", printable(detail));
            }
        }
        text.push('\n');
    }
    for obstacle in &plan.obstacles {
        let _ = writeln!(text, "{REMOVE}refused:{REMOVE:#} {}", printable(&obstacle.to_string()));
        let _ = writeln!(text, "  {}", obstacle.hint());
    }
    hints(plan, &mut text);
    let _ = writeln!(text, "{}", summary(&plan.summary));
    let _ = writeln!(text, "Fingerprint: {}", plan.fingerprint);
    text
}

fn hints(plan: &Plan, text: &mut String) {
    for hint in &plan.hints {
        let _ = writeln!(text, "hint: {}", printable(hint));
    }
}

fn summary(counts: &Counts) -> String {
    let renamed = if counts.rename > 0 { format!("{} to rename, ", counts.rename) } else { String::new() };
    format!(
        "Plan: {} to create, {} to update, {renamed}{} to delete.",
        counts.create, counts.update, counts.delete
    )
}

fn reach(plan: &Plan, text: &mut String) {
    if plan.reach.added.is_empty() && plan.reach.removed.is_empty() {
        return;
    }
    let _ = writeln!(text, "{STRONG}Reach{STRONG:#}");
    for (sign, style, rows) in [("+", ADD, &plan.reach.added), ("-", REMOVE, &plan.reach.removed)] {
        for row in rows {
            let _ = writeln!(text, "  {style}{sign}{style:#} {}", printable(&described(row)));
        }
    }
    text.push('\n');
}

fn described(row: &ReachRow) -> String {
    let branch = if row.branch == "**" { "any branch" } else { &row.branch };
    let origin = serde_json::to_value(row.origin).unwrap_or_default();
    format!(
        "{} by {} job {}, on {} of {branch}, code from {}, profile {}",
        row.secret,
        row.pipeline,
        row.job,
        row.event.as_str(),
        origin.as_str().unwrap_or_default(),
        row.profile
    )
}

fn action(action: &Action, text: &mut String) {
    let (sign, style) = match action.action {
        ActionKind::Create => ("+", ADD),
        ActionKind::Delete => ("-", REMOVE),
        _ => ("~", CHANGE),
    };
    let from = action.from.as_ref().map(|from| format!(" (renamed from {from})")).unwrap_or_default();
    let taken =
        action.taken_from.as_ref().map(|owner| format!(" (taken over from {owner})")).unwrap_or_default();
    let title = printable(&format!("{}{from}{taken}", action.address));
    let _ = writeln!(text, "{style}{sign} {title}{style:#}");
    for difference in &action.differences {
        self::difference(difference, text);
    }
    text.push('\n');
}

fn difference(difference: &Difference, text: &mut String) {
    let name = printable(
        &difference.pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~"),
    );
    match (&difference.before, &difference.after) {
        (Some(Value::String(before)), Some(Value::String(after)))
            if before.contains('\n') || after.contains('\n') =>
        {
            let _ = writeln!(text, "    {CHANGE}~{CHANGE:#} {name}:");
            lines(before, after, text);
        }
        (Some(before), Some(after)) if !before.is_object() && !after.is_object() => {
            let _ = writeln!(
                text,
                "    {CHANGE}~{CHANGE:#} {name}: {} → {}",
                value::scalar(before),
                value::scalar(after)
            );
        }
        (before, after) => {
            for (sign, style, value) in [("-", REMOVE, before), ("+", ADD, after)] {
                for line in value.iter().flat_map(|value| value::lines(&name, value)) {
                    let _ = writeln!(text, "    {style}{sign}{style:#} {line}");
                }
            }
        }
    }
}

/// A text's changed lines with two of what is around them.
fn lines(before: &str, after: &str, text: &mut String) {
    let diff = TextDiff::from_lines(before, after);
    for (index, group) in diff.grouped_ops(2).iter().enumerate() {
        if index > 0 {
            text.push_str("          …\n");
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ("-", REMOVE),
                ChangeTag::Insert => ("+", ADD),
                ChangeTag::Equal => (" ", Style::new()),
            };
            let line = printable(change.value().trim_end_matches('\n'));
            let _ = writeln!(text, "        {style}{sign} {line}{style:#}");
        }
    }
}
