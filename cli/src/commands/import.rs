//! `reactorcide import`: makes ours what is somebody else's, by a plan like any other: an object that others made elsewhere,
//! or a resource that another configuration owns.

use std::collections::BTreeMap;

use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, Resource, Spec, WebhookTargetSpec};
use reactorcide_engine::outside::{Access, Outside, Place, Wishes, is_going};
use reactorcide_engine::plan::{self, Desired, Options};
use reactorcide_engine::store::{Owner, Snapshot};
use reactorcide_engine::suggest::nearest;

use super::plan::{configured, files, owner_of, today, unreadable};
use super::state::parse_address;
use crate::commit::{CommitArgs, carry_out};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::{applied, outside, workspace};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The resource, which the configuration declares
    address: String,
    /// For a WebhookTarget: the id of the object elsewhere, as in URL/ID
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// It shall belong to this project's repository, whose configuration --config names
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    commit: CommitArgs,
}

/// Plans an import, asks, and carries it out.
pub fn import(arguments: &ImportArgs, settings: &Settings) -> Result<Exit, Failure> {
    let address = parse_address(&arguments.address)?;
    let owner = owner_of(arguments.project.as_deref());
    let both = configured(files(&owner, settings)?, &owner, settings)?;
    let Some(resource) = both.resources.get(&address) else {
        return Err(undeclared(&address, &both.resources));
    };
    let desired = with(resource, &owner, &both.snapshot)?;
    let mut options = Options { as_of: today(), ..Options::default() };
    match &resource.spec {
        Spec::WebhookTarget(spec) => {
            workspace::only_local(settings, "`import` of an object elsewhere")?;
            options.outside = adoption(&address, spec, arguments, &both.snapshot)?;
        }
        _ => {
            check_owner(&address, &owner, arguments.id.as_deref(), &both.snapshot)?;
            options.take.insert(address.clone());
        }
    }
    let plan = plan::between(&desired, &both.snapshot, &options).map_err(|error| unreadable(&error))?;
    carry_out(&plan, false, &arguments.commit, settings)
}

fn undeclared(address: &Address, declared: &Catalog) -> Failure {
    let names: Vec<String> = declared.keys().map(Address::to_string).collect();
    let near = nearest(&address.to_string(), names.iter().map(String::as_str));
    Failure::new(format!("{address} is not declared")).hint(match near {
        Some(near) => format!(
            "did you mean {near}? Write it into the configuration first, then import what it stands for"
        ),
        None => "write it into the configuration first, then import what it stands for".to_owned(),
    })
}

/// The object that shall be the resource's, if it is there.
fn adoption(
    address: &Address,
    spec: &WebhookTargetSpec,
    arguments: &ImportArgs,
    snapshot: &Snapshot,
) -> Result<Wishes, Failure> {
    let Some(id) = &arguments.id else {
        return Err(Failure::new(format!("{address} stands for an object elsewhere, and none is named"))
            .hint(format!("give --id ID: the object is then {}/ID", spec.url.trim_end_matches('/')))
            .exit(Exit::Usage));
    };
    let is_dots = matches!(id.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if id.is_empty()
        || is_dots
        || id.chars().any(|one| !(one.is_ascii_alphanumeric() || "-._~:@!$&'()*+,;=%".contains(one)))
    {
        return Err(Failure::new(format!("{id:?} is not the last part of a URL"))
            .hint("percent-encode what is neither a letter nor a digit")
            .exit(Exit::Usage));
    }
    let place = Place::new(&spec.url, id);
    let ours = snapshot.objects.iter().filter(|object| !is_going(object, snapshot));
    let owned = ours.into_iter().find(|object| object.place == place).map(|object| &object.uid);
    if owned.is_some() && owned == snapshot.heads.get(address).map(|head| &head.uid) {
        return Err(Failure::new(format!("{place} is the object of {address} already"))
            .hint("`reactorcide drift` shows whether it is as applied"));
    }
    let client = outside::client(snapshot, &BTreeMap::new(), Some(spec), &arguments.commit.secrets)?;
    let seen = applied::block_on(async {
        let looked = client.look(&Access::new(spec, &place)).await;
        looked.map_err(|error| Failure::new(error.to_string()).hint(error.hint()))
    })?;
    let Some(seen) = seen else {
        return Err(Failure::new(format!("there is no object {place}")).hint(
            "look at the URL of the resource and at --id; an apply without import makes a new object",
        ));
    };
    Ok(Wishes {
        adopt: [(address.clone(), id.clone())].into(),
        adopted: [(address.clone(), seen.shown)].into(),
        ..Wishes::default()
    })
}

fn check_owner(
    address: &Address,
    owner: &Owner,
    id: Option<&str>,
    snapshot: &Snapshot,
) -> Result<(), Failure> {
    if id.is_some() {
        return Err(Failure::new(format!(
            "{address} stands for nothing elsewhere, and --id names an object there"
        ))
        .hint(format!("only a {} has an object elsewhere", Kind::WebhookTarget))
        .exit(Exit::Usage));
    }
    match snapshot.heads.get(address) {
        Some(head) if head.owner == *owner => {
            Err(Failure::new(format!("{address} belongs to {owner} already"))
                .hint("`reactorcide plan` shows what an apply would change"))
        }
        Some(_) => Ok(()),
        None => Err(Failure::new(format!("{address} is not applied: there is nothing to take over"))
            .hint("`reactorcide apply` creates it")),
    }
}

/// What is applied with this one resource as it is declared.
fn with(resource: &Resource, owner: &Owner, snapshot: &Snapshot) -> Result<Desired, Failure> {
    let mut all = plan::applied(snapshot).map_err(|error| unreadable(&error))?;
    let before = all.clone();
    let address = resource.address();
    all.insert(address.clone(), resource.clone().into());
    if let Some((from, to)) = plan::dangling(&all, &before) {
        return Err(Failure::new(format!("{from} refers to {to}, which is not applied"))
            .hint(format!("apply that first: reactorcide apply --target {to}")));
    }
    let is_theirs = |one: &Address| snapshot.heads.get(one).is_some_and(|head| head.owner != *owner);
    all.retain(|one, _| *one == address || !is_theirs(one));
    Ok(Desired { owner: owner.clone(), resources: all })
}
