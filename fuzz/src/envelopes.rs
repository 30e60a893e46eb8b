//! Envelopes: the outer form of every document, and the last thing that is read before a signature is checked.

use npc_core::document::{Assignment, Body, RemoteState, Report};
use npc_core::envelope::{Envelope, pre_authentication_encoding};
use npc_core::json;
use npc_core::key::SecretKey;
use npc_core::limits;
use npc_core::trust::{Floors, Subject, Trusted, verify};
use serde_json::Value;

use crate::Verdict;
use crate::doubled::with_a_key_twice;
use crate::fleet::{FLEET, anchor, id, now};

/// An envelope with whatever is in it.
pub(crate) fn envelope(bytes: &[u8]) -> Verdict {
    let opened = Envelope::parse(bytes);
    if let Ok(envelope) = &opened {
        let value = json::parse(bytes).expect("an envelope is JSON");
        let doubled = with_a_key_twice(&value, bytes.len()).expect("an envelope is an object with keys");
        assert!(Envelope::parse(doubled.as_bytes()).is_err(), "a key occurs twice: {doubled}");
        survives_writing(envelope);
    }
    let key = FLEET.host_key.public();
    // Each has a key of its own that must have signed it.
    believed::<RemoteState>(bytes, Subject::Remote(&FLEET.remote), &FLEET.publishing);
    believed::<Assignment>(bytes, Subject::Assignment(&FLEET.assignment), &FLEET.publishing);
    believed::<Report>(bytes, Subject::Report(&FLEET.host, &key), &FLEET.host_key);
    for trusted in [Trusted::anchored(&anchor(&FLEET.root), bytes), FLEET.trusted.followed_by(bytes)].iter().flatten() {
        assert!(signed_by(&FLEET.root, bytes), "a trust is believed that the root key has not signed");
        assert_eq!(trusted.fleet(), &id());
    }
    Verdict::of(&opened)
}

fn believed<B: Body>(bytes: &[u8], subject: Subject<'_>, key: &SecretKey) {
    if verify::<B>(bytes, subject, &FLEET.trusted, &Floors::default(), now()).is_ok() {
        assert!(signed_by(key, bytes), "a document is believed that `{}` has not signed", key.name());
    }
}

/// Whether the envelope holds the signature that `key` makes of its payload: signatures have one form.
fn signed_by(key: &SecretKey, bytes: &[u8]) -> bool {
    let envelope = Envelope::parse(bytes).expect("it was believed");
    let own = Envelope::sign(envelope.payload_type(), envelope.payload().to_vec(), &[key]);
    let signature = signatures(&own).pop().expect("one signature");
    signatures(&envelope).contains(&signature)
}

/// The signatures in an envelope, in base64.
fn signatures(envelope: &Envelope) -> Vec<String> {
    let value: Value = serde_json::from_slice(&envelope.to_bytes()).expect("an envelope is JSON");
    let signatures = value["signatures"].as_array().expect("a list");
    signatures.iter().map(|signature| signature["sig"].as_str().expect("text").to_owned()).collect()
}

fn survives_writing(envelope: &Envelope) {
    let written = envelope.to_bytes();
    let again = Envelope::parse(&written).expect("what is written can be read");
    assert_eq!(again.to_bytes(), written, "it has one form");
    assert_eq!((again.payload_type(), again.payload()), (envelope.payload_type(), envelope.payload()));
    assert!(signatures(&again).len() <= limits::SIGNATURES);
    let keys = [FLEET.root.public(), FLEET.publishing.public(), FLEET.host_key.public()];
    let signers = envelope.signers(&keys);
    assert_eq!(again.signers(&keys), signers);
    assert!(signers.len() <= signatures(envelope).len(), "no signature counts for two keys");
    let message = pre_authentication_encoding(envelope.payload_type(), envelope.payload());
    assert!(message.ends_with(envelope.payload()));
}
