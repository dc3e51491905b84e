//! Whether what was sent was signed by who knows the secret, and lately: HMAC-SHA256 (RFC 2104) over time and body.

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The header that says when it was signed, in seconds since 1970.
pub const TIMESTAMP: &str = "x-reactorcide-timestamp";
/// The header that has the signature.
const SIGNATURE: &str = "x-reactorcide-signature";
/// How long ago, or ahead, something may have been signed.
const WINDOW: i64 = 300;
/// The fewest bytes of a secret.
pub const LEAST: usize = 16;
/// The size of a block of SHA-256.
const BLOCK: usize = 64;

/// Why something is not taken, for the log.
pub fn check(headers: &HeaderMap, body: &[u8], secret: &[u8], now: i64) -> Result<(), &'static str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let time = text(TIMESTAMP).ok_or("it has no time")?;
    let seconds: i64 = time.parse().map_err(|_| "its time is no number")?;
    let given = text(SIGNATURE).and_then(|text| text.strip_prefix("sha256=")).ok_or("it has no signature")?;
    let expected = hmac(secret, &[time.as_bytes(), b".", body]);
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    if !bool::from(expected.as_bytes().ct_eq(given.to_ascii_lowercase().as_bytes())) {
        return Err("its signature is wrong");
    }
    if now.abs_diff(seconds) > WINDOW.unsigned_abs() {
        return Err("it was signed too long ago or ahead");
    }
    Ok(())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36));
    let inner = parts.iter().fold(inner, |hash, part| hash.chain_update(part)).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
pub fn sign(secret: &str, time: i64, body: &str) -> String {
    let mac = hmac(secret.as_bytes(), &[time.to_string().as_bytes(), b".", body.as_bytes()]);
    format!("sha256={}", mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 32]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Test cases 2 and 6 of RFC 4231: a short key, and one that is longer than a block.
    #[test]
    fn it_is_the_hmac_of_the_rfc() {
        let short = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn only_what_was_signed_lately_by_who_knows_is_taken() {
        let ask = |time: &str, signature: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMESTAMP, time.parse().expect("a header"));
            headers.insert(SIGNATURE, signature.parse().expect("a header"));
            check(&headers, b"body", b"0123456789abcdef", 1000)
        };
        let right = sign("0123456789abcdef", 1000, "body");
        assert_eq!(ask("1000", &right), Ok(()));
        assert!(ask("1001", &right).is_err());
        assert!(ask("1000", &sign("another secret of 16", 1000, "body")).is_err());
        assert!(ask("1000", &sign("0123456789abcdef", 1000, "other")).is_err());
        assert!(ask("699", &sign("0123456789abcdef", 699, "body")).is_err());
        assert_eq!(ask("1300", &sign("0123456789abcdef", 1300, "body")), Ok(()));
        assert!(ask("x", &right).is_err() && ask("1000", "sha256=").is_err() && ask("1000", "").is_err());
        assert!(check(&HeaderMap::new(), b"body", b"0123456789abcdef", 1000).is_err());
    }
}
