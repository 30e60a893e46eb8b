//! Versions of the trust that nobody was entitled to make.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{FORGED, Forged, POINTER, archive_key};
use crate::attacks::archives::good;
use crate::attacks::documents::{Sealed, Statement, payload_type};
use crate::attacks::expectation::{Before, Expected};
use crate::attacks::fleet::{ANOTHER_FLEET, NEW_PROD, NEW_ROOT, PROD, ROOT, key, public};
use crate::attacks::layer::Layer;

/// The version after the first, with the same root keys and other keys for `prod`: whoever makes it believed publishes.
fn second() -> Statement {
    Statement::trust(2, &ROOT, &NEW_PROD)
}

/// This version of the trust, and a release under it.
fn store(trust: Vec<u8>) -> Layer {
    let archive = good("under a forged trust");
    let release = Statement::release(FORGED, &archive).with("trust", 2).signed(&NEW_PROD).to_bytes();
    Layer::default().with("trust/2.json", trust).with(POINTER, release).with(archive_key(&archive), archive)
}

fn refused(name: &'static str, refusal: &str, claim: &str, trust: &Sealed) -> Forged {
    Forged::refused(name, refusal, claim, store(trust.to_bytes()))
}

pub(super) fn attacks() -> Vec<Forged> {
    [signed_by_others(), out_of_turn(), contradictory(), taken_back()].into_iter().flatten().collect()
}

fn signed_by_others() -> Vec<Forged> {
    let replaced = Statement::trust(2, &NEW_ROOT, &NEW_PROD);
    let mut escaping = second().sealed();
    escaping.payload_type = "\x1b[2J".repeat(100);
    let mut mislabelled = second().sealed();
    mislabelled.payload_type = payload_type("release");
    let mislabelled = ROOT.iter().fold(mislabelled, |sealed, name| sealed.by(&key(name)));
    vec![
        refused(
            "trust-by-new-keys-alone",
            "bad-signature",
            "New root keys cannot appoint themselves.",
            &replaced.signed(&NEW_ROOT),
        ),
        refused(
            "trust-by-old-keys-alone",
            "bad-signature",
            "Root keys that have not signed may not exist: nobody may be appointed unasked.",
            &replaced.signed(&ROOT),
        ),
        refused(
            "trust-by-half-the-keys",
            "bad-signature",
            "One root key is too few where two are asked for, among the old as among the new.",
            &replaced.signed(&[ROOT[0], NEW_ROOT[0], NEW_ROOT[1]]),
        ),
        refused(
            "trust-by-publishing-keys",
            "bad-signature",
            "Who may publish may not change the trust.",
            &second().signed(&[PROD, NEW_PROD].concat()),
        ),
        refused(
            "trust-of-another-fleet",
            "wrong-subject",
            "Another fleet's trust is not this one's, though the same root keys signed it.",
            &second().with("fleet", ANOTHER_FLEET).signed(&ROOT),
        ),
        refused(
            "trust-of-another-name",
            "wrong-subject",
            "A trust has one name.",
            &second().with("name", "prod").signed(&ROOT),
        ),
        refused(
            "trust-with-escape-sequences",
            "wrong-subject",
            "A kind that nobody has signed does not reach a terminal as it is.",
            &escaping,
        ),
        refused("trust-of-another-kind", "wrong-subject", "A release is no trust, whoever signed it.", &mislabelled),
        refused(
            "trust-with-an-unknown-requirement",
            "unsupported",
            "A trust that needs a newer agent is refused, not half understood.",
            &second().with("requires", vec!["a-feature-of-tomorrow"]).signed(&ROOT),
        ),
    ]
}

fn out_of_turn() -> Vec<Forged> {
    vec![
        refused(
            "trust-skipped",
            "trust-out-of-turn",
            "The third version cannot take the second's place.",
            &Statement::trust(3, &ROOT, &NEW_PROD).signed(&ROOT),
        ),
        refused(
            "trust-repeated",
            "trust-out-of-turn",
            "The first version cannot come after itself.",
            &Statement::first_trust().signed(&ROOT),
        ),
        Forged::refused(
            "trust-first-of-all-replaced",
            "bad-signature",
            "What a host was told is the first trust's root keys: a first trust by other keys is not the first. A host that \
             has seen the first does not ask for it again, and knows none of the new keys.",
            store(second().signed(&ROOT).to_bytes())
                .with("trust/1.json", Statement::trust(1, &NEW_ROOT, &NEW_PROD).signed(&NEW_ROOT).to_bytes())
                .with("trust/2.json", Statement::trust(2, &NEW_ROOT, &NEW_PROD).signed(&NEW_ROOT).to_bytes()),
        ),
    ]
}

/// Signed by the root keys, all of them, and still nothing that could be meant.
fn contradictory() -> Vec<Forged> {
    let with_role = |role: Value| second().with("release", json!([role]));
    let twin = format!("{}:{}", NEW_PROD[1], public(&NEW_PROD)[0].to_string().split_once(':').expect("a key").1);
    let twins = |key: &str| {
        let mut trust = second();
        let Value::Array(mut keys) = json!(public(&[ROOT[0], ROOT[1], NEW_PROD[0]])) else { unreachable!("a list") };
        keys.push(key.into());
        for role in ["assignment", "rollout"] {
            trust = trust.with(role, json!({ "keys": ROOT, "threshold": 2 }));
        }
        trust
            .with("keys", Value::from(keys))
            .with("release", json!([{ "remotes": "prod", "keys": NEW_PROD, "threshold": 2 }]))
            .signed(&ROOT)
    };
    let cache = format!("cache.example.org-1:{}", BASE64.encode(key(NEW_PROD[1]).public().bytes()));
    vec![
        refused(
            "trust-with-one-key-under-two-names",
            "broken-trust",
            "One key under two names could meet a threshold of two alone.",
            &twins(&twin),
        ),
        refused(
            "trust-with-two-keys-under-one-name",
            "broken-trust",
            "Two keys under one name could not be told apart.",
            &twins(&public(&NEW_PROD)[1].to_string().replace(NEW_PROD[1], NEW_PROD[0])),
        ),
        refused(
            "trust-with-a-cache-key",
            "unreadable",
            "A binary cache's key is none of the fleet's, though the root keys say so.",
            &twins(&cache),
        ),
        refused(
            "trust-with-threshold-zero",
            "broken-trust",
            "A role that is fulfilled without a signature is everybody's.",
            &with_role(json!({ "remotes": "*", "keys": NEW_PROD, "threshold": 0 })).signed(&ROOT),
        ),
        refused(
            "trust-with-a-role-for-nobody",
            "broken-trust",
            "A role of keys that are not listed is nobody's.",
            &with_role(json!({ "remotes": "*", "keys": ["npc-nobody"], "threshold": 1 })).signed(&ROOT),
        ),
        refused(
            "trust-with-too-high-a-threshold",
            "broken-trust",
            "A role that can never be fulfilled would be the fleet's end.",
            &second().with("root", json!({ "keys": ROOT, "threshold": 3 })).signed(&ROOT),
        ),
    ]
}

/// A trust that was seen, and is then denied.
fn taken_back() -> Vec<Forged> {
    let good_trust = Layer::default().with("trust/2.json", second().signed(&ROOT).to_bytes());
    let under_second = |layer: Layer, serial| {
        let archive = good(&format!("number {serial} under the second trust"));
        let release = Statement::release(serial, &archive).with("trust", 2).signed(&NEW_PROD).to_bytes();
        layer.with(POINTER, release).with(archive_key(&archive), archive)
    };
    let by_old_keys = Statement::release(FORGED, &good("forged")).signed(&PROD).to_bytes();
    let fork = Statement::trust(2, &ROOT, &PROD).signed(&ROOT).to_bytes();
    let forked = Statement::release(5000, &good("forged")).with("trust", 2).signed(&PROD).to_bytes();
    let begin = |name, claim: &str| Forged::new(name, claim, under_second(good_trust.clone(), 1), Expected::Follows(1));
    vec![
        begin(
            "trust-withdrawn",
            "A host that has seen a version of the trust does not go back to the one before, though the store does.",
        )
        .then_refused("withdrawn", Layer::default().with(POINTER, by_old_keys), "bad-signature")
        .at_last(under_second(good_trust.clone(), 2), 2),
        begin(
            "trust-forked",
            "A host that has seen a version of the trust does not take another of the same number for it, though the root \
             keys signed both.",
        )
        .then_refused("forked", Layer::default().with("trust/2.json", fork).with(POINTER, forked), "bad-signature")
        .at_last(under_second(good_trust.clone(), 2), 2)
        .only(Before::Running),
    ]
}
