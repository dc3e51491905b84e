//! The references of a resource to others, as its fields declare them: the edges of the graph.
//!
//! A field's type says what kind a name in it means, so nothing is guessed from text. Globs are not references:
//! they name what happens to be there.

use crate::address::Address;
use crate::config::{
    ExecutionProfileSpec, Job, Kind, PipelineSpec, Resource, SecretPolicySpec, SecretUse, Source, Spec,
};
use crate::diff::join;
use crate::placeholder;

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Where it stands, as a JSON pointer from the document's root.
    pub pointer: String,
    /// What it may mean, in the order in which it is looked up: a project's own first, then the workspace's.
    pub candidates: Vec<Address>,
    /// Whether the target must exist before: its loss or absence is an error, and a circle of such references is
    /// one too. Otherwise it is a mention, such as a pool's list of profiles.
    pub ordering: bool,
}

impl Reference {
    /// The target that exists, by a test of existence.
    pub fn resolve(&self, exists: impl Fn(&Address) -> bool) -> Option<&Address> {
        self.candidates.iter().find(|candidate| exists(candidate))
    }
}

/// The profiles that exist without being declared.
pub const BUILT_IN_PROFILES: [&str; 2] = ["trusted", "untrusted"];

/// Every reference of a resource, in the order of its fields.
pub fn references(resource: &Resource) -> Vec<Reference> {
    let project = resource.metadata.project.as_deref();
    let mut found = Collector { project, references: Vec::new() };
    if let Some(project) = project {
        found.add("/metadata/project", vec![Address::new(Kind::Project, None, project)]);
    }
    match &resource.spec {
        Spec::Project(spec) => {
            // The secrets of a project's sources are its own before they are the workspace's.
            found.project = Some(&resource.metadata.name);
            found.source("/spec/source", spec.source.as_ref());
            found.source("/spec/ci_source", spec.ci_source.as_ref());
            found.profile("/spec/default_profile", spec.default_profile.as_deref());
            if let Some(webhook) = &spec.webhook {
                found.either("/spec/webhook/secret", Kind::Secret, secret_name(&webhook.secret));
            }
            for reference in &mut found.references {
                reference
                    .candidates
                    .retain(|candidate| candidate.project.is_none() || candidate.kind == Kind::Secret);
                // Its own secret belongs to it: neither is there before the other.
                reference.ordering &=
                    reference.candidates.iter().all(|candidate| candidate.project.is_none());
            }
        }
        Spec::Pipeline(spec) => found.pipeline(spec),
        Spec::JobTemplate(spec) => found.job("/spec/job", &spec.job),
        Spec::Secret(_) | Spec::Environment(_) => {}
        Spec::SecretPolicy(spec) => found.secret_policy(spec),
        Spec::TrustPolicy(spec) => {
            for (index, rule) in spec.rules.iter().enumerate() {
                found.profile(&format!("/spec/rules/{index}/profile"), rule.profile.as_deref());
            }
        }
        Spec::ExecutionProfile(spec) => found.execution_profile(spec),
        Spec::Schedule(spec) => {
            found.add("/spec/pipeline", vec![Address::new(Kind::Pipeline, project, &spec.pipeline)])
        }
        Spec::WorkerPool(spec) => {
            for (index, profile) in spec.profiles.iter().flatten().enumerate() {
                found.profile(&format!("/spec/profiles/{index}"), Some(profile));
            }
            // A pool and a profile may name each other.
            found.references.iter_mut().for_each(|reference| reference.ordering = false);
        }
        Spec::RoleBinding(spec) => {
            if let Some(project) = &spec.project {
                found.add("/spec/project", vec![Address::new(Kind::Project, None, project)]);
            }
        }
        Spec::WebhookTarget(spec) => {
            if let Some(token) = &spec.token {
                found.add("/spec/token", vec![Address::new(Kind::Secret, None, secret_name(token))]);
            }
            for (index, name) in spec.depends_on.iter().enumerate() {
                let target = Address::new(Kind::WebhookTarget, None, name);
                found.add(&format!("/spec/depends_on/{index}"), vec![target]);
            }
        }
    }
    found.references
}

struct Collector<'a> {
    project: Option<&'a str>,
    references: Vec<Reference>,
}

impl Collector<'_> {
    fn add(&mut self, pointer: &str, candidates: Vec<Address>) {
        self.references.push(Reference { pointer: pointer.to_owned(), candidates, ordering: true });
    }

    /// A name that may be the project's own or the workspace's.
    fn either(&mut self, pointer: &str, kind: Kind, name: &str) {
        let own = self.project.map(|project| Address::new(kind, Some(project), name));
        let candidates = own.into_iter().chain([Address::new(kind, None, name)]).collect();
        self.add(pointer, candidates);
    }

    fn profile(&mut self, pointer: &str, name: Option<&str>) {
        if let Some(name) = name
            && !BUILT_IN_PROFILES.contains(&name)
        {
            self.add(pointer, vec![Address::new(Kind::ExecutionProfile, None, name)]);
        }
    }

    fn source(&mut self, pointer: &str, source: Option<&Source>) {
        if let Some(credentials) = source.and_then(|source| source.credentials.as_deref()) {
            self.either(&format!("{pointer}/credentials"), Kind::Secret, secret_name(credentials));
        }
    }

    fn pipeline(&mut self, spec: &PipelineSpec) {
        for (name, job) in &spec.jobs {
            self.job(&join("/spec/jobs", name), job);
        }
    }

    fn job(&mut self, pointer: &str, job: &Job) {
        if let Some(template) = &job.template {
            self.either(&format!("{pointer}/template"), Kind::JobTemplate, template);
        }
        for (index, preset) in job.presets.iter().enumerate() {
            self.either(&format!("{pointer}/presets/{index}"), Kind::Environment, preset);
        }
        if let Some(environment) = &job.deploys_to {
            self.either(&format!("{pointer}/deploys_to"), Kind::Environment, environment);
        }
        for (variable, SecretUse { secret, .. }) in &job.secrets {
            if !is_variable(secret) {
                self.either(
                    &join(&format!("{pointer}/secrets"), variable),
                    Kind::Secret,
                    secret_name(secret),
                );
            }
        }
        for (variable, value) in &job.environment {
            for placeholder in placeholder::find(value) {
                if placeholder.namespace == "secret" {
                    let at = join(&format!("{pointer}/environment"), variable);
                    self.either(&at, Kind::Secret, secret_name(&placeholder.name));
                }
            }
        }
        self.source(&format!("{pointer}/source"), job.source.as_ref());
        self.source(&format!("{pointer}/ci_source"), job.ci_source.as_ref());
        self.profile(&format!("{pointer}/profile"), job.profile.as_deref());
    }

    fn secret_policy(&mut self, spec: &SecretPolicySpec) {
        for (list, grants) in [("allow", &spec.allow), ("deny", &spec.deny)] {
            for (index, grant) in grants.iter().enumerate() {
                let at = format!("/spec/{list}/{index}");
                let project = &grant.to.project;
                self.add(&format!("{at}/to/project"), vec![Address::new(Kind::Project, None, project)]);
                if let Some(pipeline) = &grant.to.pipeline {
                    let target = Address::new(Kind::Pipeline, Some(project), pipeline);
                    self.add(&format!("{at}/to/pipeline"), vec![target]);
                }
                for (index, profile) in grant.when.iter().flat_map(|when| &when.profiles).enumerate() {
                    self.profile(&format!("{at}/when/profiles/{index}"), Some(profile));
                }
            }
        }
    }

    fn execution_profile(&mut self, spec: &ExecutionProfileSpec) {
        for (index, pool) in spec.pools.iter().enumerate() {
            self.add(&format!("/spec/pools/{index}"), vec![Address::new(Kind::WorkerPool, None, pool)]);
        }
    }
}

/// The name of the secret in `name` or `name:key`.
pub fn secret_name(text: &str) -> &str {
    text.split_once(':').map_or(text, |(name, _)| name)
}

/// Whether a name is given by a template's parameter, and so is known only where the template is used.
fn is_variable(text: &str) -> bool {
    !placeholder::find(text).is_empty()
}
