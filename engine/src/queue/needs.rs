//! What a worker must be to take an attempt.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::WorkerPoolSpec;
use crate::glob::Glob;

/// What a worker must be to take an attempt. Equal needs have equal texts, so that attempts with the same needs can be
/// found together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Needs {
    /// Labels that it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Pools, one of which it is in. Empty: any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pools: BTreeSet<String>,
    /// The profile that its pool lets in.
    pub profile: String,
    /// The one worker that may take it: the one that runs beside whoever started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// A worker that wants something to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claimant {
    /// Its id.
    pub worker: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its pool, and what that is open to.
    pub pool: Option<(String, WorkerPoolSpec)>,
}

impl Needs {
    /// Its text, the same for equal needs.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("needs are JSON")
    }

    /// What a text says.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether a worker is what an attempt of a project needs; if not, why not.
    pub fn met_by(&self, claimant: &Claimant, project: &str) -> Result<(), String> {
        if let Some(only) = &self.only {
            return if *only == claimant.worker {
                Ok(())
            } else {
                Err(format!("it runs beside {only} and nowhere else"))
            };
        }
        let pool = claimant.pool.as_ref();
        if !self.pools.is_empty() && !pool.is_some_and(|(name, _)| self.pools.contains(name)) {
            let pools: Vec<&str> = self.pools.iter().map(String::as_str).collect();
            return Err(format!("its profile {:?} runs in the pool {}", self.profile, pools.join(" or ")));
        }
        if let Some((name, spec)) = pool {
            // What a worker says of itself is no proof; its name is, which its token gives it.
            if spec.workers.as_ref().is_some_and(|globs| !is_among(globs, &claimant.worker)) {
                return Err(format!("the worker {:?} is none of the pool {name:?}", claimant.worker));
            }
            if spec.profiles.as_ref().is_some_and(|profiles| !profiles.contains(&self.profile)) {
                return Err(format!("the pool {name:?} is not open to the profile {:?}", self.profile));
            }
            if spec.projects.as_ref().is_some_and(|globs| !is_among(globs, project)) {
                return Err(format!("the pool {name:?} is not open to the project {project:?}"));
            }
        }
        let has = |label: &str| {
            let of_pool = || pool.and_then(|(_, spec)| spec.labels.get(label));
            claimant.labels.get(label).or_else(of_pool)
        };
        match self.labels.iter().find(|(label, value)| has(label) != Some(value)) {
            Some((label, value)) => Err(format!("it needs the label {label}={value}")),
            None => Ok(()),
        }
    }
}

fn is_among(globs: &[String], name: &str) -> bool {
    globs.iter().any(|glob| Glob::new(glob).is_ok_and(|glob| glob.is_match(name)))
}
