//! `state mv`, `state rm` and `state export`: changes of what is applied without its files, by a plan like any other, and
//! all of it as files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use reactorcide_engine::address::{Address, is_name};
use reactorcide_engine::canonical;
use reactorcide_engine::config::{Catalog, Kind};
use reactorcide_engine::outside::Wishes;
use reactorcide_engine::plan::{self, Options, dangling};

use reactorcide_engine::store::Snapshot;

use super::{not_applied, parse_address};
use crate::commands::plan::{today, towards, unreadable};
use crate::commit::{CommitArgs, carry_out};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::{applied, workspace};

/// Arguments of `state mv`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The address that it has
    from: String,
    /// The address that it gets: of the same kind and project
    to: String,
    #[command(flatten)]
    commit: CommitArgs,
}

/// Arguments of `state rm`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The addresses of what shall be forgotten
    #[arg(required = true)]
    addresses: Vec<String>,
    #[command(flatten)]
    commit: CommitArgs,
}

/// Arguments of `state export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A new directory that gets a file for each resource [default: print them as one file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Gives a resource another name and keeps its history.
pub fn rename(arguments: &MoveArgs, settings: &Settings) -> Result<Exit, Failure> {
    let (from, to) = (parse_address(&arguments.from)?, parse_address(&arguments.to)?);
    if (from.kind, &from.project) != (to.kind, &to.project) {
        return Err(Failure::new(format!("{from} cannot become {to}"))
            .hint("only the name of a resource can change; what is in a project moves with the project")
            .exit(Exit::Usage));
    }
    if !is_name(to.kind, &to.name) {
        return Err(Failure::new(format!("{:?} is not a valid name", to.name))
            .hint("lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit")
            .exit(Exit::Usage));
    }
    let options = Options { as_of: today(), ..Options::default() };
    let plan = towards(
        |snapshot| {
            let mut catalog = plan::applied(snapshot).map_err(|error| unreadable(&error))?;
            if catalog.contains_key(&to) {
                return Err(Failure::new(format!("{to} is applied already")).hint("choose another name"));
            }
            let resource = catalog.remove(&from).ok_or_else(|| not_applied(&from, snapshot))?;
            let mut resource = std::sync::Arc::unwrap_or_clone(resource);
            resource.metadata.name.clone_from(&to.name);
            resource.metadata.renamed_from = Some(from.name.clone());
            catalog.insert(to.clone(), resource.into());
            whole(catalog, snapshot)
        },
        &options,
        settings,
    )?;
    carry_out(&plan, false, &arguments.commit, settings)
}

/// Deletes resources, whatever the files say. Their objects elsewhere stay as they are.
pub fn remove(arguments: &RemoveArgs, settings: &Settings) -> Result<Exit, Failure> {
    let addresses: Vec<Address> =
        arguments.addresses.iter().map(|text| parse_address(text)).collect::<Result<_, _>>()?;
    let forget = Wishes { forget: addresses.iter().cloned().collect(), ..Wishes::default() };
    let options = Options { as_of: today(), allow_destroy: true, outside: forget, ..Options::default() };
    let plan = towards(
        |snapshot| {
            let mut catalog = plan::applied(snapshot).map_err(|error| unreadable(&error))?;
            for address in &addresses {
                let is_owed = snapshot.owed.iter().any(|owed| owed.address == *address);
                if catalog.remove(address).is_none() && !is_owed {
                    return Err(not_applied(address, snapshot));
                }
            }
            whole(catalog, snapshot)
        },
        &options,
        settings,
    )?;
    carry_out(&plan, false, &arguments.commit, settings)
}

/// The catalog, if nothing in it refers to what is not there.
fn whole(catalog: Catalog, snapshot: &Snapshot) -> Result<Catalog, Failure> {
    let before = plan::applied(snapshot).map_err(|error| unreadable(&error))?;
    match dangling(&catalog, &before) {
        None => Ok(catalog),
        Some((from, to)) => Err(Failure::new(format!("{from} refers to {to}, which would be gone"))
            .hint("change that first; `reactorcide graph` shows what refers to what")),
    }
}

/// Writes what is applied as a configuration.
pub fn export(arguments: &ExportArgs, settings: &Settings) -> Result<Exit, Failure> {
    let snapshot = applied::block_on(workspace::snapshot(settings))?;
    let catalog = plan::applied(&snapshot).map_err(|error| unreadable(&error))?;
    let documents = catalog.iter().map(|(address, resource)| {
        let text = serde_yaml::to_string(&canonical::value(resource))
            .map_err(|error| Failure::new(format!("{address}: {error}")))?;
        Ok((address, text))
    });
    let documents = documents.collect::<Result<Vec<_>, Failure>>()?;
    match &arguments.out {
        None => {
            let texts: Vec<&str> = documents.iter().map(|(_, text)| text.as_str()).collect();
            let _ = write!(crate::stdout::stdout(), "{}", texts.join("---\n"));
        }
        Some(directory) => {
            fs::create_dir(directory).map_err(|error| {
                Failure::new(format!("cannot make {}: {error}", directory.display()))
                    .hint("name a directory that does not exist yet, in one that does")
            })?;
            for (address, text) in &documents {
                let path = file_of(directory, address)?;
                path.parent()
                    .map_or(Ok(()), fs::create_dir_all)
                    .and_then(|()| fs::write(&path, text))
                    .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
            }
            let count = crate::report::count(documents.len(), "resource");
            let _ = writeln!(crate::stdout::stdout(), "wrote {count} to {}", directory.display());
        }
    }
    Ok(Exit::Success)
}

/// `PROJECT/Kind/name.yaml`; what belongs to no project stands in `workspace`. A valid name has no dots at the beginning of
/// a part, and none that is empty, so that it stays below the directory.
fn file_of(directory: &Path, address: &Address) -> Result<PathBuf, Failure> {
    let names = [(Kind::Project, address.project.as_deref()), (address.kind, Some(address.name.as_str()))];
    if let Some((_, Some(name))) =
        names.iter().find(|(kind, name)| name.is_some_and(|name| !is_name(*kind, name)))
    {
        return Err(Failure::new(format!("{address} cannot be a file: {name:?} is not a valid name"))
            .hint("give it a valid one with `reactorcide state mv`, and try again"));
    }
    let project = address.project.as_deref().unwrap_or("workspace");
    // A project may be called workspace: what belongs to none stands elsewhere then.
    let top = if address.project.is_some() { format!("projects/{project}") } else { project.to_owned() };
    Ok(directory.join(top).join(address.kind.as_str()).join(format!("{}.yaml", address.name)))
}
