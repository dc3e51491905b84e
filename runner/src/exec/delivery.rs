//! Which step gets which secrets, and the files of those that come as files.
//!
//! A step's files are written before it starts and removed when it has ended. The directory is the job's user's, so
//! whatever steps left there may be in the way on purpose: everything is made by descriptor, anew, and no link is followed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use reactorcide_protocol::spec::{JobSpec, Secret, StepSpec};
use rustix::fs::{Mode, OFlags, fchmod, mkdirat, open, openat};
use rustix::io::Errno;

/// How many names are tried for a directory until one is free.
const TRIES: u32 = 1000;

/// The secrets of a job, and where their files go.
pub struct Deliveries {
    secrets: Vec<Secret>,
    /// Whether steps name what they get.
    by_name: bool,
    place: Option<Place>,
}

struct Place {
    path: PathBuf,
    directory: OwnedFd,
    next: u32,
}

/// What one step gets.
#[derive(Default)]
pub struct Given {
    /// Its variables: values, and paths of files.
    pub variables: Vec<(String, String)>,
    /// Its files, for as long as this is kept.
    pub files: Option<Files>,
}

/// Files that are removed when this is dropped.
pub struct Files {
    path: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Deliveries {
    /// Those of a job. The error is a sentence that says what cannot be had.
    pub fn new(spec: &JobSpec, steps: &[StepSpec]) -> Result<Self, String> {
        for secret in spec.secrets.iter().filter(|secret| secret.file) {
            let is_plain = secret.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_plain || secret.name.is_empty() {
                return Err(format!("{:?} cannot be the name of a file with a secret", secret.name));
            }
        }
        let has_files = spec.secrets.iter().any(|secret| secret.file);
        let place = has_files.then(|| Place::open(spec.secrets_directory.as_deref())).transpose()?;
        let by_name = steps.iter().any(|step| !step.secrets.is_empty());
        Ok(Self { secrets: spec.secrets.clone(), by_name, place })
    }

    /// The variables that carry secrets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.name.as_str())
    }

    /// What plugins get: any step can look into their environment, so nothing where steps name theirs. No files.
    pub fn to_plugins(&self) -> Vec<(String, String)> {
        let secrets = self.secrets.iter().filter(|secret| !self.by_name && !secret.file);
        secrets.map(|secret| (secret.name.clone(), secret.value.expose().to_owned())).collect()
    }

    /// What a step gets: what it names and the job has, since a run may withhold some from all of its jobs. Its files are there from now on.
    pub fn deliver(&mut self, step: &StepSpec) -> Result<Given, String> {
        let named: BTreeSet<&str> = step.secrets.iter().map(String::as_str).collect();
        let mut given = Given::default();
        let by_name = self.by_name;
        let own = |secret: &&Secret| !by_name || named.contains(secret.name.as_str());
        let mut directory = None;
        for secret in self.secrets.iter().filter(own) {
            let value = match (&mut self.place, secret.file) {
                (Some(place), true) => {
                    let shown = place.path.display().to_string();
                    let cannot = |error: io::Error| {
                        format!(
                            "the file with the secret {} cannot be written to {shown}: {error}",
                            secret.name
                        )
                    };
                    let (files, descriptor) = match &mut directory {
                        Some(made) => made,
                        none => none.insert(place.make().map_err(cannot)?),
                    };
                    write(descriptor, &secret.name, secret.value.expose()).map_err(cannot)?;
                    files.path.join(&secret.name).display().to_string()
                }
                _ => secret.value.expose().to_owned(),
            };
            given.variables.push((secret.name.clone(), value));
        }
        given.files = directory.map(|(files, _)| files);
        Ok(given)
    }
}

impl Place {
    fn open(path: Option<&str>) -> Result<Self, String> {
        let path = path.ok_or("secrets come as files, and there is no directory for them")?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(|error| {
            format!(
                "secrets come as files, and their directory {path} cannot be opened: {}",
                io::Error::from(error)
            )
        })?;
        Ok(Self { path: PathBuf::from(path), directory, next: 0 })
    }

    /// Makes a directory that nobody else made.
    fn make(&mut self) -> io::Result<(Files, OwnedFd)> {
        for _ in 0..TRIES {
            let name = self.next.to_string();
            self.next += 1;
            match mkdirat(&self.directory, &name, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                made => made?,
            }
            let files = Files { path: self.path.join(&name) };
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return Ok((files, openat(&self.directory, &name, flags, Mode::empty())?));
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is in the way"))
    }
}

fn write(directory: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::RUSR)?);
    // Whatever the mask of new files takes away.
    fchmod(&file, Mode::RUSR)?;
    file.write_all(value.as_bytes())
}

/// Where the files are of a job that runs without a container: in memory, the user's own.
pub fn private_directory() -> io::Result<Option<PathBuf>> {
    use std::os::unix::fs::DirBuilderExt;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let shared = Some(PathBuf::from("/dev/shm"));
    for parent in [runtime, shared].into_iter().flatten().filter(|parent| is_in_memory(parent)) {
        let path = parent.join(format!("reactorcide-secrets-{}", std::process::id()));
        // What an earlier process of the same id left; that of somebody else stays, and making ours fails.
        let _ = fs::remove_dir_all(&path);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(Some(path)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether what is written there goes to no disk.
fn is_in_memory(path: &Path) -> bool {
    /// The number of tmpfs, by `linux/magic.h`.
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| kind == TMPFS))
}
