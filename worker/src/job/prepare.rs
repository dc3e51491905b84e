//! Before an attempt runs: its code, its workspace, its image.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reactorcide_engine::config::{Delivery, FailureReason, IdToken, Job, Network, RunnerMode, Source};
use reactorcide_engine::coordinator::{CoordinatorError, Delivered, Report};
use reactorcide_engine::identity::JobToken;
use reactorcide_engine::policy::secrets_asked;
use reactorcide_engine::protocol::control::TOKEN_VARIABLE;
use reactorcide_engine::protocol::link::{Control, SOCKET};
use reactorcide_engine::protocol::mask::{MaskError, Values};
use reactorcide_engine::protocol::spec::{JobSpec, Secret, Sensitive};
use reactorcide_engine::provider::{ContainerSpec, ImageInfo, ProviderError, User};
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Attempt, Prepared, failed};
use crate::container::{CONTROL_PATH, Paths, container_spec, user_of};
use crate::outcome::{Observed, conclude};
use crate::source::{Code, Credentials, SourceError, fetch};
use crate::spec::{Secrets, job_spec};
use crate::standby::Ready;
use crate::workspace::{Workspace, host_user};

/// The variable that says where a job reaches the server.
const API_URL: &str = "REACTORCIDE_API_URL";

/// How long a server that is away is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
/// A fetch that takes longer is told.
const SLOW_FETCH: Duration = Duration::from_secs(2);

impl Attempt {
    /// Makes the workspace and gets the image, side by side.
    pub(super) async fn prepare(&self, assignment: &Assignment) -> Result<Prepared, AttemptResult> {
        let settings = &self.worker.settings;
        let job = &assignment.job;
        let has_source = self.has_source(job);
        let given = self.secrets(job).await?;
        let mut spec = job_spec(assignment, has_source, &given)
            .map_err(|message| failed(FailureReason::Config, message))?;
        spec.control = Some(Control {
            socket: format!("{CONTROL_PATH}/{SOCKET}"),
            key: self.key.to_text(),
            stop_after_ms: u64::try_from(self.stop_after.as_millis()).unwrap_or(u64::MAX),
        });
        // What an engine sees is no place for a token, and who has no network needs none.
        if let Some(api) = settings.api.as_ref()
            && job.runner == RunnerMode::Injected
            && job.network == Network::Isolated
        {
            spec.environment.insert(API_URL.to_owned(), api.clone());
            spec.secrets.push(Secret::in_environment(TOKEN_VARIABLE, JobToken::issue(&self.lease)));
        }
        spec.secrets.extend(self.id_tokens(job).await?);
        spec.v = spec.least_version();
        let secrets = secrets_of(&spec)
            .map_err(|error| failed(FailureReason::Config, format!("a secret cannot be used: {error}")))?;
        let host = host_user();
        let mut container = container_spec(assignment, &settings.owner, &self.paths(job), host);
        if job.runner == RunnerMode::None {
            // The job accepts that the engine sees them.
            let secrets =
                spec.secrets.iter().map(|secret| (secret.name.clone(), secret.value.expose().to_owned()));
            container.environment.extend(secrets);
        }
        let user = user_of(job.run_as.as_ref(), host);
        let workspace = self.make_workspace(assignment, &given, &container, host, user);
        let (workspace, image) = tokio::join!(workspace, self.pull(&container.image));
        let (workspace, ready) = workspace?;
        let restored = self.take_files(assignment, host, user).await?;
        container.overlays.extend(workspace.overlay(&format!("{}/src", job.mount.0)));
        let image =
            image.map_err(|error| conclude(Observed { error: Some(error), ..Observed::default() }))?;
        // What waited with what the image's name stands for no more is not what this job would get.
        let ready = ready.filter(|ready| ready.image == image.id);
        Ok(Prepared { workspace, container, spec, secrets, ready, restored })
    }

    /// The tokens by which the job proves what it is, one for each audience.
    async fn id_tokens(&self, job: &Job) -> Result<Vec<Secret>, AttemptResult> {
        let mut carried = Vec::new();
        for (name, IdToken { audience, delivery }) in &job.id_tokens {
            let value = self.id_token(audience).await.map_err(|error| {
                let reason = match error {
                    CoordinatorError::Refused(_) => FailureReason::Denied,
                    _ => FailureReason::LostWorker,
                };
                failed(reason, format!("there is no identity token for {audience:?}: {error}"))
            })?;
            carried.push(Secret { name: name.clone(), value, file: *delivery == Delivery::File });
        }
        Ok(carried)
    }

    /// A token, from a server that may be away for a moment.
    async fn id_token(&self, audience: &str) -> Result<Sensitive, CoordinatorError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.worker.coordinator.id_token(&self.lease, audience).await {
                Err(CoordinatorError::Unavailable(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    pub(super) fn has_source(&self, job: &Job) -> bool {
        match &job.source {
            Some(source) => !source.none,
            None => self.worker.settings.source.is_some(),
        }
    }

    pub(super) fn paths(&self, job: &Job) -> Paths {
        let settings = &self.worker.settings;
        let workspace = Workspace::at(&self.workspace);
        Paths {
            ci: job.ci_source.as_ref().filter(|source| !source.none).map(|_| workspace.ci()),
            control: Some(workspace.control()),
            workspace: workspace.path,
            runner: settings.runner.clone(),
            python: settings.python.clone(),
        }
    }

    /// Gets the code and puts it where the job will find it: into the workspace of a container that waits for it, where
    /// one does.
    async fn make_workspace(
        &self,
        assignment: &Assignment,
        secrets: &Secrets,
        container: &ContainerSpec,
        host: User,
        user: User,
    ) -> Result<(Workspace, Option<Ready>), AttemptResult> {
        let settings = &self.worker.settings;
        let job = &assignment.job;
        let commit = assignment.event["sha"].as_str().filter(|sha| !sha.is_empty());
        let source = async {
            match &job.source {
                Some(source) => self.fetch(source, commit, secrets).await,
                None => Ok(settings.source.clone().map(Code::Local)),
            }
        };
        let ci = async {
            match (&job.ci_source, &settings.ci) {
                (None, _) => Ok(None),
                (Some(source), Some(directory)) if !source.none => Ok(Some(Code::Local(directory.clone()))),
                (Some(source), _) => self.fetch(source, None, secrets).await,
            }
        };
        let (source, ci) = tokio::try_join!(source, ci)?;
        let standby = &self.worker.standby;
        let waits = standby.is_for(&container.image) && !source.as_ref().is_some_and(Code::is_large);
        let ready = if waits { standby.take(container, &self.workspace) } else { None };
        let is_kept = settings.keep_workspace || job.artifacts.is_some() || job.cache.is_some();
        let lower = match &source {
            _ if ready.is_some() => None,
            // What is kept, for people or for later jobs, is a directory like any other.
            Some(code) if !is_kept && self.worker.layers.load(Ordering::Relaxed) => {
                let lower = code.under_a_layer(&settings.sources, host, user).await;
                lower.map_err(|error| source_failed(&error))?
            }
            _ => None,
        };
        let path = self.workspace.clone();
        let is_there = ready.is_some();
        let made = tokio::task::spawn_blocking(move || {
            if is_there {
                return Workspace::fill(&path, source.as_ref(), ci.as_ref(), host, user);
            }
            Workspace::create(&path, source.as_ref(), lower, ci.as_ref(), host, user)
        });
        match made.await {
            Ok(made) => made.map(|workspace| (workspace, ready)).map_err(|error| source_failed(&error)),
            Err(error) => {
                Err(failed(FailureReason::Source, format!("copying the source broke off: {error}")))
            }
        }
    }

    /// What the job and its code need: what was given by hand, and what is granted to this lease now.
    pub(super) async fn secrets(&self, job: &Job) -> Result<Secrets, AttemptResult> {
        let by_hand = &self.worker.settings.secrets;
        let asked = secrets_asked(job);
        if asked.iter().all(|asked| by_hand.get(&asked.name).is_some()) {
            return Ok(by_hand.with(BTreeMap::new(), BTreeMap::new()));
        }
        match self.worker.keeper.secrets(&self.lease).await {
            Ok(Delivered::Given { job, sources }) => Ok(by_hand.with(job, sources)),
            Ok(Delivered::Denied(why)) => {
                Err(AttemptResult { permanent: true, ..failed(FailureReason::Config, why) })
            }
            Err(error) => Err(failed(FailureReason::Config, format!("its secrets cannot be had: {error}"))),
        }
    }

    async fn fetch(
        &self,
        source: &Source,
        commit: Option<&str>,
        secrets: &Secrets,
    ) -> Result<Option<Code>, AttemptResult> {
        let settings = &self.worker.settings;
        let credentials = match &source.credentials {
            Some(name) => {
                let value = secrets.get(name).cloned();
                let missing =
                    || failed(FailureReason::Config, format!("there is no value for the secret {name:?}"));
                Some(Credentials::new(value.ok_or_else(missing)?))
            }
            None => None,
        };
        let mut fetch = Box::pin(fetch(source, commit, &settings.sources, credentials.as_ref()));
        let fetched = tokio::select! {
            fetched = &mut fetch => fetched,
            () = tokio::time::sleep(SLOW_FETCH) => {
                let _ = self.worker.keeper.report(&self.lease, Report::Progress("fetching its source".to_owned())).await;
                fetch.await
            }
        };
        let fetched = fetched.map_err(|error| source_failed(&error))?;
        if let Some(version) = fetched.as_ref().and_then(Code::version) {
            let text = format!("its code is at {}", version.get(..12).unwrap_or(version));
            let _ = self.worker.keeper.report(&self.lease, Report::Progress(text)).await;
        }
        Ok(fetched)
    }

    async fn pull(&self, image: &str) -> Result<ImageInfo, ProviderError> {
        let settings = &self.worker.settings;
        let (progress, mut told) = mpsc::unbounded_channel::<String>();
        let tell = async {
            while let Some(text) = told.recv().await {
                let _ = self.worker.keeper.report(&self.lease, Report::Progress(text)).await;
            }
        };
        let pull = async {
            let progress = progress;
            let tell = |text: String| drop(progress.send(text));
            self.provider().pull(image, settings.pull, settings.pull_deadline, &tell).await
        };
        tokio::join!(pull, tell).0
    }
}

/// What must not be shown.
pub(super) fn secrets_of(spec: &JobSpec) -> Result<Values, MaskError> {
    let secrets = spec.secrets.iter().map(|secret| secret.value.expose());
    let values = secrets.chain(spec.mask.iter().map(|value| value.expose()));
    Values::new(values.filter(|value| !value.is_empty()))
}

fn source_failed(error: &SourceError) -> AttemptResult {
    let reason = if error.is_no_space() { FailureReason::NoSpace } else { FailureReason::Source };
    AttemptResult { permanent: error.is_permanent(), ..failed(reason, error.explain()) }
}
