//! A job prints its secret in disguise. What masking cannot see is in docs/runner-protocol.md, and nobody pretends else.

use super::{CANARY, run};

#[test]
fn no_form_that_masking_knows_is_shown_however_it_is_printed() {
    let ended = run("      secrets: {KEY: key}\n      command: |\n\
        \x20       echo \"whole $KEY.\"\n\
        \x20       i=1; while [ $i -le ${#KEY} ]; do printf %s \"$(printf %s \"$KEY\" | cut -c $i)\"; i=$((i+1)); done; echo\n\
        \x20       printf %s \"$KEY\" | head -c 9; sleep 0.3; printf %s \"$KEY\" | tail -c +10; echo\n\
        \x20       for p in '' a ab; do printf %s%s \"$p\" \"$KEY\" | base64 -w 0; echo; done\n\
        \x20       for p in '' a ab; do printf %s%s \"$p\" \"$KEY\" | base64 -w 0 | tr '+/' '-_'; echo; done\n\
        \x20       printf %s \"$KEY\" | od -An -v -tx1 | tr -d ' \\n'; echo\n\
        \x20       printf %s \"$KEY\" | od -An -v -tx1 | tr -d ' \\n' | tr a-f A-F; echo\n\
        \x20       echo \"$KEY\" >&2\n\
        \x20       \"./$KEY\" || true\n\
        \x20       echo \"secret=$KEY\" > \"$REACTORCIDE_OUTPUT\" || true\n");
    let shown = format!("{}{}", ended.stdout, ended.stderr);
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    for form in [&hex[8..], &hex.to_uppercase()[8..]] {
        assert!(!shown.contains(form), "{form}: {shown}");
    }
    // The inside of the value at each of the three alignments.
    for skip in 0..3 {
        let inside = said_base64(&CANARY[skip..]);
        let inside = &inside[4..inside.len() - 8];
        assert!(!shown.contains(inside), "{inside}: {shown}");
    }
    assert!(!shown.contains("c4nary-0f") && !shown.contains("attack5-x7Q"), "{shown}");
    assert_eq!(ended.code, Some(1), "an output with a secret fails the job: {ended:?}");
    assert!(shown.contains("contains a secret value"), "{shown}");
}

fn said_base64(text: &str) -> String {
    super::said("sh", &["-c", "printf %s \"$0\" | base64 -w 0", text])
}

#[test]
fn secrets_that_overlap_are_hidden_whatever_the_order_of_their_registration() {
    for order in [
        "'prefix-0f-s0mething' 'prefix-0f-s0mething-longer' 'longer-and-0ther'",
        "'longer-and-0ther' 'prefix-0f-s0mething-longer' 'prefix-0f-s0mething'",
    ] {
        let ended = run(&format!(
            "      command: |\n        for s in {order}; do printf %s \"$s\" | $REACTORCIDE_RUNNER secret register -; done\n\
             \x20       a=prefix-0f; b=s0mething; c=longer-and; d=0ther\n\
             \x20       echo \"<$a-$b>\"; echo \"<$a-$b-longer>\"; echo \"<$a-$b-$c-$d>\"\n"
        ));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.matches("| <***>").count(), 3, "{ended:?}");
    }
}

#[test]
fn what_masking_cannot_see_is_documented() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runner-protocol.md"))
        .expect("it is there");
    for word in ["compressed", "encrypted", "backwards"] {
        assert!(docs.contains(word), "{word}");
    }
    // That it is true is shown as well: whoever relies on masking alone is told otherwise.
    let ended = run("      secrets: {KEY: key}\n      command: printf %s \"$KEY\" | rev\n");
    let backwards: String = CANARY.chars().rev().collect();
    assert!(ended.stdout.contains(&backwards), "{ended:?}");
}
