//! Reading whole configurations: what is accepted and refused, where, and that nothing hostile gets through.

mod errors;
mod fixtures;
mod guide;
mod hostile;
mod mutations;
mod schemas;

use std::path::{Path, PathBuf};

use reactorcide_engine::config::SourceFile;
use reactorcide_engine::diagnostic::Diagnostic;
use reactorcide_engine::read::{Budget, InputFile, Reading, read};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read_one(path: &str, bytes: impl Into<Vec<u8>>) -> Reading {
    read(vec![InputFile { path: path.to_owned(), bytes: bytes.into() }], &Budget::default())
}

/// `4:9 error[RC1010]: message`, or without a place where there is none.
fn line(diagnostic: &Diagnostic, sources: &[SourceFile]) -> String {
    let word = format!("{:?}", diagnostic.severity).to_lowercase();
    let text = format!("{word}[{}]: {}", diagnostic.code, diagnostic.message);
    match diagnostic.span {
        Some(span) => {
            let place = sources[span.source as usize].place(span.start);
            format!("{}:{} {text}", place.line, place.column)
        }
        None => text,
    }
}

fn lines(reading: &Reading) -> Vec<String> {
    reading.diagnostics.iter().map(|one| line(one, &reading.configuration.sources)).collect()
}
