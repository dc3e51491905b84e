//! What an attempt takes from others before it starts, and what it keeps after it ended.

use std::path::PathBuf;
use std::sync::Arc;

use reactorcide_engine::artifacts::words_of_bytes;
use reactorcide_engine::config::{FailureReason, Job};
use reactorcide_engine::coordinator::Report;
use reactorcide_engine::provider::User;
use reactorcide_engine::scheduler::{Assignment, AttemptResult};

use super::{Attempt, failed};
use crate::container::{user_of, working_dir};
use crate::files::{FilesError, Restored, Transfer, Tree};
use crate::keeper::Order;
use crate::workspace::host_user;

impl Attempt {
    /// Puts into the workspace what other jobs have kept for this one, and its cache.
    pub(super) async fn take_files(
        &self,
        assignment: &Assignment,
        host: User,
        user: User,
    ) -> Result<Option<Restored>, AttemptResult> {
        let job = &assignment.job;
        if assignment.needs.is_empty() && job.cache.is_none() {
            return Ok(None);
        }
        let fail = |error: &FilesError| AttemptResult {
            permanent: error.is_permanent(),
            ..failed(reason_of(error), error.to_string())
        };
        let transfer = self.transfer(job, host, user).map_err(|error| fail(&error))?;
        if !assignment.needs.is_empty() {
            let (files, bytes) = transfer.take_inputs().await.map_err(|error| fail(&error))?;
            if files > 0 {
                self.tell(format!("took {}", counted(files, bytes))).await;
            }
        }
        let Some(cache) = &job.cache else { return Ok(None) };
        match transfer.restore(cache, &assignment.vars).await {
            Ok(restored) => {
                if let Some(note) = restored.note() {
                    // The log has it as well, before what the job prints.
                    tracing::warn!(
                        run.id = self.lease.run,
                        job.name = self.lease.node,
                        note,
                        "a cache is not used"
                    );
                } else {
                    self.tell(match &restored.found {
                        Some(found) => format!("took the cache {found:?}"),
                        None => format!("there is no cache {:?} yet", restored.key),
                    })
                    .await;
                }
                Ok(Some(restored))
            }
            // A key that names nothing is no reason not to run.
            Err(error @ FilesError::Pattern { what: "cache.key:", .. }) => {
                self.tell(error.to_string()).await;
                Ok(None)
            }
            Err(error) => Err(fail(&error)),
        }
    }

    /// Keeps what the job declares, once it ended, and says how the attempt ended with that.
    pub(super) async fn keep_files(
        &self,
        assignment: &Assignment,
        restored: Option<&Restored>,
        result: AttemptResult,
    ) -> AttemptResult {
        let job = &assignment.job;
        let is_over = matches!(result.failure, Some(FailureReason::Cancelled | FailureReason::LostWorker));
        if !result.started || is_over || (job.artifacts.is_none() && restored.is_none()) {
            return result;
        }
        let kept = tokio::select! {
            kept = self.keep_declared(job, restored, result.failure.is_none()) => kept,
            order = self.worker.keeper.ordered(&self.lease, Order::default()) => {
                let (reason, message) = if order.not_kept {
                    (FailureReason::LostWorker, crate::outcome::NOT_KEPT)
                } else {
                    (FailureReason::Cancelled, "it was cancelled while its files were being kept")
                };
                return AttemptResult { started: true, ..failed(reason, message.to_owned()) };
            }
        };
        match kept {
            Ok(()) => result,
            Err(error) if result.failure.is_some() => {
                // Why the job failed is what counts.
                let message = result.message.unwrap_or_default();
                AttemptResult {
                    message: Some(format!("{message}; its artifacts were not kept: {error}")),
                    ..result
                }
            }
            Err(error) => AttemptResult {
                exit_code: result.exit_code,
                started: true,
                permanent: error.is_permanent(),
                ..failed(reason_of(&error), error.to_string())
            },
        }
    }

    async fn keep_declared(
        &self,
        job: &Job,
        restored: Option<&Restored>,
        succeeded: bool,
    ) -> Result<(), FilesError> {
        let host = host_user();
        let transfer = self.transfer(job, host, user_of(job.run_as.as_ref(), host))?;
        if let Some(artifacts) = job.artifacts.as_ref().filter(|artifacts| succeeded || artifacts.on_failure)
        {
            let (files, bytes) = transfer.keep(artifacts, succeeded).await?;
            self.tell(format!("kept {}", counted(files, bytes))).await;
        }
        let Some((cache, restored)) = job.cache.as_ref().zip(restored).filter(|_| succeeded) else {
            return Ok(());
        };
        if restored.found.as_ref() == Some(&restored.key) {
            return Ok(());
        }
        // The job did what it was to do: the next one does without a cache.
        match transfer.save(cache, &restored.key).await {
            Ok(()) => self.tell(format!("kept the cache {:?}", restored.key)).await,
            Err(error) => {
                tracing::warn!(run.id = self.lease.run, job.name = self.lease.node, %error, "a cache was not kept");
                self.tell(format!("the cache {:?} was not kept: {error}", restored.key)).await;
            }
        }
        Ok(())
    }

    fn transfer(&self, job: &Job, host: User, user: User) -> Result<Transfer, FilesError> {
        let tree = Tree::open(&self.workspace).map_err(FilesError::io("", "read"))?;
        let mount = job.mount.0.clone();
        let directory = working_dir(job, self.has_source(job));
        let base = match directory.strip_prefix(&mount) {
            Some("") => Some(PathBuf::new()),
            Some(rest) => rest.strip_prefix('/').map(PathBuf::from),
            None => None,
        };
        // Most of what there is for the workspace is for the job's own files; a cache that would leave nothing is none.
        let disk = job.resources.as_ref().and_then(|resources| resources.disk);
        Ok(Transfer {
            coordinator: Arc::clone(&self.worker.coordinator),
            lease: self.lease.clone(),
            tree: Arc::new(tree),
            base,
            mount,
            owner: (host.uid == 0).then_some(user),
            room: disk.map_or(u64::MAX, |disk| disk.as_bytes()),
        })
    }

    async fn tell(&self, text: String) {
        let _ = self.worker.keeper.report(&self.lease, Report::Progress(text)).await;
    }
}

fn counted(files: usize, bytes: u64) -> String {
    let plural = if files == 1 { "" } else { "s" };
    format!("{files} artifact{plural}, {}", words_of_bytes(bytes))
}

fn reason_of(error: &FilesError) -> FailureReason {
    if error.is_no_space() {
        FailureReason::NoSpace
    } else if matches!(error, FilesError::Pattern { .. }) {
        FailureReason::Config
    } else {
        FailureReason::Artifact
    }
}
