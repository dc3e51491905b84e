//! The environment of steps, and the files that it names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use reactorcide_protocol::spec::{JobSpec, StepSpec};

/// Variables with this prefix are for the runner itself and never reach a step.
const INTERNAL: &str = "REACTORCIDE_RUNNER_";

/// A directory for the files through which steps and runner talk; removed at the end.
pub struct Scratch {
    directory: Option<PathBuf>,
}

impl Scratch {
    /// Makes the directory in the workspace, or else where temporary files go. Where neither can be written,
    /// steps have no outputs file.
    pub fn new(spec: &JobSpec) -> Self {
        let temporary = std::env::temp_dir().join(format!("reactorcide-{}", std::process::id()));
        let candidates = [Path::new(&spec.workspace).join(".reactorcide"), temporary];
        let directory = candidates.into_iter().find(|directory| {
            // What an earlier attempt left there must not be taken for ours.
            let _ = fs::remove_dir_all(directory);
            fs::create_dir(directory).is_ok()
        });
        if let Some(directory) = &directory
            && let Ok(vars) = serde_json::to_vec(&spec.context.vars)
        {
            let _ = fs::write(directory.join("vars.json"), vars);
        }
        Self { directory }
    }

    /// Whether there is a place at all.
    pub fn exists(&self) -> bool {
        self.directory.is_some()
    }

    /// Where a step writes its outputs.
    pub fn outputs(&self, index: usize) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(format!("output-{index}")))
    }

    fn vars(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join("vars.json"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// The environment of one step, each layer over the one before: the image, the job, its secrets, the step,
/// and what the runner itself says.
pub fn of_step(
    spec: &JobSpec,
    step: &StepSpec,
    outputs: Option<&Path>,
    scratch: &Scratch,
) -> BTreeMap<OsString, OsString> {
    let image =
        std::env::vars_os().filter(|(name, _)| !name.as_encoded_bytes().starts_with(INTERNAL.as_bytes()));
    let mut all: BTreeMap<OsString, OsString> = image.collect();
    all.insert("CI".into(), "true".into());
    let mut set = |name: &str, value: &str| drop(all.insert(name.into(), value.into()));
    spec.environment.iter().for_each(|(name, value)| set(name, value));
    spec.secrets.iter().for_each(|secret| set(&secret.name, secret.value.expose()));
    step.environment.iter().for_each(|(name, value)| set(name, value));
    set("REACTORCIDE_RUN_ID", &spec.run_id);
    set("REACTORCIDE_JOB", &spec.job);
    set("REACTORCIDE_ATTEMPT", &spec.attempt.to_string());
    set("REACTORCIDE_WORKSPACE", &spec.workspace);
    if let Some(outputs) = outputs {
        all.insert("REACTORCIDE_OUTPUT".into(), outputs.into());
        all.insert("RC_WF_OUTPUT_FILE".into(), outputs.into());
    }
    if let Some(vars) = scratch.vars() {
        all.insert("RC_WF_VARS_FILE".into(), vars.into());
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
