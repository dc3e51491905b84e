//! A plan in words and lines, from which every way to show it to people is made.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::value;
use super::{Action, ActionKind, Plan};
use crate::diff::Difference;
use crate::outside::{EffectKind, PlannedEffect};
use crate::policy::{Finding, ReachRow};
use crate::printable::printable;

/// What a line says of what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It comes.
    Add,
    /// It goes.
    Remove,
    /// It changes.
    Change,
    /// It stays.
    Context,
}

impl Sign {
    /// As one character.
    pub fn mark(self) -> char {
        match self {
            Self::Add => '+',
            Self::Remove => '-',
            Self::Change => '~',
            Self::Context => ' ',
        }
    }
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub sign: Sign,
    /// Whether it is part of a text that is compared line by line.
    pub inner: bool,
    /// Without control characters.
    pub text: String,
}

/// What a plan does in a sentence.
pub fn summary(plan: &Plan) -> String {
    let counts = &plan.summary;
    let renamed = if counts.rename > 0 { format!("{} to rename, ", counts.rename) } else { String::new() };
    let elsewhere = match plan.effects.len() {
        0 => String::new(),
        1 => "; 1 effect elsewhere".to_owned(),
        many => format!("; {many} effects elsewhere"),
    };
    format!(
        "Plan: {} to create, {} to update, {renamed}{} to delete{elsewhere}.",
        counts.create, counts.update, counts.delete
    )
}

/// What is done to an object elsewhere, and which.
pub fn effect(effect: &PlannedEffect) -> (Sign, String) {
    let PlannedEffect { address, place, .. } = effect;
    let (sign, text) = match effect.effect {
        EffectKind::Create => (Sign::Add, format!("make an object in {place}")),
        EffectKind::Replace => (Sign::Change, format!("replace {place}")),
        EffectKind::Remove => (Sign::Remove, format!("delete {place}")),
        EffectKind::Heal if effect.differences.is_empty() => {
            (Sign::Add, format!("make {place} again, which others deleted"))
        }
        EffectKind::Heal => (Sign::Change, format!("restore {place}, which others changed")),
        EffectKind::Adopt => (Sign::Change, format!("adopt {place}")),
        EffectKind::Forget => (Sign::Context, format!("forget {place}, which stays as it is")),
        EffectKind::Resume => (Sign::Change, format!("go on with {place}, which an earlier change owes")),
    };
    (sign, printable(&format!("{text} ({address})")))
}

/// A row of the reach table in a sentence.
pub fn reach(row: &ReachRow) -> String {
    let origin = serde_json::to_value(row.origin).unwrap_or_default();
    printable(&format!(
        "{} by {} job {}, on {} of {}, code from {}, profile {}",
        row.secret,
        row.pipeline,
        row.job,
        row.event.as_str(),
        row.names(),
        origin.as_str().unwrap_or_default(),
        row.profile
    ))
}

/// Whether and until when a finding is accepted; nothing where nobody did.
pub fn acceptance(finding: &Finding) -> Option<String> {
    let acceptance = finding.acceptance.as_ref()?;
    let word = if finding.expired { "acceptance ended on" } else { "accepted until" };
    Some(printable(&format!("{word} {}: {}", acceptance.until, acceptance.reason)))
}

/// What happens to a resource, and which.
pub fn title(action: &Action) -> (Sign, String) {
    let sign = match action.action {
        ActionKind::Create => Sign::Add,
        ActionKind::Delete => Sign::Remove,
        _ => Sign::Change,
    };
    let from = action.from.as_ref().map(|from| format!(" (renamed from {from})")).unwrap_or_default();
    let taken =
        action.taken_from.as_ref().map(|owner| format!(" (taken over from {owner})")).unwrap_or_default();
    (sign, printable(&format!("{}{from}{taken}", action.address)))
}

/// A difference, line by line.
pub fn difference(difference: &Difference) -> Vec<Line> {
    let name = printable(
        &difference.pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~"),
    );
    let line = |sign, text| Line { sign, inner: false, text };
    match (&difference.before, &difference.after) {
        (Some(Value::String(before)), Some(Value::String(after)))
            if before.contains('\n') || after.contains('\n') =>
        {
            let mut lines = vec![line(Sign::Change, format!("{name}:"))];
            lines.extend(text(before, after));
            lines
        }
        (Some(before), Some(after)) if !before.is_object() && !after.is_object() => {
            let change = format!("{name}: {} → {}", value::scalar(before), value::scalar(after));
            vec![line(Sign::Change, change)]
        }
        (before, after) => [(Sign::Remove, before), (Sign::Add, after)]
            .into_iter()
            .filter_map(|(sign, value)| Some((sign, value.as_ref()?)))
            .flat_map(|(sign, value)| {
                value::lines(&name, value).into_iter().map(move |text| Line { sign, inner: false, text })
            })
            .collect(),
    }
}

/// A text's changed lines with two of what is around them.
fn text(before: &str, after: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(2).iter().enumerate() {
        if index > 0 {
            lines.push(Line { sign: Sign::Context, inner: true, text: "…".to_owned() });
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let sign = match change.tag() {
                ChangeTag::Delete => Sign::Remove,
                ChangeTag::Insert => Sign::Add,
                ChangeTag::Equal => Sign::Context,
            };
            lines.push(Line { sign, inner: true, text: printable(change.value().trim_end_matches('\n')) });
        }
    }
    lines
}
