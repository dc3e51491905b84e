//! What every command is told beside its own arguments: flag, else environment variable, else default.
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
use clap::{Args, ValueEnum};

use crate::process_file::Effective;

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Directory of the configuration [default: .reactorcide of the current directory, else that itself]
    #[arg(long, global = true, value_name = "DIR", env = "REACTORCIDE_CONFIG")]
    config: Option<OsString>,
    /// Where applied state is kept [default: SQLite in .reactorcide-state beside the configuration]
    #[arg(long, global = true, value_name = "URL", env = "REACTORCIDE_STATE", hide_env_values = true)]
    state: Option<String>,
    /// The server to ask instead of local state [default: the one of `login`]
    #[arg(long, global = true, value_name = "URL", env = "REACTORCIDE_SERVER")]
    server: Option<String>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
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
    #[allow(dead_code, reason = "the commands over applied state use it")]
    pub state: Option<String>,
    /// The server that `--server` names.
    pub server: Option<String>,
    /// When to use colour.
    pub color: ColorChoice,
    /// What a server or a worker goes by, and where each value came from.
    pub effective: Vec<Effective>,
}

impl Settings {
    /// Resolves the options. An empty value counts as absent, as is usual for environment variables.
    pub fn new(arguments: GlobalArgs) -> Self {
        let color = match arguments.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self {
            config: arguments.config.filter(|path| !path.is_empty()).map(PathBuf::from),
            state: arguments.state.filter(|url| !url.is_empty()),
            server: arguments.server.filter(|url| !url.is_empty()),
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
    #[allow(dead_code, reason = "the commands over applied state use it")]
    pub fn state_directory(&self) -> PathBuf {
        let config = self.config_directory();
        let beside = match config.file_name() {
            Some(name) if name == CONFIG_DIRECTORY => config.parent().unwrap_or(Path::new(".")),
            _ => config.as_path(),
        };
        beside.join(STATE_DIRECTORY)
    }
}

/// The configuration's usual directory.
pub const CONFIG_DIRECTORY: &str = ".reactorcide";
/// The usual directory of local state.
pub const STATE_DIRECTORY: &str = ".reactorcide-state";

/// `.reactorcide` below a directory if it is there, else the directory itself.
pub fn config_directory_of(directory: &Path) -> PathBuf {
    let usual = directory.join(CONFIG_DIRECTORY);
    if usual.is_dir() { usual } else { directory.to_owned() }
}
