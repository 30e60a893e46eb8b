//! Signatures that are missing, borrowed, counted twice, or by the wrong keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use npc_core::key::SecretKey;
use serde_json::Value;

use super::{FORGED, Forged, POINTER, archive_key};
use crate::attacks::archives::good;
use crate::attacks::documents::{Sealed, Statement, payload_type};
use crate::attacks::fleet::{ANOTHER_FLEET, ASSIGN, OTHERS, PROD, REPORT, ROLLOUT, ROOT, key, strangers};
use crate::attacks::layer::Layer;

/// A release that would be believed if only it were signed.
fn release() -> Statement {
    Statement::release(FORGED, &good("forged"))
}

/// The envelope with its JSON changed.
fn changed(sealed: &Sealed, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = sealed.to_json();
    change(&mut json);
    serde_json::to_vec(&json).expect("a map of values is valid JSON")
}

fn bad(name: &'static str, claim: &str, bytes: Vec<u8>) -> Forged {
    Forged::pointer(name, "bad-signature", claim, bytes)
}

pub(super) fn attacks() -> Vec<Forged> {
    [missing(), others(), counted_twice(), changed_afterwards()].into_iter().flatten().collect()
}

fn missing() -> Vec<Forged> {
    let one = release().signed(&PROD[..1]);
    vec![
        bad("too-few-signatures", "One signature is too few where the trust asks for two.", one.to_bytes()),
        bad("signatures-empty", "A document that nobody signed is nobody's.", release().sealed().to_bytes()),
        bad(
            "signature-stripped",
            "An empty signature beside a good one is none.",
            one.under(PROD[1], Vec::new()).to_bytes(),
        ),
        Forged::pointer(
            "signatures-missing",
            "unreadable",
            "An envelope without a list of signatures is none.",
            changed(&release().signed(&PROD), |json| drop(json.as_object_mut().expect("a map").remove("signatures"))),
        ),
        Forged::pointer(
            "signatures-too-many",
            "unreadable",
            "An envelope with more signatures than any document needs is not worth the checking.",
            (0..17).fold(release().sealed(), |sealed, _| sealed.by(&key(PROD[0])).by(&key(PROD[1]))).to_bytes(),
        ),
    ]
}

fn others() -> Vec<Forged> {
    let strangers: Vec<_> = PROD.iter().map(|name| strangers(name)).collect();
    let by_strangers = |statement: Statement| strangers.iter().fold(statement.sealed(), Sealed::by);
    let foreign = release().with("fleet", ANOTHER_FLEET);
    let archive = good("forged");
    let foreign_trust = Statement::first_trust().with("fleet", ANOTHER_FLEET);
    let foreign_trust = ROOT.iter().fold(foreign_trust.sealed(), |sealed, name| sealed.by(&self::strangers(name)));
    let foreign_store = Layer::default()
        .with("trust/1.json", foreign_trust.to_bytes())
        .with(POINTER, by_strangers(foreign.clone()).to_bytes())
        .with(archive_key(&archive), archive);
    let cache = release().sealed();
    let signature = cache.signature(&key("npc-cache.example.org-1"));
    vec![
        bad(
            "keys-of-a-stranger",
            "Keys with the right names and other bytes are not the fleet's.",
            by_strangers(release()).to_bytes(),
        ),
        bad("keys-of-the-root", "Who may change the trust may not publish.", release().signed(&ROOT).to_bytes()),
        bad(
            "keys-of-other-roles",
            "Who may assign hosts, order rollouts or report may not publish.",
            release().signed(&[ASSIGN, ROLLOUT, REPORT].concat()).to_bytes(),
        ),
        bad(
            "keys-of-another-remote",
            "Who may publish to other remotes may not publish to this one.",
            release().signed(&OTHERS).to_bytes(),
        ),
        bad(
            "keys-of-a-binary-cache",
            "A binary cache's key says what store paths contain, never what a fleet runs.",
            cache.by(&key(PROD[0])).under("cache.example.org-1", signature).to_bytes(),
        ),
        bad(
            "release-of-another-fleet",
            "Another fleet's release is signed by another fleet's keys.",
            by_strangers(foreign).to_bytes(),
        ),
        Forged::refused(
            "store-of-another-fleet",
            "bad-signature",
            "A whole store of another fleet, its trust included, is not this fleet's.",
            foreign_store,
        ),
    ]
}

fn counted_twice() -> Vec<Forged> {
    let one = key(PROD[0]);
    let signature = release().sealed().signature(&one);
    let swapped = release()
        .sealed()
        .under(PROD[1], signature.clone())
        .under(PROD[0], release().sealed().signature(&key(PROD[1])));
    vec![
        bad(
            "one-key-signs-twice",
            "One key counts once, however often it signed.",
            release().sealed().by(&one).by(&one).to_bytes(),
        ),
        bad(
            "one-key-signs-under-two-names",
            "One key counts once, under whatever names its signature stands.",
            release().sealed().by(&one).under(PROD[1], signature.clone()).to_bytes(),
        ),
        bad(
            "one-key-signs-without-a-name",
            "One key counts once, also where its signature names nobody.",
            release().sealed().by(&one).under("", signature).to_bytes(),
        ),
        bad(
            "keys-under-each-others-names",
            "A signature under another key's name is not looked for under its own.",
            swapped.to_bytes(),
        ),
    ]
}

fn changed_afterwards() -> Vec<Forged> {
    let signed = release().signed(&PROD);
    let other = Statement::release(FORGED, &good("another"));
    let mut flipped = signed.clone();
    flipped.payload = other.payload();
    let mut disguised = signed.clone();
    disguised.payload_type = payload_type("assignment");
    let mut spaced = signed.clone();
    spaced.payload.push(b' ');
    let archive = good("forged");
    let beside = changed(&signed, |json| {
        json["serial"] = 5000.into();
        json["fleet"] = ANOTHER_FLEET.into();
        json["payload2"] = BASE64.encode(other.payload()).into();
        json["signatures"][0]["payload"] = json["payload2"].clone();
    });
    vec![
        bad("payload-changed", "A signature holds for the bytes that were signed alone.", flipped.to_bytes()),
        bad(
            "payload-with-a-space",
            "A signature holds for the exact bytes, although a space means nothing in JSON.",
            spaced.to_bytes(),
        ),
        bad("payload-type-changed", "A signature holds for the kind that was signed alone.", disguised.to_bytes()),
        bad(
            "signature-malleated",
            "A signature has one form: the same with the group's order added is none.",
            release()
                .sealed()
                .by(&key(PROD[0]))
                .under(PROD[1], malleated(&release().sealed(), &key(PROD[1])))
                .to_bytes(),
        ),
        Forged::harmless(
            "unsigned-fields-beside-the-payload",
            "Fields beside the payload mean nothing, whatever they say: what was signed is followed.",
            Layer::default().with(POINTER, beside).with(archive_key(&archive), archive),
        ),
        Forged::pointer(
            "unsigned-fields-instead-of-a-payload",
            "unreadable",
            "Fields in place of the payload make no document.",
            changed(&signed, |json| {
                drop(json.as_object_mut().expect("a map").remove("payload"));
                for (field, value) in [("fleet", Value::from(ANOTHER_FLEET)), ("serial", FORGED.into())] {
                    json[field] = value;
                }
            }),
        ),
    ]
}

/// The order of the group that ed25519 signs in, least significant byte first (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// A good signature whose second half is the same number modulo the group's order, and not the smallest.
fn malleated(sealed: &Sealed, key: &SecretKey) -> Vec<u8> {
    let mut signature = sealed.signature(key);
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    signature
}
