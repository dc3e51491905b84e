//! What an earlier process of the same worker left: its leases are held again, its containers found, and what belongs to
//! no lease is removed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::{LeaseId, Report};
use reactorcide_engine::provider::{ContainerSummary, Provider, ProviderError};
use reactorcide_engine::scheduler::AttemptResult;

use crate::container::container_name;
use crate::job::workspace_of;
use crate::keeper::{Keeper, back_off};
use crate::record::Record;
use crate::sweep::OwnerLock;
use crate::worker::Worker;
use crate::workspace::remove_tree;

/// An attempt that is to be gone on with.
pub struct Left {
    /// What is known of it.
    pub record: Record,
    /// Its container, where there is one.
    pub container: Option<ContainerSummary>,
}

/// Finds what is left, as soon as the container engine can be asked. Leases are held from now on.
pub async fn take(worker: &Worker) -> Vec<Left> {
    let settings = &worker.settings;
    let directory = OwnerLock::workspaces(&settings.directory, &settings.owner);
    let records = Record::all(&directory);
    for record in &records {
        worker.keeper.hold_again(&record.lease());
    }
    let mut failures = 0;
    let mut containers = loop {
        match worker.provider.list(&settings.owner).await {
            Ok(containers) => break containers,
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "containers of an earlier process cannot be looked for, trying again");
                }
                failures += 1;
                tokio::time::sleep(back_off(failures)).await;
            }
        }
    };
    let mut left = Vec::new();
    for record in records {
        let own = container_name(&record.assignment, &settings.owner);
        let name = record.container.as_ref().unwrap_or(&own);
        let found = containers.iter().position(|container| container.name == *name);
        left.push(Left { container: found.map(|at| containers.swap_remove(at)), record });
    }
    for container in containers {
        if let Err(error) = remove(worker.provider.as_ref(), &container).await {
            tracing::warn!(container = container.name, %error, "a container without a lease could not be removed");
        }
    }
    let kept: HashSet<OsString> = left
        .iter()
        .filter_map(|left| workspace_of(worker, &left.record.lease).file_name().map(OsString::from))
        .collect();
    let keep = settings.keep_workspace;
    let removed = tokio::task::spawn_blocking(move || {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !keep && !kept.iter().any(|kept| belongs_to(&name, kept)) {
                let path = entry.path();
                let _ = if path.is_dir() { remove_tree(&path) } else { fs::remove_file(&path) };
            }
        }
    });
    let _ = removed.await;
    left
}

/// Says of a lease that nothing was begun under it: it was given to an earlier process, which never knew.
pub async fn give_up(keeper: &Keeper, lease: &LeaseId) {
    let result = AttemptResult {
        failure: Some(FailureReason::LostWorker),
        exit_code: None,
        message: Some("the worker ended before it began".to_owned()),
        outputs: BTreeMap::new(),
        started: false,
        permanent: false,
        usage: None,
    };
    if let Err(error) = keeper.report(lease, Report::Finished(result)).await {
        tracing::info!(run.id = lease.run, job.name = lease.node, %error, "a lease that was never begun is over");
    }
}

/// Whether something is a workspace, or lies beside it.
fn belongs_to(name: &OsString, workspace: &OsString) -> bool {
    let (name, workspace) = (name.as_encoded_bytes(), workspace.as_encoded_bytes());
    name.strip_prefix(workspace).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

async fn remove(provider: &dyn Provider, container: &ContainerSummary) -> Result<(), ProviderError> {
    provider.stop(&container.id, Duration::ZERO).await?;
    provider.remove(&container.id).await
}

#[cfg(test)]
mod tests;
