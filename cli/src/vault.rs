//! The vault of a state on this machine: its master keys, and the system that keeps other secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::vault::{ExternalSecrets, MasterKey};
use reactorcide_providers::hashicorp::HashicorpVault;
use reactorcide_server::Vault;
use reactorcide_server::vault::{MasterError, MasterSource, beside};
use reactorcide_state::{Location, State};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::{applied, report};

/// Options of everything that opens secrets.
#[derive(Debug, Clone, Default, Args)]
pub struct VaultArgs {
    /// Where a master key of the vault comes from: file:PATH, env:NAME or command:PROGRAM; may be given again, and the first wraps new keys [default: a file beside a state on this machine]
    #[arg(long = "master-key", value_name = "SOURCE", env = "REACTORCIDE_MASTER_KEY", value_delimiter = ',')]
    master_keys: Vec<String>,
    /// The HashiCorp Vault that keeps secrets with `source: hashicorp_vault`
    #[arg(long, value_name = "URL", env = "REACTORCIDE_VAULT_ADDRESS")]
    vault_address: Option<String>,
    /// Where the token for it comes from: file:PATH or env:NAME
    #[arg(long, value_name = "SOURCE", env = "REACTORCIDE_VAULT_TOKEN", requires = "vault_address")]
    vault_token: Option<String>,
    /// Its KV version 2 store
    #[arg(long, value_name = "NAME", env = "REACTORCIDE_VAULT_MOUNT", default_value = "secret")]
    vault_mount: String,
}

/// Whether a master key is made where none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// It is, and said.
    Missing,
    /// Nothing is made: what is not there opens nothing.
    Nothing,
}

impl VaultArgs {
    /// The vault of a state.
    pub fn open(&self, settings: &Settings, state: &State, make: Make) -> Result<Vault, Failure> {
        let vault = Vault::new(state.vault(), self.masters(settings, make)?);
        Ok(vault.with_external(self.external()?))
    }

    fn masters(&self, settings: &Settings, make: Make) -> Result<Vec<MasterKey>, Failure> {
        let given: Vec<&String> = self.master_keys.iter().filter(|text| !text.is_empty()).collect();
        if !given.is_empty() {
            let load = |text: &&String| text.parse::<MasterSource>().and_then(|source| source.load());
            return given.iter().map(load).collect::<Result<_, _>>().map_err(failure);
        }
        let Some(directory) = directory(settings)? else { return Ok(Vec::new()) };
        let found = beside(&directory, make == Make::Missing).map_err(failure)?;
        let Some((key, path, is_new)) = found else { return Ok(Vec::new()) };
        if is_new {
            report::note(&format!(
                "made the master key {}: without it no secret can be read, so keep a copy, apart from copies of the state",
                path.display()
            ));
        }
        Ok(vec![key])
    }

    fn external(&self) -> Result<Option<Arc<dyn ExternalSecrets>>, Failure> {
        let Some(address) = self.vault_address.as_deref().filter(|address| !address.is_empty()) else {
            return Ok(None);
        };
        let token = match self.vault_token.as_deref().and_then(|source| source.split_once(':')) {
            Some(("file", path)) => crate::secrets::from_file("--vault-token", path)?,
            Some(("env", name)) => crate::secrets::from_environment("--vault-token", name)?,
            // The text may be the token itself: it is not repeated.
            _ => {
                return Err(Failure::new("--vault-token says where the token is: file:PATH or env:NAME")
                    .exit(Exit::Usage));
            }
        };
        let token = Sensitive::new(token.expose().trim());
        let vault = HashicorpVault::new(address, &self.vault_mount, token)
            .map_err(|error| Failure::new(format!("--vault-address: {error}")).exit(Exit::Usage))?;
        Ok(Some(Arc::new(vault)))
    }
}

/// Where a state on this machine is; nothing for a database elsewhere.
fn directory(settings: &Settings) -> Result<Option<PathBuf>, Failure> {
    Ok(match applied::location(settings)? {
        Location::Sqlite(path) => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            Some(parent.unwrap_or(Path::new(".")).to_owned())
        }
        Location::Postgres(_) => None,
    })
}

fn failure(error: MasterError) -> Failure {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let failure = Failure::new(format!("{error}{cause}"));
    match error {
        MasterError::Source => failure.hint("write --master-key file:PATH").exit(Exit::Usage),
        MasterError::Form { .. } => failure.hint("`openssl rand -base64 32` makes one"),
        MasterError::Open(path) => failure.hint(format!("chmod 600 {}", path.display())),
        MasterError::Unreadable { .. } => failure,
    }
}
