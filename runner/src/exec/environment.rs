//! The environment of steps, and the files that it names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use reactorcide_protocol::control::SOCKET_VARIABLE;
use reactorcide_protocol::spec::{JobSpec, StepSpec};

use super::delivery::Deliveries;

/// Variables with this prefix are for the runner itself and never reach a step.
const INTERNAL: &str = "REACTORCIDE_RUNNER_";

/// Tells steps what a line of output with a request begins with.
const PREFIX_VARIABLE: &str = "REACTORCIDE_TRIGGER_PREFIX";

/// A directory for the files through which steps and runner talk; removed at the end.
pub struct Scratch {
    directory: Option<PathBuf>,
}

/// Marks a directory of ours. A project has its configuration in one of the same name.
const MARK: &str = ".runner";

impl Scratch {
    /// Makes the directory in the workspace, or else where temporary files go. Where neither can be written,
    /// steps have no outputs file.
    pub fn new(spec: &JobSpec) -> Self {
        let own = std::process::id();
        let temporary = std::env::temp_dir().join(format!("reactorcide-{own}"));
        let workspace = Path::new(&spec.workspace);
        let usual = workspace.join(".reactorcide");
        // A job in a job may have the same workspace; what the runner around keeps there is not ours.
        let around = std::env::var_os(SOCKET_VARIABLE);
        let taken = around.is_some_and(|socket| Path::new(&socket).parent() == Some(usual.as_path()));
        let first = if taken { workspace.join(format!(".reactorcide-{own}")) } else { usual };
        let second = workspace.join(format!(".reactorcide-{own}"));
        let candidates = [first, second, temporary];
        let directory = candidates.into_iter().find(|directory| {
            // What an earlier attempt left there must not be taken for ours; what is not of a runner is not ours at all.
            if directory.join(MARK).exists() {
                let _ = fs::remove_dir_all(directory);
            }
            fs::create_dir(directory).is_ok() && fs::write(directory.join(MARK), b"").is_ok()
        });
        Self { directory }
    }

    /// Where it is, if there is one.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Where a step writes its outputs.
    pub fn outputs(&self, index: usize) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(format!("output-{index}")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// What the runner itself tells its steps.
pub struct Told {
    /// Where the socket is.
    pub socket: Option<PathBuf>,
    /// Where the run's variables are.
    pub vars: Option<PathBuf>,
    /// Where the runner's program is, as steps see it.
    pub runner: Option<PathBuf>,
}

/// The environment of the job, each layer over the one before: the image, the job, its secrets, and what the runner
/// itself says.
pub fn of_job(spec: &JobSpec, secrets: &Deliveries, told: &Told) -> BTreeMap<OsString, OsString> {
    layers(spec, (secrets, &secrets.to_plugins()), None, None, told)
}

/// The environment of one step: that of the job with the step's own between the secrets and the runner's words. What
/// carries a secret that the step does not get is not set, whatever the image says.
pub fn of_step(
    spec: &JobSpec,
    secrets: (&Deliveries, &[(String, String)]),
    named: bool,
    step: &StepSpec,
    outputs: Option<&Path>,
    told: &Told,
) -> BTreeMap<OsString, OsString> {
    layers(spec, secrets, Some((step, named)), outputs, told)
}

fn layers(
    spec: &JobSpec,
    (secrets, given): (&Deliveries, &[(String, String)]),
    step: Option<(&StepSpec, bool)>,
    outputs: Option<&Path>,
    told: &Told,
) -> BTreeMap<OsString, OsString> {
    let image =
        std::env::vars_os().filter(|(name, _)| !name.as_encoded_bytes().starts_with(INTERNAL.as_bytes()));
    let mut all: BTreeMap<OsString, OsString> = image.collect();
    all.insert("CI".into(), "true".into());
    secrets.names().for_each(|name| drop(all.remove(OsStr::new(name))));
    let mut set = |name: &str, value: &str| drop(all.insert(name.into(), value.into()));
    spec.environment.iter().for_each(|(name, value)| set(name, value));
    given.iter().for_each(|(name, value)| set(name, value));
    if let Some((step, _)) = step {
        step.environment.iter().for_each(|(name, value)| set(name, value));
    }
    set("REACTORCIDE_RUN_ID", &spec.run_id);
    set("REACTORCIDE_JOB", &spec.job);
    set("REACTORCIDE_ATTEMPT", &spec.attempt.to_string());
    set("REACTORCIDE_WORKSPACE", &spec.workspace);
    let own = [
        ("REACTORCIDE_STEP", step.filter(|(_, named)| *named).map(|(step, _)| step.name.as_str())),
        (PREFIX_VARIABLE, spec.trigger_prefix.as_ref().map(|prefix| prefix.expose())),
    ];
    for (name, value) in own {
        match value {
            Some(value) => drop(all.insert(name.into(), value.into())),
            None => drop(all.remove(OsStr::new(name))),
        }
    }
    let paths = [
        ("REACTORCIDE_OUTPUT", outputs),
        ("RC_WF_OUTPUT_FILE", outputs),
        (SOCKET_VARIABLE, told.socket.as_deref()),
        ("RC_WF_VARS_FILE", told.vars.as_deref()),
        ("REACTORCIDE_RUNNER", told.runner.as_deref()),
    ];
    for (name, path) in paths {
        match path {
            Some(path) => drop(all.insert(name.into(), path.into())),
            // Nobody else's word for it counts.
            None => drop(all.remove(OsStr::new(name))),
        }
    }
    if let Some(path) = &spec.python_path {
        let own = all.remove(OsStr::new("PYTHONPATH")).filter(|own| !own.is_empty());
        let joined = match own {
            Some(mut own) => {
                own.push(":");
                own.push(path);
                own
            }
            None => path.into(),
        };
        all.insert("PYTHONPATH".into(), joined);
    }
    all
}

/// What is wrong with a variable's name or value, if anything is.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} cannot be the name of an environment variable"));
    }
    if value.contains('\0') {
        return Err(format!("the value of environment variable {name} contains a NUL byte"));
    }
    Ok(())
}
