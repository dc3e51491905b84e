//! How processes on one database wake each other: a notification that says nothing but "look". PostgreSQL has them; of a
//! SQLite file the kernel tells. Whoever misses one looks all the same, now and then.

mod file;

use std::sync::Arc;
use std::time::Duration;

use reactorcide_engine::store::StoreError;
use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::state::State;
use file::Written;

/// Notifications that come closer together than this become one: a notification takes a lock over all commits.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How long to wait before listening again where the connection broke.
const AGAIN: Duration = Duration::from_secs(1);

/// Wakes the other servers, and is woken by them.
pub struct Signals {
    changed: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
}

impl Signals {
    /// Begins to listen; `wake` is called when another server has changed something. On SQLite it is when anybody has, at
    /// most once a second.
    pub async fn listen(state: &State, wake: impl Fn() + Send + Sync + 'static) -> Result<Self, StoreError> {
        let changed = Arc::new(Notify::new());
        let database = match state {
            State::Postgres(database) => database,
            State::Sqlite(database) => {
                let tasks = match Written::to(database.path()) {
                    Ok(written) => vec![tokio::spawn(written.tell(wake))],
                    Err(error) => {
                        tracing::warn!(%error, "what other processes write to the state cannot be heard");
                        Vec::new()
                    }
                };
                return Ok(Self { changed, tasks });
            }
        };
        let channel = database.channel();
        let listener = listener(&database.pool, &channel).await;
        let listener = listener.map_err(|error| database.attempt("listened to").failed(error))?;
        // Our own notifications come back to us, and must not be sent on.
        let me = uuid::Uuid::new_v4().simple().to_string();
        let hearing = tokio::spawn(hear(database.pool.clone(), listener, channel.clone(), me.clone(), wake));
        let telling = tokio::spawn(tell(database.pool.clone(), channel, me, Arc::clone(&changed)));
        Ok(Self { changed, tasks: vec![hearing, telling] })
    }

    /// Says that something was changed here.
    pub fn changed(&self) {
        self.changed.notify_one();
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listener(pool: &PgPool, channel: &str) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    Ok(listener)
}

async fn hear(pool: PgPool, mut from: PgListener, channel: String, me: String, wake: impl Fn()) {
    loop {
        match from.recv().await {
            Ok(notification) if notification.payload() == me => {}
            Ok(_) => wake(),
            Err(error) => {
                tracing::warn!(%error, "other servers cannot be heard, trying again");
                from = loop {
                    tokio::time::sleep(AGAIN).await;
                    if let Ok(again) = listener(&pool, &channel).await {
                        break again;
                    }
                };
                // Whatever was said meanwhile.
                wake();
            }
        }
    }
}

/// On a connection of its own, after the transaction: inside of it every commit would wait for the others.
async fn tell(pool: PgPool, channel: String, me: String, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        let told = sqlx::query("select pg_notify($1, $2)").bind(&channel).bind(&me).execute(&pool).await;
        if let Err(error) = told {
            tracing::debug!(%error, "other servers could not be woken; they look by themselves");
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::{Location, Options};

    #[tokio::test]
    async fn what_another_writes_to_a_file_is_heard_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let location = Location::Sqlite(directory.path().join("state.db"));
        let ours = State::create(&location, Options::default()).await.expect("a state");
        let other = State::create(&location, Options::default()).await.expect("the same");
        let heard = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&heard);
        let wake = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let _signals = Signals::listen(&ours, wake).await.expect("it can be heard");
        // Who only reads, and who writes to something else beside it, says nothing.
        other.removals().open(1).await.expect("an answer");
        std::fs::write(directory.path().join("other"), "x").expect("written");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(heard.load(Ordering::Relaxed), 0);
        for round in 1..=2 {
            for now in 0..20 {
                other.removals().begin_sweep(round * 1000 + now, i64::MAX).await.expect("written");
            }
            let began = Instant::now();
            while heard.load(Ordering::Relaxed) < u32::try_from(round).expect("small") {
                assert!(began.elapsed() < Duration::from_secs(20), "nothing was heard");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        assert!(heard.load(Ordering::Relaxed) <= 4, "what comes together is told once");
    }
}
