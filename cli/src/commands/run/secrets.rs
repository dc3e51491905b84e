//! The values of secrets that a run names: those that somebody gives by hand, and, before anything starts, whether the others
//! would be had.

use std::collections::{BTreeMap, BTreeSet};

use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, ProfileSecrets, RunnerMode, SecretSource};
use reactorcide_engine::placeholder;
use reactorcide_engine::policy::{Access, Decided, decide_lease};
use reactorcide_engine::protocol::mask;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::scheduler::{NewRun, RunState};
use reactorcide_engine::vault;
use reactorcide_server::Current;
use reactorcide_worker::{Secrets, credentials_wanted, secrets_wanted};

use super::local::{Given, Plan};
use crate::applied::{self, store_failure};
use crate::exit::{Exit, Failure};
use crate::secrets::{from_environment, from_file, given};
use crate::settings::Settings;

/// Every value that is given by hand, and what decides on the rest. Nothing runs where a job that is sure to run would not
/// get what it names.
pub fn collect(
    plan: &Plan,
    catalog: Catalog,
    pairs: &[String],
    settings: &Settings,
) -> Result<Given, Failure> {
    let mut values = given(pairs)?;
    let names: Vec<String> = values.keys().cloned().collect();
    let mut missing = BTreeSet::new();
    for (name, declaration) in plan.selected() {
        let wanted = secrets_wanted(&declaration.job);
        if let Some((_, secret)) = wanted.first()
            && declaration.profile.spec.secrets == ProfileSecrets::None
        {
            let profile = &declaration.profile.name;
            return Err(Failure::new(format!(
                "{name:?} wants the secret {secret:?}, and its profile {profile:?} allows none"
            ))
            .exit(Exit::NotAccepted));
        }
        if !wanted.is_empty()
            && declaration.job.runner == RunnerMode::None
            && !declaration.job.secrets_visible_to_engine
        {
            return Err(Failure::new(format!(
                "{name:?} has secrets, which runner: none would show to the container engine"
            ))
            .exit(Exit::NotAccepted));
        }
        let credentials = credentials_wanted(&declaration.job).into_iter();
        for (variable, secret) in wanted.into_iter().chain(credentials.map(|name| (name.clone(), name))) {
            if find(&values, &secret).is_some() {
                continue;
            }
            // A value may also be given for the variable that carries it.
            match values.get(&variable).cloned() {
                Some(value) => drop(values.insert(secret, value)),
                None => drop(missing.insert(secret)),
            }
        }
    }
    for (name, value) in &values {
        mask::check(value.expose().as_bytes())
            .map_err(|error| Failure::new(format!("the secret {name:?} cannot be used: {error}")))?;
    }
    let jobs = || plan.selected().map(|(_, declaration)| &declaration.job);
    let used: BTreeSet<String> = jobs().flat_map(secrets_wanted).map(|(_, name)| name).collect();
    let variables: BTreeSet<String> = jobs().flat_map(secrets_wanted).map(|(variable, _)| variable).collect();
    let credentials: BTreeSet<String> = jobs().flat_map(credentials_wanted).collect();
    for name in names {
        let is_named = |set: &BTreeSet<String>| {
            set.iter().any(|one| *one == name || one.split(':').next() == Some(&name))
        };
        if ![&used, &variables, &credentials].into_iter().any(is_named) {
            crate::report::note(&format!("no job that runs names the secret {name:?}"));
        }
    }
    let for_sources =
        jobs().flat_map(credentials_wanted).filter(|name| !used.contains(name)).collect::<Vec<_>>();
    let by_hand = Secrets::new(values).for_sources(for_sources);
    let current = foresee(plan, catalog, &missing, settings)?;
    Ok(Given { by_hand, current })
}

fn find<'a>(values: &'a BTreeMap<String, Sensitive>, secret: &str) -> Option<&'a Sensitive> {
    values.get(secret).or_else(|| values.get(secret.split_once(':')?.0))
}

/// Looks whether jobs that are sure to run would get what nobody gave by hand. What decides is decided again when they do.
fn foresee(
    plan: &Plan,
    catalog: Catalog,
    missing: &BTreeSet<String>,
    settings: &Settings,
) -> Result<Current, Failure> {
    applied::block_on(async {
        let found = applied::open(settings).await?;
        let snapshot = match &found {
            Some(found) => found.store.snapshot().await.map_err(store_failure)?,
            None => Default::default(),
        };
        let current = Current::of_files(catalog, &snapshot);
        let versions = match &found {
            Some(found) if !missing.is_empty() => {
                found.state.vault().versions(None).await.map_err(store_failure)?
            }
            _ => Vec::new(),
        };
        let mut without = BTreeMap::new();
        for decided in decisions(plan, &current, missing) {
            let why = match (&decided.access, &decided.secret) {
                (Access::Denied { reason }, _) => Some(reason.clone()),
                (Access::Granted { .. }, Some(address)) => {
                    no_value(&current, &versions, address, &decided.key)?
                }
                (Access::Granted { .. }, None) => None,
            };
            if let Some(why) = why {
                without.insert(decided.asked.name, why);
            }
        }
        if let Some((first, why)) = without.first_key_value() {
            let names: Vec<&str> = without.keys().map(String::as_str).collect();
            let hint = format!("{why}; by hand: --secret {first}=env:VARIABLE or --secret {first}=file:PATH");
            return Err(
                Failure::new(format!("there is no value for the secret {}", names.join(", "))).hint(hint)
            );
        }
        Ok(current)
    })
}

fn decisions(plan: &Plan, current: &Current, missing: &BTreeSet<String>) -> Vec<Decided> {
    let state = RunState::new(NewRun {
        id: "foreseen".to_owned(),
        workflow: plan.workflow.clone(),
        event: plan.event.clone(),
        vars: plan.vars.clone(),
        inputs: plan.inputs.clone(),
        selection: plan.selection.clone(),
    });
    let sure = plan.selected().filter(|(_, declaration)| declaration.job.when.is_none());
    let of_job = sure.filter_map(|(name, declaration)| {
        let node = state.node(name)?;
        Some(decide_lease(&current.catalog, &state, node, &declaration.job))
    });
    // What a matrix fills in is not known yet.
    let is_known = |name: &String| missing.contains(name) && placeholder::find(name).is_empty();
    of_job.flatten().filter(|decided| is_known(&decided.asked.name)).collect()
}

/// Why a secret that is granted has no value; an error where this machine does not hold what its declaration says.
fn no_value(
    current: &Current,
    versions: &[vault::Version],
    address: &Address,
    key: &str,
) -> Result<Option<String>, Failure> {
    let Some(spec) = current.secret_spec(address) else { return Ok(None) };
    let name = &address.name;
    match (spec.source, &spec.location) {
        (SecretSource::Env, Some(variable)) => from_environment(name, variable).map(|_| None),
        (SecretSource::File, Some(path)) => from_file(name, path).map(|_| None),
        (SecretSource::Env | SecretSource::File, None) => {
            Ok(Some(format!("{address} does not say where it is")))
        }
        (SecretSource::HashicorpVault, _) => Ok(None),
        (SecretSource::Vault, _) => {
            let uid = current.secrets.get(address).map(|(uid, _)| uid);
            let own = versions.iter().filter(|version| Some(&version.place.secret) == uid);
            let is_there = vault::current(own, key).is_some();
            let set = || format!("`reactorcide secret set {}` gives it one", short(address));
            Ok((!is_there).then(set))
        }
    }
}

fn short(address: &Address) -> String {
    match &address.project {
        Some(project) => format!("{project}/{}", address.name),
        None => address.name.clone(),
    }
}
