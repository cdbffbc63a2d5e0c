//! Credentials out of Secrets, by the keys that Flux and Argo CD use.

use serde_json::Value;
use tidegate_gitsync::notify::Key;
use tidegate_gitsync::remote::{Credentials, Signers};

use crate::base64;

/// What a Secret holds.
///
/// # Errors
/// Says which keys it should have; never what is in it.
pub(crate) fn credentials(name: &str, secret: &Value) -> Result<Credentials, String> {
    let text = |key: &str| {
        let encoded = secret.get("data")?.get(key)?.as_str()?;
        base64::decode(encoded).filter(|value| !value.is_empty())
    };
    let trimmed = |key: &str| text(key).map(|value| value.trim_end_matches(['\r', '\n']).to_owned());
    if let Some(key) = text("identity")
        .or_else(|| text("sshPrivateKey"))
        .or_else(|| text("ssh-privatekey"))
    {
        let Some(known_hosts) = text("known_hosts") else {
            return Err(format!(
                "Secret {name}: the key known_hosts is missing: put the line of the Git server into it, as ssh-keyscan prints it"
            ));
        };
        return Ok(Credentials::Ssh { key, known_hosts });
    }
    let token = || trimmed("bearerToken").or_else(|| trimmed("token"));
    match (trimmed("username"), trimmed("password").or_else(token)) {
        (username, Some(password)) => Ok(Credentials::Basic {
            username: username.unwrap_or_default(),
            password,
        }),
        _ => Err(format!(
            "Secret {name}: holds neither username and password, nor bearerToken, nor identity and known_hosts"
        )),
    }
}

/// The address of a chat, and what messages to it are signed with.
///
/// # Errors
/// Says which keys it should have; never what is in it.
pub(crate) fn chat_key(name: &str, secret: &Value) -> Result<Key, String> {
    let text = |key: &str| base64::decode(secret.get("data")?.get(key)?.as_str()?);
    let Some(address) = text("address") else {
        return Err(format!(
            "Secret {name}: the key address is missing: put the address of the chat into it"
        ));
    };
    Key::new(&address, text("secret").as_deref()).map_err(|problem| format!("Secret {name}: {problem}"))
}

/// What the webhooks of a Delivery are signed with, if the Secret holds it.
pub(crate) fn webhook_token(secret: &Value) -> Option<String> {
    let encoded = secret.get("data")?.get("token")?.as_str()?;
    let token = base64::decode(encoded)?;
    Some(token.trim_end_matches(['\r', '\n']).to_owned()).filter(|token| !token.is_empty())
}

/// Those whose signatures count.
///
/// # Errors
/// Says which keys it should have.
pub(crate) fn signers(name: &str, secret: &Value) -> Result<Signers, String> {
    let mut signers = Signers::default();
    for (key, value) in secret
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let is = |ending: &str| key.ends_with(ending);
        if !(key == "allowed_signers" || is(".sshpub") || is(".asc")) {
            continue;
        }
        let Some(text) = value.as_str().and_then(base64::decode) else {
            return Err(format!(
                "Secret {name}: the key {key} is no text: put public keys into it"
            ));
        };
        if is(".asc") {
            signers.pgp.push(text);
        } else {
            signers.ssh.extend(text.lines().map(allowed_signer));
        }
    }
    if signers == Signers::default() {
        return Err(format!(
            "Secret {name}: holds nobody whose signature counts: put a line for each SSH key into the key allowed_signers, and \
             each public PGP key into a key that ends in .asc"
        ));
    }
    Ok(signers)
}

/// A line of `allowed_signers`; a public key alone may be anybody's.
fn allowed_signer(line: &str) -> String {
    let line = line.trim();
    let alone = ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| line.starts_with(kind));
    if alone {
        format!("* {line}\n")
    } else {
        format!("{line}\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_whose_signatures_count() {
        let of = |data: Value| signers("signers", &json!({"data": data}));
        let encoded = |text: &str| base64::encode(text.as_bytes());
        let both = of(json!({
            "allowed_signers": encoded("# ours\nann@example.com ssh-ed25519 AAAA"),
            "bob.asc": encoded("-----BEGIN"),
            "eve.sshpub": encoded("ssh-ed25519 BBBB eve\n"),
            "other": "%",
        }));
        let expected = Signers {
            ssh: "# ours\nann@example.com ssh-ed25519 AAAA\n* ssh-ed25519 BBBB eve\n".to_owned(),
            pgp: vec!["-----BEGIN".to_owned()],
        };
        assert_eq!(both, Ok(expected));
        assert!(
            of(json!({}))
                .unwrap_err()
                .starts_with("Secret signers: holds nobody whose signature counts")
        );
        assert!(
            of(json!({"a.asc": "%"}))
                .unwrap_err()
                .contains("the key a.asc is no text")
        );
    }

    #[test]
    fn the_keys_of_flux_and_argo_cd() {
        let of = |data: Value| credentials("deploy", &json!({"data": data}));
        let basic = |username: &str| {
            Ok(Credentials::Basic {
                username: username.to_owned(),
                password: "foobar".to_owned(),
            })
        };
        assert_eq!(
            of(json!({"username": "Zm9v", "password": "Zm9vYmFy"})),
            basic("foo")
        );
        assert_eq!(of(json!({"bearerToken": "Zm9vYmFy"})), basic(""));
        let ssh = Ok(Credentials::Ssh {
            key: "foo".to_owned(),
            known_hosts: "foob".to_owned(),
        });
        assert_eq!(of(json!({"identity": "Zm9v", "known_hosts": "Zm9vYg=="})), ssh);
        assert_eq!(
            of(json!({"sshPrivateKey": "Zm9v", "known_hosts": "Zm9vYg=="})),
            ssh
        );
        assert!(
            of(json!({"identity": "Zm9v"}))
                .unwrap_err()
                .contains("known_hosts is missing")
        );
        let chat = chat_key(
            "team",
            &json!({"data": {"address": "aHR0cHM6Ly9ob29rcy5leGFtcGxlLmNvbS94Cg=="}}),
        );
        assert_eq!(chat, Key::new("https://hooks.example.com/x", None));
        let odd = chat_key("team", &json!({"data": {"address": "Zm9vYmFy"}})).unwrap_err();
        assert!(odd.starts_with("Secret team: the key address holds no address") && !odd.contains("foobar"));
        assert_eq!(
            webhook_token(&json!({"data": {"token": "Zm9vCg=="}})).as_deref(),
            Some("foo")
        );
        assert_eq!(webhook_token(&json!({"data": {"token": "Cg=="}})), None);
        assert!(
            of(json!({}))
                .unwrap_err()
                .starts_with("Secret deploy: holds neither")
        );
    }
}
