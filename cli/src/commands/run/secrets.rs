//! Values of secrets for a local run: from the command line, or from where a Secret says that a local run finds them.

use std::collections::{BTreeMap, BTreeSet};

use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, ProfileSecrets, RunnerMode, SecretSource, Spec};
use reactorcide_engine::protocol::mask;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_worker::{Secrets, credentials_wanted, secrets_wanted};

use super::local::Plan;
use crate::exit::{Exit, Failure};
use crate::secrets::{from_environment, from_file, given};

/// Every secret that the jobs to run name, with its value. Nothing runs where one has none.
pub fn collect(plan: &Plan, catalog: &Catalog, pairs: &[String]) -> Result<Secrets, Failure> {
    let mut values = given(pairs)?;
    let names: Vec<String> = values.keys().cloned().collect();
    let mut missing = Vec::new();
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
            let value = match values.get(&variable).cloned() {
                Some(value) => Some(value),
                None => declared(plan, catalog, &secret)?,
            };
            match value {
                Some(value) => drop(values.insert(secret, value)),
                None => missing.push(secret),
            }
        }
    }
    missing.sort();
    missing.dedup();
    if let Some(first) = missing.first() {
        return Err(Failure::new(format!("there is no value for the secret {}", missing.join(", ")))
            .hint(format!("give it one: --secret {first}=env:VARIABLE or --secret {first}=file:PATH")));
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
    Ok(Secrets::new(values).for_sources(for_sources))
}

fn find<'a>(values: &'a BTreeMap<String, Sensitive>, secret: &str) -> Option<&'a Sensitive> {
    values.get(secret).or_else(|| values.get(secret.split_once(':')?.0))
}

/// Where the declaration of a secret says that a local run finds it.
fn declared(plan: &Plan, catalog: &Catalog, secret: &str) -> Result<Option<Sensitive>, Failure> {
    let name = secret.split_once(':').map_or(secret, |(name, _)| name);
    let own = Address::new(Kind::Secret, plan.workflow.address.project.as_deref(), name);
    let resource = catalog.get(&own).or_else(|| catalog.get(&Address::new(Kind::Secret, None, name)));
    let Some(Spec::Secret(spec)) = resource.map(|resource| &resource.spec) else { return Ok(None) };
    match (spec.source, &spec.location) {
        (SecretSource::Env, Some(variable)) => from_environment(name, variable).map(Some),
        (SecretSource::File, Some(path)) => from_file(name, path).map(Some),
        _ => Ok(None),
    }
}
