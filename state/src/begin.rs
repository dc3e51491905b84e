//! The beginning of a transaction, which goes on to its end even if nobody waits for it any more.
//!
//! Somebody who asks may stop waiting at any moment. If that were while a transaction begins, a connection would go back to
//! its pool with a transaction that nobody knows of, and what others did in it would never be committed. In a task of its
//! own it comes to its end, and is rolled back where nobody is there to have it.

use sqlx::{Database, Error, Pool, Transaction};

/// Begins a transaction with a statement, or with the database's usual one.
pub(crate) async fn begin<D: Database>(
    pool: &Pool<D>,
    statement: Option<&'static str>,
) -> Result<Transaction<'static, D>, Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move {
        match statement {
            None => pool.begin().await,
            Some(statement) => pool.begin_with(statement).await,
        }
    });
    match begun.await {
        Ok(begun) => begun,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::PoolClosed),
    }
}
