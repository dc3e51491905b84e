//! `reactorcide login` and `logout`: which server commands ask, and with which token.

use std::path::{Path, PathBuf};

use clap::Args;
use reactorcide_server::api::Me;

use crate::client::{self, Client, Login};
use crate::exit::{Exit, Failure};
use crate::report;

/// Options of `login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The server, such as `https://ci.example.com`
    url: String,
    /// The file that holds the token [default: REACTORCIDE_TOKEN, else standard input]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Remembers a server and a token, once the server knows the token.
pub fn login(arguments: &LoginArgs) -> Result<Exit, Failure> {
    client::block_on(async {
        let mut token = client::read_token(arguments.token_file.as_deref(), "REACTORCIDE_TOKEN")?;
        if token.is_none() && arguments.token_file.is_none() {
            token = client::read_token(Some(Path::new("-")), "")?;
        }
        let token = token.ok_or_else(|| {
            Failure::new("there is no token")
                .hint("give it on standard input, with --token-file or REACTORCIDE_TOKEN")
        })?;
        let url = arguments.url.trim_end_matches('/').to_owned();
        let client = Client::new(url.clone(), token.clone())?;
        let me: Me = client.get("/me", &[]).await?;
        Login::write(&url, &token)?;
        report::note(&format!(
            "commands ask {url} as {} from now on; `reactorcide logout` ends that",
            me.name
        ));
        Ok(Exit::Success)
    })
}

/// Forgets the server.
pub fn logout() -> Result<Exit, Failure> {
    let message = if Login::forget()? { "logged out" } else { "there was no login" };
    report::note(message);
    Ok(Exit::Success)
}
