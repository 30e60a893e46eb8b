//! DSSE envelopes: the outer form of every signed document.
//!
//! The rules are those of DSSE 1.0 (<https://github.com/secure-systems-lab/dsse>): the signature covers the *type* and
//! the exact *bytes* of the payload through the pre-authentication encoding, so nothing is parsed before it is verified,
//! and a document of one kind cannot be passed off as another.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::json;
use crate::key::{PublicKey, SecretKey};
use crate::limits;

/// DSSE's pre-authentication encoding: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, lengths in decimal ASCII.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

/// An envelope that could not be opened.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// Not JSON of an envelope's shape.
    #[error("not a DSSE envelope")]
    Json(#[from] serde_json::Error),
    /// The payload or a signature is not base64.
    #[error("the envelope's {0} is not base64")]
    Base64(&'static str),
    /// More signatures than any document needs.
    #[error("the envelope carries {0} signatures, more than {limit}", limit = limits::SIGNATURES)]
    Signatures(usize),
}

#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// An opened envelope. Its payload is **unverified** until [`Envelope::signers`] says who signed it.
#[derive(Debug)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug)]
struct Signature {
    key_name: String,
    bytes: Vec<u8>,
}

/// "`Base64()` ... Either standard or URL-safe encoding is allowed" (DSSE, protocol).
fn decode(text: &str, part: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|_| EnvelopeError::Base64(part))
}

impl Envelope {
    /// Wraps and signs `payload` with each of `keys`.
    pub fn sign(payload_type: &str, payload: Vec<u8>, keys: &[&SecretKey]) -> Self {
        let message = pre_authentication_encoding(payload_type, &payload);
        let signatures = keys
            .iter()
            .map(|key| Signature { key_name: key.name().to_string(), bytes: key.sign(&message).to_vec() })
            .collect();
        Self { payload_type: payload_type.to_owned(), payload, signatures }
    }

    /// Opens an envelope without believing anything in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        json::check(bytes)?;
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.signatures.len() > limits::SIGNATURES {
            return Err(EnvelopeError::Signatures(wire.signatures.len()));
        }
        let signatures = wire
            .signatures
            .into_iter()
            .map(|signature| Ok(Signature { bytes: decode(&signature.sig, "signature")?, key_name: signature.keyid }))
            .collect::<Result<_, EnvelopeError>>()?;
        Ok(Self { payload: decode(&wire.payload, "payload")?, payload_type: wire.payload_type, signatures })
    }

    /// The envelope as it lies in a store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|signature| WireSignature {
                    keyid: signature.key_name.clone(),
                    sig: STANDARD.encode(&signature.bytes),
                })
                .collect(),
        };
        serde_json::to_vec(&wire).expect("an envelope is always valid JSON")
    }

    /// What the payload claims to be.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload's exact bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Those of `keys` that signed exactly these bytes as exactly this type.
    ///
    /// A key counts once however often it signed and under whatever names it is listed: what is returned are the distinct
    /// public keys themselves. The key name in an envelope is unauthenticated and only saves trying every key.
    pub fn signers<'key>(&self, keys: impl IntoIterator<Item = &'key PublicKey>) -> BTreeSet<[u8; 32]> {
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        keys.into_iter()
            .filter(|key| {
                self.signatures.iter().any(|signature| {
                    (signature.key_name.is_empty() || signature.key_name == key.name().as_str())
                        && key.verifies(&message, &signature.bytes)
                })
            })
            .map(|key| *key.bytes())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn key(name: &str, seed: u8) -> SecretKey {
        SecretKey::from_seed(name.parse().expect("a key name"), &Zeroizing::new([seed; 32]))
    }

    /// The example of the DSSE specification's protocol page.
    #[test]
    fn the_encoding_is_that_of_the_specification() {
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_survives_its_bytes() {
        let key = key("npc-a", 1);
        let envelope = Envelope::sign("type", b"payload".to_vec(), &[&key]);
        let read = Envelope::parse(&envelope.to_bytes()).expect("an envelope");
        assert_eq!(read.payload(), b"payload");
        assert_eq!(read.signers([&key.public()]), BTreeSet::from([*key.public().bytes()]));
    }

    #[test]
    fn one_key_counts_once() {
        let key = key("npc-a", 1);
        let envelope = Envelope::sign("type", b"payload".to_vec(), &[&key, &key, &key]);
        let twice = [&key.public(), &key.public()];
        assert_eq!(envelope.signers(twice).len(), 1);
    }

    #[test]
    fn a_signature_holds_for_its_type_and_bytes_alone() {
        let key = key("npc-a", 1);
        let mut envelope = Envelope::sign("type", b"payload".to_vec(), &[&key]);
        envelope.payload_type = "typo".into();
        assert!(envelope.signers([&key.public()]).is_empty());
        let mut envelope = Envelope::sign("type", b"payload".to_vec(), &[&key]);
        envelope.payload[0] ^= 1;
        assert!(envelope.signers([&key.public()]).is_empty());
    }

    #[test]
    fn another_key_of_the_same_name_is_not_the_signer() {
        let envelope = Envelope::sign("type", b"payload".to_vec(), &[&key("npc-a", 1)]);
        assert!(envelope.signers([&key("npc-a", 2).public()]).is_empty());
    }

    #[test]
    fn too_many_signatures_are_refused() {
        let key = key("npc-a", 1);
        let keys = vec![&key; limits::SIGNATURES + 1];
        let bytes = Envelope::sign("type", Vec::new(), &keys).to_bytes();
        assert!(matches!(Envelope::parse(&bytes), Err(EnvelopeError::Signatures(33))));
    }
}
