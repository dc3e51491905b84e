//! A server of S3 in this process, and what only a bucket can do wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use bytes::Bytes;
use reactorcide_engine::logs::{LogError, LogKey, LogStore};
use reactorcide_engine::storage::StorageError;
use reactorcide_state::{LogSettings, Logs, Storage};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;

/// A bucket that lets `key` with `s3cret` in. It goes with its value.
pub struct Server {
    address: SocketAddr,
    _directory: TempDir,
    task: tokio::task::JoinHandle<()>,
    /// With which status writes are answered instead, if not 0.
    trouble: Arc<AtomicU16>,
}

impl Server {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "s3cret"));
        let service = builder.build();
        let trouble = Arc::new(AtomicU16::new(0));
        let asked = trouble.clone();
        let answer = move |request: Request| {
            let (service, trouble) = (service.clone(), asked.load(Ordering::SeqCst));
            async move {
                if request.method() == "PUT" && request.uri().path().contains("/stuck/") {
                    std::future::pending::<()>().await;
                }
                if trouble != 0 && request.method() != "GET" {
                    let code = if trouble == 507 { "XMinioStorageFull" } else { "SlowDown" };
                    let said = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
                    return (axum::http::StatusCode::from_u16(trouble).unwrap(), said).into_response();
                }
                service.call(request.map(s3s::Body::http_body_unsync)).await.unwrap().map(Body::new)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = axum::serve(listener, Router::new().fallback(answer));
        let task = tokio::spawn(async move { serve.await.unwrap() });
        Self { address, _directory: directory, task, trouble }
    }

    pub fn storage(&self) -> Storage {
        self.storage_with("s3cret")
    }

    fn storage_with(&self, secret: &str) -> Storage {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_ENDPOINT_URL", &format!("http://{}", self.address)),
            ("AWS_REGION", "eu-central-1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Storage::open_with("s3://bucket/a/b?allow_http=true", environment).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_at_once_and_not_repeated() {
    let server = Server::start().await;
    server.storage().check().await.unwrap();
    let refused = server.storage_with("wr0ng").check().await.unwrap_err();
    assert!(!refused.is_transient(), "{refused}");
    let said = refused.to_string();
    assert!(said.starts_with("s3://bucket/a/b cannot be listed: SignatureDoesNotMatch"), "{said}");
    assert!(!said.contains("wr0ng"), "{said}");
}

#[tokio::test]
async fn who_nobody_answers_is_named() {
    let server = Server::start().await;
    let storage = server.storage();
    server.task.abort();
    drop(server);
    let said = storage.check().await.unwrap_err();
    assert!(
        said.is_transient() && said.to_string().starts_with("s3://bucket/a/b cannot be listed"),
        "{said}"
    );
}

/// The worker keeps its spool, tries again, and nothing is missing.
#[tokio::test]
async fn a_bucket_that_is_full_or_busy_is_told_apart_and_tried_again() {
    let server = Server::start().await;
    let storage = server.storage();
    let settings = LogSettings { pace: Duration::ZERO, ..LogSettings::of(&storage) };
    let logs = Logs::new(&storage, settings);
    let key = LogKey::new("run", "job", 1);
    logs.append(&key, 0, Bytes::from_static(b"abc")).await.unwrap();
    server.trouble.store(507, Ordering::SeqCst);
    let full = logs.append(&key, 3, Bytes::from_static(b"def")).await;
    assert!(matches!(&full, Err(LogError::Storage(StorageError::Full { .. }))), "{full:?}");
    server.trouble.store(503, Ordering::SeqCst);
    let busy = logs.append(&key, 3, Bytes::from_static(b"def")).await;
    let Err(LogError::Storage(busy)) = busy else { panic!("{busy:?}") };
    assert!(busy.is_transient() && !matches!(busy, StorageError::Full { .. }), "{busy}");
    server.trouble.store(0, Ordering::SeqCst);
    assert_eq!(logs.append(&key, 3, Bytes::from_static(b"defg")).await, Ok(7));
    assert_eq!(logs.read(&key, 0, 100).await.unwrap(), "abcdefg");
}

/// While a log is printed to all the time, a bucket sees a write each half second and not each batch.
#[tokio::test]
async fn what_comes_in_a_short_time_is_written_together() {
    let server = Server::start().await;
    let storage = server.storage();
    let settings = LogSettings { pace: Duration::from_secs(3600), ..LogSettings::of(&storage) };
    let logs = Logs::new(&storage, settings);
    let key = LogKey::new("run", "job", 1);
    logs.append(&key, 0, Bytes::from_static(b"a")).await.unwrap();
    let ten = (1..=10).map(|n| logs.append(&key, n, Bytes::from_static(b"b")));
    // The end does not wait for the pace.
    let (ten, finished) = tokio::join!(futures_util::future::join_all(ten), logs.finish(&key));
    finished.unwrap();
    assert!(ten.iter().all(Result::is_ok), "{ten:?}");
    assert_eq!(Logs::new(&storage, LogSettings::of(&storage)).length(&key).await, Ok(11));
}

/// A request that nobody answers holds up its own log and no other.
#[tokio::test]
async fn a_log_that_is_stuck_holds_up_no_other() {
    let server = Server::start().await;
    let storage = server.storage();
    let settings = LogSettings { pace: Duration::ZERO, waiting: 10, ..LogSettings::of(&storage) };
    let logs = Logs::new(&storage, settings);
    let (stuck, free) = (LogKey::new("run", "stuck", 1), LogKey::new("run", "free", 1));
    let mut waiting = Vec::new();
    for n in 0..3_u64 {
        let (logs, stuck) = (logs.clone(), stuck.clone());
        let append = async move { logs.append(&stuck, n * 20, Bytes::from(vec![b'x'; 20])).await };
        waiting.push(tokio::spawn(append));
        tokio::task::yield_now().await;
    }
    for n in 0..5_u64 {
        assert_eq!(logs.append(&free, n, Bytes::from_static(b"y")).await, Ok(n + 1));
    }
    logs.finish(&free).await.unwrap();
    assert_eq!(logs.read(&free, 0, 10).await.unwrap(), "yyyyy");
    // What would pile up in memory is refused, and its sender keeps it.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let refused = loop {
        let append = logs.append(&stuck, 40, Bytes::from(vec![b'x'; 20]));
        match tokio::time::timeout(Duration::from_millis(10), append).await {
            Ok(refused) => break refused,
            Err(_) => assert!(tokio::time::Instant::now() < deadline, "it waits without end"),
        }
    };
    let Err(LogError::Storage(refused)) = refused else { panic!("{refused:?}") };
    assert!(
        refused.is_transient() && refused.to_string().contains("waits for more than 10 bytes"),
        "{refused}"
    );
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
