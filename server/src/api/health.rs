//! Whether the server lives, can do its work, and which it is.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use reactorcide_engine::runs::RunFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Problem, Route};

/// The routes of health.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/healthz", || async { StatusCode::NO_CONTENT }).named(
            "getHealth",
            "server",
            "The server lives",
        ),
        Route::get("/readyz", ready).named("getReadiness", "server", "The server can do its work"),
        Route::get("/api/v1/version", || async { Answer(Version::this()) })
            .named("getVersion", "server", "Which server this is")
            .answers::<Version>(200),
    ]
}

/// Which server this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its version.
    pub version: String,
    /// The versions of the API that it speaks.
    pub api: Vec<String>,
}

impl Version {
    fn this() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), api: vec!["v1".to_owned()] }
    }
}

async fn ready(State(api): State<Api>) -> Result<StatusCode, Problem> {
    if *api.closing.borrow() {
        return Err(Problem::unavailable("the server is shutting down"));
    }
    api.conductor.runs.runs(&RunFilter::newest(1)).await?;
    Ok(StatusCode::NO_CONTENT)
}
