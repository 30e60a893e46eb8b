//! Releases that the right keys signed, and that are still not this host's to follow now.

use super::{FORGED, Forged, POINTER, archive_key};
use crate::attacks::Behaviour;
use crate::attacks::archives::good;
use crate::attacks::documents::{Statement, payload_type};
use crate::attacks::expectation::{Before, Expected};
use crate::attacks::fleet::{ANOTHER_FLEET, FIRST, NEW_PROD, OTHERS, PROD, ROOT, key};
use crate::attacks::layer::Layer;

/// The highest serial there is.
const HIGHEST: u64 = (1 << 53) - 1;

fn release() -> Statement {
    Statement::release(FORGED, &good("forged"))
}

fn pointer(name: &'static str, refusal: &str, claim: &str, statement: &Statement) -> Forged {
    Forged::pointer(name, refusal, claim, statement.signed(&PROD).to_bytes())
}

/// A version of the trust that gives `prod` to other keys, properly signed.
fn second_trust() -> Layer {
    Layer::default().with("trust/2.json", Statement::trust(2, &ROOT, &NEW_PROD).signed(&ROOT).to_bytes())
}

/// A version of the trust that leaves everything as it was, properly signed.
fn same_trust() -> Layer {
    Layer::default().with("trust/2.json", Statement::trust(2, &ROOT, &PROD).signed(&ROOT).to_bytes())
}

/// A release under the second version of the trust, with its archive.
fn under_second(layer: Layer, serial: u64, keys: &[&str]) -> Layer {
    let archive = good(&format!("number {serial} under the second trust"));
    let release = Statement::release(serial, &archive).with("trust", 2).signed(keys).to_bytes();
    layer.with(POINTER, release).with(archive_key(&archive), archive)
}

pub(super) fn attacks() -> Vec<Forged> {
    [subjects(), old_ones(), times(), keys_replaced(), archives()].into_iter().flatten().collect()
}

fn subjects() -> Vec<Forged> {
    let staging = Statement::release_of("staging", FORGED, &"0".repeat(64), 1);
    let mut assignment = release().sealed();
    assignment.payload_type = payload_type("assignment");
    let assignment = PROD.iter().fold(assignment, |sealed, name| sealed.by(&key(name)));
    vec![
        pointer(
            "wrong-fleet",
            "wrong-subject",
            "A release for another fleet is not for this one, though the same keys signed it.",
            &release().with("fleet", ANOTHER_FLEET),
        ),
        pointer("wrong-name", "wrong-subject", "What one remote holds is not what another holds.", &staging),
        Forged::pointer(
            "wrong-kind",
            "wrong-subject",
            "A document of another kind is no release, whoever signed it.",
            assignment.to_bytes(),
        ),
        Forged::pointer(
            "mixed-remotes",
            "bad-signature",
            "Another remote's valid release, under this remote's name, is signed by the wrong keys.",
            staging.signed(&OTHERS).to_bytes(),
        ),
        pointer(
            "unknown-requirement",
            "unsupported",
            "What needs a newer agent is refused, not half understood.",
            &release().with("requires", vec!["a-feature-of-tomorrow"]),
        ),
        pointer(
            "unknown-trust",
            "unknown-trust",
            "A release made under a trust that nobody has seen cannot be judged.",
            &release().with("trust", 2),
        ),
    ]
}

fn old_ones() -> Vec<Forged> {
    let older = Statement::release(FIRST - 1, &good("older"));
    let mut told = pointer(
        "replayed-at-first-contact",
        "rollback",
        "A host that was told a floor believes nothing older, even at first contact.",
        &older,
    );
    told.folder.attack.minimum_serial = Some(FIRST);
    let claim = "A release older than what the host has seen is refused, though it once was good.";
    vec![
        pointer("lower-serial", "rollback", claim, &older).only(Before::Running),
        told,
        pointer(
            "equal-serial",
            "equivocation",
            "Of two releases with the same serial the host believes the one that it saw.",
            &Statement::release(FIRST, &good("twin")),
        )
        .only(Before::Running),
    ]
}

fn times() -> Vec<Forged> {
    let until = |created: &str, expires: &str| release().with("created", created).with("expires", expires);
    vec![
        pointer(
            "expired",
            "expired",
            "A release that has expired is no reason to change anything.",
            &until("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ),
        pointer(
            "made-in-the-future",
            "clock-skew",
            "Where the clock is in doubt, whether a release has expired cannot be judged.",
            &until("2999-01-01T00:00:00Z", "2999-01-02T00:00:00Z"),
        ),
        freeze(),
    ]
}

/// An old state of everything, each part of it valid, served for ever.
fn freeze() -> Forged {
    let archive = good("frozen");
    let frozen = Statement::release(FORGED, &archive).with("expires", "2026-02-01T00:00:00Z");
    let layer = Layer::default().with(POINTER, frozen.signed(&PROD).to_bytes()).with(archive_key(&archive), archive);
    let claim = "A store that is held at an old state holds back releases until what it shows expires; a host that runs \
                 nothing yet is not led to begin with it, and one that runs something is not led back.";
    Forged::refused("frozen", "expired", claim, layer.clone()).then_refused("still-the-same", layer, "expired")
}

fn keys_replaced() -> Vec<Forged> {
    let stolen = Statement::release(HIGHEST, &good("stolen")).signed(&PROD).to_bytes();
    let fast_forward = Forged::refused(
        "fast-forward",
        "not-found",
        "Stolen keys raise the serial to the highest there is, with an archive that does not exist; the next version of the \
         trust revokes them, after which they are refused, and serials begin anew.",
        Layer::default().with(POINTER, stolen.clone()),
    )
    .then_refused("revoked", second_trust().with(POINTER, stolen), "bad-signature")
    .at_last(under_second(second_trust(), 1, &NEW_PROD), 1);

    let revoked = Forged::refused(
        "pointer-by-revoked-keys",
        "bad-signature",
        "With a trust that has revoked its keys, a release that was good yesterday is not.",
        second_trust().with(POINTER, release().signed(&PROD).to_bytes()),
    )
    .at_last(under_second(second_trust(), 1, &NEW_PROD), 1);

    let old_pointer = Forged::new(
        "old-pointer-under-a-new-trust",
        "A release made under an older trust cannot follow one made under a newer, however high its serial, though its keys \
         are still good.",
        under_second(same_trust(), 2, &PROD),
        Expected::Follows(2),
    )
    .then_refused("old-pointer", same_trust().with(POINTER, release().signed(&PROD).to_bytes()), "rollback")
    .at_last(under_second(same_trust(), 3, &PROD), 3);

    let behind_403 = || Layer::default().answering("trust/2.json", Behaviour::Status(403));
    let hidden = Forged::refused(
        "trust-hidden",
        "unknown-trust",
        "Where the newest trust is hidden, what was made under it cannot be judged; nothing older is believed instead.",
        under_second(behind_403(), 1, &PROD),
    )
    .at_last(under_second(same_trust(), 1, &PROD), 1);

    let hidden_with_keys = Forged::refused(
        "trust-hidden-with-its-keys",
        "bad-signature",
        "Where the trust that appoints them is hidden, keys are a stranger's.",
        under_second(behind_403(), 1, &NEW_PROD),
    )
    .at_last(under_second(second_trust(), 1, &NEW_PROD), 1);
    vec![fast_forward, revoked, old_pointer, hidden, hidden_with_keys]
}

fn archives() -> Vec<Forged> {
    let archive = good("published");
    let released = |served: Option<Vec<u8>>| {
        let layer = Layer::default().with(POINTER, Statement::release(FORGED, &archive).signed(&PROD).to_bytes());
        match served {
            Some(bytes) => layer.with(archive_key(&archive), bytes),
            None => layer,
        }
    };
    let mut same_length = archive.clone();
    same_length[600] ^= 1;
    let shorter = archive[..archive.len() - 1].to_vec();
    let huge = Statement::release_of("prod", FORGED, &"0".repeat(64), 600 * 1024 * 1024);
    vec![
        Forged::refused(
            "archive-missing",
            "not-found",
            "A release without its archive cannot be followed.",
            released(None),
        ),
        Forged::refused(
            "archive-longer",
            "too-large",
            "An archive is taken in no further than the length that was signed.",
            released(Some([&archive[..], b"more"].concat())),
        ),
        Forged::refused(
            "archive-shorter",
            "digest-mismatch",
            "An archive shorter than the length that was signed is not the one.",
            released(Some(shorter)),
        ),
        Forged::refused(
            "archive-swapped",
            "digest-mismatch",
            "An archive with another digest than was signed is not the one, though it is as long.",
            released(Some(same_length)),
        ),
        Forged::refused(
            "archive-of-another-release",
            "digest-mismatch",
            "Another good archive under this one's name is not the one.",
            released(Some(good("some other"))),
        ),
        Forged::refused(
            "archive-larger-than-allowed",
            "too-large",
            "An archive that says it is larger than allowed is not asked for.",
            Layer::default().with(POINTER, huge.signed(&PROD).to_bytes()),
        ),
    ]
}
