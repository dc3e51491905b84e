//! `reactorcide fmt`: gives the files of the configuration their usual look, comments and all.

use std::fs;
use std::io::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use clap::Args;
use reactorcide_engine::format::format;
use similar::{ChangeTag, TextDiff};

use crate::config_files::Files;
use crate::exit::{Exit, Failure};
use crate::report::{self, printable};
use crate::settings::Settings;

const ADD: Style = AnsiColor::Green.on_default();
const REMOVE: Style = AnsiColor::Red.on_default();

/// Arguments of `fmt`.
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// Write nothing; exit with 1 if a file would change
    #[arg(long)]
    check: bool,
    /// Write nothing; show what would change
    #[arg(long)]
    diff: bool,
}

/// Formats every file.
pub fn fmt(arguments: &FmtArgs, settings: &Settings) -> Result<Exit, Failure> {
    let files = Files::of(settings)?.into_texts()?;
    let mut stdout = crate::stdout::stdout();
    let (mut changed, mut failed) = (0, false);
    for (path, text) in &files {
        let formatted = match format(text) {
            Ok(formatted) => formatted,
            Err(error) => {
                failed = true;
                report::note(&format!("{path}: left as it is: {error}"));
                continue;
            }
        };
        if formatted == *text {
            continue;
        }
        changed += 1;
        if arguments.diff {
            show(&mut stdout, path, text, &formatted);
        } else {
            let _ = writeln!(stdout, "{}", printable(path));
        }
        if !arguments.check && !arguments.diff {
            replace(Path::new(path), &formatted)
                .map_err(|error| Failure::new(format!("cannot write {path}: {error}")))?;
        }
    }
    if arguments.check && changed > 0 {
        return Err(Failure::new(format!("{} would change", report::count(changed, "file")))
            .hint("`reactorcide fmt` formats them; --diff shows how"));
    }
    Ok(if failed { Exit::Failed } else { Exit::Success })
}

/// Writes a whole file or none, with the rights that it had.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one: what it leads to is written.
    let path = fs::canonicalize(path)?;
    let mut name = path.clone().into_os_string();
    name.push(format!(".{}", std::process::id()));
    let written = fs::write(&name, text)
        .and_then(|()| fs::set_permissions(&name, fs::metadata(&path)?.permissions()))
        .and_then(|()| fs::rename(&name, &path));
    if written.is_err() {
        let _ = fs::remove_file(&name);
    }
    written
}

fn show(out: &mut impl Write, path: &str, before: &str, after: &str) {
    let _ = writeln!(out, "{}", printable(path));
    let diff = TextDiff::from_lines(before, after);
    for group in diff.grouped_ops(2) {
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (mark, style) = match change.tag() {
                ChangeTag::Delete => ("-", REMOVE),
                ChangeTag::Insert => ("+", ADD),
                ChangeTag::Equal => (" ", Style::new()),
            };
            let line = printable(change.value().trim_end_matches('\n'));
            let _ = writeln!(out, "    {style}{mark} {line}{style:#}");
        }
    }
}
