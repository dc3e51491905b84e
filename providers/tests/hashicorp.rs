//! The client of HashiCorp Vault against a server of ours, which follows the public description of KV version 2
//! (<https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>): it is not HashiCorp's program that answers here.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::vault::{ExternalError, ExternalSecrets};
use reactorcide_providers::hashicorp::HashicorpVault;

const TOKEN: &str = "hvs.t0ken-of-the-server";
const SECRET: &str = r#"{"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0,
    "data": {"data": {"token": "s3cr3t", "port": 5432}, "metadata": {"version": 2, "deletion_time": "", "destroyed": false}},
    "wrap_info": null, "warnings": null, "auth": null}"#;

struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Answers each request as the description says; what is below `flaky` fails `failures` times before.
fn server(failures: u32) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (seen, left) = (Arc::clone(&asked), Arc::new(AtomicU32::new(failures)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece).unwrap() {
                    0 => break,
                    count => request.extend_from_slice(&piece[..count]),
                }
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
            seen.lock().unwrap().push(path.clone());
            let is_known = request.to_ascii_lowercase().contains(&format!("x-vault-token: {TOKEN}"));
            let fails =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let (status, body) = match path.as_str() {
                _ if !is_known => ("403 Forbidden", r#"{"errors":["permission denied"]}"#),
                "/v1/secret/data/team/flaky" if fails => {
                    ("503 Service Unavailable", r#"{"errors":["Vault is sealed"]}"#)
                }
                "/v1/secret/data/team/deploy" | "/v1/secret/data/team/flaky" | "/v1/kv/ci/data/a%20b" => {
                    ("200 OK", SECRET)
                }
                "/v1/secret/data/team/other" => {
                    ("200 OK", r#"{"data": {"token": "of a KV version 1 store"}}"#)
                }
                "/v1/secret/data/team/moved" => ("307 Temporary Redirect", ""),
                _ => ("404 Not Found", r#"{"errors":[]}"#),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Server { url, asked }
}

fn vault(server: &Server, mount: &str, token: &str) -> HashicorpVault {
    HashicorpVault::new(&server.url, mount, Sensitive::new(token)).unwrap()
}

#[tokio::test]
async fn values_are_read_by_their_keys() {
    let server = server(0);
    let values = vault(&server, "secret", TOKEN).read("team/deploy").await.unwrap();
    let values: Vec<_> = values.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert_eq!(values, [("port", "5432"), ("token", "s3cr3t")]);
    // Another store, and a path that a URL writes otherwise.
    assert_eq!(vault(&server, "/kv/ci/", TOKEN).read("a b").await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_does_not_answer_is_asked_again() {
    let server = server(2);
    assert_eq!(vault(&server, "secret", TOKEN).read("team/flaky").await.unwrap().len(), 2);
    assert_eq!(server.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_error_says_what_and_where_and_never_the_token() {
    let server = server(u32::MAX);
    let read =
        async |location: &str, token: &str| vault(&server, "secret", token).read(location).await.unwrap_err();
    let missing = read("team/nothing", TOKEN).await;
    assert!(matches!(missing, ExternalError::Missing { .. }), "{missing:?}");
    let denied = read("team/deploy", "hvs.wr0ng-token").await;
    assert!(denied.to_string().contains("permission denied"), "{denied}");
    let other = read("team/other", TOKEN).await;
    assert!(other.to_string().contains("none of a KV version 2 store"), "{other}");
    let sealed = read("team/flaky", TOKEN).await;
    assert!(matches!(sealed, ExternalError::Unavailable { .. }), "{sealed:?}");
    assert!(sealed.to_string().contains("503: Vault is sealed"), "{sealed}");
    // Nobody is followed elsewhere with the token.
    let moved = read("team/moved", TOKEN).await;
    assert!(matches!(moved, ExternalError::Refused { .. }), "{moved:?}");
    for error in [&missing, &denied, &other, &sealed, &moved] {
        assert!(error.to_string().contains(&server.url) && error.to_string().contains("\"team/"), "{error}");
        assert!(!format!("{error:?}{error}").contains("hvs."), "{error}");
    }
    let asked = server.asked.lock().unwrap().len();
    for location in ["", "/", "../sys/raw", "a/../../b", "a//b", "./a"] {
        let error = read(location, TOKEN).await;
        assert!(matches!(error, ExternalError::Refused { .. }), "{location}: {error}");
    }
    assert_eq!(server.asked.lock().unwrap().len(), asked, "nothing was asked for");
    let down = HashicorpVault::new("http://127.0.0.1:9", "secret", Sensitive::new(TOKEN)).unwrap();
    assert!(matches!(down.read("a").await.unwrap_err(), ExternalError::Unavailable { .. }));
    for address in ["", "vault.example.com", "ftp://vault.example.com", "mailto:x@y"] {
        assert!(HashicorpVault::new(address, "secret", Sensitive::new(TOKEN)).is_err(), "{address}");
    }
}
