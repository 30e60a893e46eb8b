//! Signing keys in Nix's own form, `name:base64`, so that `nix key generate-secret` makes keys for npc too.
//!
//! A secret key is the base64 of 64 bytes (seed, then public key: libsodium's layout, which Nix uses), a public key that
//! of 32 bytes. npc's keys have names that begin with `npc-`: the key of a binary cache lives on a build server and may
//! say what a store path contains, never what a fleet runs, so it is refused by its name.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// What the name of every npc key begins with.
pub const PREFIX: &str = "npc-";

/// The longest name of a key, in bytes.
const NAME_BYTES: usize = 128;

/// Text that is not an npc key. The text itself is never repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is no `name:` in front, or it has characters that a name has not.
    #[error("a key has the form `name:base64`, with a name of letters, digits, `.`, `_` and `-`")]
    Form,
    /// The name is not one of npc's, as that of a binary cache's key.
    #[error("the name of an npc key begins with `{PREFIX}`: a binary cache's key cannot sign for a fleet")]
    Foreign,
    /// What follows the name is not base64.
    #[error("the part of the key behind `:` is not base64")]
    Base64,
    /// A public key was given for a secret one, the other way round, or something else altogether.
    #[error("a secret key has 64 bytes and a public key 32; this one has {0}")]
    Length(usize),
    /// The public half of a secret key does not belong to its seed, or a public key is not a curve point.
    #[error("the key's bytes are damaged")]
    Damaged,
}

/// The name of a key: a hint for finding it, never its identity (that is its public bytes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > NAME_BYTES || !text.bytes().all(legal) {
            return Err(KeyError::Form);
        }
        if !text.starts_with(PREFIX) || text.len() == PREFIX.len() {
            return Err(KeyError::Foreign);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for KeyName {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> String {
        name.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Splits `name:base64` and decodes the second half. The bytes are wiped when dropped.
fn parts(text: &str) -> Result<(KeyName, Zeroizing<Vec<u8>>), KeyError> {
    let (name, encoded) = text.trim().split_once(':').ok_or(KeyError::Form)?;
    let bytes = BASE64.decode(encoded).map(Zeroizing::new).map_err(|_| KeyError::Base64)?;
    Ok((name.parse()?, bytes))
}

/// A named ed25519 public key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    name: KeyName,
    key: VerifyingKey,
}

impl PublicKey {
    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The 32 bytes that identify the key.
    pub fn bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` is this key's over `message`.
    ///
    /// Uses the strict check, under which a signature has one form and a small-order key verifies nothing.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, BASE64.encode(self.key.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = parts(text)?;
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyError::Length(bytes.len()))?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Damaged)?;
        Ok(Self { name, key })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// A named ed25519 secret key. It has no `Display` and its `Debug` shows the name alone.
pub struct SecretKey {
    name: KeyName,
    key: SigningKey,
}

impl SecretKey {
    /// The key that grows from 32 random bytes.
    pub fn from_seed(name: KeyName, seed: &Zeroizing<[u8; 32]>) -> Self {
        Self { name, key: SigningKey::from_bytes(seed) }
    }

    /// A new key from the operating system's randomness.
    pub fn generate(name: KeyName) -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self::from_seed(name, &seed))
    }

    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The half that others may know.
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The key in Nix's form, for a file that its owner alone can read.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.key.to_keypair_bytes());
        Zeroizing::new(format!("{}:{}", self.name, BASE64.encode(bytes.as_slice())))
    }

    /// The signature over `message`: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.name)
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = parts(text)?;
        let bytes: Zeroizing<[u8; 64]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| KeyError::Length(bytes.len()))?);
        let key = SigningKey::from_keypair_bytes(&bytes).map_err(|_| KeyError::Damaged)?;
        Ok(Self { name, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by `nix key generate-secret --key-name npc-example-1` (Nix 2.8), its public half by `nix key convert-secret-to-public`.
    const NIX_SECRET: &str =
        "npc-example-1:MTo+zgGjnUQWxxMvjnJLNp72seliiIgKDUiSBsw51LMwUfNO6uDggXzFNZ4uB5c3Ic4EpexgEYKb2VH92vjfAQ==";
    const NIX_PUBLIC: &str = "npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE=";

    #[test]
    fn keys_made_by_nix_work() {
        let secret: SecretKey = NIX_SECRET.parse().expect("a secret key");
        assert_eq!(secret.public().to_string(), NIX_PUBLIC);
        assert_eq!(secret.to_secret_text().as_str(), NIX_SECRET);
        let public: PublicKey = NIX_PUBLIC.parse().expect("a public key");
        assert!(public.verifies(b"message", &secret.sign(b"message")));
        assert!(!public.verifies(b"another", &secret.sign(b"message")));
    }

    #[test]
    fn a_cache_key_is_refused() {
        let key = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
        assert_eq!(key.parse::<PublicKey>(), Err(KeyError::Foreign));
    }

    #[test]
    fn damaged_keys_are_named_without_showing_them() {
        let flipped = NIX_SECRET.replace(":M", ":N");
        for (text, expected) in [
            ("npc-x", KeyError::Form),
            ("npc x:AAAA", KeyError::Form),
            ("npc-x:%%%%", KeyError::Base64),
            (NIX_PUBLIC, KeyError::Length(32)),
            ("npc-x:AAAA", KeyError::Length(3)),
        ] {
            assert_eq!(text.parse::<SecretKey>().expect_err(text), expected);
        }
        assert_eq!(flipped.parse::<SecretKey>().expect_err("a damaged key"), KeyError::Damaged);
        assert_eq!(format!("{:?}", NIX_SECRET.parse::<SecretKey>().expect("a key")), "SecretKey(npc-example-1)");
    }
}
