//! PGP keys and what they signed. The library checks one signature against one key; whether that key may sign, and still may, is
//! decided here: from self-signatures by a strong hash, of which the newest counts.

use std::time::{Duration, SystemTime};

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType, SignatureVersion};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// Most keys, and most bytes of their texts together.
const MAX_KEYS: usize = 100;
const MAX_BYTES: usize = 512 << 10;
/// How wrong the clock of a signer may be.
const SKEW: Duration = Duration::from_hours(24);
/// What an RSA key of 2048 bits takes at least: both of its numbers, each with its length.
const RSA_2048: usize = 2 + 256 + 2 + 1;

/// Reads armored public keys; a text may hold several.
pub(super) fn read(texts: &[String]) -> Result<Vec<SignedPublicKey>, String> {
    if texts.iter().map(String::len).sum::<usize>() > MAX_BYTES {
        return Err(format!(
            "the PGP keys take more than {MAX_BYTES} bytes: leave out what signs nothing"
        ));
    }
    let mut keys = Vec::new();
    for text in texts {
        let blocks: Vec<&str> = text.split(BEGIN).skip(1).collect();
        if blocks.is_empty() {
            return Err("a PGP key is no armored public key: make it with gpg --armor --export".to_owned());
        }
        for block in blocks {
            let armored = format!("{BEGIN}{block}");
            let unreadable =
                |error| format!("a PGP key cannot be read: {error}: make it with gpg --armor --export");
            let (found, _) = SignedPublicKey::from_string_many(&armored).map_err(unreadable)?;
            for key in found {
                keys.push(key.map_err(unreadable)?);
                if keys.len() > MAX_KEYS {
                    return Err(format!("there are more than {MAX_KEYS} PGP keys"));
                }
            }
        }
    }
    Ok(keys)
}

/// Whether one of these keys signed these bytes, and may.
///
/// # Errors
/// Says why not, in words.
pub(super) fn check(
    text: &str,
    signed: &[u8],
    keys: &[SignedPublicKey],
    now: SystemTime,
) -> Result<(), String> {
    let (signature, _) =
        DetachedSignature::from_string(text).map_err(|_| "its PGP signature cannot be read".to_owned())?;
    let signature = signature.signature;
    let made = is_sound(&signature, now)?;
    let mut refusal = None;
    for key in keys {
        for part in parts(key) {
            if !is_by(&signature, &part) || part.verify(&signature, signed).is_err() {
                continue;
            }
            let name = part.name();
            match part.may_sign(key, made, now) {
                Ok(()) => return Ok(()),
                Err(why) => refusal = Some(format!("the PGP key {name} {why}")),
            }
        }
    }
    Err(refusal.unwrap_or_else(|| {
        let known = keys.iter().flat_map(parts).find(|part| is_by(&signature, part));
        match (
            known,
            signature.issuer_fingerprint().first(),
            signature.issuer_key_id().first(),
        ) {
            (Some(part), ..) => format!("its signature by the PGP key {} is wrong", part.name()),
            (None, Some(print), _) => format!("the PGP key {print:X} is not among those that count"),
            (None, None, Some(id)) => format!("the PGP key {id} is not among those that count"),
            (None, None, None) => "its PGP signature does not say whose it is".to_owned(),
        }
    }))
}

/// What holds of a signature without any key; when it was made.
fn is_sound(signature: &Signature, now: SystemTime) -> Result<SystemTime, String> {
    if signature.typ() != Some(SignatureType::Binary) {
        return Err("its PGP signature is not of a commit".to_owned());
    }
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err("its PGP signature is of an old version: use gpg 2".to_owned());
    }
    if !is_strong(signature) {
        return Err("its PGP signature has a weak hash: use SHA-256 or longer".to_owned());
    }
    match signature.created().map(SystemTime::from) {
        None => Err("its PGP signature has no time".to_owned()),
        Some(made) if made > now + SKEW => Err("its PGP signature is of the future".to_owned()),
        Some(_) if has_ended(signature, now) => Err("its PGP signature has expired".to_owned()),
        Some(made) => Ok(made),
    }
}

fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn has_ended(signature: &Signature, now: SystemTime) -> bool {
    let after = signature.signature_expiration_time().map(Duration::from);
    let made = signature.created().map(SystemTime::from);
    let ends = made.zip(after.filter(|after| !after.is_zero()));
    ends.is_some_and(|(made, after)| made + after <= now)
}

/// The newest of some signatures that still holds and is right.
fn newest<'s>(
    signatures: impl Iterator<Item = &'s Signature>,
    now: SystemTime,
    is_right: impl Fn(&Signature) -> bool,
) -> Option<&'s Signature> {
    let mut signatures: Vec<&Signature> = signatures
        .filter(|signature| is_strong(signature) && !has_ended(signature, now))
        .collect();
    signatures.sort_by_key(|signature| std::cmp::Reverse(signature.created().map(SystemTime::from)));
    signatures.into_iter().find(|signature| is_right(signature))
}

/// A key, or a subkey.
enum Part<'k> {
    Primary(&'k PublicKey),
    Subkey(&'k SignedPublicSubKey),
}

fn parts(key: &SignedPublicKey) -> impl Iterator<Item = Part<'_>> {
    let subkeys = key.public_subkeys.iter().map(Part::Subkey);
    std::iter::once(Part::Primary(&key.primary_key)).chain(subkeys)
}

fn is_by(signature: &Signature, part: &Part<'_>) -> bool {
    let key = part.details();
    let (print, id) = (key.fingerprint(), key.legacy_key_id());
    signature
        .issuer_fingerprint()
        .into_iter()
        .any(|other| *other == print)
        || signature.issuer_key_id().into_iter().any(|other| *other == id)
}

impl<'k> Part<'k> {
    fn details(&self) -> &'k dyn KeyDetails {
        match self {
            Self::Primary(key) => *key,
            Self::Subkey(subkey) => &subkey.key,
        }
    }

    fn name(&self) -> String {
        format!("{:X}", self.details().fingerprint())
    }

    fn verify(&self, signature: &Signature, signed: &[u8]) -> pgp::errors::Result<()> {
        match self {
            Self::Primary(key) => signature.verify(key, signed),
            Self::Subkey(subkey) => signature.verify(&subkey.key, signed),
        }
    }

    /// Whether a signature of that time counts now.
    fn may_sign(&self, whole: &SignedPublicKey, made: SystemTime, now: SystemTime) -> Result<(), String> {
        let primary = &whole.primary_key;
        if !whole.details.revocation_signatures.is_empty() {
            return Err("is revoked".to_owned());
        }
        let unbound = "has no self-signature with a strong hash: sign it again with gpg, or make a new one";
        let of_primary = self_signature(whole, now).ok_or(unbound)?;
        is_current(primary, of_primary, made, now)?;
        let binding = match self {
            Self::Primary(_) => of_primary,
            Self::Subkey(subkey) => {
                let revoked =
                    |signature: &Signature| signature.typ() == Some(SignatureType::SubkeyRevocation);
                if subkey.signatures.iter().any(revoked) {
                    return Err("is revoked".to_owned());
                }
                let binds = |signature: &Signature| binds(signature, primary, &subkey.key);
                let binding = newest(subkey.signatures.iter(), now, binds).ok_or(unbound)?;
                is_current(&subkey.key, binding, made, now)?;
                binding
            }
        };
        if !binding.key_flags().sign() {
            return Err("is not meant for signing".to_owned());
        }
        is_long(self.details().public_params())
    }
}

/// What a key says of itself: with one of its names that is not revoked, or without any.
fn self_signature(key: &SignedPublicKey, now: SystemTime) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = newest(key.details.direct_signatures.iter(), now, |signature| {
        signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
    });
    let named = key.details.users.iter().filter_map(|user| {
        let is_own = |signature: &Signature| {
            signature
                .verify_certification(primary, Tag::UserId, &user.id)
                .is_ok()
        };
        let newest = newest(user.signatures.iter(), now, is_own)?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    let all = named.chain(direct);
    all.max_by_key(|signature| signature.created().map(SystemTime::from))
}

/// Whether a signature makes a subkey part of a key; one that signs has to agree.
fn binds(signature: &Signature, primary: &PublicKey, subkey: &PublicSubkey) -> bool {
    let agrees = || {
        let back = signature.embedded_signature();
        back.is_some_and(|back| is_strong(back) && back.verify_primary_key_binding(subkey, primary).is_ok())
    };
    signature.typ() == Some(SignatureType::SubkeyBinding)
        && signature.verify_subkey_binding(primary, subkey).is_ok()
        && (!signature.key_flags().sign() || agrees())
}

/// Whether a key is of use from when it signed until now.
fn is_current(
    key: &impl KeyDetails,
    binding: &Signature,
    made: SystemTime,
    now: SystemTime,
) -> Result<(), String> {
    let created = SystemTime::from(key.created_at());
    let after = binding.key_expiration_time().map(Duration::from);
    let after = after.filter(|after| !after.is_zero());
    if created > made {
        return Err("is younger than what it signed".to_owned());
    }
    match after {
        Some(after) if created + after <= now => Err("has expired".to_owned()),
        _ => Ok(()),
    }
}

fn is_long(params: &PublicParams) -> Result<(), String> {
    match params {
        PublicParams::RSA(key) if key.write_len() >= RSA_2048 => Ok(()),
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        PublicParams::RSA(_) => Err("is too short: use RSA with 2048 bits or more, or Ed25519".to_owned()),
        _ => Err("is of a kind that does not count: use Ed25519, ECDSA or RSA".to_owned()),
    }
}
