//! Shows a plan to people: reach, changes, findings, and one line that sums up.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use reactorcide_engine::address::Address;
use reactorcide_engine::diff::Difference;
use reactorcide_engine::plan::lines::{self, Line, Sign};
use reactorcide_engine::plan::{Action, Plan};

use super::printable;

const ADD: Style = AnsiColor::Green.on_default();
const CHANGE: Style = AnsiColor::Yellow.on_default();
const REMOVE: Style = AnsiColor::Red.on_default();
const STRONG: Style = Style::new().bold();

/// What is said where there is nothing to do.
pub const NO_CHANGES: &str = "No changes. The applied state is what the configuration says.\n";
/// The same, after "No changes."
pub const AS_DECLARED: &str = "The applied state is what the configuration says.";

/// A plan as text with styles. `nothing` is said where there is nothing to do.
pub fn render(plan: &Plan, nothing: &str) -> String {
    let mut text = String::new();
    if !plan.has_changes() {
        let _ = writeln!(text, "No changes. {nothing}");
        hints(plan, &mut text);
        return text;
    }
    consequences(plan, &mut text);
    for obstacle in &plan.obstacles {
        let _ = writeln!(text, "{REMOVE}refused:{REMOVE:#} {}", printable(&obstacle.to_string()));
        let _ = writeln!(text, "  {}", obstacle.hint());
    }
    hints(plan, &mut text);
    let _ = writeln!(text, "{}", lines::summary(plan));
    let _ = writeln!(text, "Fingerprint: {}", plan.fingerprint);
    text
}

/// What differs between two moments: what was done, not what would be.
pub fn render_difference(plan: &Plan) -> String {
    let mut text = String::new();
    consequences(plan, &mut text);
    let counts = plan.summary;
    let renamed = if counts.rename > 0 { format!("{} renamed, ", counts.rename) } else { String::new() };
    let _ = writeln!(
        text,
        "{} created, {} updated, {renamed}{} deleted.",
        counts.create, counts.update, counts.delete
    );
    text
}

/// A resource that was changed by others since a plan was made: what they did, and what the plan would have done.
pub fn render_moved(address: &Address, since: &[Difference], planned: &[Difference]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{STRONG}{}{STRONG:#} changed since the plan was made:",
        printable(&address.to_string())
    );
    let parts = [(since, "    it is as it was, but somebody applied it anew"), (planned, "    nothing")];
    for (index, (differences, nothing)) in parts.into_iter().enumerate() {
        if index == 1 {
            text.push_str("  and the plan would have changed:\n");
        }
        differences.iter().flat_map(lines::difference).for_each(|line| self::line(&line, &mut text));
        if differences.is_empty() {
            let _ = writeln!(text, "{nothing}");
        }
    }
    text
}

fn consequences(plan: &Plan, text: &mut String) {
    reach(plan, text);
    for action in plan.changes() {
        self::action(action, text);
    }
    elsewhere(plan, text);
    if !plan.findings.is_empty() {
        let _ = writeln!(text, "{STRONG}Findings{STRONG:#}");
        for finding in &plan.findings {
            let style = if finding.is_open() { REMOVE } else { CHANGE };
            let severity = finding.severity.as_str();
            let message = printable(&finding.message);
            let _ = writeln!(text, "  {style}{}{style:#} {severity}: {message}", finding.code);
            for detail in &finding.details {
                let _ = writeln!(text, "        {}", printable(detail));
            }
            if let Some(acceptance) = lines::acceptance(finding) {
                let _ = writeln!(text, "        {acceptance}");
            }
        }
        text.push('\n');
    }
}

fn hints(plan: &Plan, text: &mut String) {
    for hint in &plan.hints {
        let _ = writeln!(text, "hint: {}", printable(hint));
    }
}

fn reach(plan: &Plan, text: &mut String) {
    if plan.reach.added.is_empty() && plan.reach.removed.is_empty() {
        return;
    }
    let _ = writeln!(text, "{STRONG}Reach{STRONG:#}");
    for (sign, style, rows) in [("+", ADD, &plan.reach.added), ("-", REMOVE, &plan.reach.removed)] {
        for row in rows {
            let _ = writeln!(text, "  {style}{sign}{style:#} {}", lines::reach(row));
        }
    }
    text.push('\n');
}

fn elsewhere(plan: &Plan, text: &mut String) {
    if plan.effects.is_empty() {
        return;
    }
    let _ = writeln!(text, "{STRONG}Elsewhere{STRONG:#}");
    for effect in &plan.effects {
        let (sign, title) = lines::effect(effect);
        let style = style(sign);
        let _ = writeln!(text, "  {style}{}{style:#} {title}", sign.mark());
        effect.differences.iter().flat_map(lines::difference).for_each(|line| self::line(&line, text));
    }
    text.push('\n');
}

/// What differs between what is elsewhere and what was applied.
pub fn render_differences(differences: &[Difference]) -> String {
    let mut text = String::new();
    differences.iter().flat_map(lines::difference).for_each(|line| self::line(&line, &mut text));
    text
}

fn action(action: &Action, text: &mut String) {
    let (sign, title) = lines::title(action);
    let style = style(sign);
    let _ = writeln!(text, "{style}{} {title}{style:#}", sign.mark());
    for line in action.differences.iter().flat_map(lines::difference) {
        self::line(&line, text);
    }
    text.push('\n');
}

fn line(line: &Line, text: &mut String) {
    let (style, mark) = (style(line.sign), line.sign.mark());
    let _ = if line.inner {
        writeln!(text, "        {style}{mark} {}{style:#}", line.text)
    } else {
        writeln!(text, "    {style}{mark}{style:#} {}", line.text)
    };
}

fn style(sign: Sign) -> Style {
    match sign {
        Sign::Add => ADD,
        Sign::Remove => REMOVE,
        Sign::Change => CHANGE,
        Sign::Context => Style::new(),
    }
}
