//! Base64 with padding, as in `encoding/base64`'s `StdEncoding`. Decoding is our own: line ends are skipped, and errors name the
//! place, as Go's do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes, or the index of the first byte that is not Base64. Line ends are skipped.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut sextets, mut padding) = (0u32, 0, 0);
    for (index, byte) in text.bytes().enumerate() {
        if matches!(byte, b'\r' | b'\n') {
            continue;
        }
        if byte == b'=' {
            // padding only completes a group that has at least one byte
            padding += 1;
            if sextets + padding > 4 || sextets < 2 {
                return Err(index);
            }
            continue;
        }
        let value = ALPHABET
            .iter()
            .position(|letter| *letter == byte)
            .filter(|_| padding == 0)
            .ok_or(index)?;
        group = group << 6 | value as u32;
        sextets += 1;
        if sextets == 4 {
            bytes.extend_from_slice(group.to_be_bytes().get(1..).unwrap_or_default());
            (group, sextets) = (0, 0);
        }
    }
    match (sextets, padding) {
        (0, 0) => {}
        (2, 2) => bytes.push((group >> 4) as u8),
        (3, 1) => bytes.extend_from_slice((group << 6).to_be_bytes().get(1..3).unwrap_or_default()),
        _ => return Err(text.len()),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn goes_both_ways() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"fooba", "Zm9vYmE="),
            (b"\xff\x00", "/wA="),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Ok(bytes), "{text}");
        }
        assert_eq!(decode("Zm9v\nYg==").as_deref(), Ok(&b"foob"[..]));
        for (text, at) in [
            ("!", 0),
            ("Zg", 2),
            ("Zg=", 3),
            ("Z===", 1),
            ("Zg==Zg==", 4),
            ("====", 0),
        ] {
            assert_eq!(decode(text), Err(at), "{text}");
        }
    }
}
