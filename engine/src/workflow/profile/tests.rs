//! Every rule of a profile, by a job that breaks it and one that keeps it.

use serde_json::{Value, json};

use super::*;

fn profile(spec: Value) -> Profile {
    Profile { name: "p".into(), spec: serde_json::from_value(spec).expect("a profile") }
}

/// What the profile has against a job: the field and the words.
fn excesses(spec: Value, job: Value) -> Vec<String> {
    let job: Job = serde_json::from_value(job).expect("a job");
    let excesses = profile(spec).excesses(&job);
    excesses.into_iter().map(|excess| format!("{} {}", excess.field, excess.what)).collect()
}

#[track_caller]
fn refused(spec: &Value, job: Value, words: &str) {
    assert_eq!(excesses(spec.clone(), job), [words]);
}

#[track_caller]
fn allowed(spec: Value, job: Value) {
    assert_eq!(excesses(spec, job), Vec::<String>::new());
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn root_needs_a_profile_that_allows_it() {
    for root in [json!(0), json!("0"), json!("0:5"), json!("00"), json!("root")] {
        refused(&json!({}), json!({"run_as": root}), "/run_as root");
        allowed(json!({"root": true}), json!({"run_as": root}));
    }
    for other in [json!(1), json!("10"), json!("1000:0")] {
        allowed(json!({}), json!({"run_as": other}));
    }
}

#[test]
fn capabilities_and_devices_are_those_of_the_profile() {
    let job = json!({"capabilities": ["CHOWN", "NET_RAW"]});
    refused(&json!({"capabilities": ["CHOWN"]}), job.clone(), "/capabilities/1 the capability NET_RAW");
    allowed(json!({"capabilities": ["CHOWN", "NET_RAW"]}), job);
    let spec = json!({"devices": ["/dev/dri/*"]});
    refused(&spec, json!({"devices": ["/dev/dri/card0", "/dev/kvm"]}), "/devices/1 the device /dev/kvm");
    refused(&spec, json!({"devices": ["/dev/dri/a/b"]}), "/devices/0 the device /dev/dri/a/b");
    let below = json!({"devices": ["/dev/dri/**"]});
    allowed(below.clone(), json!({"devices": ["/dev/dri/a/b"]}));
    refused(&below, json!({"devices": ["/dev/dri/../sda"]}), "/devices/0 the device /dev/dri/../sda");
}

#[test]
fn the_network_is_one_of_the_profile() {
    let spec = json!({"networks": ["none"]});
    refused(&spec, json!({}), "/network the network isolated");
    allowed(spec, json!({"network": "none"}));
    refused(&json!({"networks": ["isolated"]}), json!({"network": "none"}), "/network the network none");
}

#[test]
fn an_image_is_of_the_profile_and_has_a_digest_where_it_must() {
    let spec = json!({"images": ["debian:*"]});
    refused(&spec, json!({"image": "alpine:3"}), "/image the image alpine:3");
    allowed(spec.clone(), json!({"image": "debian:12"}));
    allowed(spec, json!({"image": "debian:${var:release}"}));
    let spec = json!({"require_digest": true});
    for image in ["debian:12", "debian@sha256:", "debian@sha256:12", "debian:@sha256:latest"] {
        refused(&spec, json!({"image": image}), "/image an image without a digest");
    }
    allowed(spec, json!({"image": format!("debian@{DIGEST}")}));
}

#[test]
fn a_bare_image_may_be_forbidden() {
    refused(&json!({"bare_images": false}), json!({"runner": "none"}), "/runner runner: none");
    allowed(json!({}), json!({"runner": "none"}));
}

#[test]
fn without_secrets_a_profile_allows_no_job_one() {
    let words = "any secret, and this job asks for \"deploy/key\"";
    let named = json!({"secrets": {"KEY": "deploy/key:token"}});
    refused(&json!({"secrets": "none"}), named.clone(), &format!("/secrets/KEY {words}"));
    let within = json!({"environment": {"URL": "https://${secret:deploy/key:token}@example.com"}});
    refused(&json!({}), within, &format!("/environment/URL {words}"));
    allowed(json!({}), json!({"environment": {"TEXT": "$${secret:deploy/key:token}"}}));
    allowed(json!({"secrets": "granted"}), named);
}

#[test]
fn no_more_time_and_no_more_of_the_machine_than_the_profile_says() {
    refused(
        &json!({"max_timeout": "1m"}),
        json!({"timeout": "61s"}),
        "/timeout a timeout of 1m1s, more than 1m",
    );
    allowed(json!({"max_timeout": "1m"}), json!({"timeout": "60s"}));
    refused(
        &json!({"max_timeout": "1m"}),
        json!({"grace": "2m"}),
        "/grace a grace of 2m, more than its longest timeout 1m",
    );
    allowed(json!({"max_timeout": "1s"}), json!({}));
    allowed(json!({}), json!({"grace": "1d"}));
    let limits = json!({"limits": {"cpu": "1", "memory": "1Gi", "disk": "1Gi", "pids": 10}});
    for (field, wanted, words) in [
        ("cpu", json!("1001m"), "cpu 1001m, more than 1"),
        ("memory", json!("1025Mi"), "memory 1025Mi, more than 1Gi"),
        ("disk", json!("2Gi"), "disk 2Gi, more than 1Gi"),
        ("pids", json!(11), "pids 11, more than 10"),
    ] {
        refused(&limits, json!({"resources": {(field): wanted}}), &format!("/resources/{field} {words}"));
    }
    allowed(limits, json!({"resources": {"cpu": "1000m", "memory": "1024Mi", "disk": "1Gi", "pids": 10}}));
}

#[test]
fn what_a_job_leaves_open_is_what_the_profile_allows_at_most() {
    let spec = json!({"max_timeout": "5m", "limits": {"cpu": "2", "pids": 100}});
    let mut job: Job = serde_json::from_value(json!({"resources": {"cpu": "1"}})).expect("a job");
    profile(spec).limit(&mut job).expect("within");
    let said = serde_json::to_value(&job).expect("JSON");
    assert_eq!(said["timeout"], json!("5m"));
    assert_eq!(said["resources"], json!({"cpu": "1", "pids": 100}));
}

#[test]
fn the_built_in_profiles_differ_in_secrets_alone() {
    let spec = |name| Profile::find(name, None).expect("built in").spec;
    assert_eq!(spec("trusted").secrets, ProfileSecrets::Granted);
    assert_eq!(ExecutionProfileSpec { secrets: ProfileSecrets::None, ..spec("trusted") }, spec("untrusted"));
    assert_eq!(Profile::find("other", None), None);
}
