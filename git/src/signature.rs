//! Signatures of commits: what is signed, and by what kind of key. SSH signatures are left to git, PGP signatures are checked here,
//! so that no gpg is needed.

mod pgp;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

/// A signature with more bytes is none.
const MAX_SIGNATURE: usize = 64 << 10;

/// The signature of a commit, and the bytes that it is of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    text: String,
    signed: Vec<u8>,
}

impl Signature {
    /// Takes the signature out of a raw commit, as `git verify-commit` does: the header `gpgsig`, or `gpgsig-sha256` in a
    /// repository of that kind, is the signature, and no header that begins so is signed. `None` if there is none, or more than
    /// one.
    pub(crate) fn of(commit: &[u8], sha256: bool) -> Option<Self> {
        let name: &[u8] = if sha256 { b"gpgsig-sha256 " } else { b"gpgsig " };
        let end = commit.windows(2).position(|two| two == b"\n\n");
        let (headers, rest) = commit.split_at(end.map_or(commit.len(), |end| end + 1));
        let mut signed = Vec::with_capacity(commit.len());
        let mut text = None;
        let (mut ours, mut other) = (false, false);
        for line in headers.split_inclusive(|byte| *byte == b'\n') {
            if let Some(more) = line.strip_prefix(b" ").filter(|_| ours || other) {
                if let Some(text) = text.as_mut().filter(|_| ours) {
                    Vec::extend_from_slice(text, more);
                }
                continue;
            }
            let first = line.strip_prefix(name);
            ours = first.is_some();
            other = !ours && line.starts_with(b"gpgsig");
            match first {
                Some(_) if text.is_some() => return None,
                Some(first) => text = Some(first.to_vec()),
                None if other => {}
                None => signed.extend_from_slice(line),
            }
        }
        signed.extend_from_slice(rest);
        let text = String::from_utf8(text.filter(|text| text.len() <= MAX_SIGNATURE)?).ok()?;
        Some(Self { text, signed })
    }

    /// Whether it was made by a PGP key.
    pub(crate) fn is_pgp(&self) -> bool {
        self.text.trim_start().starts_with("-----BEGIN PGP ")
    }

    /// Why it is none of these PGP keys, if it is not.
    ///
    /// # Errors
    /// Says which key cannot be read, and how it should look.
    pub(crate) fn refused_by_pgp(&self, keys: &[String], now: SystemTime) -> Result<Option<String>, String> {
        let keys = pgp::read(keys)?;
        Ok(pgp::check(&self.text, &self.signed, &keys, now).err())
    }
}
