//! Webhooks of forges: whether one comes from somebody who has the secret, and what it tells.
//!
//! A webhook is only a hint to look (contract 5.7): nothing of its body is read. So one that somebody saw and sends again
//! does no harm; at most a repository is asked once more.

use crate::base64;
use crate::digest::hex;
use crate::mac;

/// Most signatures of one header that are looked at: there is one more while a secret is being replaced.
const MAX_SIGNATURES: usize = 4;

/// Headers that hold the HMAC of the body in hexadecimal digits, and what stands before them: the stronger first.
const HEXADECIMAL: [(&str, &str); 4] = [
    // GitHub, and Gitea and Forgejo beside their own
    ("x-hub-signature-256", "sha256="),
    ("x-forgejo-signature", ""),
    ("x-gitea-signature", ""),
    // Bitbucket; GitHub has a SHA-1 there, which is not taken
    ("x-hub-signature", "sha256="),
];

/// Headers that name the event. Gitea and Forgejo send GitHub's beside their own, with the same name in it.
const EVENTS: [&str; 5] = [
    "x-forgejo-event",
    "x-gitea-event",
    "x-github-event",
    "x-gitlab-event",
    "x-event-key",
];

/// What a webhook tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A branch or tag was pushed.
    Push,
    /// Somebody tries whether webhooks arrive.
    Ping,
    /// Something that is of no interest here.
    Other,
}

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// There is no proof that the sender has the secret.
    #[error(
        "the webhook has none of the headers X-Hub-Signature-256, X-Gitea-Signature, X-Forgejo-Signature, X-Hub-Signature, \
         webhook-signature and X-Gitlab-Token: set its secret in the forge"
    )]
    Unsigned,
    /// The proof is of another secret or another body.
    #[error(
        "the webhook's signature is wrong: set the same secret in the forge and in the key token of the Secret"
    )]
    Wrong,
}

/// Checks a webhook. `header` gives the value of a header by its name in small letters, and `body` is as it was received.
///
/// The first of these headers that is there decides: `X-Hub-Signature-256`, `X-Forgejo-Signature`, `X-Gitea-Signature`,
/// `X-Hub-Signature` (with SHA-256), `webhook-signature` (GitLab's signing token, by Standard Webhooks), and at last
/// `X-Gitlab-Token`, which is the secret itself. All comparisons take the same time wherever the difference is.
///
/// # Errors
/// There is no such header, it does not fit, or `secret` is empty.
pub fn verify<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    secret: &str,
) -> Result<Hook, HookError> {
    let proven = proven(&header, body, secret).ok_or(HookError::Unsigned)?;
    if !proven || secret.is_empty() {
        return Err(HookError::Wrong);
    }
    let event = EVENTS.iter().find_map(|name| header(name));
    Ok(match event {
        Some("push" | "Push Hook" | "Tag Push Hook" | "repo:push" | "repo:refs_changed") => Hook::Push,
        Some("ping" | "diagnostics:ping") => Hook::Ping,
        _ => Hook::Other,
    })
}

/// Whether the sender has the secret; `None` if nothing says so.
fn proven<'a>(header: &impl Fn(&str) -> Option<&'a str>, body: &[u8], secret: &str) -> Option<bool> {
    let same = |given: &str, right: &str| mac::same(secret.as_bytes(), given.as_bytes(), right.as_bytes());
    let hexadecimal = HEXADECIMAL
        .iter()
        .find_map(|(name, prefix)| Some((header(name)?, prefix)));
    if let Some((given, prefix)) = hexadecimal {
        let right = hex(&mac::code(secret.as_bytes(), &[body]));
        return Some(
            given
                .strip_prefix(prefix)
                .is_some_and(|given| same(given, &right)),
        );
    }
    if let Some(given) = header("webhook-signature") {
        let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        let right = format!("v1,{}", base64::encode(&mac::code(&signing_key(secret), &parts)));
        let mut each = given.split(' ').take(MAX_SIGNATURES);
        return Some(each.any(|given| same(given, &right)));
    }
    header("x-gitlab-token").map(|given| same(given, secret))
}

/// Standard Webhooks writes keys as `whsec_` and base64.
fn signing_key(secret: &str) -> Vec<u8> {
    let decoded = secret.strip_prefix("whsec_").and_then(base64::decode);
    decoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
