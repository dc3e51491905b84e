//! A command on a terminal of its own: what it shows, what is typed, and Ctrl-C.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::docker::{Ended, Project};

/// What Ctrl-C types.
pub const CTRL_C: &str = "\x03";

pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Terminal {
    /// Starts the binary as the leader of a new session whose terminal is so many columns wide.
    pub fn start(project: &Project, line: &str, columns: u16) -> Self {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let binary = project.command(&arguments);
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("the terminal is ours");
        unlockpt(&master).expect("the terminal opens");
        tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let side =
            || Stdio::from(File::options().read(true).write(true).open(&name).expect("the other side"));
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(binary.get_program()).args(binary.get_args());
        command.current_dir(project.path()).env_clear();
        command.envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("setsid is there");
        drop(command);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().expect("a second handle");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // When the last process has closed the terminal, reading fails.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, screen, shown: Vec::new() }
    }

    /// Waits until this is on the screen.
    pub fn until(&mut self, text: &str) -> &mut Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !String::from_utf8_lossy(&self.shown).contains(text) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(more) => self.shown.extend(more),
                Err(error) => {
                    panic!("{text:?} never came ({error}): {}", String::from_utf8_lossy(&self.shown))
                }
            }
        }
        self
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes it");
        self
    }

    /// Waits for the end: all that was shown, and the exit code.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(more) => self.shown.extend(more),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}", String::from_utf8_lossy(&self.shown)),
            }
        }
        let status = self.child.wait().expect("it ends");
        let stdout = String::from_utf8_lossy(&self.shown).replace("\r\n", "\n");
        Ended { code: status.code(), stdout, stderr: String::new() }
    }
}
