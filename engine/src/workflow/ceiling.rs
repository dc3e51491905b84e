//! The ceiling of a run: a profile that no job of it goes beyond, whatever its own profile is. Of a job that asks for
//! secrets or identity tokens where the ceiling has none, they are taken away, and what it would use too much of is cut;
//! one that asks for anything else beyond it fails.

use super::{Declaration, Profile, Resources, Workflow, profile_named};
use crate::config::{ExecutionProfileSpec, Job, ProfileSecrets, Resources as Limits};
use crate::placeholder;

impl Workflow {
    /// Bounds every job of the run by a profile.
    pub fn bound_by(&mut self, resources: &dyn Resources, name: &str) -> Result<(), String> {
        let ceiling = profile_named(resources, name)?;
        for declaration in self.jobs.values_mut() {
            if ceiling.spec.secrets == ProfileSecrets::None {
                declaration.withheld = take_secrets(&mut declaration.job);
            }
            if !ceiling.spec.allows_identity() {
                let tokens = std::mem::take(&mut declaration.job.id_tokens);
                declaration.withheld.extend(tokens.into_keys());
            }
            let job = &mut declaration.job;
            job.timeout = least(job.timeout, ceiling.spec.max_timeout);
            let wanted = ceiling.resources(job.resources);
            let most = ceiling.spec.limits.unwrap_or_default();
            job.resources = wanted.map(|wanted| Limits {
                cpu: least(wanted.cpu, most.cpu),
                memory: least(wanted.memory, most.memory),
                disk: least(wanted.disk, most.disk),
                pids: least(wanted.pids, most.pids),
            });
            declaration.ceiling = Some(ceiling.clone());
        }
        Ok(())
    }
}

impl Declaration {
    /// What the job is held to: its own profile, within the ceiling.
    pub fn effective_profile(&self) -> Profile {
        self.ceiling.as_ref().map_or_else(|| self.profile.clone(), |ceiling| self.profile.within(ceiling))
    }

    /// What the job goes without under the ceiling, as the end of a sentence.
    pub(crate) fn goes_without(&self) -> String {
        match &self.ceiling {
            Some(ceiling) if !self.withheld.is_empty() => {
                format!(
                    "; it goes without {}, which the profile {} has not",
                    self.withheld.join(", "),
                    ceiling.name
                )
            }
            _ => String::new(),
        }
    }

    /// Gives a job the limits that this one has, and refuses one that asks for more.
    pub(crate) fn limit(&self, job: &mut Job) -> Result<(), String> {
        for profile in [Some(&self.profile), self.ceiling.as_ref()].into_iter().flatten() {
            profile.limit(job).map_err(|trouble| trouble.message)?;
        }
        Ok(())
    }

    /// What a job of this declaration asks for beyond what it may have, in words.
    pub(crate) fn refusal(&self, job: &Job) -> Option<String> {
        [Some(&self.profile), self.ceiling.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|profile| profile.excesses(job).first().map(|excess| profile.refusal(excess)))
    }
}

impl Profile {
    /// Both at once, as far as workers and secrets are concerned: what runs is held against each of them by itself.
    fn within(&self, ceiling: &Self) -> Self {
        let pools = match (&self.spec.pools[..], &ceiling.spec.pools[..]) {
            ([], pools) | (pools, []) => pools.to_vec(),
            (own, most) => {
                let both: Vec<String> = own.iter().filter(|pool| most.contains(pool)).cloned().collect();
                // No pool is in both: it waits for one that cannot be, and says so, rather than take any.
                if both.is_empty() { vec![format!("{} and {}", own.join("|"), most.join("|"))] } else { both }
            }
        };
        let spec = ExecutionProfileSpec {
            secrets: self.spec.secrets.min(ceiling.spec.secrets),
            identity: match (self.spec.allows_identity(), ceiling.spec.allows_identity()) {
                // For anybody's code both must say so.
                (true, true) if self.spec.identity == ceiling.spec.identity => self.spec.identity,
                (true, true) => None,
                _ => Some(false),
            },
            root: self.spec.root && ceiling.spec.root,
            pools,
            ..ceiling.spec.clone()
        };
        Self { name: ceiling.name.clone(), spec }
    }
}

/// The lesser of two limits, where there are any.
fn least<T: PartialOrd>(wanted: Option<T>, most: Option<T>) -> Option<T> {
    match (wanted, most) {
        (Some(wanted), Some(most)) => Some(if most < wanted { most } else { wanted }),
        (wanted, most) => wanted.or(most),
    }
}

/// Takes away what a job would get of secrets. The names of what it does without.
fn take_secrets(job: &mut Job) -> Vec<String> {
    let mut taken: Vec<String> = job.secrets.keys().cloned().collect();
    job.secrets.clear();
    let names_secret =
        |value: &String| placeholder::find(value).iter().any(|found| found.namespace == "secret");
    let environments = job.steps.iter_mut().map(|step| &mut step.environment);
    for environment in environments.chain([&mut job.environment]) {
        environment.retain(|name, value| {
            let goes = names_secret(value);
            if goes {
                taken.push(name.clone());
            }
            !goes
        });
    }
    taken.sort();
    taken.dedup();
    taken
}
