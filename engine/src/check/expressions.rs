//! CEL expressions: that they can be read, and speak only of what there is.

use super::JobSite;
use crate::config::{ForEach, Spec};
use crate::diagnostic::{Diagnostic, Span};
use crate::protocol::condition::{ConditionError, Expression, Scope};
use crate::suggest::nearest;

/// The variables of an expression.
const VARIABLES: [&str; 5] = ["event", "vars", "needs", "inputs", "env"];
/// What an event has.
const EVENT: [&str; 12] = [
    "type",
    "branch",
    "tag",
    "sha",
    "action",
    "changed_files",
    "number",
    "author",
    "pushed_by",
    "origin",
    "schedule",
    "due",
];
/// What a job in `needs` has; `jobs` where it became several.
const JOB: [&str; 4] = ["result", "outputs", "exit_code", "jobs"];
/// What a step in `steps` has.
const STEP: [&str; 3] = ["outcome", "outputs", "exit_code"];

pub fn check(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let scope = scope(site);
    if let Some(when) = &site.job.when
        && let Some(expression) = expression(site, "when", when, &scope, found)
        && expression.constant_value() == Some(false)
    {
        let diagnostic =
            Diagnostic::error("RC1042", format!("{:?} can never run: its when is always false", site.name));
        found.push(diagnostic.at(site.span("when")).hint("remove the job or correct its condition"));
    }
    if let Some(ForEach::Expression(text)) = &site.job.for_each {
        expression(site, "for_each", text, &scope, found);
    }
    for (index, step) in site.job.steps.iter().enumerate() {
        if let Some(when) = &step.when {
            let steps = site.job.steps.iter().map(|step| step.name.as_str());
            let scope = scope.clone().fields("steps", steps).fields_of_each("steps", &STEP);
            let field = format!("steps/{index}/when");
            if let Some(expression) = expression(site, &field, when, &scope, found)
                && expression.constant_value() == Some(false)
            {
                let message = format!("the step {:?} can never run: its when is always false", step.name);
                let diagnostic = Diagnostic::error("RC1042", message).at(site.span(&field));
                found.push(diagnostic.hint("remove the step or correct its condition"));
            }
        }
    }
}

fn scope(site: &JobSite<'_>) -> Scope {
    let scope = Scope::new(VARIABLES).fields("event", EVENT).fields_of_each("needs", &JOB);
    match &site.declared.resource.spec {
        Spec::Pipeline(spec) => {
            let scope = scope.fields("inputs", spec.inputs.keys().map(String::as_str));
            // What a job leaves open its template may say.
            if site.job.depends_on.is_empty() && site.job.template.is_some() {
                return scope;
            }
            scope.fields("needs", site.job.depends_on.iter().map(String::as_str))
        }
        _ => scope,
    }
}

fn expression(
    site: &JobSite<'_>,
    field: &str,
    text: &str,
    scope: &Scope,
    found: &mut Vec<Diagnostic>,
) -> Option<Expression> {
    let result = Expression::parse(text).and_then(|expression| expression.check(scope).map(|()| expression));
    match result {
        Ok(expression) => Some(expression),
        Err(error) => {
            found.push(explain(&error, text, scope).at(within(site.span(field), text, place(&error, text))));
            None
        }
    }
}

fn explain(error: &ConditionError, text: &str, scope: &Scope) -> Diagnostic {
    let diagnostic = Diagnostic::error("RC1040", error.to_string());
    let (word, names): (String, Vec<&str>) = match error {
        ConditionError::UnknownField { variable, name, .. } => {
            (name.clone(), scope.fields_of(variable).collect())
        }
        _ => {
            let rest = error.offset().and_then(|at| text.get(at..)).unwrap_or_default();
            let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
            (rest.chars().take_while(is_part).collect(), scope.variables().collect())
        }
    };
    match (nearest(&word, names.iter().copied()), error) {
        (Some(name), _) if !word.is_empty() => diagnostic.hint(format!("did you mean {name}?")),
        (_, ConditionError::UnknownField { variable, .. }) if variable == "needs" => {
            diagnostic.hint("only jobs that stand in depends_on are in needs")
        }
        (_, ConditionError::UnknownField { variable, .. }) if names.is_empty() => {
            diagnostic.hint(format!("{variable} is empty here"))
        }
        (_, ConditionError::UnknownField { variable, .. }) => {
            diagnostic.hint(format!("{variable} has {}", names.join(", ")))
        }
        _ => diagnostic.hint(format!("an expression speaks of {}", names.join(", "))),
    }
}

/// Where an error is in its expression; of an unknown field, the field itself.
fn place(error: &ConditionError, text: &str) -> Option<usize> {
    let offset = error.offset()?;
    let ConditionError::UnknownField { variable, name, .. } = error else { return Some(offset) };
    let after = offset + variable.len();
    Some(text.get(after..).and_then(|rest| rest.find(name)).map_or(offset, |at| after + at))
}

/// The place within an expression, where the text in the file is as long as the expression (it is not where it is
/// quoted with escapes or folded over lines).
fn within(span: Span, text: &str, offset: Option<usize>) -> Span {
    let width = (span.end - span.start) as usize;
    let quotes = width.checked_sub(text.len());
    match (offset, quotes) {
        (Some(offset), Some(extra @ (0 | 2))) => {
            let start = span.start + u32::try_from(offset + extra / 2).unwrap_or(0);
            Span { start: start.min(span.end), ..span }
        }
        _ => span,
    }
}
