//! An archive's bytes: into a file of the cache that goes when it is no longer needed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reactorcide_engine::protocol::source::Location;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{StatusCode, redirect};
use sha2::{Digest, Sha256};

use super::ArchiveSource;
use crate::source::cache::INCOMING;
use crate::source::context::{Context, Credentials, hex};
use crate::source::error::SourceError;
use crate::source::limits::size;

/// How long the other side may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How often the other side may send us elsewhere.
const REDIRECTS: usize = 5;

/// A fetched archive.
pub struct Fetched {
    path: PathBuf,
    temporary: bool,
    /// Its SHA-256, in hex.
    pub digest: String,
}

impl Fetched {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gets an archive.
pub async fn fetch(
    source: &ArchiveSource,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<Fetched, SourceError> {
    match &source.location {
        Location::Local(path) => here(path, source, context).await,
        Location::Remote { url, .. } => {
            let fetched =
                tokio::time::timeout(context.limits.deadline, there(url, source, context, credentials));
            let seconds = context.limits.deadline.as_secs();
            let late = |_| SourceError::Deadline { location: source.location.to_string(), seconds };
            fetched.await.map_err(late)?
        }
    }
}

/// A file of this machine is copied, so that nobody changes it between the look and the use.
async fn here(path: &Path, source: &ArchiveSource, context: &Context) -> Result<Fetched, SourceError> {
    let mut file = Incoming::new(source, context)?;
    let path = path.to_owned();
    let location = source.location.to_string();
    let copied = tokio::task::spawn_blocking(move || {
        let metadata = fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Missing {
                what: "file".to_owned(),
                location,
                hint: "look at the path".to_owned(),
            },
            _ => SourceError::io(&path)(error),
        })?;
        if !metadata.is_file() {
            return Err(SourceError::io(&path)(std::io::ErrorKind::InvalidInput.into()));
        }
        let mut from = File::open(&path).map_err(SourceError::io(&path))?;
        let mut piece = vec![0; 256 << 10];
        loop {
            match from.read(&mut piece).map_err(SourceError::io(&path))? {
                0 => return file.finish(),
                count => file.add(&piece[..count])?,
            }
        }
    });
    copied.await.map_err(|error| SourceError::io(Path::new("an archive"))(error.into()))?
}

async fn there(
    url: &str,
    source: &ArchiveSource,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<Fetched, SourceError> {
    let location = source.location.to_string();
    let unreachable = |error: reqwest::Error| SourceError::Unreachable {
        location: location.clone(),
        // The address may hold what is not to be shown.
        said: words(&error.without_url()),
    };
    // With credentials nobody sends us elsewhere: they would go there too, or be missing there.
    let policy = match credentials {
        Some(_) => redirect::Policy::none(),
        None => redirect::Policy::limited(REDIRECTS),
    };
    let client = reqwest::Client::builder().redirect(policy).connect_timeout(SILENCE).read_timeout(SILENCE);
    let client = client.build().map_err(unreachable)?;
    let mut request = client.get(url);
    if let Some(credentials) = credentials {
        let (user, password) = credentials.user_and_password();
        let basic = basic(user, password).map_err(|_| SourceError::Denied {
            location: location.clone(),
            said: "the credentials hold characters that no header can".to_owned(),
        })?;
        request = request.header(AUTHORIZATION, basic);
    }
    let mut response = request.send().await.map_err(unreachable)?;
    match response.status() {
        status if status.is_success() => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(SourceError::Denied { location, said: status.to_string() });
        }
        status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => {
            let hint = format!("the server says {status}: look at the address");
            return Err(SourceError::Missing { what: "archive".to_owned(), location, hint });
        }
        status => {
            return Err(SourceError::Unreachable { location, said: format!("the server says {status}") });
        }
    }
    let mut file = Incoming::new(source, context)?;
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        file.add(&piece)?;
    }
    file.finish()
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A file that is being written, and its checksum.
struct Incoming {
    fetched: Fetched,
    file: File,
    hash: Sha256,
    bytes: u64,
    limit: u64,
    location: String,
}

impl Incoming {
    fn new(source: &ArchiveSource, context: &Context) -> Result<Self, SourceError> {
        let path = context.cache.root().join(format!("{INCOMING}{:016x}", fastrand::u64(..)));
        let file = File::create_new(&path).map_err(SourceError::io(&path))?;
        let fetched = Fetched { path, temporary: true, digest: String::new() };
        let (limit, location) = (context.limits.bytes, source.location.to_string());
        Ok(Self { fetched, file, hash: Sha256::new(), bytes: 0, limit, location })
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), SourceError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limit {
            return Err(SourceError::TooLarge { location: self.location.clone(), limit: size(self.limit) });
        }
        self.hash.update(piece);
        self.file.write_all(piece).map_err(SourceError::io(&self.fetched.path))
    }

    fn finish(mut self) -> Result<Fetched, SourceError> {
        self.fetched.digest = hex(&self.hash.finalize());
        Ok(self.fetched)
    }
}
