//! Following what goes on at a server, also while it is away for a while.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::Client;
use crate::exit::Failure;
use crate::report;

/// How long a server may be away that was there before.
const AWAY: Duration = Duration::from_secs(300);
/// How long to wait until the first try; twice as long before each further one.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest that it takes until then.
const AGAIN_AT_MOST: Duration = Duration::from_secs(15);

/// What came of a request to follow something.
enum Answer {
    /// It is told.
    Told(Response),
    /// Nobody can answer just now.
    Away(Failure),
}

impl Client {
    /// Follows what goes on: calls with the name, the id and the data lines of each event, until the server ends it. Goes on
    /// where it was when the connection breaks, or the server or what is before it is away for a while.
    pub async fn follow(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut event: impl FnMut(&str, &[&str]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut last: Option<String> = None;
        let mut since: Option<Instant> = None;
        let mut failures = 0_u32;
        loop {
            let failure = match self.follow_from(path, query, last.as_deref()).await? {
                Answer::Told(response) => {
                    let mut stream = response.bytes_stream();
                    let mut buffer: Vec<u8> = Vec::new();
                    loop {
                        match stream.next().await {
                            None => return Ok(()),
                            Some(Err(error)) => break self.unreachable(&error),
                            Some(Ok(bytes)) => {
                                if failures > 1 {
                                    report::note(&format!("{} is there again", self.url));
                                }
                                (since, failures) = (Some(Instant::now()), 0);
                                buffer.extend_from_slice(&bytes);
                                while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                                    let block: Vec<u8> = buffer.drain(..end + 2).collect();
                                    if let Some(id) = told(&block, &mut event)? {
                                        last = Some(id);
                                    }
                                }
                            }
                        }
                    }
                }
                Answer::Away(failure) => failure,
            };
            // Who never was there is not waited for.
            if since.is_none_or(|since| since.elapsed() >= AWAY) {
                return Err(failure);
            }
            failures += 1;
            // A connection that breaks once is nothing to talk of.
            if failures == 2 {
                let minutes = AWAY.as_secs() / 60;
                report::note(&format!("{}; trying again for {minutes} minutes", failure.message));
            }
            tokio::time::sleep(back_off(failures)).await;
        }
    }

    async fn follow_from(
        &self,
        path: &str,
        query: &[(&str, String)],
        last: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut request = self.request(Method::GET, path).query(query).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        match request.send().await {
            Ok(response) if is_away(response.status()) => match self.checked(response).await {
                Ok(response) => Ok(Answer::Told(response)),
                Err(failure) => Ok(Answer::Away(failure)),
            },
            Ok(response) => self.checked(response).await.map(Answer::Told),
            Err(error) => Ok(Answer::Away(self.unreachable(&error))),
        }
    }
}

/// Whether a status says that another try may help: the server has no database, or a proxy has no server.
fn is_away(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How long to wait after so many failures in a row.
fn back_off(failures: u32) -> Duration {
    AGAIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(AGAIN_AT_MOST)
}

/// Reads one event. Returns its id.
fn told(
    block: &[u8],
    event: &mut impl FnMut(&str, &[&str]) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let text = String::from_utf8_lossy(block);
    let (mut id, mut name, mut data) = (None, "message", Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("data:") {
            data.push(rest.strip_prefix(' ').unwrap_or(rest));
        } else if let Some(rest) = line.strip_prefix("id:") {
            id = Some(rest.trim().to_owned());
        } else if let Some(rest) = line.strip_prefix("event:") {
            name = rest.trim();
        }
    }
    if !data.is_empty() {
        event(name, &data)?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives one answer after the other, and keeps what was asked.
    async fn server(answers: &'static [&'static str]) -> (Client, std::sync::Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = std::sync::Arc::new(Mutex::new(Vec::new()));
        let asked_of = std::sync::Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("somebody");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut piece = [0; 1024];
                    let read = stream.read(&mut piece).await.expect("a request");
                    request.extend_from_slice(&piece[..read]);
                }
                asked_of.lock().expect("it").push(String::from_utf8_lossy(&request).into_owned());
                stream.write_all(answer.as_bytes()).await.expect("it is written");
            }
        });
        (Client::new(url, "t".to_owned()).expect("a client"), asked)
    }

    const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    /// The length says that more would come, so that the end of the connection is a break.
    const BROKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nid: 1\ndata: one\n\nid: 2\nda";
    const REST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nid: 2\ndata: two\n\n";

    #[tokio::test]
    async fn what_breaks_off_goes_on_when_the_server_is_there_again() {
        let (client, asked) = server(&[BROKEN, AWAY, AWAY, REST]).await;
        let mut heard = Vec::new();
        let followed = client.follow("/runs/r/events", &[], |_, data| {
            heard.extend(data.iter().map(|&line| line.to_owned()));
            Ok(())
        });
        followed.await.expect("the end");
        assert_eq!(heard, ["one", "two"]);
        let asked = asked.lock().expect("it");
        assert_eq!(asked.len(), 4);
        assert!(!asked[0].contains("last-event-id") && asked[3].contains("last-event-id: 1"), "{asked:?}");
    }

    #[tokio::test]
    async fn who_never_was_there_is_not_waited_for() {
        let (client, asked) = server(&[AWAY]).await;
        let failure = client.follow("/runs/r/events", &[], |_, _| Ok(())).await.expect_err("it is away");
        assert!(failure.message.contains("503"), "{}", failure.message);
        assert_eq!(asked.lock().expect("it").len(), 1);
    }

    #[test]
    fn tries_become_rarer() {
        let waits: Vec<u128> = (1..=7).map(|failures| back_off(failures).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    }
}
