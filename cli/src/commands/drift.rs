//! `reactorcide drift`: what others did to the objects elsewhere that were applied.

use std::io::Write;

use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::diff::Difference;
use reactorcide_engine::outside::{Drift, Observation, Place, Sight, drifted};
use reactorcide_engine::store::Snapshot;
use serde_json::json;

use super::state::parse_address;
use crate::exit::{Exit, Failure};
use crate::report::{self, count, printable};
use crate::settings::Settings;
use crate::{applied, outside, workspace};

/// Arguments of `drift`.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Only the objects of these resources
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// What opens the door to an object: NAME=env:VARIABLE or NAME=file:PATH; may be given again
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secrets: Vec<String>,
    /// Exit with 2 if there is a difference
    #[arg(long)]
    detailed_exitcode: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What became of one object.
enum Found {
    Same,
    Changed(Vec<Difference>),
    Gone,
    Owed,
    Unknown(String),
}

impl Found {
    fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed(_) => "changed",
            Self::Gone => "gone",
            Self::Owed => "owed",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Looks at every object elsewhere, and shows what differs from what was applied.
pub fn drift(arguments: &DriftArgs, settings: &Settings) -> Result<Exit, Failure> {
    let only: Vec<Address> =
        arguments.addresses.iter().map(|text| parse_address(text)).collect::<Result<_, _>>()?;
    let (snapshot, observed) = applied::block_on(async {
        let workspace = workspace::open(settings).await?;
        let snapshot = match &workspace {
            Some(workspace) => workspace.snapshot().await?,
            None => Snapshot::default(),
        };
        for address in &only {
            if !snapshot.heads.contains_key(address) {
                return Err(super::state::not_applied(address, &snapshot));
            }
        }
        let observed = outside::look(workspace.as_ref(), &snapshot, &only, &arguments.secrets).await?;
        Ok((snapshot, observed))
    })?;
    let found = found(&snapshot, &observed, &only);
    if arguments.json {
        print_json(&found);
    } else {
        print(&found);
    }
    let differing =
        found.iter().filter(|(.., found)| !matches!(found, Found::Same | Found::Unknown(_))).count();
    let unknown = found.iter().filter(|(.., found)| matches!(found, Found::Unknown(_))).count();
    if unknown > 0 {
        return Err(Failure::new(format!("{} could not be looked at", count(unknown, "object")))
            .hint("see what is said of each above; --secret NAME=env:VARIABLE gives what opens a door"));
    }
    Ok(if arguments.detailed_exitcode && differing > 0 { Exit::Changes } else { Exit::Success })
}

/// Every object with what became of it, by the address of its resource.
fn found(snapshot: &Snapshot, observed: &[Observation], only: &[Address]) -> Vec<(Address, Place, Found)> {
    let mut found = Vec::new();
    for seen in observed {
        let Some((address, _)) = snapshot.heads.iter().find(|(_, head)| head.uid == seen.uid) else {
            continue;
        };
        let what = match (&seen.sight, drifted(snapshot, seen)) {
            (Sight::Unknown(reason), _) => Found::Unknown(reason.clone()),
            (_, Drift::None) => Found::Same,
            (_, Drift::Changed(differences)) => Found::Changed(differences),
            (_, Drift::Gone) => Found::Gone,
        };
        found.push((address.clone(), seen.place.clone(), what));
    }
    let owed = snapshot.owed.iter().filter(|owed| only.is_empty() || only.contains(&owed.address));
    found.extend(owed.map(|owed| (owed.address.clone(), owed.place.clone(), Found::Owed)));
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    found
}

fn print(found: &[(Address, Place, Found)]) {
    let mut stdout = crate::stdout::stdout();
    for (address, place, what) in found {
        let place = format!("{address}  {place}");
        let _ = match what {
            Found::Same => continue,
            Found::Changed(differences) => {
                let text = report::plan::render_differences(differences);
                writeln!(stdout, "{} was changed; back to what was applied:\n{text}", printable(&place))
            }
            Found::Gone => writeln!(stdout, "{} is gone\n", printable(&place)),
            Found::Owed => writeln!(stdout, "{} is owed still by an earlier change\n", printable(&place)),
            Found::Unknown(reason) => {
                writeln!(stdout, "{} could not be looked at: {}\n", printable(&place), printable(reason))
            }
        };
    }
    let looked = found.iter().filter(|(.., found)| !matches!(found, Found::Unknown(_))).count();
    let differing =
        found.iter().filter(|(.., found)| matches!(found, Found::Changed(_) | Found::Gone)).count();
    let owed = found.iter().filter(|(.., found)| matches!(found, Found::Owed)).count();
    if owed > 0 {
        let _ = writeln!(
            stdout,
            "{} owed still: the command that owes it goes on when it is run again.",
            verb(owed)
        );
    }
    let _ = match (found.len(), differing) {
        (0, _) => writeln!(stdout, "No objects elsewhere."),
        (_, 0) if owed > 0 => Ok(()),
        (_, 0) if looked > 0 => {
            writeln!(stdout, "No drift: {} elsewhere as applied.", verb(looked))
        }
        (_, 0) => Ok(()),
        (all, _) => {
            let (differ, heals) = if differing == 1 { ("differs", "it") } else { ("differ", "them") };
            let all = count(all, "object");
            writeln!(
                stdout,
                "{differing} of {all} {differ} from what was applied; `reactorcide apply` heals {heals}."
            )
        }
    };
}

fn verb(number: usize) -> String {
    if number == 1 { "1 object is".to_owned() } else { format!("{number} objects are") }
}

fn print_json(found: &[(Address, Place, Found)]) {
    let objects: Vec<_> = found
        .iter()
        .map(|(address, place, what)| {
            let mut object = json!({"address": address, "url": place.to_string(), "status": what.word()});
            match what {
                Found::Changed(differences) => object["differences"] = json!(differences),
                Found::Unknown(reason) => object["reason"] = json!(reason),
                Found::Same | Found::Gone | Found::Owed => {}
            }
            object
        })
        .collect();
    let _ = writeln!(crate::stdout::stdout(), "{:#}", json!({"version": 1, "objects": objects}));
}
