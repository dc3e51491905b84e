//! What is answered where something is wrong: RFC 9457 `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reactorcide_engine::artifacts::ArtifactError;
use reactorcide_engine::coordinator::CoordinatorError;
use reactorcide_engine::identity::IdentityError;
use reactorcide_engine::logs::LogError;
use reactorcide_engine::storage::StorageError;
use reactorcide_engine::store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conductor::ConductError;
use crate::files::FilesError;
use crate::issuer::IssueError;

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Tells problems apart: `urn:reactorcide:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is, in a few words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What happened, and to what.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The request, as the server's log knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where a log goes on, if a piece of one does not follow what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_offset: Option<u64>,
    /// What is wrong with a configuration, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ConfigurationError>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationError {
    /// Its stable code: `RC1003`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The file, as it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:reactorcide:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
            request_id: None,
            expected_offset: None,
            errors: Vec::new(),
        }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The request is not what it must be.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// What the request says cannot be done, though it is well formed.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// It does not fit what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// Nobody knows who asks.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// Whoever asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Something that is needed does not answer.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .hint("try again; `/readyz` says what is missing")
    }

    /// A bug of ours, or damage.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

/// Refuses a text that is shorter or longer than its field takes.
pub(super) fn within(field: &str, text: Option<&str>, least: usize, most: usize) -> Result<(), Problem> {
    match text.map(|text| text.chars().count()) {
        Some(count) if count < least => {
            Err(Problem::unprocessable(format!("{field} has at least {least} characters")))
        }
        Some(count) if count > most => Err(Problem::unprocessable(format!(
            "{field} has at most {most} characters, and this has {count}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses a text that is not the whole id of a commit.
pub(super) fn commit_id(field: &str, text: Option<&str>) -> Result<(), Problem> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match text {
        Some(text) if !(matches!(text.len(), 40 | 64) && text.bytes().all(is_digit)) => {
            Err(Problem::unprocessable(format!("{field} is a whole commit id: 40 or 64 hexadecimal digits")))
        }
        _ => Ok(()),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(status = self.status, detail = self.detail, "a request failed");
        }
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Told to whoever adds the id of the request.
        response.extensions_mut().insert(self);
        response
    }
}

/// What a database says is for operators: people who ask get that, and not where it is.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %Chain(&error), "the state failed");
        match error {
            StoreError::Corrupt { .. } => Self::internal("the state of the server is damaged"),
            StoreError::Full { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "no_space",
                "the disk of the server's state is full",
            ),
            StoreError::Busy { waited, .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "state_busy",
                format!(
                    "another apply has held the state of the server for more than {} s",
                    waited.as_secs()
                ),
            )
            .hint("wait for the other apply to end and try again; nothing was changed"),
            _ => Self::unavailable("the state of the server cannot be used now"),
        }
    }
}

/// An error with what caused it.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<ConductError> for Problem {
    fn from(error: ConductError) -> Self {
        match error {
            ConductError::NoRun(run) => Self::not_found(format!("there is no run {run:?}")),
            ConductError::Stale(_) => Self::new(StatusCode::CONFLICT, "stale_lease", error.to_string()),
            ConductError::Store(source) => {
                tracing::error!(error = %Chain(&*source), "a decision could not be stored");
                Self::unavailable("the decision could not be stored")
            }
            ConductError::Damaged(detail) => Self::internal(detail),
            ConductError::Closed => Self::unavailable("the server is shutting down"),
        }
    }
}

impl From<CoordinatorError> for Problem {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Stale { .. } => {
                Self::new(StatusCode::CONFLICT, "stale_lease", error.to_string())
            }
            CoordinatorError::Gap { expected } => Self {
                expected_offset: Some(expected),
                ..Self::new(StatusCode::CONFLICT, "gap", error.to_string())
            },
            CoordinatorError::Unavailable(detail) => Self::unavailable(detail),
            CoordinatorError::Refused(detail) => Self::forbidden(detail),
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        tracing::error!(%error, "the storage failed");
        match error {
            StorageError::Full { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_space", "the storage of the server is full")
            }
            _ => Self::unavailable("the storage of the server cannot be used now"),
        }
    }
}

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Name { .. } | ArtifactError::Checksum { .. } => {
                Self::unprocessable(error.to_string())
            }
            ArtifactError::Taken { .. } => Self::conflict(error.to_string()),
            ArtifactError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            ArtifactError::Content { .. } => Self::invalid(error.to_string()),
            ArtifactError::Storage(error) => error.into(),
            ArtifactError::Rows(error) => error.into(),
        }
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::NoIssuer => Self::conflict(error.to_string()),
            IssueError::Over => Self::unauthenticated(error.to_string()),
            IssueError::Refused(_) => Self::forbidden(error.to_string()),
            IssueError::Run(error) => error.into(),
            IssueError::Store(error) => error.into(),
            IssueError::Failed(detail) => {
                tracing::error!(detail, "an identity token could not be issued");
                Self::unavailable("no identity token can be signed now")
            }
        }
    }
}

impl From<FilesError> for Problem {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Over => Self::unauthenticated(error.to_string()),
            FilesError::Missing => Self::not_found(error.to_string()),
            FilesError::Refused(detail) => Self::forbidden(detail),
            FilesError::Store(error) => error.into(),
            FilesError::Run(error) => error.into(),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Storage(error) => error.into(),
            LogError::Gap { expected, .. } => CoordinatorError::Gap { expected }.into(),
            LogError::Finished { .. } => Self::conflict(error.to_string()),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => error.into(),
            IdentityError::NoSuchAccount(_) | IdentityError::NoSuchMember(_) => {
                Self::not_found(error.to_string())
            }
            error => Self::conflict(error.to_string()),
        }
    }
}
