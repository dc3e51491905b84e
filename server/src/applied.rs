//! What is applied, as the server needs it at every request: read again only when there was another apply.

use std::collections::BTreeMap;
use std::sync::Arc;

use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, SecretSpec, Spec, WorkerPoolSpec};
use reactorcide_engine::identity::Bindings;
use reactorcide_engine::runs::Queue;
use reactorcide_engine::store::{Lineage, Snapshot, Store, StoreError, Uid};
use tokio::sync::{Mutex, watch};

/// Reads what is applied.
pub struct Applied {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    last: Mutex<Arc<Current>>,
    serials: watch::Sender<u64>,
}

/// What was applied at one moment.
#[derive(Debug, Default)]
pub struct Current {
    /// Which apply was the last.
    pub serial: u64,
    /// All resources.
    pub catalog: Catalog,
    /// Who has which role.
    pub bindings: Bindings,
    /// Who its schedules are, through renames.
    pub schedules: Vec<(Uid, Address)>,
    /// The workspace; absent while nothing was ever applied.
    pub lineage: Option<Lineage>,
    /// Who its secrets and their policies are, through renames, and their generations.
    pub secrets: BTreeMap<Address, (Uid, u64)>,
}

impl Applied {
    /// What is applied in a store. What it says of the queue is told to that.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>) -> Self {
        Self { store, queue, last: Mutex::default(), serials: watch::Sender::new(0) }
    }

    /// Where it is.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What is applied now.
    pub async fn current(&self) -> Result<Arc<Current>, StoreError> {
        let newest = self.store.history(None, 1).await?;
        let serial = newest.first().map_or(0, |change| change.serial);
        let mut last = self.last.lock().await;
        if last.serial != serial {
            let current = self.read().await?;
            for (project, weight) in current.weights() {
                self.queue.set_weight(project, weight).await?;
            }
            *last = Arc::new(current);
            self.serials.send_replace(serial);
        }
        Ok(Arc::clone(&last))
    }

    /// Hears which apply was the last as soon as anybody here knows.
    pub fn serials(&self) -> watch::Receiver<u64> {
        self.serials.subscribe()
    }

    async fn read(&self) -> Result<Current, StoreError> {
        Ok(Current::of(&self.store.snapshot().await?))
    }
}

impl Current {
    /// What a snapshot says.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut catalog = Catalog::default();
        for (address, head) in &snapshot.heads {
            match head.resource() {
                Ok(resource) => drop(catalog.insert(address.clone(), resource.into())),
                // Applied by a later version: the rest is still good.
                Err(error) => tracing::error!(%address, %error, "an applied resource cannot be read"),
            }
        }
        let bindings = Bindings::of(&catalog);
        let schedules = snapshot.heads.iter().filter(|(address, _)| address.kind == Kind::Schedule);
        let schedules = schedules.map(|(address, head)| (head.uid.clone(), address.clone())).collect();
        Self {
            serial: snapshot.serial,
            catalog,
            bindings,
            schedules,
            lineage: snapshot.lineage.clone(),
            secrets: secrets_of(snapshot),
        }
    }

    /// What files say instead, over the same workspace.
    pub fn of_files(catalog: Catalog, snapshot: &Snapshot) -> Self {
        Self { catalog, ..Self::of(snapshot) }
    }

    /// A secret that is applied: who it is, and what is declared of it.
    pub fn secret(&self, address: &Address) -> Option<(&Uid, &SecretSpec)> {
        let (uid, _) = self.secrets.get(address)?;
        Some((uid, self.secret_spec(address)?))
    }

    /// What is declared of a secret.
    pub fn secret_spec(&self, address: &Address) -> Option<&SecretSpec> {
        match &self.catalog.get(address)?.spec {
            Spec::Secret(spec) => Some(spec),
            _ => None,
        }
    }

    /// A pool of workers.
    pub fn pool(&self, name: &str) -> Option<WorkerPoolSpec> {
        let resource = self.catalog.get(&Address::new(Kind::WorkerPool, None, name))?;
        match &resource.spec {
            Spec::WorkerPool(spec) => Some(WorkerPoolSpec::clone(spec)),
            _ => None,
        }
    }

    /// How much more than others each project gets.
    pub fn weights(&self) -> impl Iterator<Item = (&str, u32)> {
        self.catalog.iter().filter_map(|(address, resource)| match &resource.spec {
            Spec::Project(project) => Some((address.name.as_str(), project.weight)),
            _ => None,
        })
    }
}

/// Who the secrets and policies of a snapshot are.
pub(crate) fn secrets_of(snapshot: &Snapshot) -> BTreeMap<Address, (Uid, u64)> {
    let is_one = |address: &Address| matches!(address.kind, Kind::Secret | Kind::SecretPolicy);
    let heads = snapshot.heads.iter().filter(|(address, _)| is_one(address));
    heads.map(|(address, head)| (address.clone(), (head.uid.clone(), head.generation))).collect()
}
