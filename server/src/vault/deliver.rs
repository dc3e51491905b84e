//! Secrets for a lease: decided by what is applied now, written down, and only then read and handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use reactorcide_engine::address::Address;
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::config::{SecretSource, SecretSpec};
use reactorcide_engine::coordinator::{CoordinatorError, Delivered, LeaseId};
use reactorcide_engine::policy::{Access, Decided, Purpose, decide_lease, refusal};
use reactorcide_engine::protocol::mask;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::scheduler::assignment;
use reactorcide_engine::store::{Lineage, StoreError, Uid};
use serde_json::{Value, json};

use super::{Vault, VaultError};
use crate::applied::{Applied, Current};
use crate::conductor::{ConductError, Conductor, now};

/// The action in the audit log.
const ACTION: &str = "secrets.deliver";

/// What is applied, whenever it is asked for.
#[async_trait]
trait InForce: Send + Sync {
    async fn now(&self) -> Result<Arc<Current>, StoreError>;
}

#[async_trait]
impl InForce for Applied {
    async fn now(&self) -> Result<Arc<Current>, StoreError> {
        self.current().await
    }
}

/// What one run on this machine goes by.
struct Fixed(Arc<Current>);

#[async_trait]
impl InForce for Fixed {
    async fn now(&self) -> Result<Arc<Current>, StoreError> {
        Ok(Arc::clone(&self.0))
    }
}

/// What only a run on one's own machine has: secrets of the machine itself, and values that the person who runs it gives.
#[derive(Debug, Default)]
pub struct Machine {
    /// The names of secrets that were given by hand: the worker has them, and nobody decides on them.
    pub by_hand: BTreeSet<String>,
}

impl Machine {
    fn gives(&self, name: &str) -> bool {
        self.by_hand.contains(name)
            || name.split_once(':').is_some_and(|(path, _)| self.by_hand.contains(path))
    }
}

/// Hands out secrets to leases. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer {
    vault: Vault,
    in_force: Arc<dyn InForce>,
    audit: Arc<dyn AuditLog>,
    machine: Option<Arc<Machine>>,
}

/// A value that is handed out.
struct Given {
    decided: Decided,
    value: Sensitive,
    version: Option<u64>,
}

impl Deliverer {
    /// For a server: by what is applied at each moment.
    pub fn new(vault: Vault, applied: Arc<Applied>, audit: Arc<dyn AuditLog>) -> Self {
        Self { vault, in_force: applied, audit, machine: None }
    }

    /// For one run on this machine.
    pub fn local(vault: Vault, current: Current, audit: Arc<dyn AuditLog>, machine: Machine) -> Self {
        let in_force = Arc::new(Fixed(Arc::new(current)));
        Self { vault, in_force, audit, machine: Some(Arc::new(machine)) }
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The secrets of the job that has a lease. The lease was checked. `worker` is who gets them.
    pub async fn deliver(
        &self,
        conductor: &Conductor,
        lease: &LeaseId,
        worker: &str,
    ) -> Result<Delivered, CoordinatorError> {
        let current = self.in_force.now().await.map_err(unavailable)?;
        let mut decided = self.decide(&current, conductor, lease).await?;
        if let Some(machine) = &self.machine {
            decided.retain(|one| !machine.gives(&one.asked.name));
        }
        if decided.is_empty() {
            return Ok(Delivered::Given { job: BTreeMap::new(), sources: BTreeMap::new() });
        }
        if let Some(reason) = refusal(&decided) {
            self.note(&current, lease, worker, &decided, &[], Outcome::Denied).await?;
            return Ok(Delivered::Denied(reason));
        }
        let mut given = Vec::new();
        for one in &decided {
            match self.read(&current, one).await {
                Ok((value, version)) => given.push(Given { decided: one.clone(), value, version }),
                Err(Failed::Missing(why)) => {
                    self.note(&current, lease, worker, &decided, &[], Outcome::Failed).await?;
                    return Ok(Delivered::Denied(why));
                }
                Err(Failed::Later(why)) => return Err(CoordinatorError::Unavailable(why)),
            }
        }
        // Nobody gets what is not written down.
        self.note(&current, lease, worker, &decided, &given, Outcome::Done).await?;
        let of = |purpose: Purpose| {
            let wanted = given.iter().filter(|one| one.decided.asked.purpose == purpose);
            wanted.map(|one| (one.decided.asked.name.clone(), one.value.clone())).collect()
        };
        Ok(Delivered::Given { job: of(Purpose::Job), sources: of(Purpose::Source) })
    }

    async fn decide(
        &self,
        current: &Arc<Current>,
        conductor: &Conductor,
        lease: &LeaseId,
    ) -> Result<Vec<Decided>, CoordinatorError> {
        let (name, attempt, catalog) = (lease.node.clone(), lease.attempt, Arc::clone(current));
        let look = conductor.look(&lease.run, true, move |known| {
            let node = known.state.node(&name).filter(|node| node.attempt == attempt)?;
            let job = match assignment(&known.state, &name, now())? {
                Ok(assignment) => assignment.job,
                Err(why) => return Some(Err(why)),
            };
            Some(Ok(decide_lease(&catalog.catalog, &known.state, node, &job)))
        });
        match look.await {
            Ok(Some(Ok(decided))) => Ok(decided),
            Ok(Some(Err(why))) | Err(ConductError::Damaged(why)) => Err(CoordinatorError::Refused(why)),
            Ok(None) | Err(ConductError::Stale(_) | ConductError::NoRun(_)) => Err(lease.stale()),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The value of a secret that was granted.
    async fn read(&self, current: &Current, decided: &Decided) -> Result<(Sensitive, Option<u64>), Failed> {
        let address =
            decided.secret.as_ref().ok_or_else(|| Failed::Missing("it has no secret".to_owned()))?;
        let missing = |why: &str| Failed::Missing(format!("{address} has no value: {why}"));
        let spec = current.secret_spec(address).ok_or_else(|| missing("it is not applied"))?;
        let (value, version) = match spec.source {
            SecretSource::Vault => {
                let uid = current.secrets.get(address).map(|(uid, _)| uid);
                let (Some(uid), Some(workspace)) = (uid, &current.lineage) else {
                    return Err(missing("it is not applied yet; `reactorcide apply` first"));
                };
                self.sealed(workspace, uid, address, &decided.key).await?
            }
            SecretSource::HashicorpVault => (self.elsewhere(spec, address, &decided.key).await?, None),
            SecretSource::Env | SecretSource::File if self.machine.is_none() => {
                return Err(missing("its source is this machine's own, which only a local run reads"));
            }
            SecretSource::Env | SecretSource::File => (of_machine(spec).map_err(|why| missing(&why))?, None),
        };
        mask::check(value.expose().as_bytes())
            .map_err(|error| Failed::Missing(format!("{address} cannot be used: {error}")))?;
        Ok((value, version))
    }

    async fn sealed(
        &self,
        workspace: &Lineage,
        uid: &Uid,
        address: &Address,
        key: &str,
    ) -> Result<(Sensitive, Option<u64>), Failed> {
        let found =
            self.vault.value(workspace, uid, key).await.map_err(|error| Failed::of(address, error))?;
        let (version, value) = found.ok_or_else(|| {
            let key = if key == "value" { String::new() } else { format!(" --key {key}") };
            let name = &address.name;
            Failed::Missing(format!(
                "{address} has no value: `reactorcide secret set {name}{key} --from-stdin` gives it one"
            ))
        })?;
        Ok((value, Some(version)))
    }

    async fn elsewhere(&self, spec: &SecretSpec, address: &Address, key: &str) -> Result<Sensitive, Failed> {
        let location = spec.location.as_deref().unwrap_or(&address.name);
        let values = self.vault.external(location).await.map_err(|error| Failed::of(address, error))?;
        values.get(key).cloned().ok_or_else(|| {
            let names: Vec<&str> = values.keys().map(String::as_str).collect();
            Failed::Missing(format!(
                "{address} has no value: {location:?} has no key {key:?}, but {}",
                names.join(", ")
            ))
        })
    }

    /// One entry a lease: what was granted and through what, and what was denied. Never a value.
    async fn note(
        &self,
        current: &Current,
        lease: &LeaseId,
        worker: &str,
        decided: &[Decided],
        given: &[Given],
        outcome: Outcome,
    ) -> Result<(), CoordinatorError> {
        let name = |one: &Decided| one.secret.as_ref().map_or(one.asked.name.clone(), ToString::to_string);
        let entry = |one: &Decided, version: Option<u64>| -> Value {
            let mut entry = json!({"secret": name(one), "key": one.key});
            if one.asked.purpose == Purpose::Source {
                entry["for"] = json!("source");
            }
            match &one.access {
                Access::Granted { policy, grant } => {
                    entry["policy"] = json!(policy.to_string());
                    entry["grant"] = json!(grant + 1);
                    entry["policy_revision"] =
                        json!(current.secrets.get(policy).map(|(_, generation)| generation));
                    entry["version"] = json!(version);
                }
                Access::Denied { reason } => entry["reason"] = json!(reason),
            }
            entry
        };
        let version = |one: &Decided| {
            given.iter().find(|given| given.decided.asked == one.asked).and_then(|given| given.version)
        };
        let part = |granted: bool| -> Vec<Value> {
            let wanted = decided.iter().filter(|one| matches!(one.access, Access::Granted { .. }) == granted);
            wanted.map(|one| entry(one, version(one))).collect()
        };
        let draft = Draft {
            at: now(),
            actor: format!("worker:{worker}"),
            action: ACTION.to_owned(),
            target: format!("job/{}/{}/{}", lease.run, lease.node, lease.attempt),
            outcome,
            detail: json!({"granted": part(true), "denied": part(false), "serial": current.serial}).into(),
            request: None,
        };
        self.audit.append(&[draft]).await.map(|_| ()).map_err(unavailable)
    }
}

/// Why there is no value.
enum Failed {
    /// Another try finds the same.
    Missing(String),
    /// Another try may help.
    Later(String),
}

impl Failed {
    fn of(address: &Address, error: VaultError) -> Self {
        use reactorcide_engine::vault::ExternalError;
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let text = format!("the value of {address} cannot be had: {error}{hint}");
        match error {
            // A row that cannot be what was written stays so.
            VaultError::Store(StoreError::Corrupt { .. }) => Self::Missing(text),
            VaultError::Store(_)
            | VaultError::Busy(_)
            | VaultError::External(ExternalError::Unavailable { .. }) => Self::Later(text),
            _ => Self::Missing(text),
        }
    }
}

/// The value in a variable or a file of this machine. One line break at the end belongs to the file.
fn of_machine(spec: &SecretSpec) -> Result<Sensitive, String> {
    match (spec.source, &spec.location) {
        (SecretSource::Env, Some(variable)) => {
            let value = std::env::var(variable).map_err(|_| format!("the variable {variable} is not set"))?;
            Ok(Sensitive::new(value))
        }
        (SecretSource::File, Some(path)) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
            let value = text.strip_suffix('\n').unwrap_or(&text);
            Ok(Sensitive::new(value.strip_suffix('\r').unwrap_or(value)))
        }
        _ => Err("it does not say where it is: give it a location".to_owned()),
    }
}

fn unavailable(error: impl std::error::Error) -> CoordinatorError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    CoordinatorError::Unavailable(format!("{error}{cause}"))
}
