//! `reactorcide runs`: the runs of a server, or of this machine, and why each job of one did what it did.

mod remote;

pub use remote::{escape, job_line, resolve};

use std::io::Write;

use clap::Args;
use reactorcide_engine::runs::{RunFilter, RunRecord};
use reactorcide_engine::scheduler::Transition;

use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::{duration, safe};
use crate::settings::Settings;
use crate::{applied, time};

/// Transitions that are read at once.
const PAGE: u32 = 1000;

/// Options of `runs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: Option<remote::RunsCommand>,
    /// A run, by its id or the end of it
    run: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How many runs
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
}

/// Lists runs, or the decisions on one.
pub fn runs(arguments: &RunsArgs, settings: &Settings) -> Result<Exit, Failure> {
    if let Some(command) = &arguments.command {
        return remote::run(command, settings);
    }
    if let Some(client) = Client::wanted(settings)? {
        return remote::list_or_show(&client, arguments.run.as_deref(), arguments.json, arguments.limit);
    }
    applied::block_on(async {
        let Some(applied) = applied::open(settings).await? else {
            return Err(Failure::new("nothing was ever run here").hint("`reactorcide run PIPELINE`"));
        };
        let runs = applied.state.runs();
        match &arguments.run {
            None => {
                let newest = RunFilter::newest(arguments.limit);
                let records = runs.runs(&newest).await.map_err(applied::store_failure)?;
                list(&records, arguments.json)
            }
            Some(id) => {
                let named = RunFilter { id_end: Some(id.clone()), ..RunFilter::newest(100) };
                let records = runs.runs(&named).await.map_err(applied::store_failure)?;
                let run = find(&records, id)?;
                let mut from = 0;
                loop {
                    let page = runs.transitions(&run.id, from, PAGE).await.map_err(applied::store_failure)?;
                    tell(&page, arguments.json)?;
                    if page.len() < PAGE as usize {
                        break Ok(());
                    }
                    from += page.len() as u64;
                }
            }
        }
    })?;
    Ok(Exit::Success)
}

fn find<'a>(records: &'a [RunRecord], id: &str) -> Result<&'a RunRecord, Failure> {
    match records {
        [one] => Ok(one),
        [] => Err(Failure::new(format!("there is no run {id:?}")).hint("`reactorcide runs` lists them")),
        many => Err(Failure::new(format!("{id:?} means {} runs", many.len())).hint("give more of the id")),
    }
}

fn list(records: &[RunRecord], as_json: bool) -> Result<(), Failure> {
    let mut out = crate::stdout::stdout();
    for run in records {
        let written = if as_json {
            writeln!(out, "{}", serde_json::to_string(run).unwrap_or_default())
        } else {
            let took = run.ended_at.map_or_else(String::new, |end| duration(end - run.started_at));
            let at = time::timestamp(u64::try_from(run.started_at).unwrap_or_default());
            writeln!(
                out,
                "{}  {at}  {:<9} {took:>8}  {} ({})",
                run.id,
                run.status.as_str(),
                safe(&run.pipeline),
                safe(&run.event)
            )
        };
        written.map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    }
    Ok(())
}

fn tell(transitions: &[Transition], as_json: bool) -> Result<(), Failure> {
    let mut out = crate::stdout::stdout();
    for transition in transitions {
        let written = if as_json {
            writeln!(out, "{}", serde_json::to_string(transition).unwrap_or_default())
        } else {
            let node = transition.node.as_deref().unwrap_or("the run");
            let at = time::timestamp(u64::try_from(transition.at).unwrap_or_default());
            writeln!(out, "{at}  {:<20} {:<9} {}", safe(node), transition.to, safe(&transition.reason))
        };
        written.map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    }
    Ok(())
}
