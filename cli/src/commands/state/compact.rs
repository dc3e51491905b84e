//! `state compact`: forgets old history, and nothing that is applied.

use std::io::Write;

use clap::Args;
use reactorcide_engine::config::value::Duration;
use reactorcide_engine::store::{Change, Compaction};

use crate::applied::{self, Applied};
use crate::commit::{Answer, actor, ask};
use crate::exit::{Exit, Failure};
use crate::report::{count, note};
use crate::settings::Settings;
use crate::{time, workspace};

/// Arguments of `state compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// How many of the newest changes can still be told
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    keep: usize,
    /// Forget only what was before this date, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    before: Option<String>,
    /// Only say what would be forgotten
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    auto_approve: bool,
    /// How long to wait for an apply to end
    #[arg(long, value_name = "DURATION", default_value_t = applied::LOCK_TIMEOUT)]
    lock_timeout: Duration,
}

/// Forgets what no change that is kept needs.
pub fn compact(arguments: &CompactArgs, settings: &Settings) -> Result<Exit, Failure> {
    if let Some(date) = arguments.before.as_ref().filter(|date| !time::is_date(date)) {
        return Err(Failure::new(format!("{date:?} is not a date"))
            .hint("write YYYY-MM-DD")
            .exit(Exit::Usage));
    }
    workspace::only_local(settings, "`state compact`")?;
    let exists = applied::block_on(applied::open(settings))?.is_some();
    if !exists {
        return Ok(nothing("nothing is applied"));
    }
    applied::block_on(async {
        let Applied { state, store } = applied::create(settings, arguments.lock_timeout).await?;
        let changes = store.history(None, u32::MAX).await.map_err(applied::store_failure)?;
        let Some(until) = until(&changes, arguments) else {
            return Ok(nothing(&format!("{} and all are kept", there_are(changes.len()))));
        };
        let _ = writeln!(
            crate::stdout::stdout(),
            "What led to change {until} would be forgotten: `diff` and `rollback` go back to change {until} at most. \
             What is applied stays as it is."
        );
        if arguments.dry_run {
            return Ok(Exit::Success);
        }
        if !arguments.auto_approve {
            match ask("Forget them?", "give --auto-approve").await? {
                Answer::Yes => {}
                Answer::Other => {
                    note("not compacted: the answer was not \"yes\"");
                    return Ok(Exit::Failed);
                }
                Answer::Interrupted => {
                    note("interrupted: nothing was changed");
                    return Ok(Exit::Interrupted);
                }
            }
        }
        let before = state.size().await.map_err(applied::store_failure)?;
        let wanted = Compaction { at: time::now(), actor: actor(), until, changes: 0, revisions: 0 };
        let done = store.compact(&wanted).await.map_err(applied::store_failure)?;
        // It is done; that its room is given back is a kindness.
        if let Err(error) = state.shrink().await {
            note(&format!("the room could not be given back: {error}"));
        }
        let after = state.size().await.map_err(applied::store_failure)?;
        let room = if after < before {
            format!(": {} instead of {}", size(after), size(before))
        } else {
            String::new()
        };
        let (revisions, changes) = (amount(done.revisions, "revision"), amount(done.changes, "change"));
        let _ = writeln!(crate::stdout::stdout(), "Forgot {revisions} and {changes}{room}.");
        state.close().await;
        Ok(Exit::Success)
    })
}

fn nothing(why: &str) -> Exit {
    let _ = writeln!(crate::stdout::stdout(), "Nothing to forget: {why}.");
    Exit::Success
}

fn there_are(changes: usize) -> String {
    if changes == 1 { "there is 1 change,".to_owned() } else { format!("there are {changes} changes,") }
}

/// The last change to be forgotten, of changes that are listed newest first. Its outcome can still be told.
fn until(changes: &[Change], arguments: &CompactArgs) -> Option<u64> {
    let is_old = |change: &&Change| {
        arguments.before.as_ref().is_none_or(|date| time::date(change.at).as_str() < date.as_str())
    };
    changes.iter().skip(arguments.keep).find(is_old).map(|change| change.serial)
}

fn amount(number: u64, noun: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}
