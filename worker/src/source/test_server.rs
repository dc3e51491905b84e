//! A web server for tests: files below a directory, for whoever knows the password.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;

/// A server that runs until its test ends.
pub struct Server {
    /// Its address.
    pub url: String,
    authorized: Arc<AtomicUsize>,
}

impl Server {
    /// Serves the files of a directory. `password` is `USER:PASSWORD`.
    pub fn start(root: &Path, password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let authorized = Arc::new(AtomicUsize::new(0));
        let (root, counter) = (root.to_owned(), Arc::clone(&authorized));
        let wanted = password
            .map(|password| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(password)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, wanted, counter) = (root.clone(), wanted.clone(), Arc::clone(&counter));
                std::thread::spawn(move || answer(&stream, &root, wanted.as_deref(), &counter));
            }
        });
        Self { url, authorized }
    }

    /// How many requests had the password.
    pub fn authorized(&self) -> usize {
        self.authorized.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: &TcpStream, root: &Path, wanted: Option<&str>, counter: &AtomicUsize) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let given = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let file: PathBuf = root.join(path);
    let (status, body) = if wanted.is_some() && given.as_deref() != wanted {
        ("401 Unauthorized", Vec::new())
    } else if path == "redirect" {
        ("302 Found", Vec::new())
    } else {
        counter.fetch_add(usize::from(given.is_some()), Ordering::Relaxed);
        match fs::read(file) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        }
    };
    let challenge = if status.starts_with("401") { "WWW-Authenticate: Basic realm=\"x\"\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\n{challenge}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}
