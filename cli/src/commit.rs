//! From a plan that was shown to the transaction that carries it out: the checks, the question, Ctrl-C.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use reactorcide_engine::apply::{Moved, Refusal, Stamp, decide, moved};
use reactorcide_engine::config::Kind;
use reactorcide_engine::config::value::Duration;
use reactorcide_engine::outside::EffectKind;
use reactorcide_engine::plan::{Pin, Plan, differences};
use reactorcide_engine::store::{Author, Change, ChangeId, CommitError, Revision, Uid};
use reactorcide_server::api::{Effect, Problem};
use rustix::termios::{QueueSelector, tcflush};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::workspace::{self, Server, Workspace};
use crate::{applied, outside, report, time};

/// What every command that changes the state is told.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Do not ask
    #[arg(long)]
    pub auto_approve: bool,
    /// Apply unattended in spite of findings that nobody accepted
    #[arg(long)]
    pub accept_findings: bool,
    /// Go on only if the plan has this fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    pub expect_plan: Option<String>,
    /// Why, for the history
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// The commit that the configuration comes from, for the history
    #[arg(long, value_name = "SHA")]
    pub commit: Option<String>,
    /// What opens the door to an object elsewhere: NAME=env:VARIABLE or NAME=file:PATH; may be given again
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    pub secrets: Vec<String>,
    /// How long to wait for another apply to end
    #[arg(long, value_name = "DURATION", default_value_t = applied::LOCK_TIMEOUT)]
    pub lock_timeout: Duration,
}

/// Shows a plan, asks unless it was approved before, and carries it out.
pub fn carry_out(
    plan: &Plan,
    approved: bool,
    arguments: &CommitArgs,
    settings: &Settings,
) -> Result<Exit, Failure> {
    carry_out_towards(plan, report::plan::AS_DECLARED, approved, arguments, settings)
}

/// The same towards something else than a configuration: `nothing` says that it is so already.
pub fn carry_out_towards(
    plan: &Plan,
    nothing: &str,
    approved: bool,
    arguments: &CommitArgs,
    settings: &Settings,
) -> Result<Exit, Failure> {
    applied::block_on(async {
        // From here on Ctrl-C is an answer.
        let mut ctrl_c = listen()?;
        let server = workspace::server(settings).await?;
        if server.is_some() {
            workspace::keep_secrets(&arguments.secrets)?;
        }
        let _ = write!(crate::stdout::stdout(), "{}", report::plan::render(plan, nothing));
        refuse(plan, approved, arguments)?;
        if !plan.has_changes() {
            return Ok(Exit::Success);
        }
        if !arguments.auto_approve && !approved {
            match ask_with("Apply these changes?", HOW_TO_APPROVE, &mut ctrl_c).await? {
                Answer::Yes => {}
                Answer::Other => {
                    report::note("not applied: the answer was not \"yes\"");
                    return Ok(Exit::Failed);
                }
                Answer::Interrupted => return Ok(interrupted()),
            }
        }
        if let Some(server) = server {
            return through(server, plan, arguments, &mut ctrl_c).await;
        }
        if !plan.effects.is_empty() {
            // What is wrong with the values that were given is said before anything is changed.
            let before = applied::snapshot(settings).await?;
            outside::client(&before, &BTreeMap::new(), None, &arguments.secrets)?;
        }
        let is_new =
            plan.effects.iter().any(|effect| effect.effect != EffectKind::Resume) || plan.summary.total() > 0;
        if is_new {
            match commit_unless_interrupted(arguments, settings, plan, &mut ctrl_c).await? {
                Some(change) => show(&change),
                None => return Ok(interrupted()),
            }
        }
        reconcile(arguments, settings, plan, is_new, &mut ctrl_c).await
    })
}

/// Gives a plan to a server, which carries it out, and what it owes elsewhere too.
async fn through(
    server: Server,
    plan: &Plan,
    arguments: &CommitArgs,
    ctrl_c: &mut Signal,
) -> Result<Exit, Failure> {
    let resumed: Vec<_> = plan.effects.iter().filter(|one| one.effect == EffectKind::Resume).collect();
    let is_new = resumed.len() < plan.effects.len() || plan.summary.total() > 0;
    let is_resumed = |effect: &Effect| resumed.iter().any(|one| Some(&one.place) == effect.place.as_ref());
    let mut effects = if resumed.is_empty() { Vec::new() } else { server.effects(None).await? };
    effects.retain(is_resumed);
    // The server says who.
    let author =
        Author { actor: String::new(), message: arguments.message.clone(), commit: arguments.commit.clone() };
    // Once it is asked, Ctrl-C changes nothing any more.
    match server.apply(plan, author).await? {
        Ok(applied) => {
            if let Some(row) = applied.change {
                show(&workspace::change(row)?);
            }
            effects.extend(applied.effects);
        }
        Err(problem) => return Err(not_applied(server, plan, problem).await?),
    }
    let patience = arguments.lock_timeout.to_std();
    tokio::select! {
        ended = outside::follow(&server, is_new, effects, patience) => ended.map(|()| Exit::Success),
        _ = ctrl_c.recv() => {
            report::note("interrupted: the server goes on with what is owed elsewhere");
            Ok(Exit::Interrupted)
        }
    }
}

/// Why a server did not apply a plan, with what moved since it was made.
async fn not_applied(server: Server, plan: &Plan, problem: Problem) -> Result<Failure, Failure> {
    let failure = server.refused(problem);
    if failure.exit != Exit::Moved {
        return Ok(failure);
    }
    let workspace = Workspace::Server(server);
    // Who may not see everything is told what the server says.
    let Ok(now) = workspace.snapshot().await else { return Ok(failure) };
    let moved = moved(plan, &now);
    if !moved.is_empty() {
        if let Some(change) = applied_before(plan, &workspace).await? {
            return Ok(applied_already(&change));
        }
        show_moved(plan, &moved, &workspace).await?;
    }
    Ok(failure)
}

/// Whether a plan may go on to the question.
fn refuse(plan: &Plan, approved: bool, arguments: &CommitArgs) -> Result<(), Failure> {
    if let Some(expected) = &arguments.expect_plan
        && *expected != plan.fingerprint.to_string()
    {
        return Err(Failure::new(format!("the plan is {}, not the expected {expected}", plan.fingerprint))
            .hint("nothing was changed; review the plan above")
            .exit(Exit::Moved));
    }
    if let Some(obstacle) = plan.obstacles.first() {
        return Err(Failure::new(format!("the plan is refused: {obstacle}"))
            .hint(obstacle.hint())
            .exit(Exit::NotAccepted));
    }
    let reviewed = approved || arguments.expect_plan.is_some() || arguments.accept_findings;
    let open = plan.findings.iter().filter(|finding| finding.is_open()).count();
    if arguments.auto_approve && !reviewed && open > 0 {
        let them = if open == 1 {
            "1 finding is not accepted".to_owned()
        } else {
            format!("{open} findings are not accepted")
        };
        return Err(Failure::new(format!("{them}, and --auto-approve accepts none"))
            .hint("answer the question yourself, name the plan that was reviewed with --expect-plan FINGERPRINT, write an `accept` at the resource, or give --accept-findings")
            .exit(Exit::NotAccepted));
    }
    Ok(())
}

/// Carries out what is owed elsewhere, unless there is nothing. Ctrl-C leaves it to the next apply.
async fn reconcile(
    arguments: &CommitArgs,
    settings: &Settings,
    plan: &Plan,
    is_new: bool,
    ctrl_c: &mut Signal,
) -> Result<Exit, Failure> {
    // What was tried since the plan was made may be owed although the plan has nothing of it.
    let touches = plan.changes().any(|action| action.address.kind == Kind::WebhookTarget);
    if plan.effects.is_empty() && !touches {
        return Ok(Exit::Success);
    }
    let Some(applied) = applied::open(settings).await? else { return Ok(Exit::Success) };
    let patience = arguments.lock_timeout.to_std();
    let ended = tokio::select! {
        ended = outside::carry_out(&applied, is_new, &arguments.secrets, patience) => ended,
        _ = ctrl_c.recv() => {
            report::note("interrupted: what is owed elsewhere is left to the next `reactorcide apply`");
            return Ok(Exit::Interrupted);
        }
    };
    applied.state.close().await;
    ended.map(|()| Exit::Success)
}

fn show(change: &Change) {
    let counts = change.counts;
    let renamed = if counts.rename > 0 { format!("{} renamed, ", counts.rename) } else { String::new() };
    let _ = writeln!(
        crate::stdout::stdout(),
        "Applied change {}: {} created, {} updated, {renamed}{} deleted.",
        change.id,
        counts.create,
        counts.update,
        counts.delete
    );
}

/// Commits. Ctrl-C ends the wait for another apply, but not a transaction that has begun.
async fn commit_unless_interrupted(
    arguments: &CommitArgs,
    settings: &Settings,
    plan: &Plan,
    ctrl_c: &mut Signal,
) -> Result<Option<Change>, Failure> {
    let begun = AtomicBool::new(false);
    let commit = commit(arguments, settings, plan, &begun);
    tokio::pin!(commit);
    tokio::select! {
        change = &mut commit => change.map(Some),
        _ = ctrl_c.recv() => {
            if !begun.load(Ordering::Acquire) {
                return Ok(None);
            }
            commit.await.map(Some)
        }
    }
}

fn interrupted() -> Exit {
    report::note("interrupted: nothing was changed");
    Exit::Interrupted
}

async fn commit(
    arguments: &CommitArgs,
    settings: &Settings,
    plan: &Plan,
    begun: &AtomicBool,
) -> Result<Change, Failure> {
    let applied = applied::create(settings, arguments.lock_timeout).await?;
    let (state, store) = (applied.state.clone(), Arc::clone(&applied.store));
    let workspace = Workspace::Local(applied);
    let author =
        Author { actor: actor(), message: arguments.message.clone(), commit: arguments.commit.clone() };
    let mut uids = || Uid(uuid::Uuid::now_v7().to_string());
    let id = ChangeId(uuid::Uuid::now_v7().to_string());
    let at = time::now();
    let stamp = Stamp { id, at, author, uids: &mut uids };
    let decide = |now: &_| {
        begun.store(true, Ordering::Release);
        decide(plan, now, stamp)
    };
    let change = match store.commit(Box::new(decide)).await {
        Ok(change) => change,
        Err(error) => {
            if let CommitError::Refused(Refusal::Stale { moved }) = &error {
                if let Some(change) = applied_before(plan, &workspace).await? {
                    return Err(applied_already(&change));
                }
                show_moved(plan, moved, &workspace).await?;
            }
            return Err(applied::commit_failure(error));
        }
    };
    state.close().await;
    Ok(change)
}

/// The change that carried out this very plan, if one did.
async fn applied_before(plan: &Plan, workspace: &Workspace) -> Result<Option<Change>, Failure> {
    let changes = workspace.history(None, u32::MAX).await?;
    Ok(changes.into_iter().find(|change| change.plan == plan.fingerprint && change.serial > plan.base.serial))
}

fn applied_already(change: &Change) -> Failure {
    Failure::new(format!("the plan was applied already, as change {}", change.serial))
        .hint("there is nothing left to do")
        .exit(Exit::Moved)
}

/// Shows three sides of each resource that moved: as the plan saw it, as it is, and as the plan would have made it.
async fn show_moved(plan: &Plan, moved: &[Moved], workspace: &Workspace) -> Result<(), Failure> {
    for moved in moved {
        let revisions = workspace.revisions(&moved.address).await?;
        let read = |pin: &Option<Pin>| {
            let pin = pin.as_ref()?;
            let is_it = |one: &&Revision| one.head.uid == pin.uid && one.head.generation == pin.generation;
            revisions.iter().find(is_it)?.head.resource().ok()
        };
        let (before, now) = (read(&moved.planned), read(&moved.found));
        let action = plan.changes().find(|action| action.address == moved.address);
        let planned = action.map(|action| action.differences.as_slice()).unwrap_or_default();
        let since = differences(before.as_ref(), now.as_ref());
        let _ = write!(
            crate::stdout::stdout(),
            "{}",
            report::plan::render_moved(&moved.address, &since, planned)
        );
    }
    Ok(())
}

/// What to do where nobody can be asked.
const HOW_TO_APPROVE: &str = "review the plan and give --auto-approve, best with --expect-plan FINGERPRINT";

/// What somebody answered.
pub enum Answer {
    Yes,
    Other,
    Interrupted,
}

/// Asks whether to go on. Only "yes" is a yes.
pub async fn ask(question: &str, otherwise: &str) -> Result<Answer, Failure> {
    ask_with(question, otherwise, &mut listen()?).await
}

/// For Ctrl-C, from now on.
fn listen() -> Result<Signal, Failure> {
    signal(SignalKind::interrupt())
        .map_err(|error| Failure::new(format!("Ctrl-C cannot be listened to: {error}")))
}

async fn ask_with(question: &str, otherwise: &str, ctrl_c: &mut Signal) -> Result<Answer, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("there is no terminal to ask on").hint(otherwise));
    }
    // What was typed before anybody asked is no answer.
    let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
    let _ = write!(anstream::stderr(), "{question} Only \"yes\" is accepted: ");
    let _ = anstream::stderr().flush();
    let (answer, answered) = tokio::sync::oneshot::channel();
    // A thread of its own: one that waits for a terminal cannot be stopped, and must not hold up Ctrl-C.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).map(|_| line);
        let _ = answer.send(read);
    });
    let line = tokio::select! {
        _ = ctrl_c.recv() => None,
        line = answered => Some(line.ok().and_then(Result::ok).unwrap_or_default()),
    };
    if !line.as_deref().unwrap_or_default().ends_with('\n') {
        let _ = writeln!(anstream::stderr());
    }
    Ok(match line.as_deref().map(|line| line.trim_end_matches(['\n', '\r'])) {
        None => Answer::Interrupted,
        Some("yes") => Answer::Yes,
        Some(_) => Answer::Other,
    })
}

/// Who applies, as the operating system knows them.
pub fn actor() -> String {
    let name =
        ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    match name {
        Some(name) => format!("user:{name}"),
        None => format!("uid:{}", rustix::process::getuid().as_raw()),
    }
}
