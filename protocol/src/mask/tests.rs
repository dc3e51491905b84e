//! Masking against a naive oracle, at every split, and canaries of every form.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn mask(values: &[&str], pieces: &[&[u8]]) -> String {
    let mut masker = Masker::new(values).expect("values can be masked");
    let mut out = Vec::new();
    for piece in pieces {
        masker.push(piece, &mut out);
    }
    masker.flush(&mut out);
    String::from_utf8(out).expect("text")
}

/// Marks every byte of every match of every form, one position at a time.
fn oracle(values: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut forms = Vec::new();
    values.iter().for_each(|value| encodings::forms(value, &mut forms));
    let mut hidden = vec![false; text.len()];
    for form in &forms {
        for from in 0..text.len() {
            if text[from..].starts_with(form) {
                hidden[from..from + form.len()].fill(true);
            }
        }
    }
    let mut out = Vec::new();
    for (index, &byte) in text.iter().enumerate() {
        if !hidden[index] {
            out.push(byte);
        } else if index == 0 || !hidden[index - 1] {
            out.extend_from_slice(MASK);
        }
    }
    out
}

#[rstest]
#[case::none(&[], "nothing to hide", "nothing to hide")]
#[case::one(&["hunter2"], "the password is hunter2, ok", "the password is ***, ok")]
#[case::overlapping(&["abcd", "cdef"], "xabcdefx", "x***x")]
#[case::prefix_of_another(&["abcd", "abcdef"], "abcdef abcde abcd", "*** ***e ***")]
#[case::inside_another(&["abcdefgh", "cdef"], "abcdefgh xcdefx", "*** x***x")]
#[case::itself(&["abab"], "abababab.", "***.")]
#[case::side_by_side(&["abcd"], "abcdabcd", "***")]
#[case::almost(&["abcdef"], "abcde abcdeg", "abcde abcdeg")]
#[case::whole_text(&["abcd"], "abcd", "***")]
#[case::line_ends_around(&["secret\n"], "secret!", "***!")]
#[case::lines(&["first line\nsecond line"], "> first line\n> second line\n", "> ***\n> ***\n")]
#[case::unicode(&["pässwörd"], "<pässwörd>", "<***>")]
#[case::shell_single(&["it's-a $x"], r"+ X='it'\''s-a $x'", "+ X='***'")]
#[case::shell_dash(&["it's-a $x"], r#"export X='it'"'"'s-a $x'"#, "export X='***'")]
#[case::shell_escaped(&["it's-a $x"], r"it\'s-a\ \$x", "***")]
#[case::shell_double(&["it's-\"a\" $x"], r#"declare -x X="it's-\"a\" \$x""#, "declare -x X=\"***\"")]
#[case::shell_dollar(&["one'two\tthree"], r"X=$'one\'two\tthree'", "X=$'***'")]
fn examples(#[case] values: &[&str], #[case] text: &str, #[case] expected: &str) {
    assert_eq!(mask(values, &[text.as_bytes()]), expected);
    for split in 0..=text.len() {
        let (before, after) = text.as_bytes().split_at(split);
        assert_eq!(mask(values, &[before, after]), expected, "split at {split}");
    }
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(mask(values, &bytes), expected, "byte by byte");
}

#[rstest]
#[case::plain("hunter2-is-it")]
#[case::symbols(r#"p@ss/w+rd "quoted" \ %"#)]
#[case::unicode("grüße & küsse")]
#[case::short("abcd")]
#[case::long("0123456789/abcdefghijklmnopqrstuvwxyz+ABCDEFGHIJKLMNOPQRSTUVWXYZ?0123456789/abcdefghijklmno")]
fn every_form_of_a_canary_is_hidden(#[case] value: &str) {
    let values = Values::new([value]).unwrap();
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let url_rfc = percent(value, b"-_.~");
    let json = serde_json::to_string(value).unwrap();
    let forms = [value.to_owned(), hex.to_uppercase(), hex, url_rfc.to_lowercase_escapes(), url_rfc, json];
    for form in &forms {
        let inside = form.trim_matches('"');
        let shown = values.mask_str(&format!("a {inside} b"));
        let alone = !value.contains('"');
        assert!(!alone || shown == "a *** b", "{shown}");
        assert!(!shown.contains(inside), "{inside} is shown in {shown}");
    }
    // Whatever stands before the value, at most the characters shared with its neighbours are left.
    for before in ["", "u", "us", "use", "user:"] {
        for after in ["", "\n", "@host"] {
            let text = format!("{before}{value}{after}");
            for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                let shown = values.mask_str(&encoded);
                assert!(shown.contains("***"), "{encoded} is shown as {shown}");
                let left = encoded.len() - (shown.len() - 3);
                assert!(left + 4 >= value.len() * 4 / 3, "too much of {encoded} is left in {shown}");
            }
        }
    }
}

fn percent(value: &str, left: &[u8]) -> String {
    let encode = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || left.contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    value.bytes().map(encode).collect()
}

trait LowercaseEscapes {
    fn to_lowercase_escapes(&self) -> String;
}

impl LowercaseEscapes for String {
    /// `%2F` as `%2f`, the rest as it is.
    fn to_lowercase_escapes(&self) -> String {
        let mut parts = self.split('%');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |done, part| format!("{done}%{}{}", part[..2].to_lowercase(), &part[2..]))
    }
}

#[test]
fn wrapped_base64_of_a_long_value_is_hidden() {
    let value: String = (0..200).map(|i| char::from(b'a' + (i * 7 % 26) as u8)).collect();
    let values = Values::new([&value]).unwrap();
    for width in [64, 76] {
        let encoded = BASE64_STANDARD.encode(&value);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let shown = values.mask_str(&lines.join("\n"));
        assert!(shown.bytes().filter(u8::is_ascii_alphanumeric).count() < 4, "{shown}");
    }
}

#[test]
fn only_the_beginning_of_a_value_is_held_back() {
    let mut masker = Masker::new(["a-long-secret-value"]).unwrap();
    let mut out = Vec::new();
    masker.push(b"password: ", &mut out);
    assert_eq!((out.as_slice(), masker.held()), (&b"password: "[..], 0));
    masker.push(b"a-long-", &mut out);
    assert_eq!((out.as_slice(), masker.held()), (&b"password: "[..], 7));
    masker.push(b"time", &mut out);
    assert_eq!((out.as_slice(), masker.held()), (&b"password: a-long-time"[..], 0));
}

#[test]
fn a_complete_match_is_shown_as_masked_though_it_may_go_on() {
    let mut masker = Masker::new(["abcd", "abcdefgh"]).unwrap();
    let mut out = Vec::new();
    masker.push(b"> abcd", &mut out);
    assert_eq!(out, b"> ***");
    masker.push(b"efgh.", &mut out);
    assert_eq!(out, b"> ***.");
}

#[test]
fn a_value_registered_in_mid_stream_is_masked_in_every_stream() {
    let values = Values::new(["first-secret"]).unwrap();
    let (mut one, mut two, mut out) = (values.stream(), values.stream(), Vec::new());
    one.push(b"second-secret first-sec", &mut out);
    one.register("second-secret").unwrap();
    one.push(b"ret second-secret\n", &mut out);
    two.push(b"second-secret", &mut out);
    two.flush(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), "second-secret *** ***\n***");
}

#[rstest]
#[case::empty("", 0)]
#[case::short("abc", 3)]
#[case::only_blanks("   \n\t ", 0)]
#[case::padded(" ab ", 2)]
fn short_values_are_refused(#[case] value: &str, #[case] length: usize) {
    assert_eq!(check(value.as_bytes()), Err(MaskError::TooShort { length }));
    assert!(Masker::new([value]).is_err());
}

#[test]
fn long_values_are_refused_by_their_length_alone() {
    let error = check(&vec![b'x'; MAX_LENGTH + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a value of 262145 bytes is too long to be masked, at most 262144 are possible"
    );
    assert!(check(&vec![b'x'; MAX_LENGTH]).is_ok());
}

#[test]
fn many_values_with_a_common_beginning() {
    let values: Vec<String> = (0..500).map(|i| format!("ghp_0123456789abcdefghij{i:05}")).collect();
    let masked = Values::new(&values).unwrap();
    let text = values.join(" ");
    assert_eq!(masked.mask_str(&text), vec!["***"; 500].join(" "));
    assert!(masked.occur_in(values[77].as_bytes()));
    assert!(!masked.occur_in(b"ghp_0123456789abcdefghijklmno"));
}

fn small_text(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Two or three letters make every kind of overlap likely; every split in two is tried.
    #[test]
    fn every_split_agrees_with_the_oracle(
        values in proptest::collection::vec(small_text(4..20), 0..5),
        text in small_text(0..60),
    ) {
        let expected = oracle(&values, &text);
        for split in 0..=text.len() {
            let mut masker = Masker::new(&values).unwrap();
            let mut out = Vec::new();
            masker.push(&text[..split], &mut out);
            masker.push(&text[split..], &mut out);
            masker.flush(&mut out);
            prop_assert_eq!(&out, &expected, "split at {}", split);
        }
    }

    /// Long texts that contain the values in many forms, cut into random pieces.
    #[test]
    fn any_pieces_agree_with_the_oracle(
        values in proptest::collection::vec("[ -~]{4,40}".prop_filter("blank", |v| v.trim().len() >= 4), 1..6),
        parts in proptest::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,12}"), 0..30),
        cuts in proptest::collection::vec(1usize..50, 1..20),
    ) {
        let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        let mut forms = Vec::new();
        values.iter().for_each(|value| encodings::forms(value, &mut forms));
        let mut text = Vec::new();
        for (index, between) in &parts {
            text.extend_from_slice(&forms[index.index(forms.len())]);
            text.extend_from_slice(between.as_bytes());
        }
        let expected = oracle(&values, &text);
        let mut masker = Masker::new(&values).unwrap();
        let (mut out, mut rest) = (Vec::new(), text.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            masker.push(piece, &mut out);
            rest = after;
        }
        masker.flush(&mut out);
        prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
    }
}
