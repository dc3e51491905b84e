//! A run for people: prefixed lines on standard output, what happens on standard error, a status line on a terminal,
//! a table in the end.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use reactorcide_engine::protocol::frame::{Body, Frame, StepOutcome, Stream};
use reactorcide_engine::scheduler::{NodeStatus, Row, RunStatus, Transition};
use reactorcide_server::{Happening, RunEnd};

use super::lines::{Lines, Source};
use super::text::{duration, push_line, safe};
use super::used::used;

/// So many bytes are written at once.
const BATCH: usize = 64 << 10;
/// Prefixes are not padded beyond this.
const WIDEST: usize = 24;
/// On a terminal narrower than this, prefixes are not padded at all.
const NARROW: usize = 60;
/// On a terminal at least so wide, the table at the end says what jobs used.
const WIDE: u16 = 120;
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightRed,
];
const DIM: Style = Style::new().dimmed();
const RESET: anstyle::Reset = anstyle::Reset;

/// Prints a run for people.
pub struct Human {
    lines: Lines,
    width: usize,
    colours: BTreeMap<String, AnsiColor>,
    running: BTreeMap<String, Instant>,
    started: Instant,
    terminal: bool,
    status_shown: bool,
    /// Whether colours are wanted on standard output, and on standard error.
    colours_out: bool,
    colours_err: bool,
    /// What waits to be written to standard output: many lines at once.
    out: String,
}

impl Human {
    /// For a run of these jobs.
    pub fn new<'a>(jobs: impl Iterator<Item = &'a str>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let widest = jobs.map(|name| name.chars().count()).max().unwrap_or(0).min(WIDEST);
        let is_narrow = terminal && columns() < NARROW;
        Self {
            lines: Lines::default(),
            width: if is_narrow { 0 } else { widest },
            colours: BTreeMap::new(),
            running: BTreeMap::new(),
            started: Instant::now(),
            terminal,
            status_shown: false,
            colours_out: AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
            colours_err: AutoStream::choice(&std::io::stderr()) != ColorChoice::Never,
            out: String::new(),
        }
    }

    /// Prints what happens.
    pub fn happens(&mut self, happening: Happening) {
        self.clear_status();
        match happening {
            Happening::Transition(transition) => self.transition(&transition),
            Happening::Progress(job, text) => self.talk(&job, &text),
            Happening::Frames(job, _, frames) => frames.into_iter().for_each(|frame| self.frame(&job, frame)),
        }
        self.write_out();
        self.show_status();
    }

    /// Looks at unfinished lines and at the time.
    pub fn tick(&mut self) {
        let flushed = self.lines.flush(Some(Instant::now()));
        if !flushed.is_empty() || self.terminal {
            self.clear_status();
            self.print_all(flushed);
            self.write_out();
            self.show_status();
        }
    }

    fn frame(&mut self, job: &str, frame: Frame) {
        match frame.body {
            Body::Log { step, stream, data } => {
                let prefix = self.prefix(job, stream);
                if stream == Stream::System {
                    self.write_out();
                }
                let (out, colours) = (&mut self.out, self.colours_out);
                let source = (job.to_owned(), step, stream);
                self.lines.push(&source, &data.bytes(), Instant::now(), |line| match stream {
                    Stream::System => system(&prefix, line, colours),
                    _ => {
                        out.push_str(&prefix);
                        push_line(line, colours, out);
                        out.push('\n');
                    }
                });
                if self.out.len() > BATCH {
                    self.write_out();
                }
            }
            Body::Gap { bytes, reason, .. } => {
                self.talk(job, &format!("{bytes} bytes of output are missing: {reason}"))
            }
            Body::StepStarted { step } => self.talk(job, &format!("step {step}")),
            Body::StepFinished { step, outcome, reason, .. } => {
                let flushed = self.lines.flush_job(job);
                self.print_all(flushed);
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                match outcome {
                    StepOutcome::Succeeded => {}
                    StepOutcome::Failed => self.talk(job, &format!("step {step} failed{reason}")),
                    StepOutcome::Skipped => self.talk(job, &format!("step {step} was skipped{reason}")),
                    StepOutcome::Cancelled => self.talk(job, &format!("step {step} was cancelled{reason}")),
                }
            }
            _ => {}
        }
    }

    fn transition(&mut self, transition: &Transition) {
        let Some(node) = &transition.node else {
            if transition.to == "waiting" {
                self.talk("the run", &transition.reason);
            }
            return;
        };
        let flushed = self.lines.flush_job(node);
        self.print_all(flushed);
        match transition.to.as_str() {
            "running" => {
                self.running.insert(node.clone(), Instant::now());
            }
            "queued" => {
                self.running.remove(node);
                if transition.attempt.is_some_and(|attempt| attempt > 1) {
                    self.talk(node, &transition.reason);
                }
            }
            "succeeded" => {
                self.running.remove(node);
            }
            "waiting" => self.talk(node, &transition.reason),
            ended => {
                self.running.remove(node);
                self.talk(node, &format!("{ended}: {}", transition.reason));
            }
        }
        // A trigger that was refused is a decision about a job that goes on.
        if transition.to == "running" && transition.reason.starts_with("a trigger") {
            self.talk(node, &transition.reason);
        }
    }

    fn print_all(&mut self, lines: Vec<(Source, Vec<u8>)>) {
        for ((job, _, stream), line) in lines {
            let prefix = self.prefix(&job, stream);
            if stream == Stream::System {
                self.write_out();
                system(&prefix, &line, self.colours_err);
            } else {
                self.out.push_str(&prefix);
                push_line(&line, self.colours_out, &mut self.out);
                self.out.push('\n');
            }
        }
    }

    /// Writes what waits. It has colours only where they are wanted.
    fn write_out(&mut self) {
        if !self.out.is_empty() {
            let _ = crate::stdout::raw().write_all(self.out.as_bytes());
            self.out.clear();
        }
    }

    /// Words of our own about a job.
    fn talk(&mut self, job: &str, text: &str) {
        self.write_out();
        let prefix = self.prefix(job, Stream::System);
        let _ = writeln!(anstream::stderr().lock(), "{prefix}{DIM}{}{DIM:#}", safe(text));
    }

    fn prefix(&mut self, job: &str, stream: Stream) -> String {
        let next = COLOURS[self.colours.len() % COLOURS.len()];
        let colour = *self.colours.entry(job.to_owned()).or_insert(next);
        let has_colours = if stream == Stream::System { self.colours_err } else { self.colours_out };
        let style = if has_colours { Style::new().fg_color(Some(colour.into())) } else { Style::new() };
        let width = self.width;
        format!("{style}{:<width$} |{style:#} ", safe(job))
    }

    fn clear_status(&mut self) {
        if self.status_shown {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
            self.status_shown = false;
        }
    }

    fn show_status(&mut self) {
        if !self.terminal || self.running.is_empty() {
            return;
        }
        let jobs: Vec<String> =
            self.running.iter().map(|(job, since)| format!("{} {}", safe(job), seconds(since))).collect();
        let text = format!("[{}] running: {}", seconds(&self.started), jobs.join(", "));
        let room = columns().saturating_sub(1);
        let text: String = if text.chars().count() > room {
            text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
        } else {
            text
        };
        let _ = write!(anstream::stderr().lock(), "{DIM}{text}{DIM:#}");
        let _ = std::io::stderr().flush();
        self.status_shown = true;
    }

    /// Prints the table.
    pub fn end(mut self, end: &RunEnd) {
        self.clear_status();
        let rest = self.lines.flush(None);
        self.print_all(rest);
        self.write_out();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        let width = terminal_width();
        if let Some(width) = width {
            table.set_width(width);
        }
        // Where there is room: why a job failed is worth more.
        let with_used = !end.used.is_empty() && width.is_some_and(|width| width >= WIDE);
        let header = ["job", "status", "duration", "reason"];
        table.set_header(header.into_iter().chain(with_used.then_some("used")));
        for row in &end.rows {
            let used = with_used.then(|| end.used.get(&row.name).map(used).unwrap_or_default());
            table.add_row(cells(row).into_iter().chain(used));
        }
        let mut out = crate::stdout::stdout();
        let _ = writeln!(out);
        for line in table.lines() {
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let style = match end.status {
            RunStatus::Succeeded => Style::new().fg_color(Some(AnsiColor::Green.into())),
            _ => Style::new().fg_color(Some(AnsiColor::Red.into())),
        };
        let took = duration(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX));
        let _ = writeln!(out, "\n{style}{}{style:#} in {took}", end.status.as_str());
        let _ = write!(out, "{}", if self.terminal { RESET.to_string() } else { String::new() });
    }
}

/// A line of the runner's own.
fn system(prefix: &str, line: &[u8], colours: bool) {
    let mut text = String::new();
    push_line(line, colours, &mut text);
    let _ = writeln!(anstream::stderr().lock(), "{prefix}{DIM}{text}{DIM:#}");
}

fn cells(row: &Row) -> [String; 4] {
    let took = match (row.started_at, row.ended_at) {
        (Some(start), Some(end)) => duration(end - start),
        _ => String::new(),
    };
    let status = match (row.status, row.failure) {
        (NodeStatus::Failed, Some(failure)) => {
            let word = serde_json::to_value(failure).ok().and_then(|word| word.as_str().map(str::to_owned));
            format!("failed ({})", word.unwrap_or_default())
        }
        (status, _) => status.as_str().to_owned(),
    };
    let reason = match row.status {
        NodeStatus::Succeeded if row.reason == "it succeeded" => String::new(),
        _ => safe(&row.reason),
    };
    let reason = match row.attempts {
        0 | 1 => reason,
        attempts if reason.is_empty() => format!("{attempts} attempts"),
        attempts => format!("{reason} ({attempts} attempts)"),
    };
    [safe(&row.name), status, took, reason]
}

fn seconds(since: &Instant) -> String {
    duration(i64::try_from(since.elapsed().as_secs() * 1_000).unwrap_or(i64::MAX)).replace(".0s", "s")
}

fn terminal_width() -> Option<u16> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}
