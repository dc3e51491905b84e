//! A value as it is stored: encrypted, and bound to the place that it was set for.

use zeroize::Zeroizing;

use super::key::{DataKey, KeyId, NONCE, Nonce, bind, decrypt, encrypt, hex, mac};
use crate::address::Address;
use crate::scheduler::Millis;
use crate::store::{Lineage, Uid};

/// Which value: a version of one key of one secret.
///
/// The secret is named by its uid, which a rename keeps and which no later secret of the same name has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The secret.
    pub secret: Uid,
    /// Its key: `value` where it has only one.
    pub key: String,
    /// Counts the values of this key, from 1.
    pub version: u64,
}

/// One version of a value. What it is of never changes; its ciphertext does when it is sealed with a newer data key, and
/// is gone once the version is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Which.
    pub place: Place,
    /// What the secret was called when it was set.
    pub address: Address,
    /// Who set it.
    pub actor: String,
    /// When.
    pub created_at: Millis,
    /// The request that set it, where it may come twice.
    pub request: Option<String>,
    /// What is there.
    pub content: Content,
}

/// What is there of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The value, sealed.
    Sealed(Sealed),
    /// Nothing any more.
    Deleted {
        /// When it was deleted.
        at: Millis,
        /// By whom.
        by: String,
    },
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The data key that opens it.
    pub data_key: KeyId,
    /// The nonce.
    pub nonce: Nonce,
    /// The value, encrypted.
    pub ciphertext: Vec<u8>,
    /// Equal for equal values of one key of one secret under one data key, and telling nothing else.
    pub fingerprint: String,
}

impl Version {
    /// What is sealed of it, where it was not deleted.
    pub fn sealed(&self) -> Option<&Sealed> {
        match &self.content {
            Content::Sealed(sealed) => Some(sealed),
            Content::Deleted { .. } => None,
        }
    }
}

/// Seals a value for a place.
pub fn seal(
    workspace: &Lineage,
    key: &DataKey,
    place: &Place,
    address: &Address,
    nonce: Nonce,
    value: &str,
) -> Sealed {
    let bound = bound_to(workspace, key.id(), place, address);
    Sealed {
        data_key: key.id().clone(),
        nonce,
        ciphertext: encrypt(&key.cipher_key(), &nonce, &bound, value.as_bytes()),
        fingerprint: fingerprint(key, place, value),
    }
}

/// Opens a value. `None` where it is not what was sealed for this very place of this workspace with this key.
pub fn open(workspace: &Lineage, key: &DataKey, version: &Version) -> Option<Zeroizing<String>> {
    let sealed = version.sealed()?;
    let bound = bound_to(workspace, key.id(), &version.place, &version.address);
    let plain = decrypt(&key.cipher_key(), &sealed.nonce, &bound, &sealed.ciphertext)?;
    std::str::from_utf8(&plain).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn bound_to(workspace: &Lineage, key: &KeyId, place: &Place, address: &Address) -> Vec<u8> {
    bind(&[
        b"reactorcide sealed value 1",
        workspace.0.as_bytes(),
        place.secret.0.as_bytes(),
        address.to_string().as_bytes(),
        place.key.as_bytes(),
        &place.version.to_be_bytes(),
        key.0.as_bytes(),
    ])
}

fn fingerprint(key: &DataKey, place: &Place, value: &str) -> String {
    let fields = [place.secret.0.as_bytes(), place.key.as_bytes(), value.as_bytes()];
    hex(&mac(&key.fingerprint_key(), &fields)[..16])
}

/// A nonce as it is stored.
pub fn read_nonce(bytes: &[u8]) -> Option<Nonce> {
    <[u8; NONCE]>::try_from(bytes).ok()
}
