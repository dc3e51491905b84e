//! The profile of a job: what it may have, with its limits applied.

use serde::{Deserialize, Serialize};

use super::Trouble;
use crate::config::{ExecutionProfileSpec, Job, ProfileSecrets, Resources, RunAs};

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
    pub(super) fn find(name: &str, declared: Option<&ExecutionProfileSpec>) -> Option<Self> {
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
        let refuse = |field: &str, what: &str| {
            Err(Trouble::new(field, format!("the profile {:?} does not allow {what}", self.name)))
        };
        if wants_root(job.run_as.as_ref()) && !self.spec.root {
            return refuse("/run_as", "root");
        }
        if let Some(capability) =
            job.capabilities.iter().find(|wanted| !self.spec.capabilities.contains(wanted))
        {
            return refuse("/capabilities", &format!("the capability {capability}"));
        }
        let allows = |device: &String| {
            let globs = self.spec.devices.iter().filter_map(|pattern| crate::glob::Glob::new(pattern).ok());
            globs.into_iter().any(|glob| glob.is_match(device))
        };
        if let Some(device) = job.devices.iter().find(|device| !allows(device)) {
            return refuse("/devices", &format!("the device {device}"));
        }
        if !self.spec.networks.is_empty() && !self.spec.networks.contains(&job.network) {
            return refuse("/network", "this network");
        }
        job.timeout = match (job.timeout, self.spec.max_timeout) {
            (Some(wanted), Some(most)) if wanted > most => {
                return refuse("/timeout", &format!("more than {most}"));
            }
            (wanted, most) => wanted.or(most),
        };
        if let Some(most) = &self.spec.limits {
            let wanted = job.resources.unwrap_or_default();
            job.resources = Some(Resources {
                cpu: within(wanted.cpu, most.cpu).ok_or_else(|| self.beyond("cpu"))?,
                memory: within(wanted.memory, most.memory).ok_or_else(|| self.beyond("memory"))?,
                disk: within(wanted.disk, most.disk).ok_or_else(|| self.beyond("disk"))?,
                pids: within(wanted.pids, most.pids).ok_or_else(|| self.beyond("pids"))?,
            });
        }
        Ok(())
    }

    fn beyond(&self, field: &str) -> Trouble {
        let message = format!("the profile {:?} does not allow that much {field}", self.name);
        Trouble::new(&format!("/resources/{field}"), message)
    }
}

/// What is wanted, or all that is allowed; nothing where more is wanted.
fn within<T: PartialOrd + Copy>(wanted: Option<T>, most: Option<T>) -> Option<Option<T>> {
    match (wanted, most) {
        (Some(wanted), Some(most)) if wanted > most => None,
        (wanted, most) => Some(wanted.or(most)),
    }
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
