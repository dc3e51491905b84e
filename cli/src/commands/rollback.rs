//! `reactorcide diff` and `rollback`: two moments of the history, and the way back to one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::Catalog;
use reactorcide_engine::plan::{self, Desired, Options, Plan};
use reactorcide_engine::store::{Owner, Snapshot, Uid};

use super::plan::{today, towards, unreadable};
use crate::commit::{CommitArgs, carry_out_towards};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::workspace::{self, Workspace};
use crate::{applied, report};

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Two changes by id or serial, as FROM..TO; 0 is the empty state, and without TO it is what is applied now
    #[arg(value_name = "FROM..TO")]
    range: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The change whose outcome shall be applied again, by id or serial
    #[arg(long, value_name = "CHANGE")]
    to: String,
    /// Many deletes are meant
    #[arg(long)]
    allow_destroy: bool,
    #[command(flatten)]
    commit: CommitArgs,
}

/// Shows what changed between two moments.
pub fn diff(arguments: &DiffArgs, settings: &Settings) -> Result<Exit, Failure> {
    let (from, to) = arguments.range.split_once("..").unwrap_or((&arguments.range, ""));
    let (before, after) = applied::block_on(async {
        let workspace = workspace::open(settings).await?;
        Ok((moment(workspace.as_ref(), from).await?, moment(workspace.as_ref(), to).await?))
    })?;
    let mut before = before;
    // Whose a resource is makes no difference to what differs.
    before.heads.values_mut().for_each(|head| head.owner = Owner::Workspace);
    let desired = Desired { owner: Owner::Workspace, resources: resources(&after, &before)? };
    let options = Options { as_of: today(), allow_destroy: true, ..Options::default() };
    let mut difference = plan::between(&desired, &before, &options).map_err(|error| unreadable(&error))?;
    // It tells what is applied, not what would be done.
    difference.effects.clear();
    let text = if arguments.json {
        let actions: Vec<_> = difference.changes().collect();
        let shown = serde_json::json!({
            "format_version": 1, "from": before.serial, "to": after.serial, "summary": difference.summary,
            "actions": actions, "findings": difference.findings, "reach": difference.reach,
        });
        format!("{shown:#}\n")
    } else if difference.has_changes() {
        report::plan::render_difference(&difference)
    } else {
        "No difference.\n".to_owned()
    };
    let _ = write!(crate::stdout::stdout(), "{text}");
    Ok(Exit::Success)
}

/// Makes the applied state what it was, by a plan like any other.
pub fn rollback(arguments: &RollbackArgs, settings: &Settings) -> Result<Exit, Failure> {
    let options = Options { as_of: today(), allow_destroy: arguments.allow_destroy, ..Options::default() };
    let target = applied::block_on(async {
        let workspace = workspace::open(settings).await?;
        moment(workspace.as_ref(), &arguments.to).await
    })?;
    let plan: Plan = towards(|now| resources(&target, now), &options, settings)?;
    let nothing = format!("The applied state is what change {} left.", target.serial);
    carry_out_towards(&plan, &nothing, false, &arguments.commit, settings)
}

/// The resources of one moment as a configuration for another: what has another name there is renamed.
fn resources(of: &Snapshot, there: &Snapshot) -> Result<Catalog, Failure> {
    let mut catalog = plan::applied(of).map_err(|error| unreadable(&error))?;
    let names: BTreeMap<&Uid, &Address> =
        there.heads.iter().map(|(address, head)| (&head.uid, address)).collect();
    for (address, head) in &of.heads {
        let old = names
            .get(&head.uid)
            .filter(|old| **old != address && (old.kind, &old.project) == (address.kind, &address.project));
        if let (Some(old), Some(resource)) = (old, catalog.get_mut(address)) {
            Arc::make_mut(resource).metadata.renamed_from = Some(old.name.clone());
        }
    }
    Ok(catalog)
}

/// The state that a change left, by the change's id, the beginning of one, or its serial; now where nothing is said.
async fn moment(workspace: Option<&Workspace>, text: &str) -> Result<Snapshot, Failure> {
    if text == "0" {
        return Ok(Snapshot::default());
    }
    let unknown = || {
        Failure::new(format!("there is no change {text:?}"))
            .hint("`reactorcide history` lists them, with id and serial")
    };
    let Some(workspace) = workspace else {
        return if text.is_empty() { Ok(Snapshot::default()) } else { Err(unknown()) };
    };
    if text.is_empty() {
        return workspace.snapshot().await;
    }
    // Serials are short; ids begin with a time and are long.
    let serial = match text.trim_start_matches('#').parse::<u64>() {
        Ok(serial) if text.len() <= 7 => {
            let newest = workspace.history(None, 1).await?.first().map_or(0, |change| change.serial);
            if serial > newest {
                return Err(unknown());
            }
            serial
        }
        _ => workspace.serial_of(text).await?.ok_or_else(unknown)?,
    };
    workspace.at(serial).await
}
