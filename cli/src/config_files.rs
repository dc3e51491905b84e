//! Finds and reads the files of a configuration.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reactorcide_engine::config::Configuration;
use reactorcide_engine::diagnostic::{Diagnostic, Severity};
use reactorcide_engine::read::{self, Budget, Context, InputFile, Reading};

use crate::exit::Failure;
use crate::plan_cache::Key;
use crate::settings::Settings;

/// The code of a file or directory that cannot be read.
const UNREADABLE: &str = "RC1000";
/// More files than this are no configuration.
const MAX_FILES: usize = 50_000;
/// Directories deeper than this are not looked into.
const MAX_DEPTH: usize = 32;

/// The files of a configuration as they are on the disk.
#[derive(Clone)]
pub struct Files {
    directory: PathBuf,
    /// Sorted by path.
    files: Vec<InputFile>,
    /// A diagnostic for each that cannot be read.
    unreadable: Vec<Diagnostic>,
}

impl Files {
    /// Those that the settings name.
    pub fn of(settings: &Settings) -> Result<Self, Failure> {
        Self::below(&settings.config_directory())
    }

    /// Those of a project's repository: where the applied project says that they are, if there is such a directory.
    pub fn of_project(settings: &Settings, path: &str) -> Result<Self, Failure> {
        let below = settings.config.as_deref().unwrap_or(Path::new(".")).join(path);
        if below.is_dir() { Self::below(&below) } else { Self::of(settings) }
    }

    /// Those below a directory.
    pub fn below(directory: &Path) -> Result<Self, Failure> {
        let metadata = fs::metadata(directory).map_err(|error| no_directory(directory, &error))?;
        if !metadata.is_dir() {
            return Err(Failure::new(format!("{} is not a directory", directory.display()))
                .hint("--config takes the directory that holds the YAML files"));
        }
        let mut found =
            Found { root: directory, open: Vec::new(), files: Vec::new(), diagnostics: Vec::new() };
        found.walk(directory, 0)?;
        found.files.sort();
        let Found { files: paths, diagnostics: mut unreadable, .. } = found;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            match read_file(&path) {
                Ok(bytes) => files.push(InputFile { path: shown(&path), bytes }),
                Err(error) => unreadable.push(self::unreadable(&path, &error)),
            }
        }
        Ok(Self { directory: directory.to_owned(), files, unreadable })
    }

    /// What they come to, for [`crate::plan_cache`].
    pub fn key(&self) -> Option<Key> {
        if self.unreadable.is_empty() { Key::of(&self.files) } else { None }
    }

    /// Their paths as they can be opened, and their texts.
    pub fn into_texts(self) -> Result<Vec<(String, String)>, Failure> {
        if self.is_empty() {
            return Err(self.none());
        }
        if let Some(diagnostic) = self.unreadable.first() {
            let path = diagnostic.path.clone().unwrap_or_default();
            return Err(Failure::new(format!("{path} {}", diagnostic.message)));
        }
        let text = |file: InputFile| {
            let text = String::from_utf8(file.bytes).map_err(|_| {
                Failure::new(format!("{} is not UTF-8", file.path)).hint("`reactorcide validate` says where")
            });
            Ok((file.path, text?))
        };
        self.files.into_iter().map(text).collect()
    }

    fn none(&self) -> Failure {
        Failure::new(format!("no .yaml or .yml file in {}", self.directory.display()))
            .hint("`reactorcide init` writes a directory to start from; --config DIR names another")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unreadable.is_empty()
    }

    /// Reads and checks them alone. What is wrong is in the diagnostics.
    pub fn read(self) -> Result<Reading, Failure> {
        self.read_in(Context::default())
    }

    /// Reads and checks them in a context.
    fn read_in(self, context: Context) -> Result<Reading, Failure> {
        Ok(self.parse()?.in_context(context))
    }

    /// Reads them one by one.
    pub fn parse(self) -> Result<Parsed, Failure> {
        if self.is_empty() {
            return Err(self.none());
        }
        Ok(Parsed { files: read::parse(self.files, &Budget::default()), unreadable: self.unreadable })
    }

    /// The same for commands that cannot go on with a wrong one: prints every error and warning.
    pub fn read_valid(self) -> Result<Configuration, Failure> {
        valid(self.read()?)
    }
}

/// Files that were read one by one.
pub struct Parsed {
    files: read::Parsed,
    unreadable: Vec<Diagnostic>,
}

impl Parsed {
    /// Checks them in a context.
    pub fn in_context(self, context: Context) -> Reading {
        let mut reading = self.files.in_context(context);
        if !self.unreadable.is_empty() {
            // What refers to a resource of a file that nobody could read would be reported as wrong.
            reading.diagnostics.retain(|one| one.code != "RC1001" && one.code != "RC1021");
        }
        reading.diagnostics.splice(0..0, self.unreadable);
        reading
    }
}

/// The configuration, if it has no error. Prints every error and warning.
pub fn valid(reading: Reading) -> Result<Configuration, Failure> {
    let Reading { configuration, diagnostics } = reading;
    crate::report::diagnostics(&diagnostics, &configuration.sources);
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    if errors > 0 {
        let errors = crate::report::count(errors, "error");
        return Err(Failure::new(format!("the configuration has {errors}")));
    }
    Ok(configuration)
}

fn no_directory(directory: &Path, error: &io::Error) -> Failure {
    let path = directory.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(format!("there is no directory {path}"))
            .hint("`reactorcide init` writes a directory to start from; --config DIR names another"),
        _ => Failure::new(format!("cannot read the directory {path}: {error}")),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(UNREADABLE, format!("cannot be read: {error}")).in_file(shown(path))
}

/// A path as people should see it: as they would type it here, so that an editor can follow it.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.strip_prefix("./").unwrap_or(&text).to_owned()
}

/// Only regular files are read, so that a pipe cannot hold us up.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // One byte more than the reader takes, so that it can say that the file is too large.
    let limit = u64::try_from(Budget::default().bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Found<'a> {
    root: &'a Path,
    /// The directories that the walk is in, as the file system names them, so that a link cannot go in a circle.
    open: Vec<PathBuf>,
    files: Vec<PathBuf>,
    diagnostics: Vec<Diagnostic>,
}

impl Found<'_> {
    fn walk(&mut self, directory: &Path, depth: usize) -> Result<(), Failure> {
        let real = match directory.canonicalize() {
            Ok(real) => real,
            Err(error) => {
                self.diagnostics.push(unreadable(directory, &error));
                return Ok(());
            }
        };
        if depth > MAX_DEPTH || self.open.contains(&real) {
            return Ok(());
        }
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.diagnostics.push(unreadable(directory, &error));
                return Ok(());
            }
        };
        self.open.push(real);
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(&entry.path(), depth)?,
                Err(error) => self.diagnostics.push(unreadable(directory, &error)),
            }
        }
        self.open.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            return Ok(());
        }
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if path.is_dir() {
            // Where a whole repository is the configuration's directory, these are never meant.
            if name != "target" && name != "node_modules" {
                self.walk(path, depth + 1)?;
            }
        } else if is_yaml {
            self.files.push(path.to_owned());
            if self.files.len() > MAX_FILES {
                return Err(Failure::new(format!("more than {MAX_FILES} files in {}", self.root.display())));
            }
        }
        Ok(())
    }
}
