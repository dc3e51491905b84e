//! Secrets: which there are, their versions, and who would get one. A value goes in; it comes out for a job's lease, and for
//! who has a capability of its own, each time written down.

mod rows;

use axum::Json as Answer;
use axum::http::{HeaderMap, StatusCode};
use reactorcide_engine::address::Address;
use reactorcide_engine::identity::Capability;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::{Context, Json, MaybeJson, Path, Query};
use super::page::{Paging, ProjectPaging};
use super::runs::idempotency_key;
use super::{Page, Problem, Route, page};
use crate::vault::{ManageError, Manager, Retired, SetValue, TestAs, VaultError};

pub use rows::{
    MasterKeyRow, RevealedSecret, RotatedKey, SecretKeyRow, SecretKeys, SecretRow, SecretValueRow,
    SecretVersionRow, TestedSecret,
};

/// The routes of secrets.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/secrets", list)
            .named("listSecrets", "secrets", "Secrets that are applied, with what is known of their values, and never a value")
            .needs(Capability::SecretsRead)
            .query::<ProjectPaging>()
            .answers::<Page<SecretRow>>(200),
        Route::get("/api/v1/secrets/{secret}/versions", versions)
            .named("listSecretVersions", "secrets", "The versions of a secret, without their values. A secret is named by its address, its name, or PROJECT/NAME, with each slash as %2F")
            .needs(Capability::SecretsRead)
            .query::<Paging>()
            .answers::<Page<SecretVersionRow>>(200)
            .problems(&[404]),
        Route::post("/api/v1/secrets/{secret}/versions", set)
            .named("setSecret", "secrets", "Sets a value, which is the current one from then on")
            .needs(Capability::SecretsWrite)
            .body::<SetValue>()
            .answers::<SecretVersionRow>(201)
            .problems(&[404, 409])
            .idempotent(),
        Route::delete("/api/v1/secrets/{secret}/versions", delete)
            .named("deleteSecret", "secrets", "Deletes values of a secret: of one key, one version, the old ones, or all")
            .needs(Capability::SecretsWrite)
            .query::<DeleteValues>()
            .answers::<DeletedValues>(200)
            .problems(&[404, 422]),
        Route::post("/api/v1/secrets/{secret}/test", test)
            .named("testSecret", "secrets", "Whether a job would get a secret, through which grant, or why not")
            .needs(Capability::SecretsRead)
            .body::<TestAs>()
            .answers::<TestedSecret>(200)
            .problems(&[404]),
        Route::post("/api/v1/secrets/{secret}/reveal", reveal)
            .named("revealSecret", "secrets", "Reads a value. Each time is written down before it is answered")
            .needs(Capability::SecretsReveal)
            .maybe_body::<RevealSecret>()
            .answers::<RevealedSecret>(200)
            .problems(&[404]),
        Route::get("/api/v1/secret-keys", keys)
            .named("listSecretKeys", "secrets", "The keys of the vault: which data key is wrapped by which master key, and how many values use it")
            .needs(Capability::SecretsKeys)
            .answers::<SecretKeys>(200),
        Route::post("/api/v1/secret-keys/rotate", rotate_keys)
            .named("rotateSecretKeys", "secrets", "Makes a new data key, wrapped by the first master key, and seals every value with it")
            .needs(Capability::SecretsKeys)
            .answers::<RotatedKey>(200)
            .problems(&[409]),
        Route::delete("/api/v1/secret-keys/{key}", retire_key)
            .named("retireSecretKey", "secrets", "Forgets a data key that no value uses, or says that nothing needs a master key any more")
            .needs(Capability::SecretsKeys)
            .answers::<RetiredKey>(200)
            .problems(&[404, 409]),
    ]
}

/// Which values to delete. Without anything, all of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteValues {
    /// Those of a key.
    pub key: Option<String>,
    /// This version alone.
    #[schemars(range(min = 1))]
    pub version: Option<u64>,
    /// Those that are not current.
    #[serde(default)]
    pub old: bool,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletedValues {
    /// How many values.
    pub deleted: u64,
}

/// Which value to read.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevealSecret {
    /// Which key; not needed where the secret has one.
    #[serde(default)]
    pub key: Option<String>,
    /// Which version [default: the current one].
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub version: Option<u64>,
}

/// A key that is retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetiredKey {
    /// Its id.
    pub id: String,
    /// What it is: `data`, which is forgotten now, or `master`, which may be taken from the settings.
    pub kind: String,
}

impl From<Retired> for RetiredKey {
    fn from(retired: Retired) -> Self {
        match retired {
            Retired::Data(id) => Self { id: id.to_string(), kind: "data".to_owned() },
            Retired::Master(id) => Self { id: id.to_string(), kind: "master".to_owned() },
        }
    }
}

async fn manager(context: &Context) -> Result<Manager, Problem> {
    Ok(Manager {
        vault: context.api.secrets.vault().clone(),
        current: context.api.applied.current().await?,
        audit: context.api.audit.clone(),
        actor: context.actor(),
        request: Some(context.request.clone()),
    })
}

/// The secret that is meant, if whoever asks may do that with it. Who may not learns nothing of what there is.
async fn secret_of(
    context: &Context,
    text: &str,
    capability: Capability,
) -> Result<(Manager, Address), Problem> {
    let manager = manager(context).await?;
    match manager.find(text) {
        Ok(address) => {
            context.may(capability, address.project.as_deref())?;
            Ok((manager, address))
        }
        Err(error) => {
            context.may(capability, None)?;
            Err(error.into())
        }
    }
}

async fn list(
    context: Context,
    Query(query): Query<ProjectPaging>,
) -> Result<Answer<Page<SecretRow>>, Problem> {
    context.may(Capability::SecretsRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::decode(query.cursor.as_deref())?;
    let mut rows = manager(&context).await?.list(query.project.as_deref()).await?;
    rows.retain(|row| after.as_ref().is_none_or(|after| row.address > *after));
    rows.sort_by(|a, b| a.address.cmp(&b.address));
    rows.truncate(limit as usize + 1);
    Ok(Answer(Page::of(rows, limit, |last| last.address.clone())))
}

async fn versions(
    context: Context,
    Path(secret): Path<String>,
    Query(query): Query<Paging>,
) -> Result<Answer<Page<SecretVersionRow>>, Problem> {
    let (manager, address) = secret_of(&context, &secret, Capability::SecretsRead).await?;
    let limit = page::limit(query.limit)?;
    let after: Option<(String, u64)> = page::decode(query.cursor.as_deref())?;
    let mut rows = manager.versions(&address).await?;
    rows.retain(|row| {
        after
            .as_ref()
            .is_none_or(|(key, version)| row.key > *key || row.key == *key && row.version < *version)
    });
    rows.truncate(limit as usize + 1);
    Ok(Answer(Page::of(rows, limit, |last| (last.key.clone(), last.version))))
}

async fn set(
    context: Context,
    Path(secret): Path<String>,
    headers: HeaderMap,
    Json(body): Json<SetValue>,
) -> Result<(StatusCode, Answer<SecretVersionRow>), Problem> {
    let (manager, address) = secret_of(&context, &secret, Capability::SecretsWrite).await?;
    let request = idempotency_key(&context, &headers, "secrets")?;
    let row = manager.set(&address, &body, request.as_deref()).await?;
    Ok((StatusCode::CREATED, Answer(row)))
}

async fn delete(
    context: Context,
    Path(secret): Path<String>,
    Query(query): Query<DeleteValues>,
) -> Result<Answer<DeletedValues>, Problem> {
    let (manager, address) = secret_of(&context, &secret, Capability::SecretsWrite).await?;
    let deleted = manager.delete(&address, query.key.as_deref(), query.version, query.old).await?;
    Ok(Answer(DeletedValues { deleted }))
}

async fn test(
    context: Context,
    Path(secret): Path<String>,
    Json(body): Json<TestAs>,
) -> Result<Answer<TestedSecret>, Problem> {
    let (manager, address) = secret_of(&context, &secret, Capability::SecretsRead).await?;
    // What policies say of another project's jobs is for who may see those.
    context.may(Capability::SecretsRead, body.job.split('/').next())?;
    Ok(Answer(manager.test(&address, &body)?))
}

async fn reveal(
    context: Context,
    Path(secret): Path<String>,
    MaybeJson(body): MaybeJson<RevealSecret>,
) -> Result<Answer<RevealedSecret>, Problem> {
    context.may(Capability::SecretsReveal, None)?;
    let manager = manager(&context).await?;
    let address = manager.find(&secret)?;
    Ok(Answer(manager.reveal(&address, body.key.as_deref(), body.version).await?))
}

async fn keys(context: Context) -> Result<Answer<SecretKeys>, Problem> {
    context.may(Capability::SecretsKeys, None)?;
    Ok(Answer(manager(&context).await?.keys().await?))
}

async fn rotate_keys(context: Context) -> Result<Answer<RotatedKey>, Problem> {
    context.may(Capability::SecretsKeys, None)?;
    Ok(Answer(manager(&context).await?.rotate_keys().await?))
}

async fn retire_key(context: Context, Path(key): Path<String>) -> Result<Answer<RetiredKey>, Problem> {
    context.may(Capability::SecretsKeys, None)?;
    Ok(Answer(manager(&context).await?.retire_key(&key).await?.into()))
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let hint = error.hint();
        let problem = match error {
            ManageError::Missing { message, .. } => Self::not_found(message),
            ManageError::Refused { message, .. } => Self::unprocessable(message),
            ManageError::Store(error) => return error.into(),
            ManageError::Vault(error) => return error.into(),
        };
        Self { hint, ..problem }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        let hint = error.hint().map(str::to_owned);
        let message = error.to_string();
        let problem = match error {
            VaultError::Store(error) => return error.into(),
            VaultError::Value(_) => Self::unprocessable(message),
            VaultError::NoKey(_) => Self::not_found(message),
            VaultError::InUse { .. } | VaultError::Busy(_) | VaultError::Reused => Self::conflict(message),
            VaultError::NoMaster | VaultError::Locked { .. } => {
                Self::new(StatusCode::CONFLICT, "vault_locked", message)
            }
            VaultError::External(_) | VaultError::NoExternal => Self::unavailable(message),
            VaultError::Damaged { .. } | VaultError::Random(_) => {
                tracing::error!(error = message, "the vault is damaged");
                Self::internal(message)
            }
        };
        Self { hint: hint.or(problem.hint.clone()), ..problem }
    }
}
