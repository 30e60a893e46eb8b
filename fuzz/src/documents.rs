//! The payloads of signed documents. The fuzzer cannot sign, so the target signs for it: with the right key and with a wrong
//! one.

use std::fmt::Debug;

use npc_core::digest::Digest;
use npc_core::document::{Assignment, Body, Document, Kind, RemoteState, Report, Rollout, Serial, Trust};
use npc_core::envelope::Envelope;
use npc_core::json;
use npc_core::key::SecretKey;
use npc_core::trust::chain::NAME;
use npc_core::trust::{Floors, Refusal, Subject, Trusted, verify};
use serde_json::Value;

use crate::Verdict;
use crate::doubled::with_a_key_twice;
use crate::fleet::{FLEET, anchor, id, now};

/// What a remote holds.
pub(crate) fn release(payload: &[u8]) -> Verdict {
    asked_for::<RemoteState>(payload, Subject::Remote(&FLEET.remote), FLEET.remote.as_str(), &FLEET.publishing)
}

/// What a host follows.
pub(crate) fn assignment(payload: &[u8]) -> Verdict {
    let (subject, name) = (Subject::Assignment(&FLEET.assignment), FLEET.assignment.as_str());
    asked_for::<Assignment>(payload, subject, name, &FLEET.publishing)
}

/// What a host says of itself.
pub(crate) fn report(payload: &[u8]) -> Verdict {
    let key = FLEET.host_key.public();
    asked_for::<Report>(payload, Subject::Report(&FLEET.host, &key), FLEET.host.as_str(), &FLEET.host_key)
}

/// Which hosts are brought to which release.
pub(crate) fn rollout(payload: &[u8]) -> Verdict {
    asked_for::<Rollout>(payload, Subject::Rollout(&FLEET.rollout), FLEET.rollout.as_str(), &FLEET.publishing)
}

fn asked_for<B: Body + Debug + PartialEq>(
    payload: &[u8],
    subject: Subject<'_>,
    name: &str,
    key: &SecretKey,
) -> Verdict {
    let Some(document) = reads::<B>(payload) else { return Verdict::Refused };
    let floors = Floors::default();
    let judge = |kind: Kind, key: &SecretKey| {
        let bytes = Envelope::sign(&kind.payload_type(), payload.to_vec(), &[key]).to_bytes();
        verify::<B>(&bytes, subject, &FLEET.trusted, &floors, now())
    };
    let forged = judge(B::KIND, &FLEET.stranger);
    assert!(matches!(forged, Err(Refusal::BadSignature { .. })), "nobody may say this with that key: {forged:?}");
    let other_kind = if B::KIND == Kind::Report { Kind::Release } else { Kind::Report };
    assert!(judge(other_kind, key).is_err(), "it was signed as a document of another kind");
    let verified = judge(B::KIND, key);
    match &verified {
        Ok(verified) => {
            let header = verified.header();
            assert_eq!((&header.fleet, header.name.as_str()), (&id(), name), "it is about something else");
            assert!(header.requires.is_empty(), "{header:?}");
            // A report is no instruction: what a host says of itself counts whatever trust it has.
            assert!(B::KIND == Kind::Report || header.trust == Serial::FIRST, "{header:?}");
            assert!(header.expires.is_none_or(|expires| expires > now()), "{header:?}");
            assert_eq!((verified.header(), verified.body()), (&document.header, &document.body));
            assert_eq!(verified.digest(), Digest::of(payload), "another document would be remembered");
            never_goes_back(&document, payload);
        }
        Err(refusal) => assert!(!matches!(refusal, Refusal::BadSignature { .. }), "it was signed: {refusal:?}"),
    }
    Verdict::of(&verified)
}

/// Once seen, a document is believed again, and neither one before it nor another of its serial is.
fn never_goes_back<B>(document: &Document<B>, payload: &[u8]) {
    let (mut floors, kind, header) = (Floors::default(), Kind::Release, &document.header);
    assert!(floors.raise(kind, header, Digest::of(payload)));
    floors.check(kind, header, Digest::of(payload)).expect("it is the same");
    let other = floors.check(kind, header, Digest::of(b"another"));
    assert!(matches!(other, Err(Refusal::Equivocation { .. })), "{other:?}");
    if let Some(serial) = Serial::new(header.serial.get() - 1) {
        let mut before = header.clone();
        before.serial = serial;
        let replayed = floors.check(kind, &before, Digest::of(payload));
        assert!(matches!(replayed, Err(Refusal::Rollback { .. })), "{replayed:?}");
    }
}

/// Who may sign what.
pub(crate) fn trust(payload: &[u8]) -> Verdict {
    let Some(document) = reads::<Trust>(payload) else { return Verdict::Refused };
    let sign = |key: &SecretKey| Envelope::sign(&Kind::Trust.payload_type(), payload.to_vec(), &[key]).to_bytes();
    let (anchor, signed, forged) = (anchor(&FLEET.root), sign(&FLEET.root), sign(&FLEET.stranger));
    assert!(Trusted::anchored(&anchor, &forged).is_err(), "it is not signed by the root key");
    assert!(FLEET.trusted.followed_by(&forged).is_err(), "it is not signed by the root key");
    let (first, next) = (Trusted::anchored(&anchor, &signed), FLEET.trusted.followed_by(&signed));
    assert!(first.is_err() || next.is_err(), "it cannot be both versions at once");
    let believed = first.or(next);
    if let Ok(trusted) = &believed {
        let trust = trusted.trust();
        trust.check().expect("a trust that could not work is refused");
        assert!(trust.root.keys.contains(FLEET.root.name()), "its own root keys have signed it");
        assert_eq!((trusted.fleet(), document.header.name.as_str()), (&id(), NAME));
        assert_eq!(trust, &document.body);
        let restored = Trusted::restored(&id(), trusted.bytes()).expect("what was believed is kept");
        assert_eq!((restored.version(), restored.trust()), (trusted.version(), trust));
    }
    Verdict::of(&believed)
}

/// Reads a payload as its kind, and checks what holds of every payload.
fn reads<B: Body + Debug + PartialEq>(payload: &[u8]) -> Option<Document<B>> {
    let value = json::parse(payload).ok();
    let document = Document::<B>::from_payload(payload).ok();
    if let Some(value) = value {
        refuses_keys_twice::<B>(&value, payload);
    } else {
        assert!(document.is_none(), "it is not even JSON");
    }
    if let Some(document) = &document {
        survives_writing(document);
    }
    document
}

fn refuses_keys_twice<B: Body>(value: &Value, payload: &[u8]) {
    let usual: Value = serde_json::from_slice(payload).expect("the strict reader takes nothing that others do not");
    assert_eq!(*value, usual, "the strict reader reads something else");
    let Some(doubled) = with_a_key_twice(value, payload.len()) else { return };
    assert!(json::parse(doubled.as_bytes()).is_err(), "a key occurs twice: {doubled}");
    assert!(Document::<B>::from_payload(doubled.as_bytes()).is_err(), "a key occurs twice: {doubled}");
}

fn survives_writing<B: Body + Debug + PartialEq>(document: &Document<B>) {
    let written = document.to_payload();
    let again = Document::<B>::from_payload(&written).expect("what is written can be read");
    assert_eq!(again.to_payload(), written, "it has one form");
    assert_eq!(*document, again);
}
