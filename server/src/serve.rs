//! The server: everything that it needs put together, started, and ended in order.

use std::sync::Arc;
use std::time::Duration;

use reactorcide_engine::id_token::{MemorySigningKeys, SigningKeyStore};
use reactorcide_engine::identity::{NewToken, Principal, Scope, Token, TokenText, User, UserId};
use reactorcide_engine::logs::LogStore;
use reactorcide_engine::outside::Outside;
use reactorcide_engine::queue::Claimant;
use reactorcide_engine::retention::Policy;
use reactorcide_engine::store::{Lineage, StoreError};
use reactorcide_providers::otlp::Exporter;
use reactorcide_state::{LogSettings, Logs, Signals, State, Storage};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::api::{self, Api, Archive};
use crate::applied::Applied;
use crate::conductor::{Conductor, now};
use crate::coordinator::{Desk, Terms, Tokens};
use crate::errands::Errands;
use crate::files::Files;
use crate::issuer::Issuer;
use crate::reaper;
use crate::retention::{self, Retention};
use crate::schedules::{self, Schedules};
use crate::vault::{Deliverer, Vault};

/// How long requests may take to end when the server does.
const ENDING: Duration = Duration::from_secs(10);
/// How often servers look for what others did, should a notification be lost.
const LOOK: Duration = Duration::from_secs(10);
/// How often the server of a file looks whether something was applied, should the kernel not have told.
const LOOK_AT_FILE: Duration = Duration::from_secs(600);

/// A server that is ready to answer.
pub struct Server {
    api: Api,
    closing: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Accounts cannot be used.
    #[error(transparent)]
    Identity(#[from] reactorcide_engine::identity::IdentityError),
    /// The system has no randomness to give.
    #[error("no random number can be had: {0}")]
    Random(String),
    /// Nothing can be answered any more.
    #[error("no request can be answered: {0}")]
    Listen(#[from] std::io::Error),
}

impl Server {
    /// Puts a server together. What applies owe to the outside goes through `outside`.
    pub async fn new(
        state: State,
        storage: &Storage,
        terms: Terms,
        outside: Arc<dyn Outside>,
    ) -> Result<Self, ServeError> {
        let conductor = Conductor::new(state.runs(), state.queue());
        // A workspace has its lineage from its first apply; this one is for a workspace that has none.
        let store = state.store(Lineage(uuid::Uuid::now_v7().to_string()));
        let errands = Errands::new(state.ledger(), outside);
        let applied = Arc::new(Applied::new(Arc::clone(&store), state.queue()));
        applied.current().await?;
        let logs: Arc<dyn LogStore> = Arc::new(Logs::new(storage, LogSettings::of(storage)));
        let files = Files::new(state.artifacts(storage), applied.clone());
        let (closing, closed) = watch::channel(false);
        let others = matches!(state, State::Postgres(_));
        let (woken, written) = (conductor.clone(), Arc::new(Notify::new()));
        let wrote = Arc::clone(&written);
        // Other servers may have decided anything; of a file there is one server, and others only apply to it.
        let wake = move || if others { woken.wake() } else { wrote.notify_one() };
        let signals = Signals::listen(&state, wake).await?;
        let (audit, positions) = (state.audit(), state.positions());
        let schedules = Schedules {
            conductor: conductor.clone(),
            applied: Arc::clone(&applied),
            positions: Arc::clone(&positions),
            audit: Arc::clone(&audit),
        };
        let mut tasks = vec![
            tokio::spawn(reaper::reap(conductor.clone())),
            tokio::spawn(errands.clone().run(store, applied.serials(), closed.clone())),
            tokio::spawn(pass_on(conductor.clone(), signals, others)),
            tokio::spawn(schedules::keep(schedules)),
        ];
        let vault = Vault::new(state.vault(), Vec::new());
        let secrets = Deliverer::new(vault, Arc::clone(&applied), Arc::clone(&audit));
        if !others {
            tasks.push(tokio::spawn(hear(Arc::clone(&applied), written)));
        }
        // Nobody outside could find its keys, until somebody says where.
        let issuer = Issuer::new(
            None,
            Arc::new(MemorySigningKeys::default()),
            Arc::clone(&applied),
            Arc::clone(&audit),
        );
        let api = Api {
            issuer,
            conductor,
            applied,
            identities: state.identities(),
            audit,
            positions,
            removals: state.removals(),
            workers: state.workers(),
            logs,
            errands,
            files,
            secrets,
            terms,
            closing: closed,
        };
        Ok(Self { api, closing, tasks })
    }

    /// Opens secrets with the keys of a vault.
    #[must_use]
    pub fn with_vault(mut self, vault: Vault) -> Self {
        let Api { applied, audit, .. } = &self.api;
        self.api.secrets = Deliverer::new(vault, Arc::clone(applied), Arc::clone(audit));
        self
    }

    /// Issues identity tokens from now on, under the URL that others call it by, with keys from a store.
    #[must_use]
    pub fn issuing(mut self, url: String, keys: Arc<dyn SigningKeyStore>) -> Self {
        let Api { applied, audit, .. } = &self.api;
        self.api.issuer = Issuer::new(Some(url), keys, Arc::clone(applied), Arc::clone(audit));
        self
    }

    /// Removes what is kept no longer, from now on.
    #[must_use]
    pub fn keeping(mut self, state: &State, storage: &Storage, policy: Policy) -> Self {
        let retention = Retention {
            policy,
            runs: state.runs(),
            logs: Arc::clone(&self.api.logs),
            artifacts: state.artifacts(storage),
            removals: Arc::clone(&self.api.removals),
            audit: Arc::clone(&self.api.audit),
        };
        self.tasks.push(tokio::spawn(retention::keep(retention)));
        self
    }

    /// What answers requests.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Sends traces from now on.
    pub fn export(&self, exporter: Exporter) {
        self.api.conductor.observer.export(exporter);
    }

    /// Tells metrics to everybody who reaches an address, until the server ends.
    pub fn tell_metrics(&mut self, listener: TcpListener) {
        let router = api::listener(self.api.clone());
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "metrics are not told any more");
            }
        }));
    }

    /// Makes the first user of an empty workspace, and returns a token of theirs, to be shown once.
    pub async fn bootstrap(&self, username: &str) -> Result<Option<TokenText>, ServeError> {
        let text = new_token()?;
        let now = now();
        let id = UserId(uuid::Uuid::now_v7().to_string());
        let user = User {
            id: id.clone(),
            username: username.to_owned(),
            email: None,
            superuser: true,
            version: 1,
            created_at: now,
            disabled_at: None,
        };
        let token = Token {
            id: text.id().clone(),
            principal: Principal::User(id),
            name: "first".to_owned(),
            scope: Scope::default(),
            created_at: now,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        let first = self.api.identities.bootstrap(&user, &NewToken { token, hash: text.hash() }).await?;
        Ok(first.then_some(text))
    }

    /// What a worker in this process talks to. The tokens of its leases begin with its mark.
    pub fn desk(&self, claimant: Claimant, mark: String) -> Arc<Desk> {
        let audience = Arc::new(Archive { logs: Arc::clone(&self.api.logs) });
        let desk =
            Desk::new(self.api.conductor.clone(), audience, self.api.files.clone(), claimant, self.api.terms);
        let desk = desk.with_tokens(Tokens::Marked(mark)).with_secrets(self.api.secrets.clone());
        let desk = desk.with_issuer(self.api.issuer.clone());
        Arc::new(desk.directed_by(Arc::clone(&self.api.workers)))
    }

    /// Answers requests until `stop`; then what goes on is ended, which takes a moment.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let Self { api, closing, tasks } = self;
        let observer = Arc::clone(&api.conductor.observer);
        let (ending, mut ended) = watch::channel(false);
        let closing = Arc::new(closing);
        let told = Arc::clone(&closing);
        let graceful = async move {
            stop.await;
            // Whoever waits for news is let go.
            let _ = told.send(true);
            let _ = ending.send(true);
        };
        let serving = axum::serve(listener, api::router(api)).with_graceful_shutdown(graceful);
        let late = async {
            let _ = ended.wait_for(|ended| *ended).await.map(|_| ());
            tokio::time::sleep(ENDING).await;
        };
        let outcome = tokio::select! {
            outcome = serving => outcome.map_err(ServeError::Listen),
            () = late => Ok(()),
        };
        tasks.iter().for_each(JoinHandle::abort);
        if let Some(exporter) = observer.exporter() {
            exporter.close(ENDING).await;
        }
        // Until here, whoever asks whether the server ends is told so.
        drop(closing);
        outcome
    }
}

/// A token of fresh randomness.
pub fn new_token() -> Result<TokenText, ServeError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| ServeError::Random(error.to_string()))?;
    Ok(TokenText::new(uuid::Uuid::now_v7(), secret))
}

/// Reads what is applied whenever something was written to the file. Whoever waits for applies is told by that.
async fn hear(applied: Arc<Applied>, written: Arc<Notify>) {
    loop {
        tokio::select! {
            () = written.notified() => {}
            () = tokio::time::sleep(LOOK_AT_FILE) => {}
        }
        if let Err(error) = applied.current().await {
            tracing::warn!(%error, "it could not be looked whether something was applied");
        }
    }
}

/// Tells other servers that something was decided here, and looks now and then for what they may have decided.
async fn pass_on(conductor: Conductor, signals: Signals, others: bool) {
    let mut notices = conductor.notices();
    loop {
        tokio::select! {
            notice = notices.recv() => match notice {
                // What came from others is not sent back to them.
                Ok(notice) if notice.run.is_empty() => {}
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => signals.changed(),
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
            () = tokio::time::sleep(LOOK), if others => conductor.wake(),
        }
    }
}
