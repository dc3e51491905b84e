//! Whatever the bytes are, reading ends, does not panic, and points into the text.

use std::fs;

use proptest::prelude::*;

use super::{read_one, root};

fn seeds() -> Vec<Vec<u8>> {
    let directories = ["tests/fixtures/valid", "tests/fixtures/invalid", "examples/c-project/.reactorcide"];
    let entries = directories.iter().flat_map(|path| fs::read_dir(root().join(path)).expect("fixtures"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("a file")).collect()
}

fn holds(bytes: Vec<u8>) {
    let reading = read_one("a.yaml", bytes);
    let text = &reading.configuration.sources[0].text;
    for diagnostic in &reading.diagnostics {
        let related = diagnostic.related.iter().map(|(span, _)| *span);
        for span in diagnostic.span.into_iter().chain(related) {
            assert!(span.start <= span.end, "{diagnostic:?}");
            assert!(span.start as usize <= text.len(), "{diagnostic:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        holds(bytes);
    }

    #[test]
    fn any_marks_of_yaml(text in "[ \t\n:{}\\[\\]&*!|>'\"%@#a,?-]{0,120}") {
        holds(text.into_bytes());
    }

    #[test]
    fn a_changed_fixture(
        seed in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[ \t\n:{}\\[\\]&*!|>'\"a0-]{0,6}"), 1..6),
    ) {
        let seeds = seeds();
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        for (at, removed, inserted) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted.into_bytes());
        }
        holds(bytes);
    }
}
