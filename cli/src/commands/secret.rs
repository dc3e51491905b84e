//! `reactorcide secret`: gives secrets their values, and says who would get them. Against a state on this machine or a server.

mod place;
mod read;

use clap::{Args, Subcommand, ValueEnum};
use reactorcide_engine::config::Origin;
use reactorcide_server::api::{SecretRow, SecretVersionRow, TestedSecret};
use reactorcide_server::vault::{SetValue, TestAs};

use self::place::Secrets;
use self::read::FromArgs;
use super::jobs::print;
use super::run::EventName;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::vault::{Make, VaultArgs};
use crate::{client, report, time};

pub(super) use self::place::Secrets as Place;

/// Options of `secret`.
#[derive(Debug, Args)]
pub struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Give a secret a value, which is the current one from then on
    Set {
        #[command(flatten)]
        one: OneArgs,
        #[command(flatten)]
        from: FromArgs,
    },
    /// List secrets, with what is there of their values; never a value
    List {
        /// Those of a project
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Replace a value: jobs get the new one from then on, and the old one stays until --retire-old
    Rotate {
        #[command(flatten)]
        one: OneArgs,
        #[command(flatten)]
        from: FromArgs,
        /// Set nothing, and delete every version but the current one
        #[arg(long, conflicts_with_all = ["from_stdin", "from_file"])]
        retire_old: bool,
    },
    /// List the versions of a secret; equal fingerprints are equal values
    Versions {
        /// The secret: NAME, PROJECT/NAME or its address
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Delete values for good; that they were there stays known
    Delete {
        #[command(flatten)]
        one: OneArgs,
        /// This version alone; the newest that is left is then the current one
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Say whether a job would get a secret, through which grant, or why not
    Test(TestArgs),
    /// Print a value; who did is written down
    Reveal {
        #[command(flatten)]
        one: OneArgs,
        /// This version [default: the current one]
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
    },
}

/// Which value.
#[derive(Debug, Args)]
struct OneArgs {
    /// The secret: NAME, PROJECT/NAME or its address
    name: String,
    /// Which of its keys; not needed where it has one
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// The secret: NAME, PROJECT/NAME or its address
    name: String,
    /// The job: PROJECT/PIPELINE/JOB
    #[arg(long, value_name = "JOB")]
    as_job: String,
    /// The event
    #[arg(long, value_enum, default_value_t = EventName::Push, value_name = "TYPE")]
    event: EventName,
    /// Its branch; for a pull request the one to merge into
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Its tag
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// Where the code comes from
    #[arg(long, value_enum, default_value_t = OriginName::Base)]
    origin: OriginName,
    /// The profile that bounds the run
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    vault: VaultArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OriginName {
    Base,
    Head,
    Fork,
    Unverified,
}

/// Does what is asked.
pub fn secret(arguments: &SecretArgs, settings: &Settings) -> Result<Exit, Failure> {
    client::block_on(act(&arguments.command, settings))
}

async fn act(command: &SecretCommand, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        SecretCommand::Set { one, from } => {
            let secrets = Secrets::open(settings, &one.vault, Make::Missing).await?;
            put(&secrets, one, from, false).await
        }
        SecretCommand::List { project, json, vault } => {
            let secrets = Secrets::open(settings, vault, Make::Nothing).await?;
            let rows = secrets.list(project.as_deref()).await?;
            print(rows.iter().flat_map(|row| lines(row, *json)))
        }
        SecretCommand::Rotate { one, retire_old: true, .. } => {
            let secrets = Secrets::open(settings, &one.vault, Make::Nothing).await?;
            let deleted = secrets.delete(&one.name, one.key.as_deref(), None, true).await?;
            report::note(&format!(
                "deleted {}; the current one stays",
                report::count(count(deleted), "old version")
            ));
            Ok(Exit::Success)
        }
        SecretCommand::Rotate { one, from, .. } => {
            let secrets = Secrets::open(settings, &one.vault, Make::Nothing).await?;
            put(&secrets, one, from, true).await
        }
        SecretCommand::Versions { name, json, vault } => {
            let secrets = Secrets::open(settings, vault, Make::Nothing).await?;
            let rows = secrets.versions(name).await?;
            print(rows.iter().map(|row| version_line(row, *json)))
        }
        SecretCommand::Delete { one, version, yes } => {
            let secrets = Secrets::open(settings, &one.vault, Make::Nothing).await?;
            if !yes && !read::agreed(&format!("Delete values of {} for good?", safe(&one.name)))? {
                return Err(Failure::new("nothing was deleted").exit(Exit::NotAccepted));
            }
            let deleted = secrets.delete(&one.name, one.key.as_deref(), *version, false).await?;
            report::note(&format!("deleted {}", report::count(count(deleted), "value")));
            Ok(Exit::Success)
        }
        SecretCommand::Test(arguments) => test(arguments, settings).await,
        SecretCommand::Reveal { one, version } => {
            let secrets = Secrets::open(settings, &one.vault, Make::Nothing).await?;
            let revealed = secrets.reveal(&one.name, one.key.as_deref(), *version).await?;
            print([revealed.value.expose().to_owned()])
        }
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

async fn put(secrets: &Secrets, one: &OneArgs, from: &FromArgs, rotate: bool) -> Result<Exit, Failure> {
    // Before anybody types a value for nothing.
    let address = secrets.find(&one.name).await?;
    let value = from.read(&one.name)?;
    let wanted = SetValue { key: one.key.clone(), value, rotate };
    let row = secrets.set(&one.name, &wanted).await?;
    let key = if row.key == "value" { String::new() } else { format!(" key {}", safe(&row.key)) };
    report::note(&format!("{}{key}: version {} is the current one", safe(&address), row.version));
    if rotate {
        let name = safe(&one.name);
        report::note(&format!(
            "jobs get it from now on; the version before stays until `reactorcide secret rotate {name} --retire-old`"
        ));
    }
    Ok(Exit::Success)
}

fn lines(row: &SecretRow, json: bool) -> Vec<String> {
    if json {
        return vec![serde_json::to_string(row).unwrap_or_default()];
    }
    let line = |value: &reactorcide_server::api::SecretValueRow| {
        let what = match (value.version, row.source.as_str()) {
            (Some(version), _) => {
                let at = time::timestamp(u64::try_from(value.set_at.unwrap_or_default()).unwrap_or_default());
                let by = safe(value.set_by.as_deref().unwrap_or_default());
                format!("version {version}, set {at} by {by}")
            }
            (None, "vault") => "no value".to_owned(),
            (None, source) => {
                let location = row.location.as_deref().map(|location| format!(" {}", safe(location)));
                format!("from {source}{}", location.unwrap_or_default())
            }
        };
        format!("{}  {}  {what}", safe(&row.address), safe(&value.key))
    };
    row.values.iter().map(line).collect()
}

fn version_line(row: &SecretVersionRow, json: bool) -> String {
    if json {
        return serde_json::to_string(row).unwrap_or_default();
    }
    let at = time::timestamp(u64::try_from(row.created_at).unwrap_or_default());
    let rest = match (&row.deleted_by, &row.fingerprint) {
        (Some(by), _) => {
            let at = time::timestamp(u64::try_from(row.deleted_at.unwrap_or_default()).unwrap_or_default());
            format!("deleted {at} by {}", safe(by))
        }
        (None, Some(fingerprint)) => fingerprint.clone(),
        (None, None) => String::new(),
    };
    format!(
        "{}  {:>4}  {:<7}  set {at} by {}  {rest}",
        safe(&row.key),
        row.version,
        row.status,
        safe(&row.actor)
    )
}

async fn test(arguments: &TestArgs, settings: &Settings) -> Result<Exit, Failure> {
    let secrets = Secrets::open(settings, &arguments.vault, Make::Nothing).await?;
    let wanted = TestAs {
        job: arguments.as_job.clone(),
        event: arguments.event.into(),
        branch: arguments.branch.clone(),
        tag: arguments.tag.clone(),
        origin: match arguments.origin {
            OriginName::Base => Origin::Base,
            OriginName::Head => Origin::Head,
            OriginName::Fork => Origin::Fork,
            OriginName::Unverified => Origin::Unverified,
        },
        profile: arguments.profile.clone(),
    };
    let tested = secrets.test(&arguments.name, &wanted).await?;
    let gets = tested.granted && tested.asked;
    if arguments.json {
        print([serde_json::to_string(&tested).unwrap_or_default()])?;
    } else {
        print([verdict(&tested)])?;
    }
    Ok(if gets { Exit::Success } else { Exit::Failed })
}

fn verdict(tested: &TestedSecret) -> String {
    let who =
        format!("{} job {} (profile {})", safe(&tested.pipeline), safe(&tested.job), safe(&tested.profile));
    let secret = safe(&tested.secret);
    match (&tested.policy, &tested.reason) {
        (Some(policy), _) if tested.asked => {
            format!("{who} gets {secret}: {} #{}", safe(policy), tested.grant.unwrap_or_default())
        }
        (Some(policy), _) => format!(
            "{who} does not get {secret}: {} #{} would give it, but the job does not ask for it",
            safe(policy),
            tested.grant.unwrap_or_default()
        ),
        (None, reason) => {
            format!("{who} does not get {secret}: {}", safe(reason.as_deref().unwrap_or("nothing grants it")))
        }
    }
}
