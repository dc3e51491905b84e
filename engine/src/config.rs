//! The configuration language: every kind of resource, its fields, and what they mean.
//!
//! The doc comments here are the field documentation that editors show; JSON Schemas are generated from
//! these types. A spec is always *normalised*: defaults are filled in where a field has one, and values such
//! as durations are typed, so that equal configurations are equal values.

mod delivery;
mod environment;
mod execution_profile;
mod job;
mod job_fields;
mod job_template;
mod kind;
mod pipeline;
mod project;
mod role_binding;
mod schedule;
mod secret;
mod secret_policy;
mod source_file;
mod step;
mod trust_policy;
pub mod value;
mod webhook_target;
mod worker_pool;

pub use delivery::*;
pub use environment::*;
pub use execution_profile::*;
pub use job::*;
pub use job_fields::*;
pub use job_template::*;
pub use kind::*;
pub use pipeline::*;
pub use project::*;
pub use role_binding::*;
pub use schedule::*;
pub use secret::*;
pub use secret_policy::*;
pub use source_file::*;
pub use step::*;
pub use trust_policy::*;
pub use webhook_target::*;
pub use worker_pool::*;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;

/// The only `apiVersion` there is.
pub const API_VERSION: &str = "reactorcide/v1";

/// What every document says about the resource that it declares, beside its spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The resource's name, unique for its kind and project. Lower-case letters, digits, `-`, `_` and `.`;
    /// the name of a Secret may be a path with `/`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$"), length(max = 128))]
    pub name: String,
    /// The project that the resource belongs to. Pipelines and Schedules always have one; a Secret,
    /// JobTemplate or Environment may have one and is then visible in that project only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"), length(max = 128))]
    pub project: Option<String>,
    /// What it is for, in a sentence, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by. They have no effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The name it had before, so that a rename keeps its history instead of being a delete and a create.
    /// Remove the line once it has been applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$"), length(max = 128))]
    pub renamed_from: Option<String>,
    /// Whether an apply may delete it. `protect` is remembered in state, so deleting the document does not
    /// undo it: apply `allow` first.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Findings of plans about this resource that somebody accepts, with the reason, until a day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub accept: Vec<Acceptance>,
}

/// A finding that somebody accepts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The code of the finding, such as `RX101`.
    #[schemars(regex(pattern = r"^RX[0-9]{3}$"))]
    pub finding: String,
    /// Why it is accepted.
    #[schemars(length(min = 1, max = 1000))]
    pub reason: String,
    /// The last day on which it counts, `YYYY-MM-DD`. It is held against the date of the plan.
    #[schemars(regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub until: String,
}

/// Whether an apply may delete a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletionPolicy {
    /// It may be deleted.
    #[default]
    Allow,
    /// An apply that would delete it is refused.
    Protect,
}

/// One declared resource: metadata and a spec of its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Name, project and the rest of the envelope.
    pub metadata: Metadata,
    /// What it declares.
    pub spec: Spec,
}

impl Resource {
    /// Its address.
    pub fn address(&self) -> Address {
        Address::new(self.spec.kind(), self.metadata.project.as_deref(), &self.metadata.name)
    }
}

macro_rules! specs {
    ($($kind:ident($spec:ident)),* $(,)?) => {
        /// The spec of a resource, by kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Spec {
            $(#[doc = concat!("The spec of a ", stringify!($kind), ".")] $kind(Box<$spec>),)*
        }

        impl Spec {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// The spec as canonical JSON: typed values in canonical form, what was not said left out.
            pub fn to_value(&self) -> serde_json::Value {
                let value = match self { $(Self::$kind(spec) => serde_json::to_value(spec),)* };
                value.expect("a spec has string keys and finite numbers only")
            }

            /// Reads the spec of a kind. The error carries the path of the field.
            pub fn from_value(
                kind: Kind,
                value: serde_json::Value,
            ) -> Result<Self, serde_path_to_error::Error<serde_json::Error>> {
                match kind {
                    $(Kind::$kind => serde_path_to_error::deserialize(value).map(|spec| Self::$kind(Box::new(spec))),)*
                }
            }

            /// The JSON Schema of the spec of a kind, as schemars makes it.
            pub fn schema(kind: Kind, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match kind { $(Kind::$kind => generator.subschema_for::<$spec>(),)* }
            }
        }
    };
}

specs! {
    Project(ProjectSpec),
    Pipeline(PipelineSpec),
    JobTemplate(JobTemplateSpec),
    Secret(SecretSpec),
    SecretPolicy(SecretPolicySpec),
    TrustPolicy(TrustPolicySpec),
    ExecutionProfile(ExecutionProfileSpec),
    Environment(EnvironmentSpec),
    Schedule(ScheduleSpec),
    WorkerPool(WorkerPoolSpec),
    RoleBinding(RoleBindingSpec),
    WebhookTarget(WebhookTargetSpec),
}

/// Identifies one file of a configuration: its index in [`Configuration::sources`].
pub type SourceId = u32;

/// Where the parts of one document are: JSON pointers from the document's root to spans.
///
/// `/spec/jobs/test/image` names a value; with `#key` behind it, the key of a mapping.
///
/// They are found when they are asked for, by reading the document again: only errors need them, and keeping every
/// tree would take more memory than everything else together.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    text: Option<Arc<str>>,
    source: SourceId,
    /// Which document of the file, from 0.
    document: usize,
    tree: OnceLock<Option<Arc<crate::read::Node>>>,
}

impl PartialEq for Positions {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.source, self.document) == (&other.text, other.source, other.document)
    }
}

impl Positions {
    /// The positions in one document of a file.
    pub fn new(text: Arc<str>, source: SourceId, document: usize) -> Self {
        Self { text: Some(text), source, document, tree: OnceLock::new() }
    }

    /// The place of a value, or of a key with `#key` behind its pointer.
    pub fn get(&self, pointer: &str) -> Option<crate::diagnostic::Span> {
        self.tree()?.span_of(pointer)
    }

    /// The place of a value, or of the nearest thing around it that has one.
    pub fn nearest(&self, pointer: &str) -> Option<crate::diagnostic::Span> {
        self.tree()?.nearest(pointer)
    }

    fn tree(&self) -> Option<&crate::read::Node> {
        let tree = self.tree.get_or_init(|| {
            let text = self.text.as_ref()?;
            crate::read::document(text, self.source, self.document).map(Arc::new)
        });
        tree.as_deref()
    }
}

/// One resource as it was declared, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The resource.
    pub resource: Resource,
    /// The whole document.
    pub span: crate::diagnostic::Span,
    /// Its parts.
    pub positions: Positions,
}

/// A configuration that was read whole: every file, and every resource by address.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// The files, by path.
    pub sources: Vec<SourceFile>,
    /// The resources.
    pub resources: BTreeMap<Address, Declared>,
}

/// Resources by address: what a workflow is resolved from, whether they were read from files or from state. What is the
/// same in two catalogs need not be there twice.
pub type Catalog = BTreeMap<Address, Arc<Resource>>;

impl Configuration {
    /// The resources alone.
    pub fn into_catalog(self) -> Catalog {
        self.resources.into_iter().map(|(address, declared)| (address, Arc::new(declared.resource))).collect()
    }
}
