use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

/// A file that gpg wrote: keys made on 2026-01-01, signatures on 2026-01-02.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pgp");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn day(day: u64) -> SystemTime {
    let new_year = 1_767_225_600;
    SystemTime::UNIX_EPOCH + Duration::from_secs(new_year + (day - 1) * 86_400)
}

/// A commit with a signature in it, as git writes one.
fn commit(payload: &str, header: &str, signature: &str) -> Vec<u8> {
    let (headers, message) = payload.split_once("\n\n").unwrap();
    let signature = signature.trim_end().replace('\n', "\n ");
    format!("{headers}\n{header} {signature}\n\n{message}").into_bytes()
}

fn answer(signature: &str, keys: &[&str], at: SystemTime) -> Option<String> {
    let commit = commit(&file("commit-unsigned"), "gpgsig", &file(signature));
    let signature = Signature::of(&commit, false).unwrap();
    assert!(signature.is_pgp());
    let keys: Vec<String> = keys.iter().map(|key| file(key)).collect();
    signature.refused_by_pgp(&keys, at).unwrap()
}

#[test]
fn who_may_sign() {
    let table = [
        ("ann.sig.asc", &["ann.asc"][..], 3, None),
        ("ann.sig.asc", &["eve.asc", "bob.asc", "ann.asc"], 3, None),
        ("ann-sha512.sig.asc", &["ann.asc"], 3, None),
        // RSA, by a subkey of a key that signs nothing itself
        ("bob.sig.asc", &["bob.asc"], 3, None),
        // ECDSA
        ("eve.sig.asc", &["eve.asc"], 3, None),
        ("old.sig.asc", &["old.asc"], 3, None),
        ("dan.sig.asc", &["dan.asc"], 3, None),
        ("gone.sig.asc", &["gone-before.asc"], 3, None),
        ("fay.sig.asc", &["fay-before.asc"], 3, None),
        ("ann-expired.sig.asc", &["ann.asc"], 3, None),
        (
            "ann.sig.asc",
            &["bob.asc", "eve.asc"],
            3,
            Some("is not among those that count"),
        ),
        ("ann.sig.asc", &[], 3, Some("is not among those that count")),
        (
            "ann-expired.sig.asc",
            &["ann.asc"],
            20,
            Some("its PGP signature has expired"),
        ),
        (
            "bob-sha1.sig.asc",
            &["bob.asc"],
            3,
            Some("its PGP signature has a weak hash"),
        ),
        ("old.sig.asc", &["old.asc"], 20, Some("has expired")),
        ("dan.sig.asc", &["dan.asc"], 20, Some("has expired")),
        ("gone.sig.asc", &["gone.asc"], 3, Some("is revoked")),
        ("fay.sig.asc", &["fay.asc"], 3, Some("is revoked")),
        ("cara.sig.asc", &["cara.asc"], 3, Some("is not meant for signing")),
        ("gus.sig.asc", &["gus.asc"], 3, Some("is too short")),
        (
            "hal.sig.asc",
            &["hal.asc"],
            3,
            Some("has no self-signature with a strong hash"),
        ),
    ];
    for (signature, keys, at, expected) in table {
        let answer = answer(signature, keys, day(at));
        let fits = match (&answer, expected) {
            (Some(answer), Some(expected)) => answer.contains(expected),
            (answer, expected) => answer.is_none() && expected.is_none(),
        };
        assert!(fits, "{signature} {keys:?} on day {at}: {answer:?}");
    }
    // the clock of the signer is ahead, a little or a lot
    assert_eq!(
        answer("ann.sig.asc", &["ann.asc"], day(1) + Duration::from_hours(2)),
        None
    );
    let future = answer("ann.sig.asc", &["ann.asc"], day(1) - Duration::from_hours(240));
    assert_eq!(future.as_deref(), Some("its PGP signature is of the future"));
}

#[test]
fn what_was_changed_is_not_signed() {
    let (payload, signature) = (file("commit-unsigned"), file("ann.sig.asc"));
    let keys = [file("ann.asc")];
    let refused = |commit: &[u8]| {
        let signature = Signature::of(commit, false).unwrap();
        signature.refused_by_pgp(&keys, day(3)).unwrap()
    };
    assert_eq!(refused(&commit(&payload, "gpgsig", &signature)), None);
    for (from, to) in [
        ("1.2", "1.3"),
        ("tree 4b", "tree 5b"),
        ("With", "with"),
        ("Ann <", "Eve <"),
    ] {
        let changed = payload.replacen(from, to, 1);
        assert_ne!(changed, payload);
        let why = refused(&commit(&changed, "gpgsig", &signature)).unwrap();
        assert!(why.contains("is wrong"), "{why}");
    }
    let cut = refused(&commit(&payload, "gpgsig", signature.get(..120).unwrap()));
    assert_eq!(cut.as_deref(), Some("its PGP signature cannot be read"));
}

#[test]
fn commits_of_git_itself() {
    let keys = [file("ann.asc")];
    for (name, sha256) in [("commit-sha1", false), ("commit-sha256", true)] {
        let signature = Signature::of(file(name).as_bytes(), sha256).unwrap();
        assert_eq!(signature.refused_by_pgp(&keys, day(3)), Ok(None), "{name}");
        assert_eq!(Signature::of(file(name).as_bytes(), !sha256), None, "{name}");
    }
}

#[test]
fn what_is_signed_of_a_commit() {
    let payload = file("commit-unsigned");
    let signature = file("ann.sig.asc");
    let plain = Signature::of(&commit(&payload, "gpgsig", &signature), false).unwrap();
    assert_eq!(plain.signed, payload.as_bytes());
    assert_eq!(plain.text, signature);
    assert_eq!(Signature::of(payload.as_bytes(), false), None);
    // in a repository of SHA-256, the other header is the signature; neither is signed
    let both = String::from_utf8(commit(&payload, "gpgsig-sha256", "for SHA-256")).unwrap();
    let both = commit(&both, "gpgsig", &signature);
    let sha1 = Signature::of(&both, false).unwrap();
    assert_eq!(
        (sha1.text, sha1.signed),
        (signature.clone(), payload.clone().into_bytes())
    );
    let sha256 = Signature::of(&both, true).unwrap();
    assert_eq!(
        (sha256.text.as_str(), sha256.signed),
        ("for SHA-256\n", payload.clone().into_bytes())
    );
    // two of the same kind, and one in the message
    let twice = commit(
        &String::from_utf8(commit(&payload, "gpgsig", &signature)).unwrap(),
        "gpgsig",
        &signature,
    );
    assert_eq!(Signature::of(&twice, false), None);
    let below = format!("{payload}\ngpgsig {signature}");
    assert_eq!(Signature::of(below.as_bytes(), false), None);
    let large = "x".repeat(MAX_SIGNATURE);
    assert_eq!(Signature::of(&commit(&payload, "gpgsig", &large), false), None);
}

#[test]
fn keys_that_cannot_be_read_are_told() {
    let signature = Signature {
        text: file("ann.sig.asc"),
        signed: file("commit-unsigned").into_bytes(),
    };
    let refused = |keys: &[String]| signature.refused_by_pgp(keys, day(3));
    let told = |key: &str| refused(&[key.to_owned()]).unwrap_err();
    assert!(told("ssh-ed25519 AAAA").contains("is no armored public key: make it with gpg --armor --export"));
    assert!(told("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxxxx\n").contains("cannot be read"));
    assert!(told(&"x".repeat(600 << 10)).contains("take more than"));
    // a ring of keys in one text
    assert_eq!(
        refused(&[format!("{}\n{}", file("bob.asc"), file("ann.asc"))]),
        Ok(None)
    );
    let many = file("ann.asc").repeat(101);
    assert!(
        refused(&[many])
            .unwrap_err()
            .contains("there are more than 100 PGP keys")
    );
}
