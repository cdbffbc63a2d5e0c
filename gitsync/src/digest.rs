//! SHA-256, as text.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The digest in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Two hexadecimal digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            _ = write!(text, "{byte:02x}");
            text
        })
}
