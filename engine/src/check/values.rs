//! Values that have a form of their own: globs, schedules, sources, names of secrets.

use super::span;
use crate::config::{
    Declared, EventType, Job, PipelineSpec, ScheduleSpec, SecretPolicySpec, Source, Spec, WebhookTargetSpec,
};
use crate::diagnostic::Diagnostic;
use crate::diff::join;
use crate::outside;
use crate::schedule::{Timetable, TimetableError, check_cron, check_day, check_zone};

pub fn check(declared: &Declared, found: &mut Vec<Diagnostic>) {
    match &declared.resource.spec {
        Spec::Project(spec) => {
            source(declared, "/spec/source", spec.source.as_ref(), found);
            source(declared, "/spec/ci_source", spec.ci_source.as_ref(), found);
            if let Some(config) = &spec.config {
                below(declared, "/spec/config/path", &config.path, found);
            }
        }
        Spec::Pipeline(spec) => pipeline(declared, spec, found),
        Spec::JobTemplate(spec) => job(declared, "/spec/job", &spec.job, found),
        Spec::SecretPolicy(spec) => secret_policy(declared, spec, found),
        Spec::TrustPolicy(spec) => {
            globs(declared, "/spec/projects", &spec.projects, found);
            for (index, rule) in spec.rules.iter().enumerate() {
                globs(declared, &format!("/spec/rules/{index}/paths"), &rule.paths, found);
            }
        }
        Spec::ExecutionProfile(spec) => {
            globs(declared, "/spec/devices", &spec.devices, found);
            globs(declared, "/spec/images", &spec.images, found);
        }
        Spec::Environment(spec) => {
            for name in spec.variables.keys() {
                let at = || span(declared, &join("/spec/variables", name));
                found.extend(super::jobs::reserved(name).map(|diagnostic| diagnostic.at(at())));
            }
            if let Some(protection) = &spec.protection {
                globs(declared, "/spec/protection/branches", &protection.branches, found);
            }
        }
        Spec::Schedule(spec) => schedule(declared, spec, found),
        Spec::WorkerPool(spec) => {
            globs(declared, "/spec/projects", spec.projects.as_deref().unwrap_or_default(), found);
            for (index, standby) in spec.standby.iter().enumerate().filter(|(_, one)| one.min > one.max) {
                let message = format!("min is {}, more than max, {}", standby.min, standby.max);
                let at = span(declared, &format!("/spec/standby/{index}/min"));
                let most = span(declared, &format!("/spec/standby/{index}/max"));
                let diagnostic = Diagnostic::error("RC1031", message).at(at).related(most, "max");
                found.push(diagnostic.hint("lower min or raise max"));
            }
        }
        Spec::WebhookTarget(spec) => webhook_target(declared, spec, found),
        Spec::Secret(_) | Spec::RoleBinding(_) => {}
    }
}

fn pipeline(declared: &Declared, spec: &PipelineSpec, found: &mut Vec<Diagnostic>) {
    for (index, trigger) in spec.triggers.iter().enumerate() {
        let at = format!("/spec/triggers/{index}");
        globs(declared, &format!("{at}/branches"), &trigger.branches, found);
        globs(declared, &format!("{at}/tags"), &trigger.tags, found);
        if let Some(paths) = &trigger.paths {
            globs(declared, &format!("{at}/paths/include"), &paths.include, found);
            globs(declared, &format!("{at}/paths/exclude"), &paths.exclude, found);
        }
        if !trigger.actions.is_empty() && trigger.event != EventType::PullRequest {
            let diagnostic = Diagnostic::error("RC1031", "actions mean something only for pull_request");
            found.push(diagnostic.at(span(declared, &format!("{at}/actions"))));
        }
    }
    for (name, value) in &spec.jobs {
        job(declared, &join("/spec/jobs", name), value, found);
    }
}

fn job(declared: &Declared, pointer: &str, job: &Job, found: &mut Vec<Diagnostic>) {
    source(declared, &format!("{pointer}/source"), job.source.as_ref(), found);
    source(declared, &format!("{pointer}/ci_source"), job.ci_source.as_ref(), found);
    if let Some(artifacts) = &job.artifacts {
        globs(declared, &format!("{pointer}/artifacts/paths"), &artifacts.paths, found);
    }
    for (list, patterns) in
        job.triggers_allowed.iter().flat_map(|t| [("templates", &t.templates), ("images", &t.images)])
    {
        globs(
            declared,
            &format!("{pointer}/triggers_allowed/{list}"),
            patterns.as_deref().unwrap_or_default(),
            found,
        );
    }
}

fn secret_policy(declared: &Declared, spec: &SecretPolicySpec, found: &mut Vec<Diagnostic>) {
    for (list, grants) in [("allow", &spec.allow), ("deny", &spec.deny)] {
        for (index, grant) in grants.iter().enumerate() {
            let at = format!("/spec/{list}/{index}");
            globs(declared, &format!("{at}/secrets"), &grant.secrets, found);
            if let Some(when) = &grant.when {
                globs(declared, &format!("{at}/when/branches"), &when.branches, found);
                globs(declared, &format!("{at}/when/tags"), &when.tags, found);
            }
        }
    }
}

fn globs(declared: &Declared, pointer: &str, patterns: &[String], found: &mut Vec<Diagnostic>) {
    for (index, pattern) in patterns.iter().enumerate() {
        if let Err(error) = crate::glob::Glob::check(pattern) {
            let diagnostic = Diagnostic::error("RC1050", format!("{pattern:?} is not a glob: {error}"));
            found.push(diagnostic.at(span(declared, &format!("{pointer}/{index}"))));
        }
    }
}

fn source(declared: &Declared, pointer: &str, source: Option<&Source>, found: &mut Vec<Diagnostic>) {
    let Some(source) = source else { return };
    let given = [
        source.git.is_some(),
        source.copy.is_some(),
        source.tarball.is_some(),
        source.hg.is_some(),
        source.svn.is_some(),
        source.none,
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        let diagnostic =
            Diagnostic::error("RC1051", "a source is exactly one of git, copy, tarball, hg, svn and none");
        found.push(diagnostic.at(span(declared, pointer)));
    }
    if let Some(path) = &source.path {
        below(declared, &format!("{pointer}/path"), path, found);
    }
    for (field, value) in [
        ("git", &source.git),
        ("hg", &source.hg),
        ("svn", &source.svn),
        ("tarball", &source.tarball),
        ("ref", &source.reference),
        ("default_branch", &source.default_branch),
    ] {
        let Some(value) = value else { continue };
        let trouble = if value.starts_with('-') {
            Some("it would be read as an option")
        } else if value.chars().any(char::is_control) {
            Some("it holds a control character")
        } else if value.starts_with("ext::") || value.starts_with("fd::") {
            Some("this transport runs programs")
        } else {
            None
        };
        if let Some(trouble) = trouble {
            let diagnostic = Diagnostic::error("RC1052", format!("{value:?} is not allowed here: {trouble}"));
            found.push(diagnostic.at(span(declared, &format!("{pointer}/{field}"))));
        }
    }
}

/// A path that stays in the checkout.
fn below(declared: &Declared, pointer: &str, path: &str, found: &mut Vec<Diagnostic>) {
    let trouble = if path.starts_with('/') {
        "it must be below the checkout"
    } else if path.split('/').any(|part| part == "..") {
        "it leaves the checkout"
    } else if path.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return;
    };
    let diagnostic = Diagnostic::error("RC1052", format!("{path:?} is not allowed here: {trouble}"));
    found.push(diagnostic.at(span(declared, pointer)).hint("write a path such as jobs/test.py"));
}

fn webhook_target(declared: &Declared, spec: &WebhookTargetSpec, found: &mut Vec<Diagnostic>) {
    let at = |pointer: &str| span(declared, pointer);
    if spec.token.is_some() && !outside::keeps_a_token(&spec.url) {
        let message = "a token would go over the network for everybody to read";
        let diagnostic = Diagnostic::error("RC1054", message).at(at("/spec/url"));
        found.push(diagnostic.hint("write https://…; http:// is for this machine's own addresses"));
    }
    let path = spec.url.to_ascii_lowercase().replace("%2e", ".");
    if path.split('/').any(|part| part == "." || part == "..") {
        let diagnostic = Diagnostic::error("RC1054", "a URL with . or .. in its path leads elsewhere");
        found.push(diagnostic.at(at("/spec/url")).hint("write the path that it leads to"));
    }
    for (name, value) in &spec.body {
        if value.to_string().contains("${secret:") {
            let message = "a body is shown in plans and kept in history: it can hold no secret";
            let diagnostic = Diagnostic::error("RC1054", message).at(at(&join("/spec/body", name)));
            found.push(diagnostic.hint("name the secret as `token`, which is sent apart from the body"));
        }
    }
}

fn schedule(declared: &Declared, spec: &ScheduleSpec, found: &mut Vec<Diagnostic>) {
    let mut wrong = |pointer: &str, error: TimetableError| {
        let hint = match &error {
            TimetableError::Cron { .. } => {
                "five fields: minute, hour, day of the month, month, day of the week".to_owned()
            }
            TimetableError::Zone { near: Some(near), .. } => format!("did you mean {near}?"),
            TimetableError::Zone { near: None, .. } => "a name such as Europe/Vienna or UTC".to_owned(),
            TimetableError::Day { .. } => "a day of the calendar, such as 2026-12-31".to_owned(),
        };
        let diagnostic = Diagnostic::error("RC1053", error.to_string());
        found.push(diagnostic.at(span(declared, pointer)).hint(hint));
    };
    let cron = check_cron(&spec.cron).map_err(|error| wrong("/spec/cron", error));
    let zone = check_zone(&spec.timezone).map_err(|error| wrong("/spec/timezone", error));
    let mut good = cron.is_ok() && zone.is_ok();
    for (pointer, day) in [("/spec/not_before", &spec.not_before), ("/spec/not_after", &spec.not_after)] {
        if let Some(Err(error)) = day.as_deref().map(check_day) {
            wrong(pointer, error);
            good = false;
        }
    }
    if spec.not_before.is_some() && spec.not_after.is_some() && spec.not_after < spec.not_before {
        let diagnostic = Diagnostic::error("RC1053", "its last day is before its first");
        found.push(diagnostic.at(span(declared, "/spec/not_after")));
        good = false;
    }
    // From the beginning of time: what is past was once possible.
    if good && Timetable::new(spec, "").is_ok_and(|table| table.after(0).is_none()) {
        let diagnostic = Diagnostic::error("RC1053", format!("{:?} never comes", spec.cron));
        let hint = "no month has such a day, or none between not_before and not_after";
        found.push(diagnostic.at(span(declared, "/spec/cron")).hint(hint));
    }
}
