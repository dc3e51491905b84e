//! From an assignment to the container that runs it: a function on values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reactorcide_engine::config::{CommandLine, Job, Network, RunAs, RunnerMode};
use reactorcide_engine::placeholder::unescape;
use reactorcide_engine::protocol::spec::SECRETS_PATH;
use reactorcide_engine::provider::{ContainerSpec, Limits, Mount, NetworkMode, Owner, Tmpfs, User};
use reactorcide_engine::scheduler::Assignment;

/// Where our runner appears in a container.
pub const RUNNER_PATH: &str = "/reactorcide-runner";
/// Where the Python package for job code appears in a container.
pub const PYTHON_PATH: &str = "/reactorcide-python";
/// Where the directory with the worker's socket appears in a container.
pub const CONTROL_PATH: &str = "/reactorcide-control";
/// Where trusted job code appears, below the workspace.
pub const CI_DIRECTORY: &str = "ci";
/// The user of a container where the host's is root.
pub const UNPRIVILEGED: User = User { uid: 1001, gid: 1001 };
/// The most that files with secrets may hold at once.
const SECRETS_BYTES: u64 = 16 << 20;
/// The most processes of a job that names no number: a fork bomb must not take the machine.
const DEFAULT_PIDS: u32 = 4096;

/// Where things are on the host.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The workspace.
    pub workspace: PathBuf,
    /// The runner.
    pub runner: PathBuf,
    /// The Python package for job code, in a directory.
    pub python: Option<PathBuf>,
    /// Trusted job code.
    pub ci: Option<PathBuf>,
    /// The directory with the worker's socket.
    pub control: Option<PathBuf>,
}

/// The container of an assignment. `host` is the user that the worker runs as.
pub fn container_spec(assignment: &Assignment, owner: &Owner, paths: &Paths, host: User) -> ContainerSpec {
    ContainerSpec {
        name: container_name(assignment, owner),
        labels: BTreeMap::from([
            ("reactorcide.run".to_owned(), assignment.run.clone()),
            ("reactorcide.job".to_owned(), assignment.node.clone()),
            ("reactorcide.attempt".to_owned(), assignment.attempt.to_string()),
        ]),
        ..container_of(&assignment.job, owner, paths, host)
    }
}

/// What a job says of its container, which has neither name nor labels yet.
pub fn container_of(job: &Job, owner: &Owner, paths: &Paths, host: User) -> ContainerSpec {
    let bare = job.runner == RunnerMode::None;
    let mut mounts =
        vec![Mount { source: paths.workspace.clone(), target: job.mount.0.clone(), read_only: false }];
    if !bare {
        mounts.push(Mount { source: paths.runner.clone(), target: RUNNER_PATH.to_owned(), read_only: true });
        let control = paths.control.iter().map(|path| (path, CONTROL_PATH.to_owned()));
        mounts.extend(control.map(|(path, target)| Mount { source: path.clone(), target, read_only: true }));
        let python = paths.python.iter().map(|path| (path, PYTHON_PATH.to_owned()));
        mounts.extend(python.map(|(path, target)| Mount { source: path.clone(), target, read_only: true }));
    }
    if let Some(ci) = &paths.ci {
        let target = format!("{}/{CI_DIRECTORY}", job.mount.0);
        mounts.push(Mount { source: ci.clone(), target, read_only: true });
    }
    let (entrypoint, command) = if bare { bare_command(job) } else { (runner_command(), Some(Vec::new())) };
    let resources = job.resources.unwrap_or_default();
    ContainerSpec {
        name: String::new(),
        owner: owner.clone(),
        labels: BTreeMap::new(),
        image: unescape(job.image.as_deref().unwrap_or_default()),
        entrypoint,
        command,
        environment: if bare { plain_environment(job) } else { BTreeMap::new() },
        working_dir: if bare {
            job.working_dir.as_deref().map(|_| working_dir(job, true))
        } else {
            Some("/".to_owned())
        },
        user: user_of(job.run_as.as_ref(), host),
        mounts,
        // Each has it, so that one container can wait for jobs with and without files.
        tmpfs: if bare { Vec::new() } else { vec![secrets_tmpfs()] },
        overlays: Vec::new(),
        limits: Limits {
            cpu_millis: resources.cpu.map(|cpu| cpu.as_millis()),
            memory_bytes: resources.memory.map(|memory| memory.as_bytes()),
            pids: Some(resources.pids.unwrap_or(DEFAULT_PIDS)),
        },
        network: match job.network {
            Network::Isolated => NetworkMode::Isolated,
            Network::None => NetworkMode::None,
        },
        read_only: job.read_only,
        devices: job.devices.clone(),
        capabilities: job.capabilities.clone(),
        stdin: !bare,
    }
}

/// Where files with secrets are.
fn secrets_tmpfs() -> Tmpfs {
    Tmpfs { target: SECRETS_PATH.to_owned(), bytes: SECRETS_BYTES }
}

fn runner_command() -> Option<Vec<String>> {
    Some(vec![RUNNER_PATH.to_owned(), "exec".to_owned()])
}

/// The command of an image that runs untouched: text for its shell, a list as it is, or the image's own.
fn bare_command(job: &Job) -> (Option<Vec<String>>, Option<Vec<String>>) {
    match &job.command {
        None => (None, None),
        Some(CommandLine::Script(text)) => {
            let shell = ["/bin/sh", "-e", "-c"].map(str::to_owned).to_vec();
            (Some(shell), Some(vec![unescape(text)]))
        }
        Some(CommandLine::Exec(words)) => {
            let mut words = words.iter().map(|word| unescape(word));
            (words.next().map(|program| vec![program]), Some(words.collect()))
        }
    }
}

/// The environment that the engine may see.
fn plain_environment(job: &Job) -> BTreeMap<String, String> {
    job.environment.iter().map(|(name, value)| (name.clone(), unescape(value))).collect()
}

/// Where the steps of a job start.
pub fn working_dir(job: &Job, has_source: bool) -> String {
    let mount = job.mount.0.as_str();
    match job.working_dir.as_deref() {
        Some(path) if path.starts_with('/') => unescape(path),
        Some(path) => format!("{mount}/{}", unescape(path)),
        None if has_source => format!("{mount}/src"),
        None => mount.to_owned(),
    }
}

/// The user in the container. Files of the workspace belong to it, so that it can write them and we can remove them.
pub fn user_of(run_as: Option<&RunAs>, host: User) -> User {
    let usual = if host.uid == 0 { UNPRIVILEGED } else { host };
    match run_as {
        None => usual,
        Some(RunAs::Id(uid)) => User { uid: *uid, gid: *uid },
        Some(RunAs::Text(text)) if text == "root" => User { uid: 0, gid: 0 },
        Some(RunAs::Text(text)) => {
            let (uid, gid) = text.split_once(':').unwrap_or((text, text));
            match (uid.parse(), gid.parse()) {
                (Ok(uid), Ok(gid)) => User { uid, gid },
                _ => usual,
            }
        }
    }
}

/// A name that an engine takes, and that is the same for the same attempt.
pub fn container_name(assignment: &Assignment, owner: &Owner) -> String {
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '.' }).collect()
    };
    // Different names may look the same when cleaned, and a worker has jobs of many runs: the sum of all bytes keeps them
    // apart.
    let all = assignment.run.bytes().chain([0]).chain(assignment.node.bytes());
    let sum = all.fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(byte));
    format!("{}-{}-{sum:016x}-{}", clean(&owner.0), clean(&assignment.node), assignment.attempt)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::tests::assignment;

    const ROOT: User = User { uid: 0, gid: 0 };

    fn spec(job: serde_json::Value) -> ContainerSpec {
        let paths =
            Paths { workspace: "/w".into(), runner: "/r".into(), python: None, ci: None, control: None };
        container_spec(&assignment(job), &Owner("o".into()), &paths, ROOT)
    }

    #[test]
    fn a_container_gets_the_runner_and_its_workspace_and_nothing_else() {
        let spec = spec(json!({"image": "i", "command": "c", "environment": {"A": "b"}}));
        let mounts: Vec<_> =
            spec.mounts.iter().map(|mount| (mount.target.as_str(), mount.read_only)).collect();
        assert_eq!(mounts, [("/job", false), (RUNNER_PATH, true)]);
        assert_eq!(spec.entrypoint, Some(vec![RUNNER_PATH.to_owned(), "exec".to_owned()]));
        assert!(
            spec.environment.is_empty(),
            "the environment travels with the job spec, where no engine sees it"
        );
        assert!(spec.stdin);
        assert_eq!((spec.user, spec.limits.pids), (UNPRIVILEGED, Some(DEFAULT_PIDS)));
    }

    #[test]
    fn fields_of_a_job_become_fields_of_its_container() {
        let spec = spec(json!({
            "image": "i", "command": "c", "mount": "/workspace", "run_as": "7:8", "network": "none", "read_only": true,
            "devices": ["/dev/kvm"], "capabilities": ["NET_RAW"],
            "resources": {"cpu": "500m", "memory": "64Mi", "pids": 10},
        }));
        assert_eq!(spec.mounts[0].target, "/workspace");
        assert_eq!(spec.user, User { uid: 7, gid: 8 });
        assert_eq!((spec.network, spec.read_only), (NetworkMode::None, true));
        assert_eq!((spec.devices[0].as_str(), spec.capabilities[0].as_str()), ("/dev/kvm", "NET_RAW"));
        let limits = Limits { cpu_millis: Some(500), memory_bytes: Some(64 << 20), pids: Some(10) };
        assert_eq!(spec.limits, limits);
    }

    #[test]
    fn an_image_that_runs_untouched_keeps_its_command() {
        let untouched = spec(json!({"image": "i", "runner": "none"}));
        assert_eq!((untouched.entrypoint, untouched.command, untouched.stdin), (None, None, false));
        let list = spec(
            json!({"image": "i", "runner": "none", "command": ["/program", "x"], "environment": {"A": "b"}}),
        );
        assert_eq!(list.entrypoint, Some(vec!["/program".to_owned()]));
        assert_eq!(list.command, Some(vec!["x".to_owned()]));
        assert_eq!(list.environment["A"], "b");
        assert_eq!(list.mounts.len(), 1);
    }

    #[test]
    fn users_follow_the_host_unless_the_job_says_otherwise() {
        let me = User { uid: 1000, gid: 100 };
        assert_eq!(user_of(None, me), me);
        assert_eq!(user_of(None, ROOT), UNPRIVILEGED);
        assert_eq!(user_of(Some(&RunAs::Text("root".into())), me), ROOT);
        assert_eq!(user_of(Some(&RunAs::Id(5)), me), User { uid: 5, gid: 5 });
    }

    #[test]
    fn names_of_containers_are_told_apart() {
        let name = |node: &str| {
            let mut assignment = assignment(json!({"image": "i", "command": "c"}));
            node.clone_into(&mut assignment.node);
            container_name(&assignment, &Owner("o".into()))
        };
        assert_ne!(name("a[0]"), name("a.0."));
        assert!(name("a[0]").chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)));
    }
}
