//! The code of an event: jobs that take their project's code take it where the event says, be it another repository.

use super::{Resources, Workflow};
use crate::address::Address;
use crate::config::{Kind, Source, Spec};

impl Workflow {
    /// The code of its project.
    pub fn project_source(&self, resources: &dyn Resources) -> Option<Source> {
        let address = Address::new(Kind::Project, None, self.address.project.as_deref()?);
        match &resources.at(&address)?.spec {
            Spec::Project(project) => project.source.clone(),
            _ => None,
        }
    }

    /// Takes the project's code at a branch, tag or commit, in every job that takes it and says nothing else. Whether the
    /// project has code.
    pub fn take_code_at(&mut self, resources: &dyn Resources, reference: Option<&str>) -> bool {
        let Some(source) = self.project_source(resources) else { return false };
        if source.git.is_some() && source.reference.is_none() {
            for declaration in self.jobs.values_mut() {
                if let Some(of_job) = declaration.job.source.as_mut().filter(|of_job| **of_job == source) {
                    of_job.reference = reference.map(str::to_owned);
                }
            }
        }
        true
    }

    /// Takes the code of a fork instead of the project's, at a commit. Nothing that opens the project's repository is given
    /// to another one.
    pub fn take_code_from(&mut self, resources: &dyn Resources, repository: &str, commit: &str) -> bool {
        let Some(source) = self.project_source(resources) else { return false };
        if source.git.is_some() && source.reference.is_none() {
            for declaration in self.jobs.values_mut() {
                let is_projects =
                    |of_job: &&mut Source| of_job.git == source.git && of_job.reference.is_none();
                if let Some(of_job) = declaration.job.source.as_mut().filter(is_projects) {
                    of_job.git = Some(repository.to_owned());
                    of_job.reference = Some(commit.to_owned());
                    of_job.credentials = None;
                    // Whoever wrote it must not choose what our machines talk to.
                    of_job.submodule_hosts.get_or_insert_default();
                }
            }
        }
        true
    }
}
