//! An attempt that an earlier worker of the same name ran until it was killed: taken over where it is.

use std::time::Duration;

use reactorcide_engine::config::RunnerMode;
use reactorcide_engine::protocol::mask::Values;
use reactorcide_engine::provider::{ContainerState, ContainerSummary, ProviderError};
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use tokio::sync::oneshot;

use super::prepare::secrets_of;
use super::watch::Running;
use super::{Attempt, watch_exit};
use crate::keeper::back_off;
use crate::outcome::{Observed, conclude};
use crate::record::Record;
use crate::spec::job_spec;
use crate::workspace::Workspace;

/// What is said where nobody read the output of an image that runs untouched.
const UNREAD: &str = "its worker was restarted; what it printed meanwhile is missing";

impl Attempt {
    /// Goes on with it, or ends it where there is nothing to go on with.
    pub(super) async fn go_on(self, mut record: Record, found: Option<ContainerSummary>) -> AttemptResult {
        if let Some(found) = &found {
            let _ = self.container.set(found.name.clone());
        }
        if let Some(result) = record.result.take() {
            self.clean_up(&record.assignment).await;
            return result;
        }
        let assignment = record.assignment.clone();
        let secrets = self.known_secrets(&assignment, &record).await;
        let result = match self.sinks(&assignment, secrets.as_ref()) {
            Ok(mut sinks) => {
                let (begun, has_begun) = oneshot::channel();
                if assignment.job.runner == RunnerMode::None && found.is_some() {
                    sinks.pump.gap(0, UNREAD.to_owned());
                }
                let find = self.find(&assignment, &record, found, begun);
                let mut observed = self.oversee(&assignment, sinks, has_begun, find).await;
                observed.adopted = true;
                observed.started |= record.age().is_some();
                conclude(observed)
            }
            Err(error) => conclude(Observed { error: Some(error), ..Observed::default() }),
        };
        let result = self.keep_files(&assignment, record.restored.as_ref(), result).await;
        self.end(record, result).await
    }

    /// What an image that runs untouched must not show, where we know all of it.
    async fn known_secrets(&self, assignment: &Assignment, record: &Record) -> Option<Values> {
        let shown_without = record.shown_without.as_ref()?;
        // Decided anew: what was taken from it meanwhile is not told to it again, and then nothing of it is shown.
        let secrets = self.secrets(&assignment.job).await.ok()?;
        let spec = job_spec(assignment, self.has_source(&assignment.job), &secrets).ok()?;
        (*shown_without == self.seal(&spec)).then(|| secrets_of(&spec).ok())?
    }

    /// The container, if it was started.
    async fn find(
        &self,
        assignment: &Assignment,
        record: &Record,
        found: Option<ContainerSummary>,
        begun: oneshot::Sender<()>,
    ) -> Result<Running, ProviderError> {
        let gone = || ProviderError::Missing(self.lease.node.clone());
        let container = found.ok_or_else(gone)?.id;
        let provider = self.provider();
        let mut failures = 0;
        let state = loop {
            match provider.inspect(&container).await {
                Err(ProviderError::Unreachable { .. }) => {
                    failures += 1;
                    tokio::time::sleep(back_off(failures)).await;
                }
                state => break state?,
            }
        };
        if matches!(state, ContainerState::Created | ContainerState::Missing) {
            return Err(gone());
        }
        let _ = begun.send(());
        let link = self.listen(assignment)?;
        let mut workspace = Workspace::at(&self.workspace);
        if let Some(lower) = &record.lower {
            // Where it is gone, so is what the job sees of it: nothing can be done.
            let held = self.worker.settings.sources.cache.have(lower).await;
            workspace.lower = held.ok().flatten().map(std::sync::Arc::new);
        }
        // What it prints from now on; where nobody can attach, its end is the end of that as well.
        let attached = match state {
            ContainerState::Running => provider.attach(&container).await.ok(),
            _ => None,
        };
        let exit = watch_exit(provider, &container);
        // Since before this process was there.
        self.times.begin(record.age().unwrap_or(Duration::from_millis(1)));
        Ok(Running {
            container,
            workspace,
            attached,
            exit,
            link,
            age: record.age().unwrap_or(Duration::ZERO),
        })
    }
}
