//! `reactorcide state list`, `state show` and `show`: what is applied.

mod compact;
mod edit;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use reactorcide_engine::address::Address;
use reactorcide_engine::store::{Head, Snapshot};
use reactorcide_engine::suggest::nearest;
use serde_json::{Value, json};

use super::plan::{self, Form};
use crate::exit::{Exit, Failure};
use crate::report::printable;
use crate::settings::Settings;
use crate::{applied, time, workspace};

/// Arguments of `state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// List the addresses of everything that is applied
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one applied resource
    Show(ShowOneArgs),
    /// Give a resource another name and keep its history
    Mv(edit::MoveArgs),
    /// Forget resources, whatever the files say; their objects elsewhere stay
    Rm(edit::RemoveArgs),
    /// Write what is applied as a configuration
    Export(edit::ExportArgs),
    /// Forget old history, and nothing that is applied
    Compact(compact::CompactArgs),
}

#[derive(Debug, Args)]
struct ShowOneArgs {
    /// Its address, such as Pipeline/web/ci
    address: String,
    /// As it was in this generation [default: as it is]
    #[arg(long, value_name = "GENERATION")]
    revision: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The address of one resource, or the file of a saved plan [default: an overview of the applied state]
    #[arg(value_name = "ADDRESS|PLAN")]
    what: Option<String>,
    /// The resource as it was in this generation [default: as it is]
    #[arg(long, value_name = "GENERATION", requires = "what")]
    revision: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a saved plan as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs a command of `state`.
pub fn state(arguments: &StateArgs, settings: &Settings) -> Result<Exit, Failure> {
    match &arguments.command {
        StateCommand::List { json } => list(*json, settings),
        StateCommand::Show(one) => show_one(&one.address, one.revision, one.json, settings),
        StateCommand::Mv(arguments) => edit::rename(arguments, settings),
        StateCommand::Rm(arguments) => edit::remove(arguments, settings),
        StateCommand::Export(arguments) => edit::export(arguments, settings),
        StateCommand::Compact(arguments) => compact::compact(arguments, settings),
    }
}

/// Shows one resource, a saved plan, or how much there is of what.
pub fn show(arguments: &ShowArgs, settings: &Settings) -> Result<Exit, Failure> {
    let Some(what) = &arguments.what else { return overview(arguments.json, settings) };
    let path = Path::new(what);
    if path.extension().is_some_and(|extension| extension == "rcplan") || path.is_file() {
        let form = match (arguments.json, arguments.markdown) {
            (true, _) => Form::Json,
            (_, true) => Form::Markdown,
            _ => Form::Human,
        };
        plan::print(&plan::read_file(path)?, form)?;
        return Ok(Exit::Success);
    }
    show_one(what, arguments.revision, arguments.json, settings)
}

fn list(json: bool, settings: &Settings) -> Result<Exit, Failure> {
    let snapshot = applied::block_on(workspace::snapshot(settings))?;
    let mut stdout = crate::stdout::stdout();
    if json {
        let resources: Vec<Value> = snapshot
            .heads
            .iter()
            .map(|(address, head)| {
                json!({
                    "address": address, "uid": head.uid, "generation": head.generation,
                    "fingerprint": head.fingerprint, "owner": head.owner,
                })
            })
            .collect();
        let _ = writeln!(
            stdout,
            "{:#}",
            json!({"version": 1, "serial": snapshot.serial, "resources": resources})
        );
    } else {
        if snapshot.heads.is_empty() {
            crate::report::note("nothing is applied");
        }
        for address in snapshot.heads.keys() {
            let _ = writeln!(stdout, "{}", printable(&address.to_string()));
        }
    }
    Ok(Exit::Success)
}

/// An address that a person typed.
pub fn parse_address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| {
        Failure::new(format!("{text:?} is not an address: {error}"))
            .hint("`reactorcide state list` lists the addresses there are")
            .exit(Exit::Usage)
    })
}

/// That there is no such resource, with the nearest that there is.
pub fn not_applied(address: &Address, snapshot: &Snapshot) -> Failure {
    let applied: Vec<String> = snapshot.heads.keys().map(Address::to_string).collect();
    let hint = match nearest(&address.to_string(), applied.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            "`reactorcide state list` lists what is; `reactorcide history ADDRESS` knows what was".to_owned()
        }
    };
    Failure::new(format!("{address} is not applied")).hint(hint)
}

fn show_one(address: &str, revision: Option<u64>, json: bool, settings: &Settings) -> Result<Exit, Failure> {
    let address = parse_address(address)?;
    let snapshot = applied::block_on(workspace::snapshot(settings))?;
    let head = match revision {
        None => snapshot.heads.get(&address).cloned().ok_or_else(|| not_applied(&address, &snapshot))?,
        Some(revision) => at_revision(&address, revision, &snapshot, settings)?,
    };
    let document: Value =
        serde_json::from_str(&head.document).map_err(|error| Failure::new(format!("{address}: {error}")))?;
    let is_now = snapshot.heads.get(&address) == Some(&head);
    let objects = snapshot.objects.iter().filter(|object| is_now && object.uid == head.uid);
    let places: Vec<String> = objects.map(|object| object.place.to_string()).collect();
    let mut stdout = crate::stdout::stdout();
    if json {
        let mut shown = json!({
            "version": 1, "address": address, "uid": head.uid, "generation": head.generation,
            "fingerprint": head.fingerprint, "owner": head.owner, "document": document,
        });
        if !places.is_empty() {
            shown["objects"] = json!(places);
        }
        let _ = writeln!(stdout, "{shown:#}");
    } else {
        let yaml =
            serde_yaml::to_string(&document).map_err(|error| Failure::new(format!("{address}: {error}")))?;
        let _ = writeln!(
            stdout,
            "# {}, generation {}, owner {}",
            printable(&address.to_string()),
            head.generation,
            head.owner
        );
        for place in &places {
            let _ = writeln!(stdout, "# its object is {}", printable(place));
        }
        for line in yaml.lines() {
            let _ = writeln!(stdout, "{}", printable(line));
        }
    }
    Ok(Exit::Success)
}

/// A resource as it was: the newest of that generation, where several had the address one after another.
fn at_revision(
    address: &Address,
    revision: u64,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Result<Head, Failure> {
    let revisions = applied::block_on(async {
        match workspace::open(settings).await? {
            Some(workspace) => workspace.revisions(address).await,
            None => Ok(Vec::new()),
        }
    })?;
    let known: Vec<String> = revisions.iter().map(|one| one.head.generation.to_string()).collect();
    let found = revisions.into_iter().rev().find(|one| one.head.generation == revision);
    found.map(|one| one.head).ok_or_else(|| {
        if known.is_empty() {
            return not_applied(address, snapshot);
        }
        Failure::new(format!("{address} has no generation {revision} at this address"))
            .hint(format!("what can be told: {}", known.join(", ")))
    })
}

fn overview(json: bool, settings: &Settings) -> Result<Exit, Failure> {
    let (snapshot, last) = applied::block_on(async {
        let Some(workspace) = workspace::open(settings).await? else {
            return Ok(Default::default());
        };
        Ok((workspace.snapshot().await?, workspace.history(None, 1).await?))
    })?;
    let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
    for address in snapshot.heads.keys() {
        *kinds.entry(address.kind).or_default() += 1;
    }
    let mut stdout = crate::stdout::stdout();
    if json {
        let kinds: BTreeMap<_, _> = kinds.into_iter().map(|(kind, count)| (kind.as_str(), count)).collect();
        let shown = json!({
            "version": 1, "lineage": snapshot.lineage, "serial": snapshot.serial, "resources": kinds,
            "last_change": last.first(),
        });
        let _ = writeln!(stdout, "{shown:#}");
        return Ok(Exit::Success);
    }
    let Some(change) = last.first() else {
        let _ = writeln!(stdout, "Nothing is applied.");
        return Ok(Exit::Success);
    };
    let _ = writeln!(
        stdout,
        "Serial {}, last changed {} by {}.",
        snapshot.serial,
        time::timestamp(change.at),
        printable(&change.author.actor)
    );
    for (kind, count) in kinds {
        let _ = writeln!(stdout, "{count:>6} {kind}");
    }
    Ok(Exit::Success)
}
