//! `reactorcide server`: the API, the scheduler's loop, and a worker where one is wanted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use reactorcide_engine::config::value::{Duration as Span, Size};
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::queue::Claimant;
use reactorcide_engine::retention::Policy;
use reactorcide_engine::workers::{Worker as WorkerRecord, WorkerStatus, WorkerStore};
use reactorcide_server::{KeyDirectory, ServeError, Server, Terms, check_url};
use reactorcide_state::Storage;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::worker::{Host, HostArgs, drive};
use crate::exit::{Exit, Failure};
use crate::logging::{self, LogArgs};
use crate::process_file;
use crate::settings::Settings;
use crate::signals::Stops;
use crate::vault::{Make, VaultArgs};
use crate::{applied, client, observed, outside, report, secrets, time};

/// The name of the worker in the server's process.
const EMBEDDED: &str = "embedded";
/// How often it says how it is.
const HEARD: Duration = Duration::from_secs(30);

/// Options of `server`.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7420", env = "REACTORCIDE_LISTEN")]
    listen: SocketAddr,
    /// Where logs and artifacts are kept: a directory, s3://BUCKET/PREFIX, gs://… or az://… [default: `objects` beside the state]
    #[arg(long, value_name = "URL", env = "REACTORCIDE_STORAGE")]
    storage: Option<String>,
    /// The name of the first user, who is an administrator
    #[arg(long, value_name = "NAME", default_value = "admin", env = "REACTORCIDE_FIRST_USER")]
    first_user: String,
    /// A worker that could not reach a server for so long ends its jobs
    #[arg(long, value_name = "DURATION", default_value = "5m", env = "REACTORCIDE_STOP_AFTER")]
    stop_after: Span,
    /// A worker that nothing was heard of for so long is lost, and its jobs go to others
    #[arg(long, value_name = "DURATION", default_value = "7m", env = "REACTORCIDE_LOST_AFTER")]
    lost_after: Span,
    /// What opens the door to objects elsewhere, for what applies owe them: NAME=env:VARIABLE or NAME=file:PATH; may be given again
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secrets: Vec<String>,
    /// Keep logs for so long after the end of their run [default: for ever]
    #[arg(long, value_name = "DURATION", env = "REACTORCIDE_KEEP_LOGS")]
    keep_logs: Option<Span>,
    /// Keep artifacts and caches that say nothing of it themselves for so long [default: for ever]
    #[arg(long, value_name = "DURATION", env = "REACTORCIDE_KEEP_ARTIFACTS")]
    keep_artifacts: Option<Span>,
    /// What one project's artifacts and caches may take; the oldest go first [default: without end]
    #[arg(long, value_name = "SIZE", env = "REACTORCIDE_KEEP_PER_PROJECT")]
    keep_per_project: Option<Size>,
    /// Where metrics are told to whoever asks; without it, only at /metrics to who may read them
    #[arg(long, value_name = "ADDRESS", env = "REACTORCIDE_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// What others call this server, https://HOST: it issues identity tokens under this name [default: none are issued]
    #[arg(long, value_name = "URL", env = "REACTORCIDE_PUBLIC_URL")]
    public_url: Option<String>,
    /// Where the keys are that sign identity tokens; servers of one state share it [default: `identity-keys` beside the state]
    #[arg(long, value_name = "DIRECTORY", env = "REACTORCIDE_IDENTITY_KEYS")]
    identity_keys: Option<PathBuf>,
    /// Say what is wrong with the settings, or print them and where each came from, and end
    #[arg(long)]
    check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    json: bool,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    log: LogArgs,
    /// Run jobs in this process too
    #[arg(long, value_name = "BOOL", env = "REACTORCIDE_WITH_WORKER", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true)]
    with_worker: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// Serves until somebody stops it.
pub fn server(arguments: &ServerArgs, settings: &Settings) -> Result<Exit, Failure> {
    let terms =
        Terms { stop_after: arguments.stop_after.to_std(), lost_after: arguments.lost_after.to_std() };
    if terms.lost_after <= terms.stop_after {
        return Err(Failure::new("--lost-after must be longer than --stop-after")
            .hint("else a job could run twice")
            .exit(Exit::Usage));
    }
    if arguments.check {
        return process_file::show(&settings.effective, arguments.json);
    }
    logging::begin(&arguments.log)?;
    client::block_on(serve(arguments, settings, terms))
}

async fn serve(arguments: &ServerArgs, settings: &Settings, terms: Terms) -> Result<Exit, Failure> {
    let mut stops = Stops::new()?;
    // Only what the operator gives: a configuration must not say which file of this machine is sent where.
    let outside = Arc::new(outside::webhooks(secrets::given(&arguments.secrets)?)?);
    let storage = match &arguments.storage {
        Some(url) => url.clone(),
        None => state_directory(settings)?.join("objects").display().to_string(),
    };
    let state = applied::for_server(settings).await?;
    let storage = Storage::open(&storage).map_err(|error| Failure::new(error.to_string()))?;
    storage.check().await.map_err(|error| Failure::new(error.to_string()))?;
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        Failure::new(format!("{} cannot be listened on: {error}", arguments.listen))
            .hint("another server may have it; choose another with --listen")
    })?;
    let address = listener.local_addr().unwrap_or(arguments.listen);
    let policy = Policy {
        logs: arguments.keep_logs,
        artifacts: arguments.keep_artifacts,
        bytes_per_project: arguments.keep_per_project.map(Size::as_bytes),
    };
    let server = Server::new(state.clone(), &storage, terms, outside).await.map_err(failure)?;
    let vault = arguments.vault.open(settings, &state, Make::Missing)?;
    let mut server = server.with_vault(vault).keeping(&state, &storage, policy);
    if let Some(url) = &arguments.public_url {
        let (url, keys) = issuer(url, arguments, settings)?;
        server = server.issuing(url, keys);
    }
    if let Some(exporter) = observed::exporter("reactorcide-server")? {
        server.export(exporter);
    }
    if let Some(address) = arguments.metrics_listen {
        server.tell_metrics(observed::listen(address).await?);
    }
    let first = server.bootstrap(&arguments.first_user).await.map_err(failure)?;
    report::note(&format!("serving at http://{address}, logs and artifacts in {}", storage.location()));
    if let Some(token) = first {
        report::note(&format!(
            "this workspace is new: {} is its first user, with this token",
            arguments.first_user
        ));
        report::note(&format!("    {}", token.reveal().expose()));
        report::note(&format!("it is not shown again; `reactorcide login http://{address}` asks for it"));
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = if arguments.with_worker { Some(worker(arguments, settings, &server).await?) } else { None };
    let workers = Arc::clone(&server.api().workers);
    if let Some((_, worker, _)) = &worker {
        let (exporter, told) = (server.api().conductor.observer.exporter().cloned(), worker.clone());
        if let Some(exporter) = exporter {
            worker.observer.export(exporter);
        }
        server.api().conductor.observer.also_tell(move |text| told.observer.encode(&told, text));
    }
    let serving = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));
    tokio::pin!(serving);
    let ended = match worker {
        None => tokio::select! {
            ended = &mut serving => Some(ended),
            () = stops.next() => None,
        },
        Some((host, worker, given)) => {
            let ended = tokio::select! {
                ended = &mut serving => Some(ended),
                () = heard(&host, workers.as_ref()) => None,
                // Its jobs end before the server does.
                _ = drive(worker, given, stops) => None,
            };
            host.close().await;
            ended
        }
    };
    if ended.is_none() {
        report::note("shutting down");
    }
    drop(stop);
    let ended = match ended {
        Some(ended) => ended,
        None => serving.await,
    };
    ended.map_err(|error| Failure::new(format!("the server broke off: {error}")))?.map_err(failure)?;
    Ok(Exit::Success)
}

/// What identity tokens call this server, and the keys that sign them.
fn issuer(
    url: &str,
    arguments: &ServerArgs,
    settings: &Settings,
) -> Result<(String, Arc<KeyDirectory>), Failure> {
    let url = check_url(url).map_err(|reason| {
        Failure::new(format!("--public-url {url:?} cannot be used: {reason}")).exit(Exit::Usage)
    })?;
    let directory = match &arguments.identity_keys {
        Some(directory) => crate::worker_host::absolute(directory)?,
        None => state_directory(settings)?.join("identity-keys"),
    };
    let keys = KeyDirectory::open(&directory).map_err(|error| {
        Failure::new(format!(
            "the keys of identity tokens cannot be kept in {}: {error}",
            directory.display()
        ))
        .hint("name another directory with --identity-keys")
    })?;
    Ok((url, Arc::new(keys)))
}

/// Says how the machine is to whoever looks at workers, as one of another process does.
async fn heard(host: &Host, workers: &dyn WorkerStore) {
    loop {
        let (health, now) =
            (serde_json::to_value(host.health()).ok(), i64::try_from(time::now()).unwrap_or(i64::MAX));
        if let Err(error) = workers.seen(EMBEDDED, now, health.as_ref()).await {
            tracing::debug!(%error, "how the embedded worker is could not be written down");
        }
        tokio::time::sleep(HEARD).await;
    }
}

/// A worker in this process.
async fn worker(
    arguments: &ServerArgs,
    settings: &Settings,
    server: &Server,
) -> Result<(Host, reactorcide_worker::Worker, Vec<LeaseId>), Failure> {
    let name = EMBEDDED;
    let pool = match &arguments.host.pool {
        None => None,
        Some(pool) => {
            let current = server.api().applied.current().await.map_err(applied::store_failure)?;
            let spec = current.pool(pool).ok_or_else(|| {
                Failure::new(format!("there is no WorkerPool {pool:?}")).hint("apply it first")
            })?;
            Some((pool.clone(), spec))
        }
    };
    let standby = pool.as_ref().map(|(_, pool)| pool.standby.clone()).unwrap_or_default();
    let directory = match &arguments.host.directory {
        Some(directory) => crate::worker_host::absolute(directory)?,
        None => state_directory(settings)?.join("worker"),
    };
    let instance = crate::commands::worker::instance(&directory)?;
    let host = Host::new(name, standby, directory, None, &arguments.host).await?;
    let (labels, now) = (arguments.host.labels()?, i64::try_from(time::now()).unwrap_or(i64::MAX));
    let record = WorkerRecord {
        name: name.to_owned(),
        labels: labels.clone(),
        pool: arguments.host.pool.clone(),
        slots: u32::try_from(arguments.host.slots()).unwrap_or(u32::MAX),
        provider: "docker".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        status: WorkerStatus::Active,
        registered_at: now,
        seen_at: now,
        health: None,
    };
    let api = server.api();
    api.workers.register(&record).await.map_err(applied::store_failure)?;
    let mut given = api.conductor.queue.leases_of(name).await.map_err(applied::store_failure)?;
    given.retain(|lease| instance.has(lease));
    let desk = server.desk(Claimant { worker: name.to_owned(), labels, pool }, instance.mark());
    let worker = host.worker(desk as Arc<dyn reactorcide_engine::coordinator::Coordinator>);
    Ok((host, worker, given))
}

/// Where the embedded default keeps everything.
fn state_directory(settings: &Settings) -> Result<PathBuf, Failure> {
    crate::worker_host::absolute(&settings.state_directory())
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Store(error) => applied::store_failure(error),
        error => Failure::new(error.to_string()),
    }
}
