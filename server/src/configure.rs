//! Plans and applies for who is not at the machine: files come in, a plan goes out, and the plan that was shown is carried
//! out by the same decision as on the command line.

use reactorcide_engine::address::Address;
use reactorcide_engine::apply::{Stamp, decide, verify};
use reactorcide_engine::config::{Catalog, Kind};
use reactorcide_engine::outside::Owed;
use reactorcide_engine::plan::{self, Desired, Options, Plan};
use reactorcide_engine::read::{Budget, Context, InputFile, Reading, read_in};
use reactorcide_engine::store::{Author, Change, ChangeId, CommitError, Owner, Snapshot, Store, Uid};

use crate::conductor::now;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The files are not right; what is wrong with them.
    #[error("the configuration has errors")]
    Invalid(Box<Reading>),
    /// A project's configuration was given, and the project is not applied.
    #[error("Project/{0} is not applied")]
    NoProject(String),
    /// What is applied cannot be read.
    #[error(transparent)]
    Applied(#[from] plan::Error),
}

/// What it would take to get from what is applied to what files declare. Reads only. No file at all is a plan of deletes,
/// which asks for more than a yes.
pub fn plan(
    files: Vec<InputFile>,
    owner: &Owner,
    snapshot: &Snapshot,
    options: &Options,
) -> Result<Plan, ConfigureError> {
    if let Owner::Project(name) = owner
        && !snapshot.heads.contains_key(&Address::new(Kind::Project, None, name))
    {
        return Err(ConfigureError::NoProject(name.clone()));
    }
    let resources = if files.is_empty() {
        Catalog::default()
    } else {
        let context = Context { given: plan::given(snapshot, owner)?, owner: owner.clone() };
        let reading = read_in(files, &Budget::default(), context);
        if !reading.is_valid() {
            return Err(ConfigureError::Invalid(Box::new(reading)));
        }
        reading.configuration.into_catalog()
    };
    let desired = Desired { owner: owner.clone(), resources };
    Ok(plan::between(&desired, snapshot, options)?)
}

/// Whose plan it is that is to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker<'a> {
    /// It was made here, just now.
    Us,
    /// Somebody else made it: it is made again before it is believed. Acceptances are held against this day, `YYYY-MM-DD`.
    Another {
        /// The day.
        today: &'a str,
    },
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The change.
    pub change: Change,
    /// What it owes to the outside.
    pub owed: Vec<Owed>,
}

/// Carries a plan out in one transaction, or refuses it.
pub async fn apply(
    store: &dyn Store,
    plan: &Plan,
    maker: Maker<'_>,
    author: Author,
) -> Result<Written, CommitError> {
    // What takes long is done before the transaction, and again in it only if somebody else was faster.
    let believed = match maker {
        Maker::Us => None,
        Maker::Another { today } => {
            let (plan, now, today) = (plan.clone(), store.snapshot().await?, today.to_owned());
            let serial = now.serial;
            let verified = tokio::task::spawn_blocking(move || verify(&plan, &now, &today)).await;
            verified.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            Some(serial)
        }
    };
    let mut uids = || Uid(uuid::Uuid::now_v7().to_string());
    let stamp = Stamp {
        id: ChangeId(uuid::Uuid::now_v7().to_string()),
        at: now().unsigned_abs(),
        author,
        uids: &mut uids,
    };
    let mut owed = Vec::new();
    let decide = |now: &Snapshot| {
        if let Maker::Another { today } = maker
            && believed != Some(now.serial)
        {
            verify(plan, now, today)?;
        }
        let commit = decide(plan, now, stamp)?;
        owed.clone_from(&commit.outward.owed);
        Ok(commit)
    };
    let change = store.commit(Box::new(decide)).await?;
    Ok(Written { change, owed })
}
