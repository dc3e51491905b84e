//! Tokens as text, as hashes, in time, and in their scopes.

use proptest::prelude::*;

use super::*;

fn token(secret: [u8; 32]) -> TokenText {
    TokenText::new(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_002a), secret)
}

#[test]
fn a_token_is_its_id_and_256_bits() {
    let text = token([0xfb; 32]);
    let shown = text.reveal();
    assert_eq!(
        shown.expose(),
        "rct_0190000000007000800000000000002a_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s"
    );
    assert_eq!(shown.expose().len(), 80);
    let read = TokenText::parse(shown.expose()).expect("it reads back");
    assert_eq!(read.id(), text.id());
    assert_eq!(read.hash(), text.hash());
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let text = token([7; 32]);
    let stored = NewToken {
        token: Token {
            id: text.id().clone(),
            principal: Principal::User(super::super::UserId("u".into())),
            name: "laptop".into(),
            scope: Scope::default(),
            created_at: 1,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        },
        hash: text.hash(),
    };
    let printed = format!("{text:?} {:?} {:?} {stored:?} {:?}", text.secret(), text.hash(), text.reveal());
    assert!(!printed.contains("BwcH"), "{printed}");
    assert!(!printed.contains(&text.hash().to_hex()[..8]), "{printed}");
    assert!(!printed.contains("[7, 7"), "{printed}");
}

#[test]
fn what_is_malformed_is_refused() {
    let good = token([9; 32]).reveal();
    let good = good.expose();
    let secret = &good[37..];
    let cases = [
        String::new(),
        "rct_".to_owned(),
        good.to_uppercase(),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        good.replacen("rct_", "RCT_", 1),
        good.replacen('0', "O", 1),
        good.replacen('a', "A", 1),
        good[..good.len() - 1].to_owned(),
        // The last character holds four bits; another that decodes to the same bytes is another text.
        format!("{}{}", &good[..good.len() - 1], if good.ends_with('k') { 'l' } else { 'B' }),
        format!("rct_{secret}"),
        format!("{}+{}", &good[..50], &good[51..]),
        format!("{}ä{}", &good[..50], &good[52..]),
    ];
    for text in cases {
        assert!(TokenText::parse(&text).is_err(), "{text:?}");
    }
}

#[test]
fn a_hash_reads_back() {
    let hash = token([1; 32]).hash();
    assert_eq!(SecretHash::from_hex(&hash.to_hex()), Some(hash));
    assert_eq!(SecretHash::from_hex("00"), None);
    assert_eq!(SecretHash::from_hex(&"+f".repeat(32)), None);
    assert_eq!(SecretHash::from_hex(&"é".repeat(32)), None);
}

#[test]
fn a_token_lives_until_it_expires_or_is_revoked() {
    let mut one = Token {
        id: TokenId("t".into()),
        principal: Principal::User(super::super::UserId("u".into())),
        name: String::new(),
        scope: Scope::default(),
        created_at: 0,
        expires_at: Some(10),
        last_used_at: None,
        revoked_at: None,
    };
    assert!(one.is_live(9) && !one.is_live(10));
    one.expires_at = None;
    assert!(one.is_live(Millis::MAX));
    one.revoked_at = Some(5);
    assert!(!one.is_live(4), "whatever the clocks say");
    assert!(one.should_note_use(0));
    one.last_used_at = Some(100);
    assert!(!one.should_note_use(100 + 59_999) && one.should_note_use(100 + 60_000));
    assert!(!one.should_note_use(0), "a clock that went back costs no writes");
}

#[test]
fn a_scope_holds_no_more_than_another() {
    use Capability::{LogsRead, RunsRead};
    let scope = |capabilities: Option<&[Capability]>, project: Option<&str>| Scope {
        capabilities: capabilities.map(|list| list.iter().copied().collect()),
        project: project.map(str::to_owned),
    };
    let all = scope(None, None);
    let some = scope(Some(&[RunsRead, LogsRead]), Some("web"));
    assert!(some.is_within(&all) && !all.is_within(&some) && some.is_within(&some));
    assert!(scope(Some(&[RunsRead]), Some("web")).is_within(&some));
    assert!(!scope(Some(&[RunsRead]), None).is_within(&some));
    assert!(!scope(Some(&[RunsRead]), Some("api")).is_within(&some));
    assert!(!scope(None, Some("web")).is_within(&some));
    let read = |scope: &Scope| Scope::read(scope.capabilities_text().as_deref(), scope.project.clone());
    let none = scope(Some(&[]), None);
    for scope in [all, some, none] {
        assert_eq!(read(&scope), scope);
    }
    // A name of another version takes away.
    assert_eq!(Scope::read(Some("things.invent"), None), scope(Some(&[]), None));
}

proptest! {
    #[test]
    fn every_token_reads_back(id: u128, secret: [u8; 32]) {
        let text = TokenText::new(uuid::Uuid::from_u128(id), secret);
        let shown = text.reveal();
        let read = TokenText::parse(shown.expose()).expect("it reads back");
        prop_assert_eq!(read.id(), text.id());
        prop_assert_eq!(read.hash(), text.hash());
    }

    #[test]
    fn what_reads_is_written_the_same(text in "rct_[0-9a-f]{32}_[A-Za-z0-9_-]{43}") {
        if let Ok(read) = TokenText::parse(&text) {
            let shown = read.reveal();
            prop_assert_eq!(shown.expose(), text);
        }
    }

    #[test]
    fn any_other_text_is_refused(text: String) {
        prop_assert!(TokenText::parse(&text).is_err());
    }

    #[test]
    fn one_other_character_is_another_token(secret: [u8; 32], at in 0usize..80, with in "[A-Za-z0-9_=+-]") {
        let with = with.chars().next().expect("one");
        let shown = token(secret).reveal();
        let mut characters: Vec<char> = shown.expose().chars().collect();
        prop_assume!(characters[at] != with);
        characters[at] = with;
        let other = TokenText::parse(&characters.into_iter().collect::<String>());
        if let Ok(other) = other {
            prop_assert!(other.id() != token(secret).id() || other.hash() != token(secret).hash());
        }
    }
}

#[test]
fn a_token_may_be_called_what_people_like() {
    for name in ["laptop", "Ada's phone", "é"] {
        assert_eq!(check_token_name(name), Ok(()));
    }
    let long = "a".repeat(129);
    for name in ["", " ", "a\n", "\u{0}", "\u{1b}[31m", "\u{202e}x", long.as_str()] {
        assert!(check_token_name(name).is_err(), "{name:?}");
    }
}
