//! The example of docs/runner-protocol.md, run as it stands there.

use reactorcide_protocol::frame::Body;

use crate::support::script;

fn example() -> String {
    let docs = include_str!("../../../docs/runner-protocol.md");
    let (_, rest) = docs.split_once("```sh\n#!/bin/sh\n").expect("the example");
    let (example, _) = rest.split_once("\n```").expect("its end");
    assert!(example.lines().count() <= 30, "it is short");
    example.to_owned()
}

#[test]
fn the_example_of_another_language_works() {
    let done = script(&example()).finish();
    assert_eq!(done.summary(), "succeeded 0 -", "{}", done.everything());
    assert_eq!(done.printed(), "this is ***\n");
    let asked: Vec<String> = done
        .frames
        .iter()
        .filter_map(|frame| match &frame.body {
            Body::Trigger { request } => Some(serde_json::to_string(request).expect("JSON")),
            Body::Output { values, .. } => Some(serde_json::to_string(values).expect("JSON")),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(
        asked[0].contains("beta") && asked[1].contains("1.2.3") && asked[2].contains("staging"),
        "{asked:?}"
    );
}

#[test]
fn the_example_ends_with_a_refusal() {
    let limits = serde_json::json!({"jobs": 0, "depth": 3, "file_bytes": 100_000});
    let done = script(&example()).with("trigger_limits", limits).finish();
    assert_eq!(done.result().exit_code, Some(1));
}
