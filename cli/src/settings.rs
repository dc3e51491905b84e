//! What every command is told beside its own arguments: flag, else environment variable, else default.
//!
//! Where applied state is: `--state` or `--server`, else `REACTORCIDE_STATE` or `REACTORCIDE_SERVER`, else the server of
//! `login`, else SQLite beside the configuration. `--state local` is the last one by name.
//!
//! Every environment variable that `reactorcide` reads is in this file:
//!
//! | variable | flag | meaning |
//! | --- | --- | --- |
//! | `REACTORCIDE_CONFIG` | `--config` | the directory of the configuration |
//! | `REACTORCIDE_STATE` | `--state` | where applied state is kept |
//! | `REACTORCIDE_SERVER` | `--server` | the server that is asked instead of local state |
//! | `REACTORCIDE_TOKEN` | | our token there; `login` remembers one |
//! | `REACTORCIDE_WORKER_TOKEN` | `worker --token-file` | the token of a worker |
//! | `REACTORCIDE_LISTEN` | `server --listen` | where a server listens |
//! | `REACTORCIDE_STORAGE` | `server --storage` | where a server keeps logs and artifacts |
//! | `REACTORCIDE_FIRST_USER` | `server --first-user` | the first user of a new workspace |
//! | `REACTORCIDE_STOP_AFTER`, `REACTORCIDE_LOST_AFTER` | `server --stop-after`, `--lost-after` | how long workers may be away |
//! | `REACTORCIDE_KEEP_LOGS`, `REACTORCIDE_KEEP_ARTIFACTS`, `REACTORCIDE_KEEP_PER_PROJECT` | `server --keep-logs`, … | what is kept |
//! | `REACTORCIDE_WITH_WORKER` | `server --with-worker` | run jobs in the server's process |
//! | `REACTORCIDE_LOG` | `--log-level` | what a server or worker logs: a level, or `TARGET=LEVEL,…` |
//! | `REACTORCIDE_LOG_FORMAT` | `--log-format` | how its lines look |
//! | `REACTORCIDE_WORKER_SLOTS`, `…_LABELS`, `…_POOL`, `…_DIRECTORY`, `…_PROVIDER`, `…_KEEP_WORKSPACE`, `…_DISK_FLOOR`, `…_SPOOL` | `worker --slots`, … | the machine; labels are separated by commas |
//! | `NO_COLOR`, `CLICOLOR_FORCE` | `--color` | no colour, colour in spite of no terminal |

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anstream::ColorChoice;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ValueEnum};

use crate::process_file::Effective;

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Directory of the configuration [default: .reactorcide of the current directory, else that itself]
    #[arg(long, global = true, value_name = "DIR", env = "REACTORCIDE_CONFIG")]
    config: Option<OsString>,
    /// Where applied state is kept: sqlite:PATH, postgres://…, or `local` [default: the server of `login`, else SQLite in .reactorcide-state beside the configuration, which is `local`]
    #[arg(long, global = true, value_name = "URL", env = "REACTORCIDE_STATE", hide_env_values = true)]
    state: Option<String>,
    /// The server to ask instead of local state [default: the one of `login`]
    #[arg(long, global = true, value_name = "URL", env = "REACTORCIDE_SERVER")]
    server: Option<String>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
}

/// Where a command finds what is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the state that is named.
    State,
    /// Behind the server that is named.
    Server,
    /// Nobody says.
    Unsaid,
    /// Both are named in the same way, and it cannot be told which is meant.
    Both,
}

impl Place {
    /// Who says more wins: a flag over a variable.
    fn of(state: Option<ValueSource>, server: Option<ValueSource>) -> Self {
        let rank = |source: Option<ValueSource>| match source {
            Some(ValueSource::CommandLine) => 2,
            Some(_) => 1,
            None => 0,
        };
        match (rank(state), rank(server)) {
            (0, 0) => Self::Unsaid,
            (state, server) if state > server => Self::State,
            (state, server) if state < server => Self::Server,
            _ => Self::Both,
        }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What every command is told beside its own arguments.
#[derive(Debug)]
pub struct Settings {
    /// The directory that `--config` names.
    pub config: Option<PathBuf>,
    /// The state that `--state` names.
    pub state: Option<String>,
    /// The server that `--server` names.
    pub server: Option<String>,
    /// Which of the two counts.
    pub place: Place,
    /// When to use colour.
    pub color: ColorChoice,
    /// What a server or a worker goes by, and where each value came from.
    pub effective: Vec<Effective>,
}

impl Settings {
    /// Resolves the options. An empty value counts as absent, as is usual for environment variables.
    pub fn new(arguments: GlobalArgs, matches: &ArgMatches) -> Self {
        let color = match arguments.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        let state = arguments.state.filter(|url| !url.is_empty());
        let server = arguments.server.filter(|url| !url.is_empty());
        let source = |name, is_there| matches.value_source(name).filter(|_| is_there);
        let place = Place::of(source("state", state.is_some()), source("server", server.is_some()));
        Self {
            config: arguments.config.filter(|path| !path.is_empty()).map(PathBuf::from),
            state: state.filter(|state| state != LOCAL),
            server,
            place,
            color,
            effective: Vec::new(),
        }
    }

    /// The directory whose YAML files are the configuration: `.reactorcide` below the named directory (or the
    /// current one) if it is there, else the directory itself.
    pub fn config_directory(&self) -> PathBuf {
        config_directory_of(self.config.as_deref().unwrap_or(Path::new(".")))
    }

    /// The directory that holds local state when no other state is named: beside `.reactorcide`, or in the
    /// configuration's directory if that has another name.
    pub fn state_directory(&self) -> PathBuf {
        let config = self.config_directory();
        let beside = match config.file_name() {
            Some(name) if name == CONFIG_DIRECTORY => config.parent().unwrap_or(Path::new(".")),
            _ => config.as_path(),
        };
        beside.join(STATE_DIRECTORY)
    }
}

/// The usual state, by name.
const LOCAL: &str = "local";
/// The configuration's usual directory.
pub const CONFIG_DIRECTORY: &str = ".reactorcide";
/// The usual directory of local state.
pub const STATE_DIRECTORY: &str = ".reactorcide-state";

/// `.reactorcide` below a directory if it is there, else the directory itself.
pub fn config_directory_of(directory: &Path) -> PathBuf {
    let usual = directory.join(CONFIG_DIRECTORY);
    if usual.is_dir() { usual } else { directory.to_owned() }
}
