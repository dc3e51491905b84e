//! What is known of artifacts and caches: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::artifacts::{Artifact, ArtifactKind, Filter, Namespace};
use reactorcide_engine::config::Origin;
use reactorcide_engine::store::StoreError;
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::database::Database;
use crate::postgres::PostgresDatabase;
use crate::store::whole;

/// The rows of artifacts.
#[async_trait]
pub(crate) trait Rows: Send + Sync {
    /// Adds a row, or tells the one that has its name already.
    async fn insert(&self, artifact: &Artifact) -> Result<Option<Artifact>, StoreError>;
    /// The row of an id.
    async fn find(&self, id: &str) -> Result<Option<Artifact>, StoreError>;
    /// Those that match, newest first.
    async fn list(&self, filter: &Filter) -> Result<Vec<Artifact>, StoreError>;
    /// Which of some ids have a row.
    async fn known(&self, ids: &[&str]) -> Result<Vec<String>, StoreError>;
    /// Removes a row, if it is there.
    async fn delete(&self, id: &str) -> Result<(), StoreError>;
}

/// Rows on one kind of database. A macro for the same reason as the store's.
macro_rules! rows_on {
    ($Rows:ident, $Database:ty, $Sql:ty) => {
        pub(crate) struct $Rows {
            database: $Database,
        }

        impl $Rows {
            pub(crate) fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| self.database.attempt(what).failed(error)
            }

            /// The row that has the name of another.
            async fn same_name(&self, artifact: &Artifact) -> Result<Option<Artifact>, StoreError> {
                let query = match artifact.kind {
                    ArtifactKind::Artifact => sqlx::query(
                        "select * from artifacts
                         where kind = 'artifact' and run = $1 and node = $2 and attempt = $3 and name = $4",
                    )
                    .bind(&artifact.run)
                    .bind(&artifact.node)
                    .bind(i64::from(artifact.attempt)),
                    ArtifactKind::Cache => sqlx::query(
                        "select * from artifacts
                         where kind = 'cache' and project = $1 and source_origin = $2 and reference = $3
                           and trusted = $4 and secretless = $5 and name = $6",
                    )
                    .bind(&artifact.namespace.project)
                    .bind(artifact.namespace.origin.as_str())
                    .bind(&artifact.namespace.reference)
                    .bind(i64::from(artifact.trusted))
                    .bind(i64::from(artifact.secretless)),
                };
                let row = query.bind(&artifact.name).fetch_optional(&self.database.pool).await;
                let row = row.map_err(self.failed("read"))?;
                row.as_ref().map(read).transpose().map_err(self.failed("read"))
            }
        }

        #[async_trait]
        impl Rows for $Rows {
            async fn insert(&self, artifact: &Artifact) -> Result<Option<Artifact>, StoreError> {
                let inserted = sqlx::query(
                    "insert into artifacts
                       (id, kind, project, source_origin, reference, run, node, attempt, name, size, sha256,
                        trusted, secretless, created_at, expires_at, executable)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
                     on conflict do nothing",
                )
                .bind(&artifact.id)
                .bind(artifact.kind.as_str())
                .bind(&artifact.namespace.project)
                .bind(artifact.namespace.origin.as_str())
                .bind(&artifact.namespace.reference)
                .bind(&artifact.run)
                .bind(&artifact.node)
                .bind(i64::from(artifact.attempt))
                .bind(&artifact.name)
                .bind(whole(artifact.size))
                .bind(&artifact.sha256)
                .bind(i64::from(artifact.trusted))
                .bind(i64::from(artifact.secretless))
                .bind(artifact.created_at)
                .bind(artifact.expires_at)
                .bind(i64::from(artifact.executable))
                .execute(&self.database.pool)
                .await
                .map_err(self.failed("written"))?;
                if inserted.rows_affected() > 0 {
                    return Ok(None);
                }
                let there = self.same_name(artifact).await?;
                // It went between the two statements, or it is the id that is used again.
                there.map(Some).ok_or_else(|| StoreError::Corrupt {
                    location: self.database.location(),
                    what: format!("the artifact {} can be neither added nor found", artifact.id),
                })
            }

            async fn find(&self, id: &str) -> Result<Option<Artifact>, StoreError> {
                let row = sqlx::query("select * from artifacts where id = $1")
                    .bind(id)
                    .fetch_optional(&self.database.pool)
                    .await
                    .map_err(self.failed("read"))?;
                row.as_ref().map(read).transpose().map_err(self.failed("read"))
            }

            async fn list(&self, filter: &Filter) -> Result<Vec<Artifact>, StoreError> {
                let mut query = QueryBuilder::<$Sql>::new("select * from artifacts where 1 = 1");
                if let Some(kind) = filter.kind {
                    query.push(" and kind = ").push_bind(kind.as_str());
                }
                if let Some(project) = &filter.project {
                    query.push(" and project = ").push_bind(project.clone());
                }
                if let Some(namespace) = &filter.namespace {
                    query.push(" and project = ").push_bind(namespace.project.clone());
                    query.push(" and source_origin = ").push_bind(namespace.origin.as_str());
                    query.push(" and reference = ").push_bind(namespace.reference.clone());
                }
                if let Some(run) = &filter.run {
                    query.push(" and run = ").push_bind(run.clone());
                }
                if let Some(node) = &filter.node {
                    query.push(" and node = ").push_bind(node.clone());
                }
                if let Some(prefix) = &filter.prefix {
                    // Not `like`, which has patterns and, in SQLite, takes capital letters for small ones.
                    let length = whole(prefix.chars().count() as u64);
                    query.push(" and substr(name, 1, cast(").push_bind(length).push(" as integer)) = ");
                    query.push_bind(prefix.clone());
                }
                if let Some(at) = filter.expired {
                    query.push(" and expires_at <= ").push_bind(at);
                }
                query.push(" order by created_at desc, id desc");
                if let Some(limit) = filter.limit {
                    query.push(" limit ").push_bind(i64::from(limit));
                }
                let rows = query.build().fetch_all(&self.database.pool).await;
                let rows = rows.map_err(self.failed("read"))?;
                rows.iter().map(read).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn known(&self, ids: &[&str]) -> Result<Vec<String>, StoreError> {
                let mut query = QueryBuilder::<$Sql>::new("select id from artifacts where id in (");
                let mut listed = query.separated(", ");
                for id in ids {
                    listed.push_bind((*id).to_owned());
                }
                query.push(")");
                let rows = query.build().fetch_all(&self.database.pool).await;
                let rows = rows.map_err(self.failed("read"))?;
                rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn delete(&self, id: &str) -> Result<(), StoreError> {
                let deleted = sqlx::query("delete from artifacts where id = $1").bind(id);
                deleted.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(())
            }
        }
    };
}

rows_on!(SqliteRows, Database, Sqlite);
rows_on!(PostgresRows, PostgresDatabase, Postgres);

/// A row as the engine knows it.
fn read<'r, R>(row: &'r R) -> Result<Artifact, sqlx::Error>
where
    R: Row,
    &'static str: sqlx::ColumnIndex<R>,
    String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    Option<i64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let text = |column: &'static str| row.try_get::<String, _>(column);
    let number = |column: &'static str| row.try_get::<i64, _>(column);
    let kind = text("kind")?;
    let origin = text("source_origin")?;
    let unknown = |what: &str| sqlx::Error::Decode(format!("{what:?} is unknown").into());
    Ok(Artifact {
        id: text("id")?,
        kind: ArtifactKind::parse(&kind).ok_or_else(|| unknown(&kind))?,
        namespace: Namespace {
            project: text("project")?,
            origin: [Origin::Base, Origin::Head, Origin::Fork, Origin::Unverified]
                .into_iter()
                .find(|known| known.as_str() == origin)
                .ok_or_else(|| unknown(&origin))?,
            reference: text("reference")?,
        },
        run: text("run")?,
        node: text("node")?,
        attempt: u32::try_from(number("attempt")?).map_err(|error| sqlx::Error::Decode(error.into()))?,
        name: text("name")?,
        executable: number("executable")? > 0,
        size: u64::try_from(number("size")?).map_err(|error| sqlx::Error::Decode(error.into()))?,
        sha256: text("sha256")?,
        trusted: number("trusted")? > 0,
        secretless: number("secretless")? > 0,
        created_at: number("created_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}
