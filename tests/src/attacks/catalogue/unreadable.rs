//! Bytes that are no document: what a parser could be led astray by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{FORGED, Forged};
use crate::attacks::archives::good;
use crate::attacks::documents::{Sealed, Statement, payload_type};
use crate::attacks::fleet::{FLEET, PROD, key};

/// How deep the deepest JSON here is.
const DEPTH: usize = 20_000;

fn release() -> Statement {
    Statement::release(FORGED, &good("forged"))
}

/// Any payload as a release that the right keys signed.
fn signed(payload: impl Into<Vec<u8>>) -> Sealed {
    let sealed = Sealed { payload_type: payload_type("release"), payload: payload.into(), signatures: Vec::new() };
    PROD.iter().fold(sealed, |sealed, name| sealed.by(&key(name)))
}

fn unreadable(name: &'static str, claim: &str, bytes: impl Into<Vec<u8>>) -> Forged {
    Forged::pointer(name, "unreadable", claim, bytes.into())
}

/// Text with something put in front of its first field.
fn with_field(json: &[u8], field: &str) -> Vec<u8> {
    [b"{", field.as_bytes(), b",", &json[1..]].concat()
}

pub(super) fn attacks() -> Vec<Forged> {
    [envelopes(), payloads()].into_iter().flatten().collect()
}

fn envelopes() -> Vec<Forged> {
    let good = release().signed(&PROD).to_bytes();
    let other = BASE64.encode(release().with("serial", 5000).payload());
    let text = String::from_utf8(good.clone()).expect("JSON is text");
    vec![
        unreadable("envelope-empty", "No bytes are no document.", ""),
        unreadable("envelope-of-null", "JSON of another shape is no envelope.", "null"),
        unreadable("envelope-cut-off", "Half an envelope is none, wherever it ends.", &good[..good.len() - 1]),
        unreadable(
            "envelope-with-a-duplicate-key",
            "Of two payloads under one key nobody may choose.",
            with_field(&good, &format!("\"payload\":\"{other}\"")),
        ),
        unreadable(
            "envelope-with-a-duplicate-key-escaped",
            "Keys that differ in their spelling alone are one key.",
            with_field(&good, &format!("\"\\u0070ayload\":\"{other}\"")),
        ),
        unreadable(
            "envelope-with-escape-sequences",
            "What nobody has signed does not reach a terminal as it is.",
            with_field(&good, "\"\\u001b[2J\":1,\"\\u001b[2J\":2"),
        ),
        unreadable(
            "envelope-with-long-words",
            "Nor does it fill a log.",
            with_field(&good, &format!("\"{0}\":1,\"{0}\":2", "x".repeat(100_000))),
        ),
        unreadable(
            "envelope-with-a-second-one-behind",
            "What follows an envelope makes it none.",
            [&good[..], b"\n", &good].concat(),
        ),
        unreadable(
            "envelope-very-deep",
            "Nesting without end is not followed down.",
            with_field(&good, &format!("\"x\":{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH))),
        ),
        unreadable(
            "envelope-with-a-broken-payload",
            "A payload that is not base64 is none.",
            text.replace("\"payload\":\"", "\"payload\":\"*"),
        ),
        unreadable(
            "envelope-with-a-broken-signature",
            "A signature that is not base64 spoils the envelope, good ones beside it or not.",
            text.replacen("\"sig\":\"", "\"sig\":\"*", 1),
        ),
        unreadable(
            "envelope-that-is-not-text",
            "Bytes that are no text are no JSON.",
            with_field(&good, "\"x\":\"?\"")
                .into_iter()
                .map(|byte| if byte == b'?' { 0xff } else { byte })
                .collect::<Vec<_>>(),
        ),
    ]
}

/// Signed by the right keys, all of them: a publisher gone mad is not believed either.
fn payloads() -> Vec<Forged> {
    let good = release().payload();
    let sealed = |payload: &[u8]| signed(payload).to_bytes();
    vec![
        unreadable(
            "payload-with-a-duplicate-key",
            "Of two serials under one key nobody may choose, signed or not.",
            sealed(&with_field(&good, "\"serial\":5000")),
        ),
        unreadable(
            "payload-with-a-duplicate-key-inside",
            "Nor further down.",
            sealed(&with_field(&good, "\"x\":[{\"y\":1,\"y\":2}]")),
        ),
        unreadable(
            "payload-very-deep",
            "Nesting without end is not followed down, signed or not.",
            sealed(&with_field(&good, &format!("\"x\":{}1{}", "{\"x\":".repeat(DEPTH), "}".repeat(DEPTH)))),
        ),
        unreadable("payload-that-is-a-list", "A document is a JSON object.", sealed(b"[]")),
        unreadable(
            "payload-without-a-fleet",
            "A document says for which fleet it is.",
            sealed(&String::from_utf8(good.clone()).expect("JSON is text").replace(FLEET, "").into_bytes()),
        ),
        unreadable(
            "payload-with-serial-zero",
            "Serials begin at 1, so that nothing is below the lowest floor.",
            release().with("serial", 0).signed(&PROD).to_bytes(),
        ),
        unreadable(
            "payload-with-too-high-a-serial",
            "A serial that not every JSON reader would read alike is none.",
            release().with("serial", 1_u64 << 53).signed(&PROD).to_bytes(),
        ),
        unreadable(
            "payload-with-a-path-for-a-digest",
            "A digest is 64 digits, and never a path.",
            Statement::release_of("prod", FORGED, "../../../../../../tmp/npc-attack-got-out", 1)
                .signed(&PROD)
                .to_bytes(),
        ),
    ]
}
