//! Accounts and tokens on a database: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::identity::{
    Account, AccountKind, IdentityError, IdentityStore, Known, MAX_TOKENS, NewToken, Principal, Scope,
    SecretHash, ServiceAccount, ServiceAccountId, Team, TeamId, Token, TokenFilter, TokenId, USE_NOTED_EVERY,
    User, UserId,
};
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::database::Database;
use crate::postgres::PostgresDatabase;
use crate::store::whole;

/// [`USE_NOTED_EVERY`] in milliseconds.
fn note_every() -> i64 {
    i64::try_from(USE_NOTED_EVERY.as_millis()).unwrap_or(i64::MAX)
}

/// What the turn to write accounts is called: no principal is called so. Whoever takes others too takes it first.
const ACCOUNTS: &str = "accounts";

/// Identities on one kind of database. A macro for the same reason as the store's. `$turn` waits until nobody else holds
/// what `$1` names, and holds it until the transaction ends.
macro_rules! identities_on {
    ($Identities:ident, $Database:ty, $Sql:ty, $Row:ty, $Connection:ty, $turn:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Identities {
            database: $Database,
        }

        impl $Identities {
            /// Identities in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn read_failed(&self, error: sqlx::Error) -> StoreError {
                match error {
                    sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => self.corrupt(error),
                    error => self.database.attempt("read").failed(error),
                }
            }

            fn write_failed(&self, error: sqlx::Error) -> StoreError {
                self.database.attempt("written").failed(error)
            }

            fn corrupt(&self, what: impl std::fmt::Display) -> StoreError {
                StoreError::Corrupt { location: self.database.location(), what: what.to_string() }
            }

            fn get<'r, T>(&self, row: &'r $Row, column: &str) -> Result<T, StoreError>
            where
                T: sqlx::Decode<'r, $Sql> + sqlx::Type<$Sql>,
            {
                row.try_get(column).map_err(|error| self.read_failed(error))
            }

            /// Waits for the turn to write what is named.
            async fn turn(&self, connection: &mut $Connection, of: &str) -> Result<(), StoreError> {
                let turn = sqlx::query($turn).bind(of).execute(connection).await;
                turn.map(|_| ()).map_err(|error| self.write_failed(error))
            }

            /// A row of accounts, with the members of what is a team.
            async fn account_of(
                &self,
                connection: &mut $Connection,
                row: &$Row,
            ) -> Result<Account, StoreError> {
                let (kind, id): (&str, String) = (self.get(row, "kind")?, self.get(row, "id")?);
                let name: String = self.get(row, "name")?;
                let version: i64 = self.get(row, "version")?;
                let version = version.unsigned_abs();
                let (created_at, disabled_at) = (self.get(row, "created_at")?, self.get(row, "disabled_at")?);
                Ok(match kind {
                    "user" => Account::User(User {
                        id: UserId(id),
                        username: name,
                        email: self.get(row, "email")?,
                        superuser: self.get::<i64>(row, "superuser")? != 0,
                        version,
                        created_at,
                        disabled_at,
                    }),
                    "team" => {
                        let members: Vec<String> =
                            sqlx::query_scalar("select member from team_members where team = $1")
                                .bind(&id)
                                .fetch_all(connection)
                                .await
                                .map_err(|error| self.read_failed(error))?;
                        let members = members.into_iter().map(UserId).collect();
                        Account::Team(Team { id: TeamId(id), name, members, version, created_at, disabled_at })
                    }
                    "service" => {
                        let id = ServiceAccountId(id);
                        Account::Service(ServiceAccount { id, name, version, created_at, disabled_at })
                    }
                    other => return Err(self.corrupt(format_args!("an account is a {other:?}"))),
                })
            }

            async fn account_in(
                &self,
                connection: &mut $Connection,
                kind: &str,
                id: &str,
            ) -> Result<Option<Account>, StoreError> {
                let row = sqlx::query("select * from accounts where kind = $1 and id = $2")
                    .bind(kind)
                    .bind(id)
                    .fetch_optional(&mut *connection)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                match row {
                    Some(row) => Ok(Some(self.account_of(connection, &row).await?)),
                    None => Ok(None),
                }
            }

            fn token_of(&self, row: &$Row) -> Result<Token, StoreError> {
                let (kind, principal): (&str, &str) = (self.get(row, "kind")?, self.get(row, "principal")?);
                let principal = Principal::read(kind, principal)
                    .ok_or_else(|| self.corrupt(format_args!("a token belongs to {kind}:{principal}")))?;
                let capabilities: Option<&str> = self.get(row, "capabilities")?;
                Ok(Token {
                    id: TokenId(self.get(row, "id")?),
                    principal,
                    name: self.get(row, "name")?,
                    scope: Scope::read(capabilities, self.get(row, "project")?),
                    created_at: self.get(row, "created_at")?,
                    expires_at: self.get(row, "expires_at")?,
                    last_used_at: self.get(row, "last_used_at")?,
                    revoked_at: self.get(row, "revoked_at")?,
                })
            }

            /// What a refused row of accounts says in our words.
            fn refused(&self, error: sqlx::Error, account: &Account) -> IdentityError {
                match error.as_database_error() {
                    Some(database) if database.is_unique_violation() => {
                        let constraint = database.constraint().unwrap_or(database.message());
                        match account.email_key() {
                            Some(email) if constraint.contains("email_key") => IdentityError::EmailTaken(email),
                            _ => IdentityError::NameTaken {
                                kind: account.kind(),
                                name: account.name().to_owned(),
                            },
                        }
                    }
                    _ => self.write_failed(error).into(),
                }
            }

            async fn insert_account(
                &self,
                connection: &mut $Connection,
                account: &Account,
            ) -> Result<(), IdentityError> {
                let (email, superuser) = of_user(account);
                sqlx::query(
                    "insert into accounts
                       (kind, id, name, email, email_key, superuser, version, created_at, disabled_at)
                     values ($1, $2, $3, $4, $5, $6, 1, $7, $8)",
                )
                .bind(account.kind().as_str())
                .bind(account.principal().key())
                .bind(account.name())
                .bind(email)
                .bind(account.email_key())
                .bind(superuser)
                .bind(account.created_at())
                .bind(account.disabled_at())
                .execute(&mut *connection)
                .await
                .map_err(|error| self.refused(error, account))?;
                self.write_members(connection, account).await
            }

            /// Makes the members of a team what it says.
            async fn write_members(
                &self,
                connection: &mut $Connection,
                account: &Account,
            ) -> Result<(), IdentityError> {
                let Account::Team(team) = account else { return Ok(()) };
                sqlx::query("delete from team_members where team = $1")
                    .bind(&team.id.0)
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| self.write_failed(error))?;
                for member in &team.members {
                    let written = sqlx::query(
                        "insert into team_members (team, member)
                         select $1, id from accounts where kind = 'user' and id = $2",
                    )
                    .bind(&team.id.0)
                    .bind(&member.0)
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| self.write_failed(error))?;
                    if written.rows_affected() == 0 {
                        return Err(IdentityError::NoSuchMember(member.clone()));
                    }
                }
                Ok(())
            }

            async fn insert_token(
                &self,
                connection: &mut $Connection,
                NewToken { token, hash }: &NewToken,
            ) -> Result<(), IdentityError> {
                let Token { principal, created_at, .. } = token;
                let live: i64 = sqlx::query_scalar(
                    "select count(*) from tokens where kind = $1 and principal = $2
                     and revoked_at is null and (expires_at is null or expires_at > $3)",
                )
                .bind(principal.kind())
                .bind(principal.key())
                .bind(created_at)
                .fetch_one(&mut *connection)
                .await
                .map_err(|error| self.read_failed(error))?;
                if live >= i64::from(MAX_TOKENS) {
                    return Err(IdentityError::TooManyTokens {
                        principal: principal.clone(),
                        limit: MAX_TOKENS,
                    });
                }
                sqlx::query(
                    "insert into tokens (id, secret_hash, kind, principal, name, capabilities, project,
                                         created_at, expires_at, last_used_at, revoked_at)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                )
                .bind(&token.id.0)
                .bind(hash.to_hex())
                .bind(principal.kind())
                .bind(principal.key())
                .bind(&token.name)
                .bind(token.scope.capabilities_text())
                .bind(&token.scope.project)
                .bind(created_at)
                .bind(token.expires_at)
                .bind(token.last_used_at)
                .bind(token.revoked_at)
                .execute(&mut *connection)
                .await
                .map_err(|error| self.write_failed(error))?;
                Ok(())
            }

            async fn revoke_in(
                &self,
                connection: &mut $Connection,
                principal: &Principal,
                at: Millis,
            ) -> Result<u64, StoreError> {
                let revoked = sqlx::query(
                    "update tokens set revoked_at = $3 where kind = $1 and principal = $2 and revoked_at is null",
                )
                .bind(principal.kind())
                .bind(principal.key())
                .bind(at)
                .execute(connection)
                .await
                .map_err(|error| self.write_failed(error))?;
                Ok(revoked.rows_affected())
            }
        }

        #[async_trait]
        impl IdentityStore for $Identities {
            async fn bootstrap(&self, user: &User, token: &NewToken) -> Result<bool, IdentityError> {
                let mut transaction = self.database.append().await?;
                self.turn(&mut transaction, ACCOUNTS).await?;
                let accounts: i64 = sqlx::query_scalar("select count(*) from accounts")
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                if accounts > 0 {
                    return Ok(false);
                }
                self.insert_account(&mut transaction, &Account::User(user.clone())).await?;
                self.insert_token(&mut transaction, token).await?;
                transaction.commit().await.map_err(|error| self.write_failed(error))?;
                Ok(true)
            }

            async fn create(&self, account: &Account) -> Result<(), IdentityError> {
                let mut transaction = self.database.append().await?;
                self.turn(&mut transaction, ACCOUNTS).await?;
                self.insert_account(&mut transaction, account).await?;
                Ok(transaction.commit().await.map_err(|error| self.write_failed(error))?)
            }

            async fn change(&self, account: &Account) -> Result<(), IdentityError> {
                let principal = account.principal();
                let (email, superuser) = of_user(account);
                let mut transaction = self.database.append().await?;
                self.turn(&mut transaction, ACCOUNTS).await?;
                let changed = sqlx::query(
                    "update accounts set name = $3, email = $4, email_key = $5, superuser = $6,
                                         disabled_at = $7, version = version + 1
                     where kind = $1 and id = $2 and version = $8",
                )
                .bind(principal.kind())
                .bind(principal.key())
                .bind(account.name())
                .bind(email)
                .bind(account.email_key())
                .bind(superuser)
                .bind(account.disabled_at())
                .bind(whole(account.version()))
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.refused(error, account))?;
                if changed.rows_affected() == 0 {
                    let found = self.account_in(&mut transaction, principal.kind(), &principal.key()).await?;
                    return Err(match found {
                        Some(_) => IdentityError::Moved(principal),
                        None => IdentityError::NoSuchAccount(principal),
                    });
                }
                self.write_members(&mut transaction, account).await?;
                Ok(transaction.commit().await.map_err(|error| self.write_failed(error))?)
            }

            async fn remove(&self, account: &Principal, at: Millis) -> Result<bool, IdentityError> {
                if !account.is_account() {
                    return Ok(false);
                }
                let mut transaction = self.database.append().await?;
                self.turn(&mut transaction, ACCOUNTS).await?;
                // Whoever is adding a token for it is waited for, and what they added is revoked too.
                self.turn(&mut transaction, &account.to_string()).await?;
                let statements: &[&'static str] = match account {
                    Principal::User(_) => &[
                        "update accounts set version = version + 1 where kind = 'team'
                         and id in (select team from team_members where member = $1)",
                        "delete from team_members where member = $1",
                        "delete from accounts where kind = 'user' and id = $1",
                    ],
                    Principal::Team(_) => &[
                        "delete from team_members where team = $1",
                        "delete from accounts where kind = 'team' and id = $1",
                    ],
                    _ => &["delete from accounts where kind = 'service' and id = $1"],
                };
                let mut removed = 0;
                for statement in statements {
                    let done = sqlx::query(*statement).bind(account.key()).execute(&mut *transaction).await;
                    removed = done.map_err(|error| self.write_failed(error))?.rows_affected();
                }
                if removed == 0 {
                    return Ok(false);
                }
                self.revoke_in(&mut transaction, account, at).await?;
                transaction.commit().await.map_err(|error| self.write_failed(error))?;
                Ok(true)
            }

            async fn account(&self, id: &Principal) -> Result<Option<Account>, IdentityError> {
                let mut transaction = self.database.read().await.map_err(|error| self.read_failed(error))?;
                Ok(self.account_in(&mut transaction, id.kind(), &id.key()).await?)
            }

            async fn named(&self, kind: AccountKind, name: &str) -> Result<Option<Account>, IdentityError> {
                let mut transaction = self.database.read().await.map_err(|error| self.read_failed(error))?;
                let row = sqlx::query("select * from accounts where kind = $1 and name = $2")
                    .bind(kind.as_str())
                    .bind(name)
                    .fetch_optional(&mut *transaction)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                match row {
                    Some(row) => Ok(Some(self.account_of(&mut transaction, &row).await?)),
                    None => Ok(None),
                }
            }

            async fn accounts(
                &self,
                kind: AccountKind,
                after: Option<&str>,
                limit: u32,
            ) -> Result<Vec<Account>, IdentityError> {
                let mut transaction = self.database.read().await.map_err(|error| self.read_failed(error))?;
                // No name is empty.
                let rows = sqlx::query(
                    "select * from accounts where kind = $1 and name > $2 order by name limit $3",
                )
                .bind(kind.as_str())
                .bind(after.unwrap_or_default())
                .bind(i64::from(limit))
                .fetch_all(&mut *transaction)
                .await
                .map_err(|error| self.read_failed(error))?;
                let mut accounts = Vec::with_capacity(rows.len());
                for row in &rows {
                    accounts.push(self.account_of(&mut transaction, row).await?);
                }
                Ok(accounts)
            }

            async fn create_tokens(&self, tokens: &[NewToken]) -> Result<(), IdentityError> {
                let mut principals: Vec<&Principal> = tokens.iter().map(|new| &new.token.principal).collect();
                principals.sort_unstable();
                principals.dedup();
                let mut transaction = self.database.append().await?;
                // Each in its turn, and all in one order, so that nobody waits for each other.
                for principal in principals {
                    self.turn(&mut transaction, &principal.to_string()).await?;
                    let found = sqlx::query("select 1 from accounts where kind = $1 and id = $2")
                        .bind(principal.kind())
                        .bind(principal.key())
                        .fetch_optional(&mut *transaction)
                        .await
                        .map_err(|error| self.read_failed(error))?;
                    if found.is_none() && principal.is_account() {
                        return Err(IdentityError::NoSuchAccount(principal.clone()));
                    }
                }
                for token in tokens {
                    self.insert_token(&mut transaction, token).await?;
                }
                Ok(transaction.commit().await.map_err(|error| self.write_failed(error))?)
            }

            async fn token(&self, id: &TokenId) -> Result<Option<Known>, IdentityError> {
                let mut transaction = self.database.read().await.map_err(|error| self.read_failed(error))?;
                let row = sqlx::query("select * from tokens where id = $1")
                    .bind(&id.0)
                    .fetch_optional(&mut *transaction)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                let Some(row) = row else { return Ok(None) };
                let token = self.token_of(&row)?;
                let hash: &str = self.get(&row, "secret_hash")?;
                let hash = SecretHash::from_hex(hash)
                    .ok_or_else(|| self.corrupt(format_args!("token {id} has no hash")))?;
                let (kind, key) = (token.principal.kind(), token.principal.key());
                let mut known = Known { token, hash, account: None, teams: Vec::new() };
                if known.token.principal.is_account() {
                    known.account = self.account_in(&mut transaction, kind, &key).await?;
                }
                if matches!(known.account, Some(Account::User(_))) {
                    known.teams = sqlx::query_scalar(
                        "select name from accounts join team_members on team = id
                         where kind = 'team' and member = $1 and disabled_at is null order by name",
                    )
                    .bind(key)
                    .fetch_all(&mut *transaction)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                }
                Ok(Some(known))
            }

            async fn tokens(&self, filter: &TokenFilter, limit: u32) -> Result<Vec<Token>, IdentityError> {
                let TokenFilter { principal, live_at, with_jobs, after } = filter;
                let mut select = QueryBuilder::<$Sql>::new("select * from tokens where true");
                if let Some(principal) = principal {
                    select.push(" and kind = ").push_bind(principal.kind());
                    select.push(" and principal = ").push_bind(principal.key());
                } else if !with_jobs {
                    select.push(" and kind <> 'job'");
                }
                if let Some(at) = live_at {
                    select.push(" and revoked_at is null and (expires_at is null or expires_at > ");
                    select.push_bind(*at).push(")");
                }
                if let Some(after) = after {
                    select.push(" and id > ").push_bind(&after.0);
                }
                select.push(" order by id limit ").push_bind(i64::from(limit));
                let rows = select
                    .build()
                    .fetch_all(&self.database.pool)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                Ok(rows.iter().map(|row| self.token_of(row)).collect::<Result<_, _>>()?)
            }

            async fn revoke(&self, id: &TokenId, at: Millis) -> Result<bool, IdentityError> {
                let revoked =
                    sqlx::query("update tokens set revoked_at = coalesce(revoked_at, $2) where id = $1")
                        .bind(&id.0)
                        .bind(at)
                        .execute(&self.database.pool)
                        .await
                        .map_err(|error| self.write_failed(error))?;
                Ok(revoked.rows_affected() > 0)
            }

            async fn revoke_all(&self, principal: &Principal, at: Millis) -> Result<u64, IdentityError> {
                let mut transaction = self.database.append().await?;
                // Whoever is adding one is waited for, and what they added is revoked too.
                self.turn(&mut transaction, &principal.to_string()).await?;
                let revoked = self.revoke_in(&mut transaction, principal, at).await?;
                transaction.commit().await.map_err(|error| self.write_failed(error))?;
                Ok(revoked)
            }

            async fn note_use(&self, id: &TokenId, at: Millis) -> Result<(), IdentityError> {
                sqlx::query(
                    "update tokens set last_used_at = $2
                     where id = $1 and (last_used_at is null or last_used_at <= $3)",
                )
                .bind(&id.0)
                .bind(at)
                .bind(at.saturating_sub(note_every()))
                .execute(&self.database.pool)
                .await
                .map_err(|error| self.write_failed(error))?;
                Ok(())
            }

            async fn forget_tokens(&self, ended_before: Millis) -> Result<u64, IdentityError> {
                let forgotten = sqlx::query("delete from tokens where revoked_at < $1 or expires_at < $1")
                    .bind(ended_before)
                    .execute(&self.database.pool)
                    .await
                    .map_err(|error| self.write_failed(error))?;
                Ok(forgotten.rows_affected())
            }
        }
    };
}

/// What only users have.
fn of_user(account: &Account) -> (Option<&str>, i64) {
    match account {
        Account::User(user) => (user.email.as_deref(), i64::from(user.superuser)),
        Account::Team(_) | Account::Service(_) => (None, 0),
    }
}

identities_on!(
    SqliteIdentities,
    Database,
    Sqlite,
    SqliteRow,
    SqliteConnection,
    // One writer at a time has the whole file.
    "select $1",
    "Accounts and tokens in SQLite."
);
identities_on!(
    PostgresIdentities,
    PostgresDatabase,
    Postgres,
    PgRow,
    PgConnection,
    "select pg_advisory_xact_lock(hashtextextended(current_schema()::text || ' ' || $1::text, 0))",
    "Accounts and tokens in PostgreSQL."
);
