//! Objects elsewhere, from the command line: what opens their doors, looking at them, and carrying out what is owed.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use reactorcide_engine::address::Address;
use reactorcide_engine::canonical::read_document;
use reactorcide_engine::config::{Kind, SecretSource, Spec, WebhookTargetSpec};
use reactorcide_engine::outside::{
    Access, Act, Observation, Outside, OutsideError, Owed, Place, Sight, target_of,
};
use reactorcide_engine::printable::printable;
use reactorcide_engine::protocol::mask;
use reactorcide_engine::reference::secret_name;
use reactorcide_engine::store::Snapshot;
use reactorcide_providers::webhook::{Tokens, Webhooks};
use reactorcide_server::{Progress, Reconcile, ReconcileError, Reconciled, holder};

use crate::applied::{self, Applied};
use crate::exit::{Exit, Failure};
use crate::{report, secrets, time};

/// How many objects are looked at at once.
const AT_ONCE: usize = 16;

/// What opens the doors: what `--secret` gives, and what applied Secrets say that this machine finds. What has no value
/// here is missed where it is needed, and only there.
pub fn client(
    snapshot: &Snapshot,
    before: Option<&Snapshot>,
    more: Option<&WebhookTargetSpec>,
    pairs: &[String],
) -> Result<Webhooks, Failure> {
    let mut tokens: Tokens = secrets::given(pairs)?;
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
        // Where a secret goes together with what it opens, it was declared before.
        let declared = Address::new(Kind::Secret, None, name);
        let head = snapshot.heads.get(&declared).or_else(|| before?.heads.get(&declared));
        let Some(Spec::Secret(secret)) =
            head.and_then(|head| read_document(&head.document).ok()).map(|one| one.spec)
        else {
            continue;
        };
        let value = match (secret.source, &secret.location) {
            (SecretSource::Env, Some(variable)) => secrets::from_environment(name, variable).ok(),
            (SecretSource::File, Some(path)) => secrets::from_file(name, path).ok(),
            _ => None,
        };
        tokens.extend(value.map(|value| (name.to_owned(), value)));
    }
    for (name, value) in &tokens {
        mask::check(value.expose().as_bytes())
            .map_err(|error| Failure::new(format!("the secret {name:?} cannot be used: {error}")))?;
    }
    Webhooks::new(tokens).map_err(|error| Failure::new(format!("no requests can be made: {error}")))
}

/// Looks at the objects that are ours and where they shall be; of these resources only, where some are named.
pub async fn observe(snapshot: &Snapshot, only: &[Address], client: &dyn Outside) -> Vec<Observation> {
    let is_owed = |place: &Place| snapshot.owed.iter().any(|owed| owed.place == *place);
    let settled =
        snapshot.objects.iter().filter(|object| object.applied.is_some() && !is_owed(&object.place));
    let wanted = settled.filter_map(|object| {
        let (address, head) = snapshot.heads.iter().find(|(_, head)| head.uid == object.uid)?;
        let spec = target_of(&head.document)?;
        let access = Access::new(&spec, &object.place);
        (only.is_empty() || only.contains(address)).then(|| (object.uid.clone(), access))
    });
    let mut seen: Vec<Observation> = stream::iter(wanted)
        .map(|(uid, access)| async move {
            let sight = match client.look(&access).await {
                Ok(Some(seen)) => Sight::Present(seen.body),
                Ok(None) => Sight::Absent,
                Err(error) => Sight::Unknown(error.to_string()),
            };
            Observation { uid, place: access.place, sight }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    seen.sort_by(|a, b| (&a.uid, &a.place).cmp(&(&b.uid, &b.place)));
    seen
}

/// Carries out what is owed, and says what was done.
pub async fn carry_out(
    applied: &Applied,
    before: &Snapshot,
    pairs: &[String],
    patience: Duration,
) -> Result<(), Failure> {
    let snapshot = applied.store.snapshot().await.map_err(applied::store_failure)?;
    if snapshot.owed.is_empty() {
        return Ok(());
    }
    let client = client(&snapshot, Some(before), None, pairs)?;
    let ledger = applied.state.ledger();
    let reconcile = Reconcile {
        ledger: &*ledger,
        outside: &client,
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
            let _ = writeln!(anstream::stdout().lock(), "  {}", printable(&done(task, act)));
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
            let message =
                format!("the change is applied, but {left} of {all} elsewhere could not be carried out");
            Err(Failure::new(message).hint(match first {
                Some(error) => error.hint(),
                None => "`reactorcide apply` goes on with what is left".to_owned(),
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
    let word = match act {
        Act::Nothing => "as it shall be:",
        Act::Create => "made",
        Act::Replace(_) => "replaced",
        Act::Remove => "deleted",
    };
    format!("{word} {} ({})", task.place, task.address)
}

/// A holder as people know it: without what tells processes apart.
fn who(holder: &str) -> &str {
    holder.split(" (").next().unwrap_or(holder)
}
