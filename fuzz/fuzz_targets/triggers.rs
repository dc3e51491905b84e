//! Triggers files and job files: reading ends, within the caps, and what was accepted is accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reactorcide_protocol::output;
use reactorcide_protocol::settings::parse_file;
use reactorcide_protocol::trigger::{Limits, parse};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { jobs: 10, ..Limits::default() };
    if let Ok(requests) = parse(data, &limits) {
        let count: u64 = requests.iter().map(|request| request.count()).sum();
        assert!(count <= 10);
        for request in &requests {
            assert!(request.workflows.is_empty());
            request.check().expect("what was accepted makes sense");
        }
        let text = serde_json::to_vec(&requests).expect("JSON");
        assert_eq!(parse(&text, &limits).expect("what we wrote"), requests);
    }
    if let Ok(values) = output::parse(data) {
        assert!(values.keys().all(|key| output::is_key(key)));
    }
    let _ = parse_file(data);
});
