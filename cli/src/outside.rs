//! Objects elsewhere, from the command line: what opens their doors, looking at them, and carrying out what is owed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use reactorcide_engine::address::Address;
use reactorcide_engine::canonical::read_document;
use reactorcide_engine::config::{Kind, SecretSource, SecretSpec, Spec, WebhookTargetSpec};
use reactorcide_engine::outside::{Act, Observation, OutsideError, Owed, Place, target_of};
use reactorcide_engine::printable::printable;
use reactorcide_engine::protocol::mask;
use reactorcide_engine::reference::secret_name;
use reactorcide_engine::store::{Snapshot, Store};
use reactorcide_providers::webhook::{Tokens, Webhooks};
use reactorcide_server::api::{Effect, EffectStatus};
use reactorcide_server::{Progress, Reconcile, ReconcileError, Reconciled, holder, observe};

use crate::applied::{self, Applied};
use crate::exit::{Exit, Failure};
use crate::workspace::{self, Server, Workspace};
use crate::{report, secrets, time};

/// What opens the doors: what `--secret` gives, and what applied Secrets say that this machine finds. What has no value
/// here is missed where it is needed, and only there.
pub fn client(
    snapshot: &Snapshot,
    past: &BTreeMap<String, SecretSpec>,
    more: Option<&WebhookTargetSpec>,
    pairs: &[String],
) -> Result<Webhooks, Failure> {
    let mut tokens: Tokens = secrets::given(pairs)?;
    usable(&tokens)?;
    let documents = snapshot.heads.iter().filter(|(address, _)| address.kind == Kind::WebhookTarget);
    let documents = documents.map(|(_, head)| &head.document);
    let owed = snapshot.owed.iter().map(|owed| &owed.document);
    let applied = snapshot.objects.iter().filter_map(|object| object.applied.as_ref());
    let specs = documents.chain(owed).chain(applied).filter_map(|document| target_of(document));
    let wanted: BTreeSet<String> = specs.chain(more.cloned()).filter_map(|spec| spec.token).collect();
    for name in wanted.iter().map(|token| secret_name(token)) {
        if tokens.keys().any(|known| secret_name(known) == name) {
            continue;
        }
        let head = snapshot.heads.get(&Address::new(Kind::Secret, None, name));
        let secret = match head.and_then(|head| read_document(&head.document).ok()).map(|one| one.spec) {
            Some(Spec::Secret(secret)) => *secret,
            _ => match past.get(name) {
                Some(secret) => secret.clone(),
                None => continue,
            },
        };
        let value = match (secret.source, &secret.location) {
            (SecretSource::Env, Some(variable)) => secrets::from_environment(name, variable).ok(),
            (SecretSource::File, Some(path)) => secrets::from_file(name, path).ok(),
            _ => None,
        };
        let Some(value) = value else { continue };
        match mask::check(value.expose().as_bytes()) {
            Ok(()) => drop(tokens.insert(name.to_owned(), value)),
            // It is as if there were none; whoever needs it says so.
            Err(error) => {
                report::note(&format!("the secret {name:?} of this machine cannot be used: {error}"))
            }
        }
    }
    Webhooks::new(tokens).map_err(|error| Failure::new(format!("no requests can be made: {error}")))
}

/// What opens doors with these values alone.
pub fn webhooks(tokens: Tokens) -> Result<Webhooks, Failure> {
    usable(&tokens)?;
    Webhooks::new(tokens).map_err(|error| Failure::new(format!("no requests can be made: {error}")))
}

fn usable(tokens: &Tokens) -> Result<(), Failure> {
    for (name, value) in tokens {
        mask::check(value.expose().as_bytes())
            .map_err(|error| Failure::new(format!("the secret {name:?} cannot be used: {error}")))?;
    }
    Ok(())
}

/// Looks at the objects that are ours and where they shall be; of these resources only, where some are named. A server
/// looks with what opens its own doors.
pub async fn look(
    workspace: Option<&Workspace>,
    snapshot: &Snapshot,
    only: &[Address],
    secrets: &[String],
) -> Result<Vec<Observation>, Failure> {
    match workspace {
        Some(Workspace::Server(server)) => {
            workspace::keep_secrets(secrets)?;
            if snapshot.objects.is_empty() { Ok(Vec::new()) } else { server.observe(only).await }
        }
        _ => {
            let client = client(snapshot, &BTreeMap::new(), None, secrets)?;
            Ok(observe(snapshot, only, &client).await)
        }
    }
}

/// How the secrets were last declared that open what is owed and are declared no more: one may go together with what it
/// opens.
async fn past(snapshot: &Snapshot, store: &dyn Store) -> Result<BTreeMap<String, SecretSpec>, Failure> {
    let mut past = BTreeMap::new();
    let tokens = snapshot.owed.iter().filter_map(|owed| target_of(&owed.document)?.token);
    for name in tokens.map(|token| secret_name(&token).to_owned()) {
        let address = Address::new(Kind::Secret, None, &name);
        if snapshot.heads.contains_key(&address) || past.contains_key(&name) {
            continue;
        }
        let revisions = store.revisions(&address).await.map_err(applied::store_failure)?;
        let last = revisions.last().and_then(|revision| read_document(&revision.head.document).ok());
        if let Some(Spec::Secret(secret)) = last.map(|resource| resource.spec) {
            past.insert(name, *secret);
        }
    }
    Ok(past)
}

/// Carries out what is owed, and says what was done.
pub async fn carry_out(
    applied: &Applied,
    is_new: bool,
    pairs: &[String],
    patience: Duration,
) -> Result<(), Failure> {
    let snapshot = applied.store.snapshot().await.map_err(applied::store_failure)?;
    if snapshot.owed.is_empty() {
        return Ok(());
    }
    let past = past(&snapshot, &*applied.store).await?;
    let client = client(&snapshot, &past, None, pairs)?;
    let ledger = applied.state.ledger();
    let reconcile = Reconcile {
        ledger: &*ledger,
        outside: &client,
        workspace: snapshot.lineage.as_ref().map(ToString::to_string).unwrap_or_default(),
        holder: holder::this(),
        is_gone: &holder::is_gone,
        now: &time::now,
        patience,
    };
    let mut first: Option<OutsideError> = None;
    let mut report = |progress: Progress<'_>| match progress {
        Progress::Waiting { holder } => {
            report::note(&format!("waiting for {} to end with what is owed elsewhere", who(holder)));
        }
        Progress::Done { task, act } => {
            let _ = writeln!(crate::stdout::stdout(), "  {}", printable(&done(task, act)));
        }
        Progress::Failed { task, error } => {
            report::note(&format!("  {}: {error}", task.address));
            first.get_or_insert_with(|| error.clone());
        }
    };
    match reconcile.run(&mut report).await {
        Ok(Reconciled { left: 0, .. }) => Ok(()),
        Ok(Reconciled { done, left }) => {
            let all = report::count(done + left, "effect");
            let applied = if is_new { "the change is applied, but " } else { "" };
            let message = format!("{applied}{left} of {all} elsewhere could not be carried out");
            Err(Failure::new(message).hint(match first {
                Some(error) => error.hint(),
                None => "the same command goes on with what is left".to_owned(),
            }))
        }
        Err(ReconcileError::Store(error)) => Err(applied::store_failure(error)),
        Err(ReconcileError::Held { holder }) => {
            Err(Failure::new(format!("{} is carrying out what is owed elsewhere", who(&holder)))
                .hint("it goes on with this too; `reactorcide plan` shows what is left")
                .exit(Exit::Held))
        }
        Err(error @ ReconcileError::Lost) => {
            Err(Failure::new(error.to_string()).hint("it goes on with this too").exit(Exit::Held))
        }
    }
}

fn done(task: &Owed, act: &Act) -> String {
    said(act.as_str(), &task.place, &task.address)
}

/// What was done, from its word in the journal.
fn said(act: &str, place: &Place, address: &Address) -> String {
    let word = match act {
        "create" => "made",
        "replace" => "replaced",
        "remove" => "deleted",
        _ => "as it shall be:",
    };
    format!("{word} {place} ({address})")
}

/// How often a server is asked how far it is, at first and later.
const ASK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Follows what a server carries out by itself, and says what was done. `before` is how each stood when it began.
pub async fn follow(
    server: &Server,
    is_new: bool,
    before: Vec<Effect>,
    patience: Duration,
) -> Result<(), Failure> {
    let all = before.len();
    let mut waiting: BTreeMap<(u64, u32), Effect> =
        before.into_iter().map(|effect| ((effect.serial, effect.ordinal), effect)).collect();
    let (mut failed, mut pause, since) = (0, ASK.0, std::time::Instant::now());
    while !waiting.is_empty() && since.elapsed() < patience {
        let serials: BTreeSet<u64> = waiting.keys().map(|(serial, _)| *serial).collect();
        for serial in serials {
            for now in server.effects(Some(serial)).await? {
                let key = (now.serial, now.ordinal);
                let Some(was) = waiting.get(&key) else { continue };
                let (Some(place), Some(address)) = (&was.place, &was.address) else { continue };
                match now.status {
                    EffectStatus::Done => {
                        let text = said(now.did.as_deref().unwrap_or_default(), place, address);
                        let _ = writeln!(crate::stdout::stdout(), "  {}", printable(&text));
                    }
                    EffectStatus::Void => {}
                    EffectStatus::Owed if now.failures > was.failures => {
                        failed += 1;
                        report::note(&format!("  {address}: {}", now.error.as_deref().unwrap_or_default()));
                    }
                    EffectStatus::Owed => continue,
                }
                waiting.remove(&key);
            }
        }
        if !waiting.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASK.1);
        }
    }
    let left = failed + waiting.len();
    if left == 0 {
        return Ok(());
    }
    let applied = if is_new { "the change is applied, but " } else { "" };
    let all = report::count(all, "effect");
    let failure = if failed > 0 {
        Failure::new(format!("{applied}{left} of {all} elsewhere could not be carried out"))
            .hint("the server tries again by itself; the same command tries at once")
    } else {
        Failure::new(format!("{applied}{left} of {all} elsewhere is not carried out yet"))
            .hint("the server goes on with it; `reactorcide plan` shows what is left")
            .exit(Exit::Held)
    };
    Err(failure)
}

/// A holder as people know it: without what tells processes apart.
fn who(holder: &str) -> &str {
    holder.split(" (").next().unwrap_or(holder)
}
