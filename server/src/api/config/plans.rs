//! Plans: what a change of the configuration would do. Nothing is written.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::dates;
use reactorcide_engine::diagnostic::{Diagnostic, Severity};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::plan::{Options, Plan};
use reactorcide_engine::read::{InputFile, Reading};
use reactorcide_engine::store::Owner;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::context::{Context, Json};
use super::super::problem::ConfigurationError;
use super::super::{Problem, Route};
use crate::conductor::now;
use crate::configure::{self, ConfigureError};

/// The longest body with a configuration or a plan in it.
pub(super) const MAX_CONFIGURATION: usize = 64 << 20;

/// The route of plans.
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/plans", create)
            .named(
                "makePlan",
                "configuration",
                "What it would take to get from what is applied to these files, and what follows",
            )
            .needs(Capability::ConfigPlan)
            .body::<MakePlan>()
            .answers::<Plan>(200)
            .problems(&[404])
            .body_up_to(MAX_CONFIGURATION),
    ]
}

/// What to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakePlan {
    /// All files of the configuration: their content by their path. No file is a plan to delete everything.
    #[schemars(length(max = 10_000))]
    pub files: BTreeMap<String, String>,
    /// The project whose repository they are from. Absent: they are the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project: Option<String>,
    /// The day on which acceptances are held against their end, `YYYY-MM-DD`. Default: today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    pub as_of: Option<String>,
    /// Many deletes are meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_destroy: bool,
}

async fn create(context: Context, Json(body): Json<MakePlan>) -> Result<Answer<Plan>, Problem> {
    context.may(Capability::ConfigPlan, body.project.as_deref())?;
    make(&context, body).await.map(Answer)
}

/// The plan, for who may have it.
pub(super) async fn make(context: &Context, body: MakePlan) -> Result<Plan, Problem> {
    let as_of = body.as_of.unwrap_or_else(|| dates::date(now().unsigned_abs()));
    if !dates::is_date(&as_of) {
        return Err(Problem::unprocessable(format!("as_of: {as_of:?} is no day")).hint("write YYYY-MM-DD"));
    }
    let owner = body.project.map_or(Owner::Workspace, Owner::Project);
    let options = Options { as_of, allow_destroy: body.allow_destroy, ..Options::default() };
    let files = body.files.into_iter().map(|(path, text)| InputFile { path, bytes: text.into_bytes() });
    let files: Vec<InputFile> = files.collect();
    let snapshot = context.api.applied.store().snapshot().await?;
    // Reading and comparing is work, and others wait for answers too.
    let planned = tokio::task::spawn_blocking(move || configure::plan(files, &owner, &snapshot, &options));
    let planned = planned.await.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(planned?)
}

impl From<ConfigureError> for Problem {
    fn from(error: ConfigureError) -> Self {
        let detail = error.to_string();
        match error {
            ConfigureError::Invalid(reading) => invalid(&reading),
            ConfigureError::NoProject(_) => Self::not_found(detail)
                .hint("the workspace's configuration declares projects; apply that first"),
            ConfigureError::Applied(_) => Self::internal(detail),
        }
    }
}

fn invalid(reading: &Reading) -> Problem {
    let errors: Vec<ConfigurationError> = reading
        .diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| error_of(reading, one))
        .collect();
    let first = errors.first().map(|error| error.message.clone()).unwrap_or_default();
    let detail = match errors.len() {
        1 => format!("the configuration has an error: {first}"),
        count => format!("the configuration has {count} errors; the first: {first}"),
    };
    Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_configuration", detail) }
}

fn error_of(reading: &Reading, one: &Diagnostic) -> ConfigurationError {
    let source = one.span.and_then(|span| {
        let file = reading.configuration.sources.get(span.source as usize)?;
        Some((file.path.clone(), file.place(span.start)))
    });
    let number = |number: usize| u32::try_from(number).ok();
    ConfigurationError {
        code: one.code.to_owned(),
        message: one.message.clone(),
        path: source.as_ref().map(|(path, _)| path.clone()).or_else(|| one.path.clone()),
        line: source.as_ref().and_then(|(_, place)| number(place.line)),
        column: source.as_ref().and_then(|(_, place)| number(place.column)),
        hint: one.hint.clone(),
    }
}
