//! What operators see of a real run: numbers that are right, one trace from the event to the job, and what a job used.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::docker::{Place, eventually};
use crate::server::harness::{BUSYBOX, Serving, Site, ask};

/// Takes OTLP, as a collector does.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies = Arc::<Mutex<Vec<Value>>>::default();
        let taken = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || take(stream, &taken));
            }
        });
        Self { url, bodies }
    }

    /// All spans that came, each with the name of who sent it.
    fn spans(&self) -> Vec<(String, Value)> {
        let bodies = self.bodies.lock().expect("no panic");
        let of_body = |body: &Value| {
            let whole = &body["resourceSpans"][0];
            let attributes = whole["resource"]["attributes"].as_array().cloned().unwrap_or_default();
            let service = attributes.iter().find(|one| one["key"] == "service.name").expect("a service");
            let service = service["value"]["stringValue"].as_str().expect("a name").to_owned();
            let spans = whole["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default();
            spans.into_iter().map(move |span| (service.clone(), span)).collect::<Vec<_>>()
        };
        bodies.iter().flat_map(of_body).collect()
    }
}

/// Answers requests of one connection.
fn take(stream: TcpStream, taken: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut first) = (0, String::new());
        if reader.read_line(&mut first).is_ok_and(|read| read > 0) {
            assert!(first.starts_with("POST /v1/traces "), "{first}");
        } else {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a header");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        taken.lock().expect("no panic").push(serde_json::from_slice(&body).expect("JSON"));
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        reader.get_mut().write_all(answer.as_bytes()).expect("answered");
    }
}

/// The value of a sample; 0 where there is none.
fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

/// The address that a process tells its metrics at.
fn metrics_of(said: &str) -> String {
    said.split_whitespace().last().expect("an address").to_owned()
}

fn jobs() -> String {
    format!(
        "    work: {{image: '{BUSYBOX}', command: 'echo $TRACEPARENT; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'}}\n\
         \x20   more: {{image: '{BUSYBOX}', command: 'true'}}\n\
         \x20   bad: {{image: '{BUSYBOX}', command: 'exit 3'}}\n"
    )
}

fn get(url: &str) -> String {
    let (status, body) = ask(url, "GET", &[], "");
    assert_eq!(status, 200, "{body}");
    body
}

#[test]
fn numbers_are_right_and_one_trace_leads_from_the_event_to_the_job() {
    let collector = Collector::start();
    let otlp = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    let mut site = Site::new(&jobs(), Place::Sqlite);
    let listen = ["--metrics-listen", "127.0.0.1:0", "--log-format", "json"];
    let mut server = site.server_with("127.0.0.1:0", &listen, &otlp);
    let heard = server.process.heard.clone();
    let line = heard.lines().find(|line| line.contains("/metrics")).expect("it says where metrics are");
    let metrics = metrics_of(line);
    assert_eq!(value(&get(&metrics), "reactorcide_database_up"), 1.0);
    refuses_strangers(&site, &server);

    let token = site.worker_token();
    let mut worker = site.worker_in(&server, &token, &listen, &otlp);
    let of_worker = metrics_of(&worker.says("metrics at"));

    // The trace goes on with that of who asks.
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let bearer = format!("Bearer {}", site.token);
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("traceparent", given)];
    let (status, body) =
        ask(&format!("{}/api/v1/runs", server.url), "POST", &headers, r#"{"pipeline": "p/ci"}"#);
    assert_eq!(status, 201, "{body}");
    let run: Value = serde_json::from_str(&body).expect("JSON");
    let run = run["id"].as_str().expect("an id").to_owned();
    site.until(&server, &run, "failed");
    let shown = site.run(&server, &run);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(shown["trace_id"], trace);

    numbers(&get(&metrics), &get(&of_worker));
    spans(&collector, trace, &site.say(&server, &["jobs", "logs", &run, "work"]));
    used(&site, &server, &run);
    for process in [&mut server.process, &mut worker] {
        let line = process.says(trace);
        let line: Value = serde_json::from_str(&line).expect("a line of the log is JSON");
        assert_eq!((&line["trace_id"], &line["run.id"]), (&json!(trace), &json!(run)), "{line}");
    }

    // Another run has a trace of its own.
    let other = site.start(&server, &["--job", "more"]);
    site.until(&server, &other, "succeeded");
    let other = site.run(&server, &other)["trace_id"].as_str().expect("a trace").to_owned();
    assert!(other.len() == 32 && other != trace, "{other}");
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(server.process.stop(), Some(0));
}

fn refuses_strangers(site: &Site, server: &Serving) {
    let url = format!("{}/metrics", server.url);
    assert_eq!(ask(&url, "GET", &[], "").0, 401);
    let bearer = format!("Bearer {}", site.token);
    let (status, body) = ask(&url, "GET", &[("authorization", &bearer)], "");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("reactorcide_build_info"), "{body}");
}

fn numbers(server: &str, worker: &str) {
    for (sample, expected) in [
        ("reactorcide_events_total{event=\"manual\",outcome=\"accepted\"}", 1.0),
        ("reactorcide_runs_total{result=\"failed\"}", 1.0),
        ("reactorcide_run_duration_seconds_count{result=\"failed\"}", 1.0),
        ("reactorcide_jobs_total{result=\"succeeded\",reason=\"none\"}", 2.0),
        ("reactorcide_jobs_total{result=\"failed\",reason=\"exit\"}", 1.0),
        ("reactorcide_job_duration_seconds_count{result=\"succeeded\"}", 2.0),
        ("reactorcide_queue_wait_seconds_count", 3.0),
        ("reactorcide_job_start_seconds_count", 3.0),
        ("reactorcide_job_retries_total", 0.0),
        ("reactorcide_log_errors_total", 0.0),
        ("reactorcide_http_requests_total{method=\"POST\",route=\"/api/v1/runs\",status=\"201\"}", 1.0),
        ("reactorcide_http_requests_total{method=\"GET\",route=\"/metrics\",status=\"401\"}", 1.0),
        ("reactorcide_workers{state=\"active\"}", 1.0),
        ("reactorcide_worker_slots", 2.0),
        ("reactorcide_queue_depth{pool=\"any\",state=\"ready\"}", 0.0),
    ] {
        assert_eq!(value(server, sample), expected, "{sample} in\n{server}");
    }
    assert!(value(server, "reactorcide_log_bytes_total") > 55.0, "{server}");
    assert!(value(server, "process_resident_memory_bytes") > 1e6, "{server}");
    for (sample, expected) in [
        ("reactorcide_worker_capacity", 2.0),
        ("reactorcide_worker_running", 0.0),
        ("reactorcide_worker_leases_total", 3.0),
        ("reactorcide_worker_attempts_total{result=\"succeeded\",reason=\"none\"}", 2.0),
        ("reactorcide_worker_attempts_total{result=\"failed\",reason=\"exit\"}", 1.0),
        ("reactorcide_worker_container_starts_total{how=\"created\"}", 3.0),
        ("reactorcide_worker_prepare_duration_seconds_count", 3.0),
    ] {
        assert_eq!(value(worker, sample), expected, "{sample} in\n{worker}");
    }
    assert!(value(worker, "reactorcide_worker_disk_free_bytes") > 1e6, "{worker}");
}

/// The whole tree arrives, and hangs together.
fn spans(collector: &Collector, trace: &str, traceparent: &str) {
    // A run, and for each of its jobs an attempt with its three parts.
    eventually("all spans arrive", || collector.spans().len() >= 13);
    let all = collector.spans();
    assert_eq!(all.len(), 13, "{all:#?}");
    assert!(all.iter().all(|(_, span)| span["traceId"] == trace), "{all:#?}");
    let named = |name: &str| {
        let found: Vec<&(String, Value)> = all.iter().filter(|(_, span)| span["name"] == name).collect();
        assert!(!found.is_empty(), "{name} in {all:#?}");
        found[0].clone()
    };
    let (service, run) = named("run Pipeline/p/ci");
    assert_eq!((service.as_str(), &run["parentSpanId"]), ("reactorcide-server", &json!("00f067aa0ba902b7")));
    let (_, job) = named("job work");
    assert_eq!(job["parentSpanId"], run["spanId"]);
    let parts: Vec<&(String, Value)> =
        all.iter().filter(|(_, span)| span["parentSpanId"] == job["spanId"]).collect();
    let mut names: Vec<(&str, &str)> = parts
        .iter()
        .map(|(service, span)| (span["name"].as_str().expect("text"), service.as_str()))
        .collect();
    names.sort_unstable();
    let (worker, server) = ("reactorcide-worker", "reactorcide-server");
    assert_eq!(names, [("prepare", worker), ("queued", server), ("running", worker)]);
    let (_, running) = parts.iter().find(|(_, span)| span["name"] == "running").expect("it ran");
    let id = running["spanId"].as_str().expect("text");
    assert_eq!(traceparent, format!("00-{trace}-{id}-01\n"), "the job knows the span that it runs in");
    let (_, bad) = named("job bad");
    assert_eq!(bad["status"]["code"], 2);
}

fn used(site: &Site, server: &Serving, run: &str) {
    let detail: Value =
        serde_json::from_str(&site.say(server, &["jobs", "show", run, "work", "--json"])).expect("JSON");
    let used = &detail["used"][0];
    assert_eq!(used["attempt"], 1, "{detail}");
    assert!(used["cpu_ms"].as_u64().is_some_and(|millis| millis > 20), "{used}");
    assert!(used["memory_peak"].as_u64().is_some_and(|bytes| bytes > 50_000), "{used}");
    let series = used["series"].as_array().expect("a series");
    assert!((1..=60).contains(&series.len()), "{used}");
    let row = site.job(server, run, "work");
    assert_eq!((&row["usage"]["cpu_ms"], &row["usage"]["series"]), (&used["cpu_ms"], &Value::Null), "{row}");
    for arguments in [&["runs", "show", run][..], &["jobs", "show", run, "work"]] {
        let text = site.say(server, arguments);
        assert!(text.contains("cpu ") && text.contains("memory "), "{text}");
    }
}
