//! Archives: fetched or read here, checked, and unpacked without trust in anything that they say.

mod download;
#[cfg(test)]
mod tests;
mod unpack;

use std::path::Path;

use reactorcide_engine::protocol::source::Location;

use super::cache::{Held, Wanted};
use super::context::{Context, Credentials};
use super::error::SourceError;

/// An archive and what it must be.
#[derive(Debug, Clone)]
pub struct ArchiveSource {
    /// Where it is.
    pub location: Location,
    /// Its SHA-256, in hex.
    pub checksum: Option<String>,
}

/// Makes sure that there is a directory with what the archive holds, and holds it. Also returns its SHA-256.
pub async fn unpacked(
    source: &ArchiveSource,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<(Held, String), SourceError> {
    let key = context.key("archive", &source.location.url(), credentials);
    // What is known by its checksum is not fetched again.
    if let Some(checksum) = &source.checksum
        && let Some(held) = context.cache.have(&item(&key, checksum)).await?
    {
        return Ok((held, checksum.clone()));
    }
    let file = download::fetch(source, context, credentials).await?;
    if let Some(expected) = source.checksum.clone().filter(|expected| *expected != file.digest) {
        let (location, found) = (source.location.to_string(), file.digest.clone());
        return Err(SourceError::Checksum { location, expected, found });
    }
    let held = match context.cache.want(&item(&key, &file.digest)).await? {
        Wanted::Have(held) => held,
        Wanted::Make(alone) => {
            let new = alone.start()?;
            unpack_file(&source.location, file.path(), &new, context).await?;
            alone.publish(&new).await?
        }
    };
    Ok((held, file.digest.clone()))
}

fn item(key: &str, digest: &str) -> String {
    format!("{key}-{}", digest.get(..24).unwrap_or(digest))
}

async fn unpack_file(
    location: &Location,
    file: &Path,
    new: &Path,
    context: &Context,
) -> Result<(), SourceError> {
    let (location, file, new, limits) =
        (location.to_string(), file.to_owned(), new.to_owned(), context.limits);
    let unpacked = tokio::task::spawn_blocking(move || unpack::unpack(&location, &file, &new, limits));
    unpacked.await.map_err(|error| SourceError::io(Path::new("an archive"))(error.into()))?
}
