//! What a storage says, in the engine's words, without credentials.

use std::error::Error;
use std::io;

use reactorcide_engine::storage::StorageError;

/// Words by which storages say that there is no room, beside the codes of the operating system. The first is MinIO's,
/// the others are of Ceph, Azure and HTTP.
const FULL: [&str; 3] = ["XMinioStorageFull", "QuotaExceeded", "Insufficient Storage"];

/// How many characters of an answer are shown.
const SHOWN: usize = 300;

/// What was attempted where.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) location: &'a str,
    pub(crate) what: &'static str,
}

impl Attempt<'_> {
    pub(crate) fn failed(self, error: &object_store::Error) -> StorageError {
        use object_store::Error as Said;
        if let Some(io) = io_error(error) {
            return self.broken(io);
        }
        let what = said(error);
        let transient = match error {
            Said::Generic { .. } if FULL.iter().any(|word| what.contains(word)) => {
                return StorageError::Full { location: self.location.to_owned() };
            }
            Said::NotFound { .. }
            | Said::PermissionDenied { .. }
            | Said::Unauthenticated { .. }
            | Said::InvalidPath { .. }
            | Said::NotSupported { .. }
            | Said::NotImplemented { .. }
            | Said::UnknownConfigurationKey { .. } => false,
            other => !is_refusal(other),
        };
        StorageError::Unavailable { location: self.location.to_owned(), attempt: self.what, transient, what }
    }

    /// The operating system's word, for a directory.
    pub(crate) fn broken(self, error: &io::Error) -> StorageError {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                StorageError::Full { location: self.location.to_owned() }
            }
            kind => StorageError::Unavailable {
                location: self.location.to_owned(),
                attempt: self.what,
                transient: !matches!(
                    kind,
                    Kind::PermissionDenied | Kind::NotFound | Kind::NotADirectory | Kind::ReadOnlyFilesystem
                ),
                what: error.to_string(),
            },
        }
    }

    pub(crate) fn slow(self) -> StorageError {
        StorageError::Unavailable {
            location: self.location.to_owned(),
            attempt: self.what,
            transient: true,
            what: format!("no answer came within {} s", super::PATIENCE.as_secs()),
        }
    }
}

/// The operating system's error below an error, if there is one that is not of a connection.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>().filter(|io| io.raw_os_error().is_some()) {
            return Some(io);
        }
        next = error.source();
    }
    None
}

/// Whether the storage said that the request is wrong, and not that it is busy or slow.
fn is_refusal(error: &object_store::Error) -> bool {
    let text = error.to_string();
    let status = text.split_once("status code: ").map(|(_, rest)| rest).unwrap_or_default();
    status.starts_with('4') && !["408", "425", "429"].iter().any(|busy| status.starts_with(busy))
}

/// What an error says, in a line: of an answer in XML its code and message, and no query of a URL, since some storages take
/// signatures there.
fn said(error: &object_store::Error) -> String {
    let mut whole = error.to_string();
    // The last sources say what an outer one leaves out; some repeat theirs.
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !whole.contains(&text) {
            whole = format!("{whole}: {text}");
        }
        next = source.source();
    }
    if let Some(code) = element(&whole, "Code") {
        let message = element(&whole, "Message").unwrap_or_default();
        return shortened(format!("{code}: {message}").trim_end_matches([':', ' ']));
    }
    let mut kept = String::with_capacity(whole.len());
    let mut skipping = false;
    for character in whole.chars() {
        skipping = match character {
            '?' => true,
            ' ' | ')' | '"' | '\'' | '\n' | '>' => false,
            _ => skipping,
        };
        if !skipping {
            kept.push(if character.is_control() { ' ' } else { character });
        }
    }
    shortened(&kept)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt<'static> = Attempt { location: "s3://bucket", what: "written" };

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn no_room_is_told_from_other_trouble() {
        let full = io::Error::from_raw_os_error(28);
        let full = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        assert!(matches!(ATTEMPT.failed(&full), StorageError::Full { .. }));
        let quota = "507: <Error><Code>XMinioStorageFull</Code><Message>no room</Message></Error>";
        assert!(matches!(ATTEMPT.failed(&generic(quota)), StorageError::Full { .. }));
        let slow = ATTEMPT.failed(&generic("timed out"));
        assert!(slow.is_transient(), "{slow}");
        let wrong = "Server returned non-2xx status code: 400 Bad Request: <Code>InvalidBucketName</Code>";
        assert!(!ATTEMPT.failed(&generic(wrong)).is_transient());
        let busy = "Server returned non-2xx status code: 429 Too Many Requests: ";
        assert!(ATTEMPT.failed(&generic(busy)).is_transient());
        let denied = object_store::Error::PermissionDenied { path: "x".to_owned(), source: "no".into() };
        assert!(!ATTEMPT.failed(&denied).is_transient());
    }

    #[test]
    fn signatures_are_not_repeated() {
        let error = generic("GET https://a.blob.core.windows.net/c/x?sv=1&sig=s3cret failed");
        let said = ATTEMPT.failed(&error).to_string();
        assert!(!said.contains("s3cret") && said.contains("failed"), "{said}");
        let body = "403: <Error><Code>SignatureDoesNotMatch</Code><Message>it does not match</Message>\
                    <StringToSign>s3cret</StringToSign></Error>";
        let said = ATTEMPT.failed(&generic(body)).to_string();
        assert_eq!(said, "s3://bucket cannot be written: SignatureDoesNotMatch: it does not match");
    }
}
