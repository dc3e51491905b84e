//! An RSA key that signs tokens, and how it is shown to those who check them.
//!
//! RS256 and not an elliptic curve: it is what every relying party must know by OpenID Connect Core 1.0, §15.1.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reactorcide_engine::id_token::{Claims, SigningKey};
use reactorcide_engine::protocol::spec::Sensitive;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A key, ready to sign.
pub struct Key {
    number: u64,
    id: String,
    public: Value,
    pair: RsaKeyPair,
}

/// A new private key, as base64 of PKCS#8.
pub fn generate() -> Result<Sensitive, String> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048);
    let der: Result<Pkcs8V1Der<'_>, _> = pair.and_then(|pair| pair.as_der());
    let der = der.map_err(|_| "no key can be made".to_owned())?;
    Ok(Sensitive::new(BASE64_STANDARD.encode(der.as_ref())))
}

impl Key {
    /// A key as it is stored.
    pub fn read(stored: &SigningKey) -> Result<Self, String> {
        let broken = || format!("the key {} that signs identity tokens is damaged", stored.number);
        let der = BASE64_STANDARD.decode(stored.private.expose()).map_err(|_| broken())?;
        let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| broken())?;
        let (modulus, exponent) = components(pair.public_key().as_ref()).ok_or_else(broken)?;
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (modulus, exponent) = (encoded(modulus), encoded(exponent));
        // The thumbprint of RFC 7638: the members in this order, without white space.
        let canonical = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
        let id = encoded(&Sha256::digest(canonical));
        let public =
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": modulus, "e": exponent});
        Ok(Self { number: stored.number, id, public, pair })
    }

    /// Its number among the stored ones.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What tokens call it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public part, as RFC 7517 writes it.
    pub fn public(&self) -> &Value {
        &self.public
    }

    /// A signed token, in the compact form of RFC 7515.
    pub fn sign(&self, claims: &Claims) -> Result<Sensitive, String> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.id}).to_string();
        let claims =
            serde_json::to_vec(claims).map_err(|error| format!("a token cannot be written: {error}"))?;
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let done = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        done.map_err(|_| "a token cannot be signed".to_owned())?;
        Ok(Sensitive::new(format!("{signed}.{}", encoded(&signature))))
    }
}

/// Modulus and exponent of an `RSAPublicKey` of RFC 8017, A.1.1: a sequence of two integers.
fn components(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = element(der, 0x30)?;
    let (modulus, exponent) = element(sequence, 0x02)?;
    let (exponent, nothing) = element(exponent, 0x02)?;
    let unsigned = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte != 0);
    let (modulus, exponent) = (&modulus[unsigned(modulus)?..], &exponent[unsigned(exponent)?..]);
    (rest.is_empty() && nothing.is_empty()).then_some((modulus, exponent))
}

/// The content of the first element of DER, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;

    #[test]
    fn whoever_has_the_public_part_can_check_what_was_signed() {
        let stored = SigningKey { number: 1, created_at: 0, private: generate().expect("a key") };
        let key = Key::read(&stored).expect("a key");
        assert_eq!(Key::read(&stored).expect("a key").id(), key.id());
        let decoded = |name: &str| {
            BASE64_URL_SAFE_NO_PAD.decode(key.public()[name].as_str().expect("text")).expect("base64")
        };
        let public = RsaPublicKeyComponents { n: decoded("n"), e: decoded("e") };
        assert_eq!((public.n.len(), public.e.as_slice()), (256, [1, 0, 1].as_slice()));
        let claims = json!({
            "iss": "i", "aud": "a", "sub": "s", "exp": 3, "nbf": 1, "iat": 2, "jti": "j", "pipeline": "p", "job": "j",
            "node": "n", "run_id": "r", "attempt": 1, "event": "push", "origin": "base", "profile": "trusted",
            "policy_revision": 4,
        });
        let claims: Claims = serde_json::from_value(claims).expect("claims");
        let token = key.sign(&claims).expect("a token");
        let (signed, signature) = token.expose().rsplit_once('.').expect("three parts");
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64");
        let holds =
            |signed: &str| public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok();
        assert!(holds(signed) && !holds(&signed.replacen('e', "f", 1)));
        let other = SigningKey { private: generate().expect("a key"), ..stored };
        assert_ne!(Key::read(&other).expect("a key").id(), key.id());
    }

    #[test]
    fn what_is_no_key_is_said_without_it() {
        let stored = SigningKey { number: 4, created_at: 0, private: Sensitive::new("bm8ga2V5") };
        let error = Key::read(&stored).err().expect("no key");
        assert_eq!(error, "the key 4 that signs identity tokens is damaged");
        assert!(components(&[]).is_none() && components(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_none());
    }
}
