//! `reactorcide tokens`: tokens of workers, made on the state itself by who operates the server.

use clap::{Args, Subcommand};
use reactorcide_engine::identity::{NewToken, Principal, Scope, Token, TokenFilter, TokenId, WorkerId};

use super::jobs::print;
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
    /// Make a token for a worker, and print it once
    Create {
        /// The worker's name
        #[arg(long, value_name = "NAME")]
        worker: String,
        /// What the token is called
        #[arg(long, default_value = "worker")]
        name: String,
    },
    /// List tokens
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token
    Revoke {
        /// Its id
        id: String,
    },
}

/// Does what is asked, on the state that the settings name.
pub fn tokens(arguments: &TokensArgs, settings: &Settings) -> Result<Exit, Failure> {
    applied::block_on(async {
        let identities = applied::create(settings, applied::LOCK_TIMEOUT).await?.state.identities();
        let failed = |error: reactorcide_engine::identity::IdentityError| Failure::new(error.to_string());
        let now = i64::try_from(time::now()).unwrap_or(i64::MAX);
        match &arguments.command {
            TokensCommand::Create { worker, name } => {
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
                    name: name.clone(),
                    scope: Scope::default(),
                    created_at: now,
                    expires_at: None,
                    last_used_at: None,
                    revoked_at: None,
                };
                identities.create_tokens(&[NewToken { token, hash: text.hash() }]).await.map_err(failed)?;
                report::note("it is not shown again");
                print([text.reveal().expose().to_owned()])
            }
            TokensCommand::List { json } => {
                let tokens = identities.tokens(&TokenFilter::default(), 10_000).await.map_err(failed)?;
                print(tokens.iter().map(|token| {
                    if *json {
                        return serde_json::to_string(token).unwrap_or_default();
                    }
                    let state = if token.revoked_at.is_some() {
                        "revoked"
                    } else if token.is_live(now) {
                        "works"
                    } else {
                        "expired"
                    };
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
