//! Tokens through a server: of users, teams, service accounts and workers, for who may.

use std::collections::BTreeSet;

use reactorcide_engine::identity::Capability;
use reactorcide_engine::suggest::nearest;
use reactorcide_server::api::{CapabilityWord, CreateToken, CreatedToken, TokenRow};

use super::{CreateArgs, ListArgs, TokensCommand, state, until};
use crate::client::{self, Client};
use crate::commands::jobs::print;
use crate::commands::runs::escape;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::{report, time};

/// Does what is asked.
pub fn tokens(client: &Client, command: &TokensCommand) -> Result<Exit, Failure> {
    client::block_on(async {
        match command {
            TokensCommand::Create(arguments) => create(client, arguments).await,
            TokensCommand::List(arguments) => list(client, arguments).await,
            TokensCommand::Revoke { id } => {
                client.delete(&format!("/tokens/{}", escape(id))).await.map(|()| Exit::Success)
            }
        }
    })
}

fn now() -> i64 {
    i64::try_from(time::now()).unwrap_or(i64::MAX)
}

async fn create(client: &Client, arguments: &CreateArgs) -> Result<Exit, Failure> {
    let owner = arguments.worker.as_ref().map(|worker| format!("worker:{worker}"));
    let name = arguments.name.clone();
    let body = CreateToken {
        name: name.unwrap_or_else(|| if owner.is_some() { "worker" } else { "cli" }.to_owned()),
        owner: owner.or_else(|| arguments.owner.clone()),
        capabilities: capabilities(&arguments.capabilities)?,
        project: arguments.project.clone(),
        expires_at: arguments.expires_in.map(|after| until(now(), after)),
    };
    let created: CreatedToken = client.post("/tokens", &body).await?;
    if arguments.json {
        return print([serde_json::to_string(&created).unwrap_or_default()]);
    }
    report::note(&line(&created.token));
    report::note("it is not shown again");
    print(created.secret)
}

fn capabilities(words: &[String]) -> Result<Option<BTreeSet<CapabilityWord>>, Failure> {
    let read = |word: &String| {
        word.parse().map(CapabilityWord).map_err(|_| {
            let near = nearest(word, Capability::ALL.iter().map(|one| one.as_str()));
            Failure::new(format!("there is no capability {word:?}"))
                .hint(match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => "docs/access.md lists them; `reactorcide whoami` shows yours".to_owned(),
                })
                .exit(Exit::Usage)
        })
    };
    let all: BTreeSet<CapabilityWord> = words.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Some(all).filter(|all| !all.is_empty()))
}

async fn list(client: &Client, arguments: &ListArgs) -> Result<Exit, Failure> {
    let mut query = Vec::new();
    query.extend(arguments.owner.clone().map(|owner| ("owner", owner)));
    query.extend(arguments.live.then(|| ("live", "true".to_owned())));
    let rows: Vec<TokenRow> = client.all("/tokens", &query, usize::MAX).await?;
    print(
        rows.iter().map(|row| {
            if arguments.json { serde_json::to_string(row).unwrap_or_default() } else { line(row) }
        }),
    )
}

fn line(row: &TokenRow) -> String {
    let state = state(now(), row.revoked_at, row.expires_at);
    let project =
        row.project.as_deref().map_or_else(String::new, |project| format!("  project {}", safe(project)));
    let capabilities = row.capabilities.as_ref().map_or_else(String::new, |all| {
        let words: Vec<&str> = all.iter().map(|one| one.0.as_str()).collect();
        format!("  only {}", words.join(","))
    });
    let expires = row.expires_at.map_or_else(String::new, |at| {
        format!("  until {}", time::timestamp(u64::try_from(at).unwrap_or_default()))
    });
    format!(
        "{}  {state:<7}  {}  {}{project}{capabilities}{expires}",
        row.id,
        safe(&row.owner),
        safe(&row.name)
    )
}
