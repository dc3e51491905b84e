//! The profile of a job: what it may have, with its limits applied. The same rules judge what a document says, what
//! templates make of it, what runs in the end, and what a running job asks for.

use serde::{Deserialize, Serialize};

use super::Trouble;
use crate::config::{
    DEFAULT_GRACE, ExecutionProfileSpec, Job, Network, ProfileSecrets, Resources, RunAs, RunnerMode,
};
use crate::diff::join;
use crate::glob::Glob;
use crate::placeholder;
use crate::reference::secret_name;

/// The profile of a job where neither it nor its project names one. Secrets still need a policy.
pub const DEFAULT: &str = "trusted";

/// A profile by its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub spec: ExecutionProfileSpec,
}

impl Profile {
    /// A declared profile, or a built-in one of that name.
    pub(crate) fn find(name: &str, declared: Option<&ExecutionProfileSpec>) -> Option<Self> {
        let spec = match (declared, name) {
            (Some(spec), _) => spec.clone(),
            (None, "trusted") => {
                ExecutionProfileSpec { secrets: ProfileSecrets::Granted, ..ExecutionProfileSpec::default() }
            }
            (None, "untrusted") => ExecutionProfileSpec::default(),
            _ => return None,
        };
        Some(Self { name: name.to_owned(), spec })
    }

    /// Gives a job the profile's limits where it names none, and refuses one that asks for more.
    pub(crate) fn limit(&self, job: &mut Job) -> Result<(), Trouble> {
        if let Some(excess) = self.excesses(job).into_iter().next() {
            return Err(Trouble { code: "RC1061", ..Trouble::new(&excess.field, self.refusal(&excess)) });
        }
        job.timeout = job.timeout.or(self.spec.max_timeout);
        job.resources = self.resources(job.resources);
        Ok(())
    }

    /// What a job may use of a machine: what it asks for, else the most that it may.
    pub(crate) fn resources(&self, wanted: Option<Resources>) -> Option<Resources> {
        let Some(most) = &self.spec.limits else { return wanted };
        let wanted = wanted.unwrap_or_default();
        Some(Resources {
            cpu: wanted.cpu.or(most.cpu),
            memory: wanted.memory.or(most.memory),
            disk: wanted.disk.or(most.disk),
            pids: wanted.pids.or(most.pids),
        })
    }

    /// An excess in words.
    pub(crate) fn refusal(&self, excess: &Excess) -> String {
        format!("the profile {:?} does not allow {}", self.name, excess.what)
    }

    /// All that a job asks for beyond the profile. What a placeholder will say is looked at once it is filled in.
    pub(crate) fn excesses(&self, job: &Job) -> Vec<Excess> {
        let spec = &self.spec;
        let mut found = Vec::new();
        let mut refuse = |field: &str, what: String, rule: &'static str| {
            found.push(Excess { field: field.to_owned(), what, rule });
        };
        if wants_root(job.run_as.as_ref()) && !spec.root {
            refuse("/run_as", "root".to_owned(), "/spec/root");
        }
        for (index, capability) in job.capabilities.iter().enumerate() {
            if !spec.capabilities.contains(capability) {
                let what = format!("the capability {capability}");
                refuse(&format!("/capabilities/{index}"), what, "/spec/capabilities");
            }
        }
        for (index, device) in job.devices.iter().enumerate() {
            if leads_elsewhere(device) || !matches(&spec.devices, device) {
                refuse(&format!("/devices/{index}"), format!("the device {device}"), "/spec/devices");
            }
        }
        if !spec.networks.is_empty() && !spec.networks.contains(&job.network) {
            let word = if job.network == Network::None { "none" } else { "isolated" };
            refuse("/network", format!("the network {word}"), "/spec/networks");
        }
        if let Some(image) = job.image.as_ref().filter(|image| placeholder::find(image).is_empty()) {
            if !spec.images.is_empty() && !matches(&spec.images, image) {
                refuse("/image", format!("the image {image}"), "/spec/images");
            }
            if spec.require_digest && !has_digest(image) {
                refuse("/image", "an image without a digest".to_owned(), "/spec/require_digest");
            }
        }
        if job.runner == RunnerMode::None && !spec.bare_images {
            refuse("/runner", "runner: none".to_owned(), "/spec/bare_images");
        }
        if spec.secrets == ProfileSecrets::None {
            for (field, secret) in secrets(job) {
                refuse(&field, format!("any secret, and this job asks for {secret:?}"), "/spec/secrets");
            }
        }
        if !spec.allows_identity() {
            for variable in job.id_tokens.keys() {
                let what = format!("any identity token, and this job asks for {variable}");
                refuse(&join("/id_tokens", variable), what, "/spec/identity");
            }
        }
        if let (Some(timeout), Some(most)) = (job.timeout, spec.max_timeout)
            && timeout > most
        {
            refuse("/timeout", format!("a timeout of {timeout}, more than {most}"), "/spec/max_timeout");
        }
        // What does not listen goes on for as long: nobody gets that beyond the time that there is.
        if let Some(most) = spec.max_timeout
            && job.grace > most.max(DEFAULT_GRACE)
        {
            let what = format!("a grace of {}, more than its longest timeout {most}", job.grace);
            refuse("/grace", what, "/spec/max_timeout");
        }
        if let (Some(wanted), Some(most)) = (&job.resources, &spec.limits) {
            for (field, what, rule) in beyond(wanted, most) {
                refuse(field, what, rule);
            }
        }
        found
    }
}

/// Something that a job asks for and its profile does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excess {
    /// A pointer below the job.
    pub field: String,
    /// What it asks for.
    pub what: String,
    /// Where the profile's document says so.
    pub rule: &'static str,
}

fn matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| Glob::new(pattern).is_ok_and(|glob| glob.is_match(text)))
}

/// Whether a path may mean another one than it says: `/dev/dri/../sda` is of the form `/dev/dri/**`.
fn leads_elsewhere(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "." | ".."))
}

/// Whether an image is named by a whole SHA-256 digest.
fn has_digest(image: &str) -> bool {
    image.rsplit_once("@sha256:").is_some_and(|(_, digest)| {
        digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// The secrets that a job asks for, each with the pointer of the field.
fn secrets(job: &Job) -> Vec<(String, &str)> {
    let named = job
        .secrets
        .iter()
        .map(|(variable, secret)| (join("/secrets", variable), secret_name(&secret.secret)));
    let mut found: Vec<_> = named.collect();
    for (variable, value) in &job.environment {
        for placeholder in placeholder::find(value) {
            if placeholder.namespace == "secret" {
                let (start, end) = (placeholder.range.start + "${secret:".len(), placeholder.range.end - 1);
                found.push((join("/environment", variable), secret_name(&value[start..end])));
            }
        }
    }
    found
}

fn beyond(wanted: &Resources, most: &Resources) -> Vec<(&'static str, String, &'static str)> {
    fn over<T: PartialOrd + std::fmt::Display>(
        name: &str,
        fields: (&'static str, &'static str),
        wanted: Option<T>,
        most: Option<T>,
    ) -> Option<(&'static str, String, &'static str)> {
        let (wanted, most) = (wanted?, most?);
        (wanted > most).then(|| (fields.0, format!("{name} {wanted}, more than {most}"), fields.1))
    }
    [
        over("cpu", ("/resources/cpu", "/spec/limits/cpu"), wanted.cpu, most.cpu),
        over("memory", ("/resources/memory", "/spec/limits/memory"), wanted.memory, most.memory),
        over("disk", ("/resources/disk", "/spec/limits/disk"), wanted.disk, most.disk),
        over("pids", ("/resources/pids", "/spec/limits/pids"), wanted.pids, most.pids),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether a job asks to be root.
pub fn wants_root(run_as: Option<&RunAs>) -> bool {
    match run_as {
        Some(RunAs::Id(id)) => *id == 0,
        Some(RunAs::Text(text)) => {
            text == "root" || text.split(':').next().is_some_and(|id| id.trim_start_matches('0').is_empty())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
