//! Keys: master keys, which never enter the database, and the data key of a workspace, which stands there wrapped by one.

use std::fmt;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::scheduler::Millis;
use crate::store::Lineage;

/// Bytes of a key.
pub const KEY: usize = 32;
/// Bytes of a nonce: long enough to be drawn at random for ever.
pub const NONCE: usize = 24;

/// A nonce, drawn at random for each thing that is sealed.
pub type Nonce = [u8; NONCE];

/// The name of a key, which follows from the key itself and tells nothing of it.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is no master key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has another form.
    #[error("a master key is 32 random bytes, written in base64 or as 64 hexadecimal digits")]
    Form,
    /// It has the right length, and nobody drew it at random.
    #[error("a master key must be random: this one repeats itself")]
    Weak,
}

/// A key from outside the database. It wraps data keys and nothing else, and does not print itself.
#[derive(Clone)]
pub struct MasterKey {
    id: KeyId,
    secret: Zeroizing<[u8; KEY]>,
}

impl MasterKey {
    /// From its bytes.
    pub fn new(secret: Zeroizing<[u8; KEY]>) -> Self {
        Self { id: id("mk", b"reactorcide master key 1", &secret), secret }
    }

    /// From text, as a file or a variable holds it: base64 or hexadecimal digits. White space around it does not count.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text = text.trim_ascii();
        let bytes = if text.len() == KEY * 2 { from_hex(text) } else { from_base64(text) };
        let bytes = bytes.ok_or(KeyError::Form)?;
        let secret: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| KeyError::Form)?;
        let mut distinct = [false; 256];
        secret.iter().for_each(|byte| distinct[usize::from(*byte)] = true);
        // 32 random bytes have about 30 different ones; fewer than 12 come up less than once in 10^20 draws.
        if distinct.iter().filter(|is_there| **is_there).count() < 12 {
            return Err(KeyError::Weak);
        }
        Ok(Self::new(Zeroizing::new(secret)))
    }

    /// As a file holds it.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.secret.as_slice()))
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Wraps a data key of a workspace.
    pub fn wrap(&self, workspace: &Lineage, key: &DataKey, nonce: Nonce, now: Millis) -> WrappedKey {
        let bound = bind_key(workspace, &key.id, &self.id);
        let ciphertext = encrypt(&self.cipher_key(), &nonce, &bound, key.secret.as_slice());
        WrappedKey { id: key.id.clone(), master: self.id.clone(), nonce, ciphertext, created_at: now }
    }

    /// Opens a data key that this key has wrapped. `None` where it has not, or the row is not what was written.
    pub fn unwrap(&self, workspace: &Lineage, wrapped: &WrappedKey) -> Option<DataKey> {
        let bound = bind_key(workspace, &wrapped.id, &self.id);
        let secret = decrypt(&self.cipher_key(), &wrapped.nonce, &bound, &wrapped.ciphertext)?;
        let secret = Zeroizing::new(<[u8; KEY]>::try_from(secret.as_slice()).ok()?);
        let key = DataKey::new(secret);
        (key.id == wrapped.id).then_some(key)
    }

    fn cipher_key(&self) -> Zeroizing<[u8; KEY]> {
        derive(&self.secret, b"reactorcide master key wraps 1")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKey").field(&self.id).finish()
    }
}

/// The key that seals values of one workspace. It does not print itself.
#[derive(Clone)]
pub struct DataKey {
    id: KeyId,
    secret: Zeroizing<[u8; KEY]>,
}

impl DataKey {
    /// From its bytes, drawn at random.
    pub fn new(secret: Zeroizing<[u8; KEY]>) -> Self {
        Self { id: id("dk", b"reactorcide data key 1", &secret), secret }
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn cipher_key(&self) -> Zeroizing<[u8; KEY]> {
        derive(&self.secret, b"reactorcide data key seals 1")
    }

    pub(super) fn fingerprint_key(&self) -> Zeroizing<[u8; KEY]> {
        derive(&self.secret, b"reactorcide data key compares 1")
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataKey").field(&self.id).finish()
    }
}

/// A data key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its name.
    pub id: KeyId,
    /// The master key that opens it.
    pub master: KeyId,
    /// The nonce of the wrapping.
    pub nonce: Nonce,
    /// The key, encrypted.
    pub ciphertext: Vec<u8>,
    /// When it was made.
    pub created_at: Millis,
}

/// What a wrapped key belongs to.
fn bind_key(workspace: &Lineage, key: &KeyId, master: &KeyId) -> Vec<u8> {
    bind(&[b"reactorcide wrapped key 1", workspace.0.as_bytes(), key.0.as_bytes(), master.0.as_bytes()])
}

/// Fields with the length of each before it, so that no text can be read as two ways to fill them.
pub(super) fn bind(fields: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::new();
    for field in fields {
        bound.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bound.extend_from_slice(field);
    }
    bound
}

pub(super) fn encrypt(key: &[u8; KEY], nonce: &Nonce, bound: &[u8], plain: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let payload = Payload { msg: plain, aad: bound };
    cipher.encrypt(&XNonce::from(*nonce), payload).expect("what fits into memory is short enough")
}

pub(super) fn decrypt(
    key: &[u8; KEY],
    nonce: &Nonce,
    bound: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let payload = Payload { msg: ciphertext, aad: bound };
    cipher.decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
}

/// An HMAC-SHA256 over fields.
pub(super) fn mac(key: &[u8; KEY], fields: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    for field in fields {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    mac.finalize().into_bytes().into()
}

fn derive(secret: &[u8; KEY], purpose: &[u8]) -> Zeroizing<[u8; KEY]> {
    Zeroizing::new(mac(secret, &[purpose]))
}

fn id(prefix: &str, purpose: &[u8], secret: &[u8; KEY]) -> KeyId {
    let digest = mac(secret, &[purpose, b"name"]);
    KeyId(format!("{prefix}-{}", hex(&digest[..8])))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
    pairs.collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

fn from_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let engines = [&BASE64_STANDARD, &BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE, &BASE64_URL_SAFE_NO_PAD];
    engines.into_iter().find_map(|engine| engine.decode(text).ok()).map(Zeroizing::new)
}
