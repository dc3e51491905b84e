//! One request over the socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reactorcide_protocol::control::{MAX_MESSAGE_BYTES, SOCKET_VARIABLE};
use serde_json::Value;

use super::Trouble;

/// How long an answer may take: longer than the runner waits for one itself.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a busy runner is tried.
const BUSY: Duration = Duration::from_secs(10);

/// Sends a request and returns the answer, which is no refusal.
pub fn ask(request: &Value) -> Result<Value, Trouble> {
    let path = PathBuf::from(std::env::var_os(SOCKET_VARIABLE).ok_or_else(|| {
        Trouble::Unreachable(format!(
            "there is no runner around this: {SOCKET_VARIABLE} is not set; it is set for every step of a job"
        ))
    })?);
    let gone = |error: io::Error| {
        Trouble::Unreachable(format!("the runner cannot be reached at {}: {error}", path.display()))
    };
    let begun = Instant::now();
    loop {
        let answer =
            UnixStream::connect(&path).and_then(|stream| exchange(&stream, request)).map_err(gone)?;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        if answer["ok"] == true {
            return Ok(answer);
        }
        if answer["code"] != "busy" || begun.elapsed() > BUSY {
            return Err(Trouble::Refused { code: text("code"), message: text("error") });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn exchange(mut stream: &UnixStream, request: &Value) -> io::Result<Value> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = request.to_string();
    let length = u32::try_from(request.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // A runner that is busy answers before it reads, and closes: what it said counts, not the broken pipe.
    let sent = stream.write_all(&[&length.to_be_bytes()[..], request.as_bytes()].concat());
    let mut length = [0; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        return Err(sent.err().unwrap_or(error));
    }
    let length = u32::from_be_bytes(length);
    if length as usize > 16 * MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is no answer"));
    }
    let mut answer = Vec::new();
    stream.take(length.into()).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}
