//! Programs of the host that fetch code: started with an empty environment, in a process group of their own that
//! ends with the call, and watched for time and disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::error::SourceError;
use crate::workspace::disk_usage;
use reactorcide_engine::protocol::source::Location;

/// How the system says that a disk is full.
const NO_SPACE: &str = "No space left on device";
/// The most that is kept of what a program says about itself: its end, where the reason stands.
const SAID: usize = 4096;
/// The most that a program may answer.
const ANSWER: usize = 8 << 20;
/// How often its disk use is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Variables of the host that programs get: how to reach the network, and where to find programs.
const PASSED_ON: [&str; 12] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TMPDIR",
];

/// One call of a program.
#[derive(Debug)]
pub struct Call<'a> {
    /// The program.
    pub program: &'static str,
    /// The package that brings it.
    pub package: &'static str,
    /// Its arguments; never a secret.
    pub arguments: Vec<OsString>,
    /// Its environment beside what every program gets; never a secret.
    pub environment: BTreeMap<&'static str, OsString>,
    /// Where it runs.
    pub directory: &'a Path,
    /// What it reads.
    pub input: Vec<u8>,
    /// Whom it talks to, for errors.
    pub location: &'a Location,
    /// How long it may take.
    pub deadline: Duration,
    /// A directory that it fills, and how many bytes may be in it.
    pub room: Option<(PathBuf, u64)>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Answer {
    /// Whether it succeeded.
    pub success: bool,
    /// What it printed.
    pub output: Vec<u8>,
    /// The end of what it said about itself, in one line.
    pub said: String,
}

impl Answer {
    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim().to_owned()
    }
}

/// Kills a process group when it goes, unless the program has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Call<'_> {
    /// Runs it to its end and takes what it printed.
    pub async fn run(self) -> Result<Answer, SourceError> {
        let mut output = Vec::new();
        let location = self.location.to_string();
        let answer = self.pieces(b'\n', |line| {
            output.extend_from_slice(line);
            output.len() <= ANSWER
        });
        let answer = answer.await?;
        if output.len() > ANSWER {
            return Err(SourceError::TooLarge { location, limit: format!("an answer of {ANSWER} bytes") });
        }
        Ok(Answer { output, ..answer })
    }

    /// Runs it and hands on what it prints piece by piece, each with its end, until the receiver has enough.
    pub async fn pieces(
        mut self,
        end: u8,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Answer, SourceError> {
        let seconds = self.deadline.as_secs();
        let location = self.location.to_string();
        let room = self.room.take();
        let disk = room.as_ref().map_or(self.directory, |(path, _)| path).to_owned();
        let deadline = tokio::time::sleep(self.deadline);
        let watched = async {
            let Some((path, limit)) = room else { return std::future::pending().await };
            let mut look = tokio::time::interval(LOOK);
            loop {
                look.tick().await;
                let path = path.clone();
                let used = tokio::task::spawn_blocking(move || disk_usage(&path)).await.unwrap_or(0);
                if used > limit {
                    return limit;
                }
            }
        };
        tokio::select! {
            answer = self.go(end, &mut take) => answer.map(|answer| with_full_disk(answer, &disk)),
            limit = watched => Err(SourceError::TooLarge { location, limit: super::limits::size(limit) }),
            () = deadline => Err(SourceError::Deadline { location, seconds }),
        }
    }

    async fn go(self, end: u8, take: &mut impl FnMut(&[u8]) -> bool) -> Result<Answer, SourceError> {
        let mut command = Command::new(self.program);
        command.args(&self.arguments).current_dir(self.directory).env_clear();
        for name in PASSED_ON {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        // Nothing of the user's home, in no language but the one whose words we know.
        command.env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8").envs(&self.environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                SourceError::NoTool { program: self.program.to_owned(), package: self.package.to_owned() }
            }
            _ => SourceError::io(Path::new(self.program))(error),
        })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(pid);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let failed = SourceError::io(Path::new(self.program));
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that wants nothing may end before it was told.
                let _ = stdin.write_all(&self.input).await;
            }
        };
        let read = async {
            if let Some(stdout) = stdout {
                let mut stdout = BufReader::new(stdout.take(u64::MAX));
                let mut piece = Vec::new();
                loop {
                    piece.clear();
                    // A piece without an end is cut, so that memory stays bounded.
                    let got = (&mut stdout).take(ANSWER as u64 + 1).read_until(end, &mut piece).await;
                    if got.is_err() || piece.is_empty() {
                        return true;
                    }
                    if !take(&piece) {
                        return false;
                    }
                }
            }
            true
        };
        let ended = async {
            let (said, (), complete) = tokio::join!(last_words(stderr), write, read);
            (said, complete)
        };
        // Who has enough does not wait for the rest.
        let (said, complete) = ended.await;
        if !complete {
            drop(group);
            let _ = child.wait().await;
            return Ok(Answer { success: false, output: Vec::new(), said });
        }
        let status = child.wait().await.map_err(failed)?;
        group.0 = None;
        Ok(Answer { success: status.success(), output: Vec::new(), said })
    }
}

/// Tools often fail for lack of space without a word of it.
fn with_full_disk(mut answer: Answer, path: &Path) -> Answer {
    let there = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
    let full = there.is_some_and(|stat| {
        let left = stat.f_bavail.saturating_mul(stat.f_frsize);
        stat.f_blocks > 0 && (left < 1 << 20 || stat.f_bavail.saturating_mul(50) < stat.f_blocks)
    });
    if !answer.success && full && !answer.said.contains(NO_SPACE) {
        let separator = if answer.said.is_empty() { "" } else { "; " };
        answer.said.push_str(separator);
        answer.said.push_str(NO_SPACE);
    }
    answer
}

/// The end of a stream, in one line that no terminal obeys.
async fn last_words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        let mut piece = [0; 4096];
        while let Ok(count) = stream.read(&mut piece).await
            && count > 0
        {
            kept.extend_from_slice(&piece[..count]);
            let surplus = kept.len().saturating_sub(SAID);
            kept.drain(..surplus);
        }
    }
    one_line(&String::from_utf8_lossy(&kept))
}

fn one_line(text: &str) -> String {
    let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join("; ");
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(script: &str, location: &'a Location) -> Call<'a> {
        Call {
            program: "sh",
            package: "dash",
            arguments: vec!["-c".into(), script.into()],
            environment: BTreeMap::new(),
            directory: Path::new("/"),
            input: b"given".to_vec(),
            location,
            deadline: Duration::from_secs(20),
            room: None,
        }
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_nothing_of_our_environment() {
        let location = Location::Local("/x".into());
        let answer = call("cat; env | grep -c CARGO; printf 'a\\nb\\033' >&2; exit 3", &location).run().await;
        let answer = answer.expect("it ran");
        assert_eq!(
            (answer.success, answer.text().as_str(), answer.said.as_str()),
            (false, "given0", "a; b?")
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_dies_with_its_children() {
        let location = Location::Local("/x".into());
        let directory = tempfile::tempdir().expect("a directory");
        let pids = directory.path().join("pids");
        let script = format!("sleep 1000 & echo $! > {}; wait", pids.display());
        let call = Call { deadline: Duration::from_millis(500), ..call(&script, &location) };
        assert!(matches!(call.run().await, Err(SourceError::Deadline { .. })));
        let pid = std::fs::read_to_string(pids).expect("a pid");
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while alive() {
            assert!(std::time::Instant::now() < deadline, "the child lives");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_fills_the_disk_is_stopped() {
        let location = Location::Local("/x".into());
        let directory = tempfile::tempdir().expect("a directory");
        let script =
            format!("cd {} && while :; do head -c 100000 /dev/zero >> x; done", directory.path().display());
        let room = Some((directory.path().to_owned(), 1 << 20));
        let ended = Call { room, ..call(&script, &location) }.run().await;
        assert!(matches!(ended, Err(SourceError::TooLarge { .. })), "{ended:?}");
    }

    #[tokio::test]
    async fn an_endless_answer_takes_bounded_memory() {
        let location = Location::Local("/x".into());
        let ended = call("tr '\\0' x < /dev/zero", &location).run().await;
        assert!(matches!(ended, Err(SourceError::TooLarge { .. })), "{ended:?}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named_with_its_package() {
        let location = Location::Local("/x".into());
        let ended = Call { program: "no-such-program", ..call("", &location) }.run().await;
        assert!(matches!(ended, Err(SourceError::NoTool { package, .. }) if package == "dash"));
    }
}
