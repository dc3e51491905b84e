//! Equal meanings have equal fingerprints, and nothing else has.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::config::{Kind, Metadata, Spec};

fn pipeline(spec: Value) -> Resource {
    Resource {
        metadata: Metadata { name: "ci".into(), project: Some("web".into()), ..Metadata::default() },
        spec: Spec::from_value(Kind::Pipeline, spec).expect("a valid spec"),
    }
}

#[test]
fn it_is_stable_across_releases() {
    let resource = pipeline(json!({"jobs": {"test": {"image": "rust:1.95", "command": "cargo test"}}}));
    assert_eq!(
        Fingerprint::of(&resource).to_string(),
        "1d53bd832c184af157a70422a3f760737d3ca61debb417fb04af5f6dd3d305be",
        "a new fingerprint of old content makes every resource of every workspace look changed"
    );
}

#[test]
fn what_matters_changes_it() {
    let base = pipeline(json!({"jobs": {"test": {"image": "a", "command": "b"}}}));
    let changed = |change: &dyn Fn(&mut Resource)| {
        let mut resource = base.clone();
        change(&mut resource);
        Fingerprint::of(&resource) != Fingerprint::of(&base)
    };
    assert!(changed(&|r| r.metadata.name = "cd".into()));
    assert!(changed(&|r| r.metadata.project = Some("site".into())));
    assert!(changed(&|r| r.metadata.description = Some("x".into())));
    assert!(changed(&|r| r.metadata.deletion_policy = crate::config::DeletionPolicy::Protect));
    assert!(changed(&|r| drop(r.metadata.labels.insert("a".into(), "b".into()))));
    assert!(changed(&|r| *r = pipeline(json!({"jobs": {"test": {"image": "a", "command": "c"}}}))));
    assert!(!changed(&|r| r.metadata.renamed_from = Some("old".into())));
}

#[test]
fn saying_a_default_changes_nothing() {
    let short = pipeline(json!({"jobs": {"test": {"image": "a", "command": "b"}}}));
    let long = pipeline(json!({"jobs": {"test": {
        "image": "a", "command": "b", "condition": "all_success", "mount": "/job", "runner": "injected",
        "network": "isolated", "read_only": false, "grace": "10s", "environment": {}, "steps": []
    }}}));
    assert_eq!(Fingerprint::of(&short), Fingerprint::of(&long));
}

#[test]
fn a_fingerprint_reads_back_and_nothing_else_does() {
    let fingerprint = Fingerprint::of_document("x");
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    for text in ["", "abc", &"+1".repeat(32), &"zz".repeat(32), &"é".repeat(32)] {
        assert!(text.parse::<Fingerprint>().is_err(), "{text:?}");
    }
}

/// The same value with its maps filled in another order.
fn reordered(value: &Value, seed: &mut u64) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let shift = (*seed >> 33) as usize % entries.len().max(1);
            entries.rotate_left(shift);
            entries.into_iter().map(|(k, v)| (k.clone(), reordered(v, seed))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| reordered(item, seed)).collect(),
        scalar => scalar.clone(),
    }
}

proptest! {
    #[test]
    fn the_order_of_keys_does_not_matter(
        jobs in prop::collection::btree_map("[a-z]{1,8}", ("[a-z:/.]{1,12}", "\\PC{0,20}"), 1..6),
        mut seed: u64,
    ) {
        let jobs: Map<String, Value> = jobs
            .into_iter()
            .map(|(name, (image, command))| (name, json!({"image": image, "command": format!("x{command}")})))
            .collect();
        let spec = json!({"vars": {"b": 1, "a": {"z": [1, 2], "y": null}}, "jobs": jobs});
        let shuffled = reordered(&spec, &mut seed);
        prop_assert_eq!(Fingerprint::of(&pipeline(spec)), Fingerprint::of(&pipeline(shuffled)));
    }

    #[test]
    fn equal_durations_are_equal(minutes in 1_u64..10_000) {
        let with = |text: String| pipeline(json!({"jobs": {"a": {"image": "i", "command": "c", "timeout": text}}}));
        let expected = Fingerprint::of(&with(format!("{minutes}m")));
        for text in [format!("{}s", minutes * 60), format!("{}", minutes * 60), format!("{}ms", minutes * 60_000),
                     format!("{}h{}m", minutes / 60, minutes % 60)] {
            prop_assert_eq!(Fingerprint::of(&with(text)), expected);
        }
    }
}
