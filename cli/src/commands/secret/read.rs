//! A value from standard input, a file, or somebody who types it where nobody sees it. Never from an argument: those can be
//! read by everybody on the machine, and stay in the history of a shell.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::Args;
use reactorcide_engine::protocol::mask::{self, MAX_LENGTH};
use reactorcide_engine::protocol::spec::Sensitive;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// Where a value comes from.
#[derive(Debug, Args)]
pub struct FromArgs {
    /// Read the value from standard input; one line break at its end does not count
    #[arg(long, conflicts_with = "from_file")]
    from_stdin: bool,
    /// Read the value from a file; one line break at its end does not count
    #[arg(long, value_name = "PATH")]
    from_file: Option<PathBuf>,
}

impl FromArgs {
    /// The value. Without an option it is asked for, if there is somebody to ask.
    pub fn read(&self, name: &str) -> Result<Sensitive, Failure> {
        let is_terminal = std::io::stdin().is_terminal();
        let value = match &self.from_file {
            Some(path) => {
                let file = std::fs::File::open(path);
                let read = file
                    .and_then(limited)
                    .map_err(|error| unreadable(&path.display().to_string(), &error))?;
                without_line_break(read)
            }
            None if self.from_stdin && is_terminal => {
                return Err(Failure::new("standard input is a terminal, which would show the value")
                    .hint("leave --from-stdin out to be asked for it, or pipe it in")
                    .exit(Exit::Usage));
            }
            None if self.from_stdin => {
                let read = limited(std::io::stdin().lock());
                without_line_break(read.map_err(|error| unreadable("standard input", &error))?)
            }
            None if is_terminal => asked(name)?,
            None => {
                return Err(Failure::new("nothing says where the value is")
                    .hint("pipe it in with --from-stdin, or name a file with --from-file")
                    .exit(Exit::Usage));
            }
        };
        if value.expose().is_empty() {
            return Err(Failure::new("the value is empty; nothing was set"));
        }
        mask::check(value.expose().as_bytes())
            .map_err(|error| Failure::new(format!("the value cannot be used: {error}; nothing was set")))?;
        Ok(value)
    }
}

/// The whole of a text, and no more than a value may have.
fn limited(input: impl Read) -> std::io::Result<Sensitive> {
    let mut text = String::new();
    // Two more for a line break, and one to see that it is too long.
    input.take(MAX_LENGTH as u64 + 3).read_to_string(&mut text)?;
    Ok(Sensitive::new(text))
}

fn without_line_break(text: Sensitive) -> Sensitive {
    let value = text.expose();
    let value = value.strip_suffix('\n').map_or(value, |value| value.strip_suffix('\r').unwrap_or(value));
    Sensitive::new(value)
}

fn unreadable(from: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("the value cannot be read from {from}: {error}"))
}

/// Asks for a value twice, and shows nothing of it.
fn asked(name: &str) -> Result<Sensitive, Failure> {
    let first = unseen(&format!("Value of {}: ", crate::output::safe(name)))?;
    let second = unseen("Again: ")?;
    if first == second { Ok(first) } else { Err(Failure::new("the two are not the same; nothing was set")) }
}

/// Shows what is typed again when it is dropped.
struct Unseen {
    before: Termios,
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
        talk("\n");
    }
}

fn unseen(question: &str) -> Result<Sensitive, Failure> {
    let failed = |error: rustix::io::Errno| {
        Failure::new(format!("the terminal cannot be kept from showing it: {error}"))
    };
    let before = tcgetattr(std::io::stdin()).map_err(failed)?;
    let mut silent = before.clone();
    // Keys that would end us come as what they are, so that the terminal is always put back.
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    talk(question);
    tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
    let _shown_again = Unseen { before };
    typed(std::io::stdin().lock())
}

/// What is typed until a line ends.
fn typed(input: impl BufRead) -> Result<Sensitive, Failure> {
    let mut line = Zeroizing::new(Vec::new());
    for byte in input.bytes() {
        match byte.map_err(|error| unreadable("the terminal", &error))? {
            b'\r' | b'\n' => break,
            // Ctrl-C, Ctrl-D, Ctrl-\.
            3 | 4 | 0x1c => return Err(Failure::new("nothing was set").exit(Exit::Interrupted)),
            8 | 0x7f => erase(&mut line),
            byte => line.push(byte),
        }
        if line.len() > MAX_LENGTH {
            break;
        }
    }
    let text =
        std::str::from_utf8(&line).map_err(|_| Failure::new("the value is no text; nothing was set"))?;
    Ok(Sensitive::new(text))
}

/// Takes the last character away.
fn erase(line: &mut Vec<u8>) {
    while let Some(byte) = line.pop() {
        if byte & 0xc0 != 0x80 {
            return;
        }
    }
}

fn talk(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
}

/// Whether somebody says yes.
pub fn agreed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to be asked")
            .hint("--yes does it without asking")
            .exit(Exit::NotAccepted));
    }
    talk(&format!("{question} Only `yes` is a yes: "));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| unreadable("the terminal", &error))?;
    Ok(line.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_belongs_to_the_file() {
        for (text, value) in
            [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("\n", "")]
        {
            assert_eq!(without_line_break(Sensitive::new(text)).expose(), value, "{text:?}");
        }
    }

    #[test]
    fn what_is_typed_ends_with_the_line_and_can_be_corrected() {
        let value = |bytes: &[u8]| typed(bytes).map(|value| value.expose().to_owned());
        assert_eq!(value(b"S3CRET\nrest").expect("a value"), "S3CRET");
        assert_eq!(value("a\u{e9}\x7fb\r".as_bytes()).expect("a value"), "ab");
        assert!(value(b"S3C\x03").is_err());
    }
}
