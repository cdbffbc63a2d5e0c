//! HMAC with SHA-256.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hasher(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// The code of these parts, one after the other.
pub(crate) fn code(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    hasher(key, parts).finalize().into_bytes().into()
}

/// Whether two texts are the same. How long it takes tells nothing about where they differ: only their codes are compared.
pub(crate) fn same(key: &[u8], one: &[u8], other: &[u8]) -> bool {
    hasher(key, &[one]).verify_slice(&code(key, &[other])).is_ok()
}
