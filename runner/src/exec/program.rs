//! From a command to a process: which program it is, what its environment is, and, where it cannot be
//! started, why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use reactorcide_protocol::spec::{Command, StepSpec};
use rustix::fs::{Access, access};
use rustix::process::Pid;

/// Where programs are looked for if the image does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process and the ends of its streams.
pub struct Started {
    pub pid: Pid,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Starts a step in a process group of its own. An error is a sentence that says what to change.
pub fn start(
    step: &StepSpec,
    directory: &Path,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Started, String> {
    check_directory(directory)?;
    let search = environment.get(&OsString::from("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    let (program, arguments) = match (&step.run, &step.shell) {
        (Command::Exec(words), _) => {
            let (program, arguments) = words.split_first().ok_or("the command is empty")?;
            (find(program, directory, &search)?, arguments.to_vec())
        }
        (Command::Script(script), Some(shell)) => {
            let (program, arguments) = shell.split_first().ok_or("the shell is an empty list")?;
            let program = find(program, directory, &search).map_err(|error| format!("shell: {error}"))?;
            (program, [arguments, std::slice::from_ref(script)].concat())
        }
        (Command::Script(script), None) => {
            let program = shell(directory, &search)?;
            (program, vec!["-e".to_owned(), "-c".to_owned(), script.clone()])
        }
    };
    let name = match (&step.run, &step.shell) {
        (Command::Exec(words), _) | (Command::Script(_), Some(words)) => {
            words.first().cloned().unwrap_or_default()
        }
        (Command::Script(_), None) => "sh".to_owned(),
    };
    let mut process = Process::new(&program);
    process
        .arg0(&name)
        .args(&arguments)
        .env_clear()
        .envs(environment)
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = process.spawn().map_err(|error| explain(&error, &name))?;
    // The child is reaped by process id, with all others: see `super::processes`.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("the process has no id")?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the process has no output".to_owned());
    };
    Ok(Started { pid, stdout: stdout.into(), stderr: stderr.into() })
}

fn check_directory(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("working directory {shown} is not a directory")),
        Ok(_) => access(directory, Access::EXEC_OK)
            .map_err(|_| format!("working directory {shown} cannot be entered: permission denied")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("working directory {shown} does not exist"))
        }
        Err(error) => Err(format!("working directory {shown} cannot be used: {error}")),
    }
}

fn shell(directory: &Path, search: &OsString) -> Result<PathBuf, String> {
    let usual = Path::new("/bin/sh");
    if is_executable(usual) {
        return Ok(usual.to_owned());
    }
    find("sh", directory, search).map_err(|_| {
        "the image has no shell: /bin/sh was not found; use a command list, such as [\"/app\", \"--flag\"]".to_owned()
    })
}

/// Finds a program by its name in the `PATH` of an environment.
pub fn find_in_path(name: &str, environment: &BTreeMap<OsString, OsString>) -> Result<PathBuf, String> {
    let search = environment.get(&OsString::from("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    find(name, Path::new("/"), &search)
}

/// Finds a program as a shell would.
fn find(name: &str, directory: &Path, search: &OsString) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("the command's name is empty".to_owned());
    }
    if name.contains('/') {
        let path = directory.join(name);
        return match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Err(format!("{name} is a directory, not a command")),
            Ok(_) if is_executable(&path) => Ok(path),
            Ok(_) => Err(format!("{name} is not executable")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(format!("{name} cannot be read: permission denied"))
            }
            Err(_) => Err(format!("command not found: {name}")),
        };
    }
    let mut found = None;
    for entry in std::env::split_paths(search) {
        let path = directory.join(entry).join(name);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            if is_executable(&path) {
                return Ok(path);
            }
            found.get_or_insert(path);
        }
    }
    match found {
        Some(path) => Err(format!("{} is not executable", path.display())),
        None => Err(format!("command not found: {name}; it was looked for in {}", search.to_string_lossy())),
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) && access(path, Access::EXEC_OK).is_ok()
}

/// What the system says of a program that is there.
fn explain(error: &io::Error, name: &str) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{name} is there, but the interpreter or loader that it names is not in the image")
        }
        io::ErrorKind::PermissionDenied => format!("{name} cannot be executed: permission denied"),
        io::ErrorKind::ArgumentListTooLong => {
            format!(
                "{name} cannot be started: script, arguments or environment are too large for the system (at most 128 KiB each)"
            )
        }
        io::ErrorKind::ExecutableFileBusy => format!("{name} cannot be started: it is open for writing"),
        io::ErrorKind::InvalidInput => {
            format!("{name} cannot be started: its arguments or environment contain a NUL byte")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            format!("{name} is not a program for this machine, and has no `#!` line")
        }
        _ => format!("{name} cannot be started: {error}"),
    }
}
