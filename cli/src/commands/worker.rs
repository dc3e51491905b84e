//! `reactorcide worker`: takes jobs from a server and runs them here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use reactorcide_engine::config::Standby;
use reactorcide_engine::config::value::Size;
use reactorcide_engine::coordinator::{Coordinator, CoordinatorError, LeaseId};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::provider::{Owner, Provider, PullPolicy};
use reactorcide_engine::workers::{Floor, Health};
use reactorcide_providers::{DockerConfig, docker};
use reactorcide_server::api;
use reactorcide_worker::{
    Identity, Instance, OwnerLock, Remote, Secrets, StandbySettings, Welcome, Worker, health, remove_all,
    sweep,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::exit::{Exit, Failure};
use crate::logging::{self, LogArgs};
use crate::process_file;
use crate::settings::Settings;
use crate::signals::Stops;
use crate::worker_host::{self, Whose};
use crate::{client, observed, report};

/// How long the last spans of traces may take to be sent.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// The variable that holds a worker's token.
const TOKEN_VARIABLE: &str = "REACTORCIDE_WORKER_TOKEN";

/// Options of `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The file that holds this worker's token; `-` is standard input [default: REACTORCIDE_WORKER_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The environment variable that holds it where no file is named
    #[arg(long, value_name = "NAME", default_value = TOKEN_VARIABLE)]
    token_variable: String,
    /// Where this worker tells metrics to whoever asks
    #[arg(long, value_name = "ADDRESS", env = "REACTORCIDE_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// Say what is wrong with the settings, or print them and where each came from, and end
    #[arg(long)]
    check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    json: bool,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    host: HostArgs,
}

/// Options of whatever runs jobs for a server.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// What runs the containers
    #[arg(long, value_enum, default_value_t = ProviderName::Docker, value_name = "NAME", env = "REACTORCIDE_WORKER_PROVIDER")]
    pub provider: ProviderName,
    /// How many jobs at once [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), env = "REACTORCIDE_WORKER_SLOTS")]
    pub slots: Option<u16>,
    /// A label of this worker, for jobs with `runs_on` (may be given several times)
    #[arg(
        long = "label",
        value_name = "NAME=VALUE",
        env = "REACTORCIDE_WORKER_LABELS",
        value_delimiter = ','
    )]
    pub labels: Vec<String>,
    /// The WorkerPool that it is in
    #[arg(long, value_name = "NAME", env = "REACTORCIDE_WORKER_POOL")]
    pub pool: Option<String>,
    /// Where workspaces, code and logs on their way are kept [default: reactorcide/worker in the user's state directory]
    #[arg(long, value_name = "DIR", env = "REACTORCIDE_WORKER_DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Where jobs reach the server, which they then know as REACTORCIDE_API_URL [default: the server's URL, unless that
    /// leads back to this machine]
    #[arg(long, value_name = "URL", env = "REACTORCIDE_JOB_API_URL")]
    pub job_api_url: Option<String>,
    /// Take no jobs with less free disk than this: a size, or a share such as 5%
    #[arg(long, value_name = "SIZE|PERCENT", default_value_t, env = "REACTORCIDE_WORKER_DISK_FLOOR")]
    pub disk_floor: Floor,
    /// Leave workspaces as they are
    #[arg(long, value_name = "BOOL", env = "REACTORCIDE_WORKER_KEEP_WORKSPACE", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true)]
    pub keep_workspace: bool,
    /// The most log of one job that waits on disk for a slow reader
    #[arg(long, value_name = "SIZE", default_value_t = Size::from_bytes(worker_host::SPOOL_BYTES), env = "REACTORCIDE_WORKER_SPOOL")]
    pub spool: Size,
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderName {
    /// Docker, or what speaks its API
    Docker,
}

impl HostArgs {
    /// Its labels.
    pub fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let split = |label: &String| {
            let split = label.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
            let split = split.map(|(name, value)| (name.to_owned(), value.to_owned()));
            split.ok_or_else(|| {
                Failure::new(format!("the label {label:?} has no name and value"))
                    .hint("write --label NAME=VALUE")
                    .exit(Exit::Usage)
            })
        };
        self.labels.iter().map(split).collect()
    }

    /// How many jobs at once.
    pub fn slots(&self) -> usize {
        self.slots.map_or_else(worker_host::processors, usize::from)
    }

    /// Where everything is kept.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.directory {
            return worker_host::absolute(directory);
        }
        let not_empty =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = not_empty("XDG_STATE_HOME").or_else(|| Some(not_empty("HOME")?.join(".local/state")));
        let state = state.ok_or_else(|| {
            Failure::new("there is no home directory to keep workspaces in").hint("name one with --directory")
        })?;
        Ok(state.join("reactorcide/worker"))
    }
}

/// Whether a URL leads to the same place from inside a container, whose loopback is its own.
fn is_elsewhere(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => authority.split(':').next().unwrap_or(authority),
    };
    let is_here = |address: std::net::IpAddr| address.is_loopback() || address.is_unspecified();
    host != "localhost" && !host.parse().is_ok_and(is_here)
}

/// A worker's machine, ready to work.
pub struct Host {
    provider: Arc<dyn Provider>,
    lock: OwnerLock,
    settings: reactorcide_worker::Settings,
}

impl Host {
    /// Makes a machine ready for the worker of this name. What it left when it was killed is left to [`Worker::resume`].
    pub async fn new(
        name: &str,
        standby: Vec<Standby>,
        directory: PathBuf,
        api: Option<&str>,
        arguments: &HostArgs,
    ) -> Result<Self, Failure> {
        let provider: Arc<dyn Provider> = Arc::new(docker(DockerConfig::from_environment()));
        let (engine, installed) = tokio::join!(provider.info(), worker_host::install(directory.clone()));
        engine.map_err(worker_host::provider_failure)?;
        let (runner, python) = installed?;
        let lock = OwnerLock::take_again(&directory, owner(name, &directory)).map_err(|error| {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                Failure::new(format!("a worker {name:?} runs already in {}", directory.display()))
            } else {
                Failure::new(format!("{} cannot be written: {error}", directory.display()))
            }
        })?;
        if !sweep(&directory, provider.as_ref()).await.map_err(worker_host::provider_failure)?.is_empty() {
            report::note("removed what something that was killed had left behind");
        }
        let settings = reactorcide_worker::Settings {
            owner: lock.owner.clone(),
            runner,
            python: Some(python),
            source: None,
            ci: None,
            sources: worker_host::sources(&directory, Whose::Shared)?,
            pull: PullPolicy::IfMissing,
            pull_deadline: worker_host::PULL_DEADLINE,
            secrets: Arc::new(Secrets::default()),
            api: arguments
                .job_api_url
                .clone()
                .or_else(|| api.filter(|url| is_elsewhere(url)).map(str::to_owned)),
            keep_workspace: arguments.keep_workspace,
            slots: arguments.slots(),
            spool_bytes: arguments.spool.as_bytes(),
            disk_floor: arguments.disk_floor,
            standby: StandbySettings { images: standby, ..StandbySettings::default() },
            directory,
        };
        Ok(Self { provider, lock, settings })
    }

    /// A worker of this machine, for a coordinator.
    pub fn worker(&self, coordinator: Arc<dyn Coordinator>) -> Worker {
        Worker::new(Arc::clone(&self.provider), coordinator, self.settings.clone())
    }

    /// How this machine is.
    pub fn health(&self) -> Health {
        health(&self.settings.directory, self.settings.disk_floor)
    }

    /// Nothing of this worker is left.
    pub async fn close(self) {
        match remove_all(self.provider.as_ref(), &self.lock.owner).await {
            Ok(()) => self.lock.release(),
            Err(error) => {
                report::note(&format!("something could not be removed, the next start tries again: {error}"))
            }
        }
    }
}

/// The mark of a worker's directory, which is made where it is not there.
pub fn instance(directory: &Path) -> Result<Instance, Failure> {
    let made = std::fs::create_dir_all(directory).and_then(|()| Instance::of(directory));
    made.map_err(|error| {
        Failure::new(format!("{} cannot be made: {error}", directory.display()))
            .hint("name another with --directory")
    })
}

/// Whose containers they are: this worker's of this directory, so that two of one name do not take each other's away.
fn owner(name: &str, directory: &Path) -> Owner {
    let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    let mark: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Owner(format!("rc-worker-{name}-{mark}"))
}

/// Runs jobs until somebody stops it.
pub fn worker(arguments: &WorkerArgs, settings: &Settings) -> Result<Exit, Failure> {
    if arguments.check {
        return process_file::show(&settings.effective, arguments.json);
    }
    let url = settings.server.as_deref().ok_or_else(|| {
        Failure::new("a worker needs a server")
            .hint("name it with --server URL or REACTORCIDE_SERVER")
            .exit(Exit::Usage)
    })?;
    logging::begin(&arguments.log)?;
    client::block_on(async {
        let token = match client::read_token(arguments.token_file.as_deref(), &arguments.token_variable)? {
            Some(token) => token,
            None => {
                return Err(Failure::new("a worker needs a token")
                    .hint("`reactorcide tokens create --worker NAME` makes one; give it with --token-file or REACTORCIDE_WORKER_TOKEN")
                    .exit(Exit::Usage));
            }
        };
        let mut stops = Stops::new()?;
        let directory = arguments.host.directory()?;
        let instance = instance(&directory)?;
        let remote =
            Remote::new(url, Sensitive::new(token), instance.clone()).map_err(coordinator_failure)?;
        let identity = Identity {
            labels: arguments.host.labels()?,
            pool: arguments.host.pool.clone(),
            slots: arguments.host.slots(),
            provider: "docker".to_owned(),
        };
        let welcome = tokio::select! {
            welcome = register(&remote, &identity, url) => welcome?,
            () = stops.next() => return Ok(Exit::Interrupted),
        };
        let Welcome { name, standby, mut leases } = welcome;
        leases.retain(|lease| instance.has(lease));
        let host = Host::new(&name, standby, directory, Some(url), &arguments.host).await?;
        report::note(&format!("worker {name}: {} slots, jobs from {url}", identity.slots));
        let worker = host.worker(Arc::new(remote));
        if let Some(exporter) = observed::exporter("reactorcide-worker")? {
            worker.observer.export(exporter);
        }
        let telling = match arguments.metrics_listen {
            Some(address) => Some(tell_metrics(observed::listen(address).await?, worker.clone())),
            None => None,
        };
        let observer = Arc::clone(&worker.observer);
        let ended = drive(worker, leases, stops).await;
        if let Some(telling) = telling {
            telling.abort();
        }
        if let Some(exporter) = observer.exporter() {
            exporter.close(LAST_SPANS).await;
        }
        host.close().await;
        ended.map_err(coordinator_failure)?;
        Ok(Exit::Success)
    })
}

/// Tells metrics for as long as the worker works.
fn tell_metrics(listener: TcpListener, worker: Worker) -> JoinHandle<()> {
    tokio::spawn(async move {
        let observer = Arc::clone(&worker.observer);
        if let Err(error) = api::tell_metrics(listener, move || observer.text(&worker)).await {
            tracing::error!(%error, "metrics are not told any more");
        }
    })
}

/// Says who this worker is, again and again until a server hears it.
async fn register(remote: &Remote, identity: &Identity, url: &str) -> Result<Welcome, Failure> {
    let mut told = false;
    loop {
        match remote.register(identity).await {
            Ok(welcome) => return Ok(welcome),
            Err(CoordinatorError::Unavailable(reason)) => {
                if !std::mem::replace(&mut told, true) {
                    report::note(&format!("waiting for {url}: {reason}"));
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(coordinator_failure(error)),
        }
    }
}

/// Works until it is stopped: the first request lets jobs end, the second ends them, the third waits for nothing.
pub async fn drive(worker: Worker, given: Vec<LeaseId>, mut stops: Stops) -> Result<(), CoordinatorError> {
    let working = tokio::spawn(worker.clone().resume(given));
    tokio::pin!(working);
    let mut count = 0;
    loop {
        tokio::select! {
            ended = &mut working => return ended.unwrap_or(Ok(())),
            () = stops.next() => {
                count += 1;
                match count {
                    1 => {
                        worker.drain();
                        if worker.keeper.count() > 0 {
                            report::note("taking no more jobs, and waiting for those that run; Ctrl-C again kills them");
                        }
                    }
                    2 => {
                        report::note("killing what runs");
                        worker.keeper.stop_all();
                    }
                    _ => return Ok(()),
                }
            }
        }
    }
}

/// What a coordinator's error means for people.
pub fn coordinator_failure(error: CoordinatorError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        CoordinatorError::Unavailable(_) => {
            failure.hint("see whether the server runs, and whether its URL is right")
        }
        CoordinatorError::Refused(_) => {
            failure.hint("see `reactorcide workers list` and `reactorcide tokens list` on the server")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_does_not_reach_its_host_by_the_loopback() {
        for here in [
            "http://127.0.0.1:7420",
            "http://localhost:1/x",
            "http://[::1]:1",
            "http://0.0.0.0:1",
            "127.1.2.3",
        ] {
            assert!(!is_elsewhere(here), "{here}");
        }
        for elsewhere in [
            "https://ci.example.com",
            "http://10.0.0.1:7420/",
            "http://[fd00::1]:1",
            "http://localhost.example",
        ] {
            assert!(is_elsewhere(elsewhere), "{elsewhere}");
        }
    }
}
