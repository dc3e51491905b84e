//! What is applied, for commands that read and change it: in a state on this machine, or behind a server.

mod server;

use std::sync::atomic::{AtomicBool, Ordering};

use reactorcide_engine::address::Address;
use reactorcide_engine::canonical::read_document;
use reactorcide_engine::config::Resource;
use reactorcide_engine::store::{Change, Compaction, Revision, Snapshot};

pub use server::{Server, change};

use crate::applied::{self, Applied};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::settings::Settings;

/// Where it is.
pub enum Workspace {
    /// On this machine, or in a database that this machine reaches.
    Local(Applied),
    /// Behind a server, which decides.
    Server(Server),
}

/// Whether it was said yet which server is asked.
static SAID: AtomicBool = AtomicBool::new(false);

/// The server, where a server is to be asked. Says which and as whom, so that nobody changes the wrong one.
pub async fn server(settings: &Settings) -> Result<Option<Server>, Failure> {
    let Some(client) = Client::wanted(settings)? else { return Ok(None) };
    if !SAID.swap(true, Ordering::Relaxed) {
        let me: reactorcide_server::api::Me = client.get("/me", &[]).await?;
        report::note(&format!("against {} as {}", client.url(), me.name));
    }
    Ok(Some(Server::new(client)))
}

/// What is applied, if anything ever was. Makes no file.
pub async fn open(settings: &Settings) -> Result<Option<Workspace>, Failure> {
    match server(settings).await? {
        Some(server) => Ok(Some(Workspace::Server(server))),
        None => Ok(applied::open(settings).await?.map(Workspace::Local)),
    }
}

/// The applied state; empty where nothing was ever applied.
pub async fn snapshot(settings: &Settings) -> Result<Snapshot, Failure> {
    match open(settings).await? {
        Some(workspace) => workspace.snapshot().await,
        None => Ok(Snapshot::default()),
    }
}

/// The last change that was applied.
pub async fn last_change(settings: &Settings) -> Result<Option<Change>, Failure> {
    let Some(workspace) = open(settings).await? else { return Ok(None) };
    Ok(workspace.history(None, 1).await?.into_iter().next())
}

/// Refuses values of secrets where the server opens the doors: they would have to be sent to it.
pub fn keep_secrets(secrets: &[String]) -> Result<(), Failure> {
    if secrets.is_empty() {
        return Ok(());
    }
    Err(Failure::new("--secret is for state on this machine: a server opens doors with its own values")
        .hint("who operates the server gives it them: reactorcide server --secret NAME=env:VARIABLE")
        .exit(Exit::Usage))
}

/// Refuses a server where only the state itself will do.
pub fn only_local(settings: &Settings, what: &str) -> Result<(), Failure> {
    match Client::wanted(settings)? {
        None => Ok(()),
        Some(client) => Err(Failure::new(format!("{what} works on the state itself, not through {}", client.url()))
            .hint("on the machine of the server, give --state; for the state beside the configuration, --state local")
            .exit(Exit::Usage)),
    }
}

impl Workspace {
    /// The state as it is now.
    pub async fn snapshot(&self) -> Result<Snapshot, Failure> {
        match self {
            Self::Local(applied) => applied.store.snapshot().await.map_err(applied::store_failure),
            Self::Server(server) => server.snapshot().await,
        }
    }

    /// The newest changes, newest first.
    pub async fn history(&self, address: Option<&Address>, limit: u32) -> Result<Vec<Change>, Failure> {
        match self {
            Self::Local(applied) => {
                applied.store.history(address, limit).await.map_err(applied::store_failure)
            }
            Self::Server(server) => server.history(address, limit).await,
        }
    }

    /// The number of a change, by its id or the beginning of one.
    pub async fn serial_of(&self, id: &str) -> Result<Option<u64>, Failure> {
        match self {
            Self::Local(applied) => {
                let found = applied.store.change(id).await.map_err(applied::store_failure)?;
                Ok(found.map(|(change, _)| change.serial))
            }
            Self::Server(server) => server.serial_of(id).await,
        }
    }

    /// What was forgotten, newest first.
    pub async fn compactions(&self) -> Result<Vec<Compaction>, Failure> {
        match self {
            Self::Local(applied) => applied.store.compactions().await.map_err(applied::store_failure),
            Self::Server(server) => server.compactions().await,
        }
    }

    /// Every revision of a resource, oldest first.
    pub async fn revisions(&self, address: &Address) -> Result<Vec<Revision>, Failure> {
        match self {
            Self::Local(applied) => applied.store.revisions(address).await.map_err(applied::store_failure),
            Self::Server(server) => server.revisions(address).await,
        }
    }

    /// The state as a change left it.
    pub async fn at(&self, serial: u64) -> Result<Snapshot, Failure> {
        match self {
            Self::Local(applied) => applied.store.at(serial).await.map_err(applied::store_failure),
            Self::Server(server) => server.at(serial).await,
        }
    }

    /// One resource as it is applied.
    pub async fn resource(&self, address: &Address) -> Result<Option<Resource>, Failure> {
        let document = match self {
            Self::Local(_) => self.snapshot().await?.heads.get(address).map(|head| head.document.clone()),
            Self::Server(server) => server.document(address).await?,
        };
        Ok(document.and_then(|document| read_document(&document).ok()))
    }
}
