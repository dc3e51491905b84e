//! The forms in which a value is looked for: as it is, base64, URL-encoded, hexadecimal, JSON-escaped, quoted as
//! shells do, and line by line.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::MIN_LENGTH;

/// Base64 is commonly wrapped at 76 columns (57 bytes; `base64`) or 64 (48 bytes; `openssl`, PEM).
const WRAPPED_AT: [usize; 2] = [57, 48];

/// Appends every form of a value. Forms shorter than [`MIN_LENGTH`] are left out.
pub(super) fn forms(value: &[u8], forms: &mut Vec<Box<[u8]>>) {
    let mut variants = vec![value, value.trim_ascii()];
    if value.contains(&b'\n') {
        variants.extend(value.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii));
    }
    variants.sort_unstable();
    variants.dedup();
    for variant in variants.into_iter().filter(|variant| variant.len() >= MIN_LENGTH) {
        encode(variant, &mut |form| {
            if form.len() >= MIN_LENGTH {
                forms.push(form.into_boxed_slice());
            }
        });
    }
}

fn encode(value: &[u8], add: &mut impl FnMut(Vec<u8>)) {
    add(value.to_vec());
    for alphabet in [&STANDARD, &URL_SAFE] {
        let engine = GeneralPurpose::new(alphabet, GeneralPurposeConfig::new());
        for alignment in 0..3 {
            add(base64_inside(&engine, value, alignment));
        }
        for width in WRAPPED_AT.into_iter().filter(|&width| value.len() > width) {
            value.chunks(width).for_each(|line| add(base64_inside(&engine, line, 0)));
        }
    }
    for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        add(value.iter().flat_map(|&byte| hex(byte, digits)).collect());
        // What different encoders leave as it is: RFC 3986, JavaScript's encodeURIComponent, Python's quote;
        // and HTML forms, where a space is a plus.
        for (left, space) in [("-_.~", "%20"), ("-_.!~*'()", "%20"), ("-_.~/", "%20"), ("-_.*", "+")] {
            add(percent(value, left.as_bytes(), space.as_bytes(), digits));
        }
    }
    shell_quoted(value).into_iter().for_each(&mut *add);
    if let Ok(text) = std::str::from_utf8(value) {
        for ascii_only in [false, true] {
            for slash in [false, true] {
                add(json_escaped(text, ascii_only, slash));
            }
        }
    }
}

/// The characters of base64 that only the value decides, where `alignment` bytes stand before it in its
/// group of three.
fn base64_inside(engine: &GeneralPurpose, value: &[u8], alignment: usize) -> Vec<u8> {
    let mut padded = vec![0; alignment];
    padded.extend_from_slice(value);
    let encoded = engine.encode(&padded).into_bytes();
    let first = (alignment * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    encoded[first..last].to_vec()
}

fn percent(value: &[u8], left: &[u8], space: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_alphanumeric() || left.contains(&byte) {
            encoded.push(byte);
        } else if byte == b' ' {
            encoded.extend_from_slice(space);
        } else {
            encoded.push(b'%');
            encoded.extend(hex(byte, digits));
        }
    }
    encoded
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// How shells print a value so that they could read it again, without the quotes around it: `set -x`, `export -p`,
/// `declare -p`, `printf %q`.
fn shell_quoted(value: &[u8]) -> Vec<Vec<u8>> {
    let escaped = |is_special: &dyn Fn(u8) -> bool, escape: &dyn Fn(u8) -> Vec<u8>| {
        let each = value.iter().flat_map(|&byte| if is_special(byte) { escape(byte) } else { vec![byte] });
        each.collect::<Vec<u8>>()
    };
    let behind = |byte: u8| vec![b'\\', byte];
    let in_dollar = |byte: u8| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\t' => b"\\t".to_vec(),
        b'\r' => b"\\r".to_vec(),
        0x1b => b"\\E".to_vec(),
        other if other.is_ascii_control() => format!("\\{other:03o}").into_bytes(),
        other => behind(other),
    };
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte) || !byte.is_ascii();
    vec![
        escaped(&|byte| byte == b'\'', &|_| br"'\''".to_vec()),
        escaped(&|byte| byte == b'\'', &|_| br#"'"'"'"#.to_vec()),
        escaped(&|byte| br#"$`"\"#.contains(&byte), &behind),
        escaped(&|byte| br#"$`"\!"#.contains(&byte), &behind),
        escaped(&|byte| !is_plain(byte), &behind),
        // Which characters need no quote is not the same everywhere.
        escaped(&|byte| !is_plain(byte) || b"@%+=:,".contains(&byte), &behind),
        escaped(&|byte| !is_plain(byte) || byte == b',', &behind),
        escaped(&|byte| byte == b'\'' || byte == b'\\' || byte.is_ascii_control(), &in_dollar),
    ]
}

/// The inside of a JSON string, as serializers differ: non-ASCII as it is or as `\uXXXX`, `/` as it is or
/// escaped.
fn json_escaped(text: &str, ascii_only: bool, slash: bool) -> Vec<u8> {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{c}' => escaped.push_str("\\f"),
            '/' if slash => escaped.push_str("\\/"),
            control if control < ' ' => escaped.push_str(&format!("\\u{:04x}", u32::from(control))),
            other if ascii_only && !other.is_ascii() => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
            other => escaped.push(other),
        }
    }
    escaped.into_bytes()
}
