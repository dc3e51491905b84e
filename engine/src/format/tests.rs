//! Formatting changes the look and never what is read, and a second time nothing.

use super::*;

fn assert_formatted(before: &str, after: &str) {
    assert_eq!(format(before).as_deref(), Ok(after));
    assert_eq!(format(after).as_deref(), Ok(after), "the second time");
}

#[test]
fn levels_get_two_blanks_and_lists_stand_below_their_key() {
    assert_formatted(
        "a:\n    b: 1\n    c:\n    - x\n    -   y: 2\n        z: 3\n    - - 1\n      - 2\nd:\n- e\n",
        "a:\n  b: 1\n  c:\n    - x\n    - y: 2\n      z: 3\n    - - 1\n      - 2\nd:\n  - e\n",
    );
}

#[test]
fn comments_and_empty_lines_stay_with_what_they_precede() {
    assert_formatted(
        "# top\n\n\n\na:   # why\n      # inner\n\n      b: 1   \n   # for c\nc: 2\n\n# end\n\n",
        "# top\n\na:   # why\n  # inner\n\n  b: 1\n# for c\nc: 2\n\n# end\n",
    );
}

#[test]
fn texts_and_flows_keep_their_shape() {
    assert_formatted(
        "a:\n   - run: |\n        if x; then\n          y\n        fi\n\n        z\n     name: n\n   - {p: 1,\n      q: [1,\n          2]}\nb: >-\n      folded\n      text\nc: \"one\n    two\"\n",
        "a:\n  - run: |\n      if x; then\n        y\n      fi\n\n      z\n    name: n\n  - {p: 1,\n     q: [1,\n         2]}\nb: >-\n  folded\n  text\nc: \"one\n    two\"\n",
    );
}

#[test]
fn documents_marks_and_line_ends() {
    assert_formatted(
        "\u{feff}a: 1\r\n---\r\n    b:\r\n        c: 1\r\n...\r\n",
        "a: 1\n---\nb:\n  c: 1\n...\n",
    );
    assert_formatted("", "");
    assert_formatted("# only\n\n", "# only\n");
}

#[test]
fn what_is_unusual_stays_as_it_is() {
    assert_eq!(format("a: [\n"), Err(FormatError::Unreadable));
    assert_eq!(format("? a\n: b\n"), Err(FormatError::Unusual(1)));
    assert_formatted("a: &x {b: 1}\nc: *x\n", "a: &x {b: 1}\nc: *x\n");
}

#[test]
fn everything_that_we_have_is_formatted_to_the_same_meaning_and_once() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pending: Vec<_> = ["examples", "tests/fixtures", ".reactorcide", "cli/src/commands/init"]
        .map(|name| root.join(name))
        .into();
    let mut count = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            match format(&text) {
                Ok(formatted) => {
                    count += 1;
                    assert_eq!(format(&formatted), Ok(formatted), "{}", path.display());
                }
                Err(FormatError::Unreadable | FormatError::Unusual(_)) => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn a_look_that_is_given_stays() {
    for text in ["|\n---\n#x\na: |\n", "|\n x\n#y\n---\n#z\n"] {
        if let Ok(formatted) = format(text) {
            assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "{text:?}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_fail(text in "([a-c]: |- |\\|\n|  |\n|#x|[\\[\\]{},]|'|\"|x|: |---\n){0,40}") {
        if let Ok(formatted) = format(&text) {
            let again = format(&formatted);
            proptest::prop_assert_eq!(again, Ok(formatted));
        }
    }
}
