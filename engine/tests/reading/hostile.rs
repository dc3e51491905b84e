//! Files that mean harm: each is refused soon, with a code, and nothing of it is taken.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::{Reading, read_one};

const HEAD: &str = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\n";

#[track_caller]
fn refused(bytes: impl Into<Vec<u8>>, code: &str) -> Reading {
    let begin = Instant::now();
    let reading = read_one("a.yaml", bytes);
    // A hang, not slowness, is what this is about; the machine may be busy.
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    assert!(reading.diagnostics.iter().any(|one| one.code == code), "{:#?}", reading.diagnostics);
    assert!(reading.configuration.resources.is_empty());
    reading
}

#[test]
fn aliases_of_aliases() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").expect("writes to text");
    }
    refused(text, "RC1004");
}

#[test]
fn one_long_list_many_times() {
    let mut text = format!("a: &a [{}]\nb:\n", vec!["x"; 8_000].join(","));
    text.push_str(&"- *a\n".repeat(6_000));
    assert!((40_000..50_000).contains(&text.len()));
    refused(text, "RC1004");
}

#[test]
fn deep_nesting() {
    refused(format!("{HEAD}spec: {}{}\n", "[".repeat(5_000), "]".repeat(5_000)), "RC1004");
    let mut block = String::new();
    for level in 0..200 {
        writeln!(block, "{}a:", " ".repeat(level)).expect("writes to text");
    }
    refused(block, "RC1004");
}

#[test]
fn five_megabytes_of_one_text() {
    refused(format!("{HEAD}spec: {{default_profile: {}}}\n", "x".repeat(5 << 20)), "RC1004");
}

#[test]
fn bytes_that_are_no_text() {
    let reading = refused([HEAD.as_bytes(), b"spec: {a: \xff}\n"].concat(), "RC1002");
    assert_eq!(super::lines(&reading)[0].split(' ').next(), Some("4:11"));
    let reading = refused(format!("{HEAD}spec: {{a: \0}}\n"), "RC1002");
    assert_eq!(super::lines(&reading)[0].split(' ').next(), Some("4:11"));
    refused(b"\xff\xfea\0p\0i\0".to_vec(), "RC1002");
}

#[test]
fn a_byte_order_mark_and_dos_line_ends_change_nothing() {
    let text = format!("\u{feff}{HEAD}spec: {{}}\n").replace('\n', "\r\n");
    let reading = read_one("a.yaml", text);
    assert_eq!(super::lines(&reading), Vec::<String>::new());
    let wrong = read_one("a.yaml", format!("\u{feff}{HEAD}spec: {{a: 1}}\n").replace('\n', "\r\n"));
    assert_eq!(super::lines(&wrong), ["4:8 error[RC1010]: there is no field \"a\" here"]);
}

#[test]
fn expressions_that_would_end_the_parser() {
    let terms = format!("1{}", "+1".repeat(400));
    let nested = format!("{}1{}", "(".repeat(400), ")".repeat(400));
    let maps = "[1].map(a, [1].map(b, [1].map(c, [1].map(d, 1)))) == []".to_owned();
    for expression in [terms, nested, maps] {
        let job = format!("{{image: x, command: y, when: \"{expression}\"}}");
        let text = format!(
            "{HEAD}spec: {{}}\n---\napiVersion: reactorcide/v1\nkind: Pipeline\n\
             metadata: {{name: ci, project: web}}\nspec: {{jobs: {{a: {job}}}}}\n"
        );
        let reading = read_one("a.yaml", text);
        assert!(reading.diagnostics.iter().any(|one| one.code == "RC1040"), "{:#?}", reading.diagnostics);
    }
}

#[test]
fn thousands_of_errors() {
    let fields: String = (0..5_000).map(|index| format!("  k{index}: 1\n")).collect();
    let reading = refused(format!("{HEAD}spec:\n{fields}"), "RC1010");
    assert_eq!(reading.diagnostics.len(), 5_000);
}

#[test]
fn nothing_at_all() {
    refused("", "RC1001");
    refused("# nothing but a comment\n---\n---\n", "RC1001");
}
