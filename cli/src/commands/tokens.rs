//! `reactorcide tokens`: made, listed and revoked through a server; or, by who operates it, on the state itself, where a
//! worker's first token comes from.

mod remote;

use clap::{Args, Subcommand};
use reactorcide_engine::config::value::Duration;
use reactorcide_engine::identity::{NewToken, Principal, Scope, Token, TokenFilter, TokenId, WorkerId};

use super::jobs::print;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::{applied, report, time};

/// Options of `tokens`.
#[derive(Debug, Args)]
pub struct TokensArgs {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// Make a token, and print it once
    Create(CreateArgs),
    /// List tokens
    List(ListArgs),
    /// Revoke a token
    Revoke {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// For this worker; without a server too, on the state itself
    #[arg(long, value_name = "NAME", conflicts_with = "owner")]
    worker: Option<String>,
    /// Whom it is for: user:NAME, team:NAME, service:NAME or worker:NAME [default: who asks]
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// What the token is called
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Limit it to this capability, such as runs.start (may be given several times)
    #[arg(long = "capability", value_name = "CAPABILITY")]
    capabilities: Vec<String>,
    /// Limit it to this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// It is of no use after so long [default: never, or when the token that is shown ends]
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Those of user:NAME, team:NAME, service:NAME or worker:NAME, or `all` [default: one's own]
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// Only those that work
    #[arg(long)]
    live: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does what is asked, through a server where one is meant, else on the state that the settings name.
pub fn tokens(arguments: &TokensArgs, settings: &Settings) -> Result<Exit, Failure> {
    match Client::wanted(settings)? {
        Some(client) => remote::tokens(&client, &arguments.command),
        None => local(arguments, settings),
    }
}

fn local(arguments: &TokensArgs, settings: &Settings) -> Result<Exit, Failure> {
    applied::block_on(async {
        let identities = applied::create(settings, applied::LOCK_TIMEOUT).await?.state.identities();
        let failed = |error: reactorcide_engine::identity::IdentityError| Failure::new(error.to_string());
        let now = i64::try_from(time::now()).unwrap_or(i64::MAX);
        match &arguments.command {
            TokensCommand::Create(arguments) => {
                let worker = of_worker(arguments)?;
                let is_name = !worker.is_empty()
                    && worker.len() <= 63
                    && worker.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                if !is_name {
                    return Err(Failure::new(format!("{worker:?} is no name of a worker"))
                        .hint("letters, digits, - _ and ., at most 63")
                        .exit(Exit::Usage));
                }
                let text =
                    reactorcide_server::new_token().map_err(|error| Failure::new(error.to_string()))?;
                let token = Token {
                    id: text.id().clone(),
                    principal: Principal::Worker(WorkerId(worker.clone())),
                    name: arguments.name.clone().unwrap_or_else(|| "worker".to_owned()),
                    scope: Scope::default(),
                    created_at: now,
                    expires_at: arguments.expires_in.map(|after| until(now, after)),
                    last_used_at: None,
                    revoked_at: None,
                };
                identities.create_tokens(&[NewToken { token, hash: text.hash() }]).await.map_err(failed)?;
                report::note("it is not shown again");
                print([text.reveal().expose().to_owned()])
            }
            TokensCommand::List(ListArgs { owner, live, json }) => {
                if owner.is_some() {
                    return Err(only_through_a_server("--owner"));
                }
                let live_at = live.then_some(now);
                let filter = TokenFilter { live_at, ..TokenFilter::default() };
                let tokens = identities.tokens(&filter, 10_000).await.map_err(failed)?;
                print(tokens.iter().map(|token| {
                    if *json {
                        return serde_json::to_string(token).unwrap_or_default();
                    }
                    let state = state(now, token.revoked_at, token.expires_at);
                    format!("{}  {state:<7}  {}  {}", token.id.0, token.principal, safe(&token.name))
                }))
            }
            TokensCommand::Revoke { id } => {
                if identities.revoke(&TokenId(id.clone()), now).await.map_err(failed)? {
                    Ok(Exit::Success)
                } else {
                    Err(Failure::new(format!("there is no token {id:?}")).hint("`reactorcide tokens list`"))
                }
            }
        }
    })
}

/// The worker that a token on the state itself is for: others are made by somebody who is known.
fn of_worker(arguments: &CreateArgs) -> Result<&String, Failure> {
    let limited =
        arguments.owner.is_some() || !arguments.capabilities.is_empty() || arguments.project.is_some();
    match &arguments.worker {
        Some(worker) if !limited => Ok(worker),
        Some(_) => Err(Failure::new("a worker's token cannot be limited")
            .hint("labels and WorkerPools say what a worker gets")
            .exit(Exit::Usage)),
        None => Err(only_through_a_server("a token that is not a worker's")),
    }
}

fn only_through_a_server(what: &str) -> Failure {
    Failure::new(format!("{what} is for a server, and none is named"))
        .hint("`reactorcide login URL`, or --server URL; on the state itself there are --worker NAME alone")
        .exit(Exit::Usage)
}

/// A time that is so far away, in milliseconds since 1970.
fn until(now: i64, after: Duration) -> i64 {
    now.saturating_add(i64::try_from(after.to_std().as_millis()).unwrap_or(i64::MAX))
}

/// Whether a token works, in a word.
fn state(now: i64, revoked_at: Option<i64>, expires_at: Option<i64>) -> &'static str {
    if revoked_at.is_some() {
        "revoked"
    } else if expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "works"
    }
}
