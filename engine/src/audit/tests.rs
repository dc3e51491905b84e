//! What any change to an audit log looks like to whoever verifies it.

use proptest::prelude::*;
use serde_json::json;

use super::conformance::draft;
use super::*;

fn log(length: usize) -> Vec<Entry> {
    let drafts: Vec<Draft> = (0..length).map(|n| draft(n as Millis, "user:ada", "runs.start")).collect();
    chain(Head::EMPTY, &drafts)
}

fn head_of(entries: &[Entry]) -> Head {
    entries.last().map_or(Head::EMPTY, |entry| Head { seq: entry.seq, hash: entry.hash })
}

/// What was written stays verifiable with later versions.
#[test]
fn the_form_that_is_hashed_does_not_change() {
    let entries = log(2);
    assert_eq!(
        head_of(&entries).to_string(),
        "2:d9d3ef9318de9f617d7b3cd1015810a3b3f4c8d202896de9cf99cb6590077d98"
    );
    assert_eq!(head_of(&entries).to_string().parse(), Ok(head_of(&entries)));
    assert_eq!("2:00".parse::<Head>(), Err(HashError));
    let json = serde_json::to_string(&entries[1]).expect("JSON");
    assert_eq!(serde_json::from_str::<Entry>(&json).expect("it reads back"), entries[1]);
}

#[test]
fn fields_do_not_flow_into_one_another() {
    let one = draft(1, "ab", "c");
    let hash = |draft: &Draft| link(Hash::START, 1, draft);
    assert_ne!(hash(&one), hash(&draft(1, "a", "bc")));
    let absent = hash(&one);
    assert_ne!(absent, hash(&Draft { request: Some(String::new()), ..one.clone() }));
    // The order of keys says nothing.
    let other = serde_json::from_str(r#"{"n":1.5,"a":[null,"é\u0000\n"],"z":1}"#).expect("JSON");
    assert_eq!(absent, hash(&Draft { detail: other, ..one }));
}

#[test]
fn a_cut_end_is_found_by_whoever_kept_a_head() {
    let entries = log(5);
    let head = head_of(&entries);
    assert_eq!(verify(&entries, Some(head)), Ok(head));
    assert_eq!(verify(&entries, Some(head_of(&entries[..2]))), Ok(head));
    assert_eq!(verify(&entries[..3], None).expect("the chain holds").seq, 3);
    let broken = verify(&entries[..3], Some(head)).expect_err("the end is gone");
    assert_eq!(broken.seq, 4);
    assert_eq!(verify(&[], Some(head)).expect_err("all is gone").seq, 1);
    // The chain made anew from some place on.
    let mut again = log(2);
    again.extend(chain(head_of(&again), &[draft(9, "user:eve", "runs.start"), entries[3].draft.clone()]));
    again.extend(chain(head_of(&again), &[entries[4].draft.clone()]));
    assert!(verify(&again, None).is_ok());
    assert_eq!(verify(&again, Some(head)).expect_err("it was made anew").seq, 5);
    assert_eq!(verify(&[], None), Ok(Head::EMPTY));
}

#[test]
fn a_walk_may_begin_in_the_middle_and_hold_several_heads() {
    let entries = log(5);
    let kept = [head_of(&entries), head_of(&entries[..3]), head_of(&entries[..1])];
    let mut verifier = Verifier::new(kept[2], &kept);
    for entry in &entries[1..] {
        verifier.take(entry).expect("it follows");
    }
    assert_eq!(verifier.finish(), Ok(kept[0]));
    let mut verifier = Verifier::new(kept[2], &[Head { hash: Hash::START, ..kept[1] }]);
    verifier.take(&entries[1]).expect("it follows");
    assert_eq!(verifier.take(&entries[2]).expect_err("it is another").seq, 3);
}

/// One edit of one field.
fn edits() -> impl Strategy<Value = fn(&mut Entry)> {
    let edits: [fn(&mut Entry); 13] = [
        |entry| entry.seq += 1,
        |entry| entry.seq -= 1,
        |entry| entry.draft.at += 1,
        |entry| entry.draft.actor.push('x'),
        |entry| entry.draft.actor = entry.draft.actor.split_off(1),
        |entry| entry.draft.action = entry.draft.target.clone(),
        |entry| entry.draft.target.clear(),
        |entry| entry.draft.outcome = Outcome::Denied,
        |entry| entry.draft.detail = json!({"z": "1"}).into(),
        |entry| entry.draft.request = Some(String::new()),
        |entry| entry.previous.0[31] ^= 1,
        |entry| entry.hash.0[0] ^= 0x80,
        |entry| {
            // Who edits may also make its own hash fit.
            entry.draft.actor.push('x');
            entry.hash = link(entry.previous, entry.seq, &entry.draft);
        },
    ];
    prop::sample::select(edits.to_vec())
}

proptest! {
    #[test]
    fn an_edit_is_found(length in 1usize..12, at: prop::sample::Index, edit in edits()) {
        let mut entries = log(length);
        let head = head_of(&entries);
        let at = at.index(length);
        edit(&mut entries[at]);
        let broken = verify(&entries, Some(head)).expect_err("it is found");
        prop_assert!(broken.seq as usize == at + 1 || broken.seq as usize == at + 2, "{broken}");
    }

    #[test]
    fn a_removal_is_found(length in 1usize..12, at: prop::sample::Index, renumber: bool) {
        let mut entries = log(length);
        let head = head_of(&entries);
        let at = at.index(length);
        entries.remove(at);
        if renumber {
            entries[at..].iter_mut().for_each(|entry| entry.seq -= 1);
        }
        let broken = verify(&entries, Some(head)).expect_err("it is found");
        prop_assert_eq!(broken.seq as usize, at + 1);
    }

    #[test]
    fn a_swap_is_found(length in 2usize..12, one: prop::sample::Index, other: prop::sample::Index, renumber: bool) {
        let mut entries = log(length);
        let (one, other) = (one.index(length), other.index(length));
        prop_assume!(one != other);
        entries.swap(one, other);
        if renumber {
            (entries[one].seq, entries[other].seq) = (one as u64 + 1, other as u64 + 1);
        }
        let broken = verify(&entries, None).expect_err("it is found");
        prop_assert_eq!(broken.seq as usize, one.min(other) + 1);
    }

    #[test]
    fn an_insertion_is_found(length in 1usize..12, at: prop::sample::Index, copy: bool, fit: bool) {
        let mut entries = log(length);
        let head = head_of(&entries);
        let at = at.index(length + 1);
        let before = head_of(&entries[..at]);
        let mut new = chain(before, &[draft(99, "user:eve", "config.apply")]).remove(0);
        if copy && at < length {
            new = entries[at].clone();
        }
        entries.insert(at, new);
        if fit {
            entries[at + 1..].iter_mut().for_each(|entry| entry.seq += 1);
        }
        // One more at the end, in its place, is an entry like any other.
        if at < length {
            let broken = verify(&entries, Some(head)).expect_err("it is found");
            prop_assert!(broken.seq as usize == at + 1 || broken.seq as usize == at + 2, "{broken}");
        }
    }
}
