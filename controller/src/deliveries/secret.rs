//! Credentials out of Secrets, by the keys that Flux and Argo CD use.

use serde_json::Value;
use tidegate_gitsync::notify::Key;
use tidegate_gitsync::remote::Credentials;

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

/// The list of those whose signatures count.
pub(crate) fn signers(name: &str, secret: &Value) -> Result<String, String> {
    let encoded = secret
        .get("data")
        .and_then(|data| data.get("allowed_signers")?.as_str());
    let text = encoded.and_then(base64::decode);
    text.ok_or_else(|| {
        format!("Secret {name}: the key allowed_signers is missing: put a line for each signer into it")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
