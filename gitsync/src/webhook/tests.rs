use proptest::prelude::*;

use super::*;

type Headers<'a> = &'a [(&'a str, &'a str)];

fn check(headers: Headers<'_>, body: &[u8], secret: &str) -> Result<Hook, HookError> {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    };
    verify(header, body, secret)
}

/// GitHub's own example: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
const GITHUB: (&str, &[u8], &str) = (
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    b"Hello, World!",
    "It's a Secret to Everybody",
);
const GITEA: (&str, &[u8], &str) = (
    "1332c440c253174d789fd63bb5f5e20251f348a77ea5af60b6e2158224e05a92",
    br#"{"ref":"refs/heads/main","after":"bffeb74224043ba2feb48d137756c8a9331c449a"}"#,
    "3gEsCfjlV2ugRwgp",
);
const BITBUCKET: (&str, &[u8], &str) = (
    "sha256=6738f4eff2a112035c374ed718e25d6860ffef9600e860fcf1fb64eb0153acf1",
    br#"{"push":{"changes":[]}}"#,
    "hook",
);
const GITLAB: (&str, &[u8], &str) = (
    "v1,daXdzU3uuDsxdxJStgk6ADMzOrL378eHYR21kc4lruk=",
    br#"{"object_kind":"push","ref":"refs/heads/main"}"#,
    "signing",
);
/// The example of the Standard Webhooks specification.
const STANDARD: (&str, &[u8], &str) = (
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    br#"{"test": 2432232314}"#,
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
);

#[test]
fn what_forges_send() {
    let github = |event| {
        let headers = [
            ("x-github-event", event),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"),
            ("x-hub-signature-256", GITHUB.0),
        ];
        check(&headers, GITHUB.1, GITHUB.2)
    };
    assert_eq!(github("push"), Ok(Hook::Push));
    assert_eq!(github("ping"), Ok(Hook::Ping));
    assert_eq!(github("issues"), Ok(Hook::Other));

    let hub = format!("sha256={}", GITEA.0);
    let gitea: Headers<'_> = &[
        ("x-gitea-event", "push"),
        ("x-gitea-event-type", "push"),
        ("x-gitea-signature", GITEA.0),
        ("x-gogs-event", "push"),
        ("x-gogs-signature", GITEA.0),
        ("x-github-event", "push"),
        ("x-hub-signature-256", &hub),
    ];
    assert_eq!(check(gitea, GITEA.1, GITEA.2), Ok(Hook::Push));
    let own: Headers<'_> = &[("x-gitea-event", "push"), ("x-gitea-signature", GITEA.0)];
    assert_eq!(check(own, GITEA.1, GITEA.2), Ok(Hook::Push));
    let forgejo: Headers<'_> = &[("x-forgejo-event", "push"), ("x-forgejo-signature", GITEA.0)];
    assert_eq!(check(forgejo, GITEA.1, GITEA.2), Ok(Hook::Push));

    for (event, hook) in [
        ("repo:push", Hook::Push),
        ("repo:refs_changed", Hook::Push),
        ("diagnostics:ping", Hook::Ping),
        ("pullrequest:created", Hook::Other),
    ] {
        let bitbucket: Headers<'_> = &[("x-event-key", event), ("x-hub-signature", BITBUCKET.0)];
        assert_eq!(check(bitbucket, BITBUCKET.1, BITBUCKET.2), Ok(hook), "{event}");
    }

    for (event, hook) in [
        ("Push Hook", Hook::Push),
        ("Tag Push Hook", Hook::Push),
        ("Note Hook", Hook::Other),
    ] {
        let gitlab: Headers<'_> = &[("x-gitlab-event", event), ("x-gitlab-token", "open sesame")];
        assert_eq!(check(gitlab, GITLAB.1, "open sesame"), Ok(hook), "{event}");
    }
    let signed: Headers<'_> = &[
        ("x-gitlab-event", "Push Hook"),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", "1755000000"),
        ("webhook-signature", GITLAB.0),
    ];
    assert_eq!(check(signed, GITLAB.1, GITLAB.2), Ok(Hook::Push));
    let two = format!("v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= {}", STANDARD.0);
    let standard: Headers<'_> = &[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", &two),
    ];
    assert_eq!(check(standard, STANDARD.1, STANDARD.2), Ok(Hook::Other));
}

#[test]
fn what_nobody_with_the_secret_sent() {
    let table: [(Headers<'_>, &str, HookError); 9] = [
        (&[("x-github-event", "push")], "s", HookError::Unsigned),
        (&[("x-hub-signature-256", GITHUB.0)], "another", HookError::Wrong),
        (&[("x-hub-signature-256", "")], "s", HookError::Wrong),
        (&[("x-hub-signature-256", "sha256=")], "s", HookError::Wrong),
        // as strong as SHA-1, whatever the secret
        (
            &[("x-hub-signature", "sha1=0a4531ae129b22e8e748ff70bef18b4fa0e4fd88")],
            "hook",
            HookError::Wrong,
        ),
        // a weaker header does not help
        (
            &[("x-hub-signature-256", "sha256=00"), ("x-gitlab-token", "s")],
            "s",
            HookError::Wrong,
        ),
        (&[("x-gitlab-token", "")], "", HookError::Wrong),
        (&[("x-gitlab-token", "open")], "open sesame", HookError::Wrong),
        (&[("webhook-signature", GITLAB.0)], GITLAB.2, HookError::Unsigned),
    ];
    for (headers, secret, error) in table {
        assert_eq!(check(headers, GITHUB.1, secret), Err(error), "{headers:?}");
    }
    // the HMAC of an empty key can be made by anybody
    let anybody = format!("sha256={}", hex(&mac::code(b"", &[b"x"])));
    assert_eq!(
        check(&[("x-hub-signature-256", &anybody)], b"x", ""),
        Err(HookError::Wrong)
    );
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

proptest! {
    #[test]
    fn a_flipped_bit_never_passes(bit in 0_usize..10_000, which in 0_usize..4) {
        let (name, (signature, body, secret)) = [
            ("x-hub-signature-256", GITHUB),
            ("x-gitea-signature", GITEA),
            ("x-hub-signature", BITBUCKET),
            ("webhook-signature", GITLAB),
        ][which];
        let with = |signature: &str, body: &[u8], secret: &str| {
            let headers = [(name, signature), ("webhook-id", "msg_1"), ("webhook-timestamp", "1755000000")];
            check(&headers, body, secret)
        };
        prop_assert_eq!(with(signature, body, secret), Ok(Hook::Other));
        prop_assert_eq!(with(signature, &flipped(body, bit), secret), Err(HookError::Wrong));
        if let Ok(signature) = String::from_utf8(flipped(signature.as_bytes(), bit)) {
            prop_assert_eq!(with(&signature, body, secret), Err(HookError::Wrong));
        }
        if let Ok(secret) = String::from_utf8(flipped(secret.as_bytes(), bit)) {
            prop_assert_eq!(with(signature, body, &secret), Err(HookError::Wrong));
        }
    }

    #[test]
    fn only_the_token_itself_passes(token in "[ -~]{1,40}", other in "[ -~]{0,40}") {
        let given = |given: &str| check(&[("x-gitlab-token", given)], b"", &token);
        prop_assert_eq!(given(&token), Ok(Hook::Other));
        prop_assert_eq!(given(&other).is_ok(), other == token);
    }
}
