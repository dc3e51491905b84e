//! `reactorcide artifacts`: the files that jobs have kept, on a server or from runs on this machine.

mod place;

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use reactorcide_engine::artifacts::{check_name, words_of_bytes};
use reactorcide_server::api::ArtifactRow;
use sha2::{Digest, Sha256};

use self::place::Place;
use super::jobs::print;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::{client, report};

/// How often content that broke off is gone on with.
const TRIES: u32 = 5;

/// Options of `artifacts`.
#[derive(Debug, Args)]
pub struct ArtifactsArgs {
    #[command(subcommand)]
    command: ArtifactsCommand,
}

#[derive(Debug, Subcommand)]
enum ArtifactsCommand {
    /// List the files that the jobs of a run have kept
    List {
        /// The run, by its id or the end of it
        run: String,
        /// Only those of a job
        job: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch files that a job has kept
    Get(GetArgs),
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The run, by its id or the end of it
    run: String,
    /// The job
    job: String,
    /// The file, by its path
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    path: Option<String>,
    /// All files of the job
    #[arg(long)]
    all: bool,
    /// The attempt [default: the last one that has kept any]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Where to put them, each by its path; `-` prints one file
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
}

/// Does what is asked.
pub fn artifacts(arguments: &ArtifactsArgs, settings: &Settings) -> Result<Exit, Failure> {
    client::block_on(async {
        let place = Place::open(settings).await?;
        match &arguments.command {
            ArtifactsCommand::List { run, job, json } => {
                let run = place.run(run).await?;
                let rows = place.list(&run, job.as_deref()).await?;
                print(rows.iter().map(|row| if *json { to_json(row) } else { line(row) }))
            }
            ArtifactsCommand::Get(get) => fetch(&place, get).await,
        }
    })
}

fn to_json(row: &ArtifactRow) -> String {
    serde_json::to_string(row).unwrap_or_default()
}

fn line(row: &ArtifactRow) -> String {
    let attempt = if row.attempt > 1 { format!(" (attempt {})", row.attempt) } else { String::new() };
    format!("{:<20} {:>10}  {}{attempt}", safe(&row.job), words_of_bytes(row.size), safe(&row.path))
}

async fn fetch(place: &Place, get: &GetArgs) -> Result<Exit, Failure> {
    let run = place.run(&get.run).await?;
    let mut rows = place.list(&run, Some(&get.job)).await?;
    let attempt = get.attempt.or_else(|| rows.iter().map(|row| row.attempt).max());
    rows.retain(|row| Some(row.attempt) == attempt);
    if let Some(path) = &get.path {
        rows.retain(|row| row.path == *path);
    }
    if rows.is_empty() {
        let what = get.path.as_ref().map_or_else(|| "no file".to_owned(), |path| format!("no file {path:?}"));
        return Err(Failure::new(format!("{:?} has kept {what}", get.job))
            .hint(format!("`reactorcide artifacts list {} {}` lists what there is", get.run, get.job)));
    }
    if get.output == Path::new("-") {
        let [row] = rows.as_slice() else {
            return Err(
                Failure::new("several files cannot be printed").hint("name one, or a directory with -o")
            );
        };
        content(place, row, &mut crate::stdout::stdout()).await?;
        return Ok(Exit::Success);
    }
    for row in &rows {
        let path = save(place, row, &get.output).await?;
        report::note(&format!("{} ({})", safe(&path.display().to_string()), words_of_bytes(row.size)));
    }
    Ok(Exit::Success)
}

/// Writes a file, whole or not at all.
async fn save(place: &Place, row: &ArtifactRow, directory: &Path) -> Result<PathBuf, Failure> {
    // Whoever answers may be anybody.
    check_name(&row.path).map_err(|error| Failure::new(error.to_string()))?;
    let path = directory.join(&row.path);
    let failed = |error: io::Error| Failure::new(format!("{} cannot be written: {error}", path.display()));
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(failed)?;
    let part = parent.join(format!(".{}.part", row.id));
    let mut file = File::create(&part).map_err(failed)?;
    let written = content(place, row, &mut file).await.and_then(|()| {
        let mode = if row.executable { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode))
            .and_then(|()| fs::rename(&part, &path))
            .map_err(failed)
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.map(|()| path)
}

/// Writes the content of a file, and makes sure that it is what was kept.
async fn content(place: &Place, row: &ArtifactRow, into: &mut impl Write) -> Result<(), Failure> {
    let mut digest = Sha256::new();
    let (mut at, mut tries) = (0, 0);
    while at < row.size {
        let mut pieces = place.content(row, at).await?;
        let broken = loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    at += piece.len() as u64;
                    tries = 0;
                    digest.update(&piece);
                    into.write_all(&piece).map_err(|error| Failure::new(format!("cannot write: {error}")))?;
                }
                Some(Err(error)) => break error.to_string(),
                None => break "it ended too early".to_owned(),
            }
        };
        tries += 1;
        if at < row.size && tries >= TRIES {
            return Err(Failure::new(format!("{:?} broke off: {broken}", row.path)));
        }
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if at != row.size || found != row.sha256 {
        return Err(Failure::new(format!("{:?} is not what the job has kept", row.path))
            .hint("its SHA-256 is another: the storage, or the way to it, may be damaged"));
    }
    into.flush().map_err(|error| Failure::new(format!("cannot write: {error}")))
}
