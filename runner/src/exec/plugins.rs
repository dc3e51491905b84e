//! Hooks of trusted job code: a Python process that finds the plugins and is told each phase.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::Sender;

use reactorcide_protocol::frame::Stream;
use reactorcide_protocol::mask::Values;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Event;
use super::pump::{Output, Pump};
use super::writer::Writer;

/// The longest line that a host may answer.
const MAX_LINE: u64 = 4 << 20;

/// When hooks are called, in order; `on_error` only where something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    PreValidation,
    PostValidation,
    PreSourcePrep,
    PostSourcePrep,
    PreExecution,
    PostExecution,
    OnError,
    Cleanup,
}

/// The process that runs the plugins.
pub struct Plugins {
    pub pid: Pid,
    input: File,
    pub log: Pump,
    /// Hooks that failed, the loading of plugins included.
    pub failures: usize,
}

/// What the host says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Which plugins there are.
    pub plugins: Vec<Named>,
    /// The phase that is over.
    pub done: Option<Phase>,
    /// Variables that plugins set.
    pub environment: BTreeMap<String, String>,
    /// Variables that plugins removed.
    pub unset: Vec<String>,
    /// Settings that plugins changed.
    pub config: Map<String, Value>,
    /// What went wrong.
    pub errors: Vec<Failed>,
    /// How long each hook took.
    pub timings: Vec<Timing>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Failed {
    pub plugin: String,
    pub error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Timing {
    pub plugin: String,
    pub ms: f64,
}

/// Whether a directory has plugins at all; only then is Python needed.
pub fn are_in(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| {
        name.starts_with("plugin_") && Path::new(&name).extension().is_some_and(|extension| extension == "py")
    })
}

/// Starts the host from the directory that is the first argument.
const HOST: &str = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('runnerlib.plugin_host', run_name='__main__', alter_sys=True)";

impl Plugins {
    /// Starts the host. What it says comes as events.
    pub fn start(
        directory: &Path,
        python: &Path,
        library: &Path,
        environment: &BTreeMap<OsString, OsString>,
        values: &Values,
        writer: &Writer,
        events: &Sender<Event>,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the plugins cannot be started: {error}");
        let mut child = Process::new(python)
            // Isolated: neither the job's variables nor a working directory say what is loaded into trusted code.
            .args(["-I", "-c", HOST])
            .arg(library)
            .arg(directory)
            .env_clear()
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("the plugins have no process id")?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the plugins have no pipes".to_owned());
        };
        let output = OwnedFd::from(output);
        let told = events.clone();
        let thread = std::thread::Builder::new().name("plugins".to_owned());
        thread.spawn(move || listen(output, &told)).map_err(failed)?;
        let ended = events.clone();
        let shown = Output { step: None, stream: Stream::Stderr, prefix: None };
        let log = Pump::start(errors.into(), shown, values, writer.clone(), ended).map_err(failed)?;
        Ok(Self { pid, input: OwnedFd::from(input).into(), log, failures: 0 })
    }

    /// Tells the host a phase. Its answer comes as an event.
    pub fn tell(&mut self, phase: Phase, context: &Value) -> io::Result<()> {
        let mut line = json!({"phase": phase, "context": context}).to_string().into_bytes();
        line.push(b'\n');
        self.input.write_all(&line)
    }
}

fn listen(output: OwnedFd, events: &Sender<Event>) {
    let mut output = BufReader::new(File::from(output));
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let said = match read {
            Ok(read) if read > 0 => serde_json::from_slice::<Said>(&line).ok().map(Box::new),
            _ => None,
        };
        let goes_on = said.is_some();
        if events.send(Event::Plugins(said)).is_err() || !goes_on {
            return;
        }
    }
}
