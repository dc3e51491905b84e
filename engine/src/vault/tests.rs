//! Property tests: what is sealed opens, and nothing that differs in a bit or a field does.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::address::Address;
use crate::config::Kind;
use crate::store::Lineage;

fn data_key(seed: u8) -> DataKey {
    DataKey::new(Zeroizing::new([seed; KEY]))
}

fn master(seed: u8) -> MasterKey {
    MasterKey::new(Zeroizing::new([seed; KEY]))
}

fn workspace() -> Lineage {
    Lineage("workspace".into())
}

fn place() -> Place {
    Place { secret: Uid("uid".into()), key: "token".into(), version: 3 }
}

fn address(name: &str) -> Address {
    Address::new(Kind::Secret, None, name)
}

fn version(place: Place, sealed: Sealed) -> Version {
    Version {
        place,
        address: address("deploy/key"),
        actor: "user:ada".into(),
        created_at: 1,
        request: None,
        content: Content::Sealed(sealed),
    }
}

fn sealed(value: &str) -> Version {
    let sealed = seal(&workspace(), &data_key(1), &place(), &address("deploy/key"), [7; NONCE], value);
    version(place(), sealed)
}

proptest! {
    #[test]
    fn what_is_sealed_opens(value in ".*") {
        let version = sealed(&value);
        let opened = open(&workspace(), &data_key(1), &version);
        prop_assert_eq!(opened.as_deref().map(String::as_str), Some(value.as_str()));
        let bytes = &version.sealed().expect("sealed").ciphertext;
        prop_assert_eq!(bytes.len(), value.len() + 16);
        prop_assert!(value.len() < 4 || !bytes.windows(value.len()).any(|part| part == value.as_bytes()));
    }

    #[test]
    fn no_bit_can_be_flipped(value in ".{0,40}", at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut version = sealed(&value);
        let Content::Sealed(one) = &mut version.content else { unreachable!() };
        let (nonce, text) = (one.nonce.len(), one.ciphertext.len());
        match at.index(nonce + text) {
            index if index < nonce => one.nonce[index] ^= 1 << bit,
            index => one.ciphertext[index - nonce] ^= 1 << bit,
        }
        prop_assert!(open(&workspace(), &data_key(1), &version).is_none());
    }

    #[test]
    fn no_bit_of_a_wrapped_key_can_be_flipped(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut wrapped = master(9).wrap(&workspace(), &data_key(1), [3; NONCE], 1);
        let (nonce, text) = (wrapped.nonce.len(), wrapped.ciphertext.len());
        match at.index(nonce + text) {
            index if index < nonce => wrapped.nonce[index] ^= 1 << bit,
            index => wrapped.ciphertext[index - nonce] ^= 1 << bit,
        }
        prop_assert!(master(9).unwrap(&workspace(), &wrapped).is_none());
    }
}

#[test]
fn a_value_opens_in_its_own_place_alone() {
    let right = sealed("S3CRET");
    let other = |change: fn(&mut Version)| {
        let mut version = right.clone();
        change(&mut version);
        version
    };
    let wrong = [
        other(|version| version.place.secret = Uid("other".into())),
        other(|version| version.place.key = "toke".into()),
        other(|version| version.place.version = 2),
        other(|version| version.address = address("deploy/other")),
        other(|version| version.address.project = Some("web".into())),
        // The same characters, split elsewhere.
        other(|version| {
            version.place.secret = Uid("uidt".into());
            version.place.key = "oken".into();
        }),
    ];
    assert!(open(&workspace(), &data_key(1), &right).is_some());
    for version in wrong {
        assert!(open(&workspace(), &data_key(1), &version).is_none(), "{version:?}");
    }
    assert!(open(&Lineage("elsewhere".into()), &data_key(1), &right).is_none());
    assert!(open(&workspace(), &data_key(2), &right).is_none());
}

#[test]
fn a_data_key_opens_in_its_workspace_with_its_master_alone() {
    let wrapped = master(9).wrap(&workspace(), &data_key(1), [3; NONCE], 1);
    let opened = master(9).unwrap(&workspace(), &wrapped).expect("it opens");
    assert_eq!(opened.id(), data_key(1).id());
    assert!(master(8).unwrap(&workspace(), &wrapped).is_none());
    assert!(master(9).unwrap(&Lineage("elsewhere".into()), &wrapped).is_none());
    let renamed = WrappedKey { id: data_key(2).id().clone(), ..wrapped.clone() };
    assert!(master(9).unwrap(&workspace(), &renamed).is_none());
    // Whose name stands beside it is for finding it; it does not decide.
    let mislabelled = WrappedKey { master: master(8).id().clone(), ..wrapped };
    assert!(master(9).unwrap(&workspace(), &mislabelled).is_some());
}

#[test]
fn equal_values_are_told_within_one_key_of_one_secret_alone() {
    let print = |secret: &str, key: &str, version, data: u8, value: &str| {
        let place = Place { secret: Uid(secret.into()), key: key.into(), version };
        seal(&workspace(), &data_key(data), &place, &address("a"), [version as u8; NONCE], value).fingerprint
    };
    let first = print("a", "value", 1, 1, "S3CRET");
    assert_eq!(first, print("a", "value", 2, 1, "S3CRET"));
    assert_ne!(first, print("a", "value", 2, 1, "S3CRET2"));
    assert_ne!(first, print("b", "value", 1, 1, "S3CRET"));
    assert_ne!(first, print("a", "token", 1, 1, "S3CRET"));
    assert_ne!(first, print("a", "value", 1, 2, "S3CRET"));
}

#[test]
fn a_master_key_is_read_in_the_forms_that_tools_write() {
    let bytes: [u8; KEY] = std::array::from_fn(|index| (index * 7 + 240) as u8);
    let key = MasterKey::new(Zeroizing::new(bytes));
    let standard = key.to_text().to_string();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts = [
        standard.clone(),
        format!("{standard}\n"),
        format!("  {}\r\n", standard.trim_end_matches('=')),
        standard.replace('+', "-").replace('/', "_"),
        hex.to_uppercase(),
        hex,
    ];
    for text in texts {
        assert_eq!(MasterKey::parse(text.as_bytes()).expect(&text).id(), key.id(), "{text}");
    }
    for text in ["", "short", &"g".repeat(64), "c2hvcnQ="] {
        assert_eq!(MasterKey::parse(text.as_bytes()).err(), Some(KeyError::Form), "{text}");
    }
    for text in ["0".repeat(64), "deadbeef".repeat(8)] {
        assert_eq!(MasterKey::parse(text.as_bytes()).err(), Some(KeyError::Weak), "{text}");
    }
}

#[test]
fn keys_do_not_print_themselves() {
    let text = format!("{:?} {:?}", master(77), data_key(77));
    assert!(text.contains("mk-") && text.contains("dk-"), "{text}");
    assert!(!text.contains("77") || !text.contains("[77"), "{text}");
}
