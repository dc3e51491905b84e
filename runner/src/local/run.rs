//! `run` and `run-job`: fetch, run, say what follows.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitCode, Stdio};

use reactorcide_protocol::frame::MAX_FRAME_BYTES;
use reactorcide_protocol::settings::preview;
use reactorcide_protocol::spec::{
    self, Command, Condition, Context, JobSpec, Secret, Sensitive, StepSpec, Work,
};
use reactorcide_protocol::trigger::{self, Limits};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::arguments::Said;
use super::around::Around;
use super::print::Printer;
use super::{Failure, config, say, source};
use crate::exit;

/// Time between SIGTERM and SIGKILL.
const GRACE_MS: u64 = 10_000;

/// Runs the job of a file.
pub fn run_job(said: Said) -> Result<ExitCode, Failure> {
    if said.words.is_empty() {
        return Err(Failure::usage("say which: run-job FILE"));
    }
    run(said)
}

/// Runs a job.
pub fn run(said: Said) -> Result<ExitCode, Failure> {
    if said.dry_run {
        let whole = preview::preview(&said.settings);
        say(&if said.json {
            format!("{whole:#}\n")
        } else {
            format!("{}\nNothing was run.\n", preview::text(&whole))
        })?;
        return Ok(if said.settings.problems().is_empty() { ExitCode::SUCCESS } else { exit::CONFIG.into() });
    }
    config::check(&said)?;
    if !said.on_host && !in_a_container() {
        return Err(Failure::usage(
            "this is no container, and a job may do anything to what is here; `reactorcide run --image IMAGE` puts it into one, and --on-host runs it here all the same",
        ));
    }
    for line in source::prepare(&said)? {
        eprintln!("source: {line}");
    }
    let around = Around::find();
    let mut spec = job_spec(&said, around.is_some())?;
    let kept = PrivateDirectory::of(&spec)?;
    spec.secrets_directory = kept.as_ref().map(|kept| kept.0.display().to_string());
    if let Some(around) = around {
        around.hide(&spec);
    }
    let mut printer = Printer::new(&spec.job, said.json, around);
    let status = carry_out(&spec, &mut printer)?;
    drop(kept);
    if around.is_some() {
        // It was handed on; the runner around would read it again.
        let _ = std::fs::remove_file(Path::new(&spec.workspace).join(trigger::FILE));
    }
    let code = printer.result.as_ref().map(exit::code);
    Ok(code.or_else(|| status.code().and_then(|code| u8::try_from(code).ok())).unwrap_or(1).into())
}

/// Where files with secrets are for as long as the job goes on. A file system of its own would need root.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// That of a job which has such files.
    fn of(spec: &JobSpec) -> Result<Option<Self>, Failure> {
        if !spec.secrets.iter().any(|secret| secret.file) {
            return Ok(None);
        }
        let failed = |why: &str| {
            Failure::failed(format!(
                "secrets come as files, and neither $XDG_RUNTIME_DIR nor /dev/shm has room for them in memory{why}"
            ))
        };
        let made = crate::exec::private_directory().map_err(|error| failed(&format!(": {error}")))?;
        let path = made.ok_or_else(|| failed(""))?;
        eprintln!(
            "secrets: files are in {}, which only this user can read, until the job ends",
            path.display()
        );
        Ok(Some(Self(path)))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where nobody else's things are.
fn in_a_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv", "/reactorcide-runner"];
    std::process::id() == 1
        || marks.iter().any(|mark| Path::new(mark).exists())
        || ["container", "KUBERNETES_SERVICE_HOST", "REACTORCIDE_RUN_ID"]
            .iter()
            .any(|name| std::env::var_os(name).is_some())
}

/// Runs the job in a child of its own, as it runs under a worker, and passes signals on.
fn carry_out(spec: &JobSpec, printer: &mut Printer) -> Result<std::process::ExitStatus, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("the job cannot be run: {error}"));
    let mut line = serde_json::to_vec(spec).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map_err(failed)?;
    let mut child = spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::spawn(move || {
        for _ in &mut signals {
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    });
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::failed("the job has no pipes"));
    };
    // A child that died before it read is seen by its end. Its input stays open until then.
    let _ = input.write_all(&line);
    let mut output = BufReader::with_capacity(256 << 10, output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        if line.len() <= MAX_FRAME_BYTES
            && let Some(message) = printer.line(&line)
            && let Ok(mut answer) = serde_json::to_vec(&message)
        {
            answer.push(b'\n');
            let _ = input.write_all(&answer);
        }
        line.clear();
    }
    child.wait().map_err(failed)
}

fn spawn() -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt;
    // A group of its own: Ctrl-C comes to it once, from us.
    Process::new("/proc/self/exe")
        .arg("exec")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

fn job_spec(said: &Said, answers: bool) -> Result<JobSpec, Failure> {
    let settings = &said.settings;
    let job = settings.job_dir().to_owned();
    let mut secrets = file_secrets(settings.get("secrets").map(|setting| &setting.value))?;
    secrets.extend(said.secrets.iter().cloned());
    let environment =
        settings.environment().iter().filter(|(name, _)| !secrets.iter().any(|secret| secret.name == **name));
    let plugins = Path::new(&job).join("ci/.reactorcide/plugins");
    let mut spec = JobSpec {
        v: spec::VERSION,
        run_id: std::env::var("REACTORCIDE_RUN_ID").unwrap_or_else(|_| "local".to_owned()),
        job: settings.text("name").unwrap_or("job").to_owned(),
        attempt: 1,
        work: work(said)?,
        environment: environment
            .map(|(name, setting)| (name.clone(), setting.value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        secrets,
        secrets_directory: None,
        mask: said.credentials.iter().cloned().collect(),
        working_dir: settings.code_dir(),
        workspace: job,
        timeout_ms: settings
            .timeout()
            .ok()
            .flatten()
            .and_then(|timeout| u64::try_from(timeout.as_millis()).ok()),
        grace_ms: GRACE_MS,
        context: Context::default(),
        trigger_limits: Limits::default(),
        trigger_prefix: None,
        plugins: plugins.is_dir().then(|| plugins.display().to_string()),
        python_path: std::env::var("REACTORCIDE_PYTHON").ok(),
        answers,
        control: None,
    };
    spec.v = spec.least_version();
    let Work::Steps(steps) = &spec.work else { return Ok(spec) };
    for step in steps {
        let unknown = step.secrets.iter().find(|name| !spec.secrets.iter().any(|one| one.name == **name));
        if let Some(name) = unknown {
            let message =
                format!("step {:?} names the secret {name}, which the job does not have", step.name);
            return Err(Failure::config(message));
        }
    }
    Ok(spec)
}

fn work(said: &Said) -> Result<Work, Failure> {
    let settings = &said.settings;
    if let Some(setting) = settings.get("job_command") {
        return Ok(Work::Command(command(&setting.value)));
    }
    let steps =
        settings.get("steps").and_then(|setting| setting.value.as_array()).cloned().unwrap_or_default();
    steps.iter().map(step).collect::<Result<_, _>>().map(Work::Steps)
}

fn step(step: &Value) -> Result<StepSpec, Failure> {
    let text = |key: &str| step[key].as_str().map(str::to_owned);
    let name = text("name").unwrap_or_default();
    let condition = match text("condition").as_deref() {
        None | Some("all_success") => Condition::AllSuccess,
        Some("any_failed") => Condition::AnyFailed,
        Some("always") => Condition::Always,
        Some(other) => {
            return Err(Failure::config(format!("step {name:?}: there is no condition {other:?}")));
        }
    };
    let timeout = reactorcide_protocol::settings::time(text("timeout").as_deref())
        .map_err(|message| Failure::config(format!("step {name:?}: {message}")))?;
    let list = |key: &str| {
        let words = step[key].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
        Some(words.collect())
    };
    let environment = step["environment"].as_object().into_iter().flatten();
    Ok(StepSpec {
        parallel: step["parallel"] == true,
        depends_on: list("depends_on"),
        when: text("when"),
        condition,
        continue_on_error: step["continue_on_error"] == true,
        timeout_ms: timeout.and_then(|timeout| u64::try_from(timeout.as_millis()).ok()),
        working_dir: text("working_dir"),
        environment: environment
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        secrets: list("secrets").unwrap_or_default(),
        name,
        ..StepSpec::of_command(command(&step["run"]))
    })
}

fn command(value: &Value) -> Command {
    match value {
        Value::Array(words) => {
            Command::Exec(words.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        other => Command::Script(other.as_str().unwrap_or_default().to_owned()),
    }
}

/// Secrets of a job file: as they stand there, or from where it says.
fn file_secrets(listed: Option<&Value>) -> Result<Vec<Secret>, Failure> {
    let mut secrets = Vec::new();
    for secret in listed.and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| secret[key].as_str();
        let name = text("name").unwrap_or_default().to_owned();
        let value = match (text("value"), text("env"), text("file")) {
            (Some(value), None, None) => value.to_owned(),
            (None, Some(variable), None) => std::env::var(variable).map_err(|_| {
                Failure::config(format!("the secret {name} comes from ${variable}, which is not set"))
            })?,
            (None, None, Some(path)) => std::fs::read_to_string(path)
                .map(|text| text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
                .map_err(|error| {
                    Failure::config(format!("the secret {name} cannot be read from {path}: {error}"))
                })?,
            _ => return Err(Failure::config(format!("the secret {name} needs one of value, env and file"))),
        };
        secrets.push(Secret { name, value: Sensitive::new(value), file: secret["as"] == "file" });
    }
    Ok(secrets)
}
