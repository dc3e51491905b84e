//! The vault's rows on a database: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::{StoreError, Uid};
use reactorcide_engine::vault::{
    Content, KeyId, KeyUse, Nonce, Place, Resealed, Sealed, VaultStore, Version, WrappedKey, read_nonce,
};
use sqlx::Row;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};

use crate::database::Database;
use crate::postgres::PostgresDatabase;
use crate::store::whole;

/// The vault on one kind of database. A macro for the same reason as the store's.
macro_rules! vault_on {
    ($Vault:ident, $Database:ty, $Sql:ty, $Row:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Vault {
            database: $Database,
        }

        impl $Vault {
            /// The vault in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| match error {
                    sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => self.corrupt(error),
                    error => self.database.attempt(what).failed(error),
                }
            }

            fn corrupt(&self, what: impl std::fmt::Display) -> StoreError {
                StoreError::Corrupt { location: self.database.location(), what: what.to_string() }
            }

            fn get<'r, T>(&self, row: &'r $Row, column: &str) -> Result<T, StoreError>
            where
                T: sqlx::Decode<'r, $Sql> + sqlx::Type<$Sql>,
            {
                row.try_get(column).map_err(self.failed("read"))
            }

            fn count(&self, row: &$Row, column: &str) -> Result<u64, StoreError> {
                let value: i64 = self.get(row, column)?;
                u64::try_from(value).map_err(|_| self.corrupt(format_args!("{column} is {value}")))
            }

            fn nonce(&self, row: &$Row) -> Result<Nonce, StoreError> {
                let bytes: &[u8] = self.get(row, "nonce")?;
                read_nonce(bytes).ok_or_else(|| self.corrupt("a nonce of the vault has another length"))
            }

            fn key_use(&self, row: &$Row) -> Result<KeyUse, StoreError> {
                let key = WrappedKey {
                    id: KeyId(self.get(row, "id")?),
                    master: KeyId(self.get(row, "master")?),
                    nonce: self.nonce(row)?,
                    ciphertext: self.get(row, "ciphertext")?,
                    created_at: self.get(row, "created_at")?,
                };
                Ok(KeyUse { key, values: self.count(row, "uses")? })
            }

            fn version(&self, row: &$Row) -> Result<Version, StoreError> {
                let deleted_at: Option<Millis> = self.get(row, "deleted_at")?;
                let content = match deleted_at {
                    Some(at) => Content::Deleted { at, by: self.get(row, "deleted_by")? },
                    None => Content::Sealed(Sealed {
                        data_key: KeyId(self.get(row, "data_key")?),
                        nonce: self.nonce(row)?,
                        ciphertext: self.get(row, "ciphertext")?,
                        fingerprint: self.get(row, "fingerprint")?,
                    }),
                };
                let address: &str = self.get(row, "address")?;
                Ok(Version {
                    place: Place {
                        secret: Uid(self.get(row, "secret")?),
                        key: self.get(row, "key")?,
                        version: self.count(row, "version")?,
                    },
                    address: address.parse().map_err(|error| self.corrupt(error))?,
                    actor: self.get(row, "actor")?,
                    created_at: self.get(row, "created_at")?,
                    request: self.get(row, "request")?,
                    content,
                })
            }

            fn all(&self, rows: Result<Vec<$Row>, sqlx::Error>) -> Result<Vec<Version>, StoreError> {
                let rows = rows.map_err(self.failed("read"))?;
                rows.iter().map(|row| self.version(row)).collect()
            }

            /// Whether a statement changed a row. What refers to a key that is gone changes none.
            fn changed<T>(
                &self,
                done: Result<T, sqlx::Error>,
                rows: impl Fn(T) -> u64,
            ) -> Result<bool, StoreError> {
                match done {
                    Ok(done) => Ok(rows(done) > 0),
                    Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(false),
                    Err(error) => Err(self.failed("written")(error)),
                }
            }
        }

        #[async_trait]
        impl VaultStore for $Vault {
            async fn keys(&self) -> Result<Vec<KeyUse>, StoreError> {
                let rows = sqlx::query(
                    "select vault_keys.*,
                            (select count(*) from vault_versions where data_key = vault_keys.id) as uses
                     from vault_keys order by number desc",
                )
                .fetch_all(&self.database.pool)
                .await
                .map_err(self.failed("read"))?;
                rows.iter().map(|row| self.key_use(row)).collect()
            }

            async fn add_key(&self, key: &WrappedKey, before: Option<&KeyId>) -> Result<bool, StoreError> {
                let done = sqlx::query(
                    "insert into vault_keys (number, id, master, nonce, ciphertext, created_at)
                     select (select coalesce(max(number), 0) + 1 from vault_keys), $1, $2, $3, $4, $5
                     where coalesce((select id from vault_keys order by number desc limit 1), '') = $6
                     on conflict do nothing",
                )
                .bind(&key.id.0)
                .bind(&key.master.0)
                .bind(key.nonce.as_slice())
                .bind(&key.ciphertext)
                .bind(key.created_at)
                .bind(before.map_or("", |id| &id.0))
                .execute(&self.database.pool)
                .await;
                self.changed(done, |done| done.rows_affected())
            }

            async fn rewrap(&self, key: &WrappedKey, before: &KeyId) -> Result<bool, StoreError> {
                let done = sqlx::query(
                    "update vault_keys set master = $1, nonce = $2, ciphertext = $3 where id = $4 and master = $5",
                )
                .bind(&key.master.0)
                .bind(key.nonce.as_slice())
                .bind(&key.ciphertext)
                .bind(&key.id.0)
                .bind(&before.0)
                .execute(&self.database.pool)
                .await;
                self.changed(done, |done| done.rows_affected())
            }

            async fn forget_key(&self, id: &KeyId) -> Result<bool, StoreError> {
                let done = sqlx::query(
                    "delete from vault_keys
                     where id = $1 and number < (select max(number) from vault_keys)
                       and not exists (select 1 from vault_versions where data_key = $1)",
                )
                .bind(&id.0)
                .execute(&self.database.pool)
                .await;
                self.changed(done, |done| done.rows_affected())
            }

            async fn versions(&self, secret: Option<&Uid>) -> Result<Vec<Version>, StoreError> {
                let rows = match secret {
                    Some(secret) => {
                        sqlx::query("select * from vault_versions where secret = $1 order by key, version desc")
                            .bind(&secret.0)
                            .fetch_all(&self.database.pool)
                            .await
                    }
                    None => {
                        sqlx::query("select * from vault_versions order by secret, key, version desc")
                            .fetch_all(&self.database.pool)
                            .await
                    }
                };
                self.all(rows)
            }

            async fn sealed_otherwise(
                &self,
                current: &KeyId,
                limit: u32,
            ) -> Result<Vec<Version>, StoreError> {
                let rows = sqlx::query("select * from vault_versions where data_key <> $1 limit $2")
                    .bind(&current.0)
                    .bind(i64::from(limit))
                    .fetch_all(&self.database.pool)
                    .await;
                self.all(rows)
            }

            async fn add(&self, version: &Version) -> Result<bool, StoreError> {
                let Some(sealed) = version.sealed() else { return Ok(false) };
                let Place { secret, key, version: number } = &version.place;
                let done = sqlx::query(
                    "insert into vault_versions
                       (secret, key, version, address, actor, created_at, data_key, nonce, ciphertext, fingerprint, request)
                     select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
                     where $3 = 1 + coalesce((select max(version) from vault_versions where secret = $1 and key = $2), 0)
                       and exists (select 1 from vault_keys where id = $7)
                     on conflict do nothing",
                )
                .bind(&secret.0)
                .bind(key)
                .bind(whole(*number))
                .bind(version.address.to_string())
                .bind(&version.actor)
                .bind(version.created_at)
                .bind(&sealed.data_key.0)
                .bind(sealed.nonce.as_slice())
                .bind(&sealed.ciphertext)
                .bind(&sealed.fingerprint)
                .bind(&version.request)
                .execute(&self.database.pool)
                .await;
                self.changed(done, |done| done.rows_affected())
            }

            async fn reseal(&self, resealed: &[Resealed]) -> Result<u64, StoreError> {
                let written = || self.failed("written");
                let mut transaction = self.database.append().await?;
                let mut count = 0;
                for Resealed { place, before, after } in resealed {
                    let done = sqlx::query(
                        "update vault_versions set data_key = $1, nonce = $2, ciphertext = $3, fingerprint = $4
                         where secret = $5 and key = $6 and version = $7 and data_key = $8 and ciphertext = $9",
                    )
                    .bind(&after.data_key.0)
                    .bind(after.nonce.as_slice())
                    .bind(&after.ciphertext)
                    .bind(&after.fingerprint)
                    .bind(&place.secret.0)
                    .bind(&place.key)
                    .bind(whole(place.version))
                    .bind(&before.data_key.0)
                    .bind(&before.ciphertext)
                    .execute(&mut *transaction)
                    .await
                    .map_err(written())?;
                    count += done.rows_affected();
                }
                transaction.commit().await.map_err(written())?;
                Ok(count)
            }

            async fn delete(&self, places: &[Place], at: Millis, by: &str) -> Result<u64, StoreError> {
                let written = || self.failed("written");
                let mut transaction = self.database.append().await?;
                let mut count = 0;
                for Place { secret, key, version } in places {
                    let done = sqlx::query(
                        "update vault_versions
                         set data_key = null, nonce = null, ciphertext = null, fingerprint = null,
                             deleted_at = $1, deleted_by = $2
                         where secret = $3 and key = $4 and version = $5 and deleted_at is null",
                    )
                    .bind(at)
                    .bind(by)
                    .bind(&secret.0)
                    .bind(key)
                    .bind(whole(*version))
                    .execute(&mut *transaction)
                    .await
                    .map_err(written())?;
                    count += done.rows_affected();
                }
                transaction.commit().await.map_err(written())?;
                Ok(count)
            }
        }
    };
}

vault_on!(SqliteVault, Database, Sqlite, SqliteRow, "The vault in SQLite.");
vault_on!(PostgresVault, PostgresDatabase, Postgres, PgRow, "The vault in PostgreSQL.");
