use jiff::SignedDuration;
use zeroize::Zeroizing;

use super::*;
use crate::Timestamp;
use crate::digest::Digest;
use crate::document::{
    Archive, Assignment, Document, Following, Header, Pin, Release, RemoteState, Report, Serial, Source, Standing,
};
use crate::envelope::Envelope;
use crate::key::SecretKey;
use crate::name::{FleetId, RemoteName};
use crate::publish::trust::{Change, RoleName, first, next};

fn key(name: &str, seed: u8) -> SecretKey {
    SecretKey::from_seed(name.parse().expect("a key name"), &Zeroizing::new([seed; 32]))
}

fn serial(number: u64) -> Serial {
    Serial::new(number).expect("a serial")
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

/// A fleet with its keys, at trust version 1.
struct World {
    root: SecretKey,
    publishing: SecretKey,
    trusted: Trusted,
    first: Vec<u8>,
    prod: RemoteName,
}

fn anchor(root: &SecretKey) -> Anchor {
    let fleet = FleetId::from_random([7; 16]);
    Anchor { fleet, root_keys: vec![root.public()], root_threshold: 1, version: Serial::FIRST }
}

fn world() -> World {
    let (root, publishing) = (key("npc-root-1", 1), key("npc-publish-1", 2));
    let first = first(FleetId::from_random([7; 16]), &root, &publishing, now()).bytes;
    let trusted = Trusted::anchored(&anchor(&root), &first).expect("the first trust");
    World { root, publishing, trusted, first, prod: "prod".parse().expect("a name") }
}

fn release(at: u64) -> Document<RemoteState> {
    let header = Header {
        fleet: FleetId::from_random([7; 16]),
        name: "prod".into(),
        serial: serial(at),
        created: now(),
        trust: Serial::FIRST,
        requires: Vec::new(),
        expires: None,
    };
    let archive = Archive { sha256: Digest::of(b"archive"), size: 7 };
    let body = Release::new(archive, Source::default(), std::collections::BTreeMap::new());
    Document { header, body: Standing::Present(Box::new(body)) }
}

impl World {
    fn check(&self, document: &Document<RemoteState>, floors: &Floors) -> Result<Verified<RemoteState>, Refusal> {
        self.check_bytes(&document.sign(&[&self.publishing]).bytes, floors)
    }

    fn check_bytes(&self, bytes: &[u8], floors: &Floors) -> Result<Verified<RemoteState>, Refusal> {
        verify(bytes, Subject::Remote(&self.prod), &self.trusted, floors, now())
    }

    fn refusal(&self, document: &Document<RemoteState>) -> &'static str {
        self.check(document, &Floors::default()).expect_err("refused").kind()
    }
}

#[test]
fn a_good_release_is_believed_and_unknown_fields_are_kept() {
    let world = world();
    let mut document = release(1);
    let Standing::Present(body) = &mut document.body else { unreachable!() };
    body.other.insert("weather".into(), "fine".into());
    let verified = world.check(&document, &Floors::default()).expect("believed");
    assert_eq!(verified.into_document(), document);
}

/// What was signed over an unknown number must not be signed over another one when somebody passes it on.
#[test]
fn unknown_numbers_are_kept_to_the_last_digit() {
    let mut document = release(1);
    let Standing::Present(body) = &mut document.body else { unreachable!() };
    body.other.insert("digits".into(), 1.070_707_041_414_141_1e23.into());
    let written = document.to_payload();
    let again: Document<RemoteState> = Document::from_payload(&written).expect("readable");
    assert_eq!(again.to_payload(), written);
}

#[test]
fn a_tombstone_is_a_document_of_its_own() {
    let world = world();
    let mut document = release(3);
    document.body = Standing::Removed;
    let verified = world.check(&document, &Floors::default()).expect("believed");
    assert_eq!(*verified.body(), Standing::Removed);
}

#[test]
fn an_assignment_is_believed_from_the_assignment_role_alone() {
    let world = world();
    let name: crate::name::AssignmentName = "web-1".parse().expect("a name");
    let body = Following {
        pin: Some(Pin { serial: serial(3), archive: Digest::of(b"archive") }),
        report_key: Some(key("npc-host-1", 8).public()),
        ..Following::new("prod".parse().expect("a name"), "web-1".parse().expect("a name"))
    };
    let header = Header { name: name.to_string(), ..release(1).header };
    let document = Document { header, body: Assignment::Present(Box::new(body)) };
    let check = |bytes: &[u8]| {
        verify::<Assignment>(bytes, Subject::Assignment(&name), &world.trusted, &Floors::default(), now())
    };
    let believed = check(&document.sign(&[&world.publishing]).bytes).expect("believed");
    assert_eq!(believed.into_document(), document);
    assert_eq!(check(&document.sign(&[&world.root]).bytes).expect_err("refused").kind(), "bad-signature");
    assert_eq!(check(&release(1).sign(&[&world.publishing]).bytes).expect_err("refused").kind(), "wrong-subject");
}

#[test]
fn a_report_is_believed_from_its_hosts_own_key_alone() {
    let world = world();
    let (host, own) = ("web-1".parse().expect("a name"), key("npc-host-1", 8));
    let body = Report {
        instance: "0".into(),
        boot_id: "1".into(),
        agent_version: "0.1.0".into(),
        phase: "steady".into(),
        addresses: vec!["192.0.2.1".parse().expect("an address")],
        ..Report::default()
    };
    let document = Document { header: Header { name: "web-1".into(), ..release(1).header }, body };
    let check = |signer: &SecretKey| {
        let subject = Subject::Report(&host, &own.public());
        let bytes = document.sign(&[signer]).bytes;
        verify::<Report>(&bytes, subject, &world.trusted, &Floors::default(), now()).map(Verified::into_document)
    };
    assert_eq!(check(&own).expect("believed"), document);
    assert_eq!(check(&world.publishing).expect_err("refused").kind(), "bad-signature");
}

#[test]
fn a_wrong_or_missing_signature_is_refused() {
    let world = world();
    let unsigned = release(1).sign(&[]);
    let stranger = release(1).sign(&[&key("npc-publish-1", 9)]);
    for signed in [unsigned, stranger] {
        let refusal = world.check_bytes(&signed.bytes, &Floors::default()).expect_err("refused");
        assert_eq!(refusal.kind(), "bad-signature");
    }
}

#[test]
fn a_key_outside_its_role_is_refused() {
    let world = world();
    let refusal = world.check_bytes(&release(1).sign(&[&world.root]).bytes, &Floors::default()).expect_err("refused");
    assert_eq!(refusal.kind(), "bad-signature");
}

#[test]
fn another_fleet_remote_or_kind_is_refused() {
    let world = world();
    let mut document = release(1);
    document.header.fleet = FleetId::from_random([8; 16]);
    assert_eq!(world.refusal(&document), "wrong-subject");
    let mut document = release(1);
    document.header.name = "staging".into();
    assert_eq!(world.refusal(&document), "wrong-subject");
    let payload = release(1).to_payload();
    let posing = Envelope::sign("application/vnd.npc.assignment.v1+json", payload, &[&world.publishing]).to_bytes();
    assert_eq!(world.check_bytes(&posing, &Floors::default()).expect_err("refused").kind(), "wrong-subject");
}

#[test]
fn what_this_version_cannot_do_is_refused() {
    let world = world();
    let mut document = release(1);
    document.header.requires = vec!["telepathy".into()];
    assert_eq!(world.refusal(&document), "unsupported");
}

#[test]
fn a_trust_version_that_nobody_has_seen_is_refused() {
    let world = world();
    let mut document = release(1);
    document.header.trust = serial(2);
    assert_eq!(world.refusal(&document), "unknown-trust");
}

#[test]
fn an_old_serial_is_refused_and_the_same_one_is_not() {
    let world = world();
    let mut floors = Floors::default();
    let seen = world.check(&release(5), &floors).expect("believed");
    assert!(floors.raise(crate::document::Kind::Release, seen.header(), seen.digest()));
    assert!(!floors.raise(crate::document::Kind::Release, seen.header(), seen.digest()));
    assert_eq!(world.check(&release(4), &floors).expect_err("refused").kind(), "rollback");
    assert!(world.check(&release(5), &floors).is_ok());
    assert!(world.check(&release(6), &floors).is_ok());
    let mut other = release(5);
    other.body = Standing::Removed;
    assert_eq!(world.check(&other, &floors).expect_err("refused").kind(), "equivocation");
}

#[test]
fn expiry_needs_a_clock_that_can_judge_it() {
    let world = world();
    let day = SignedDuration::from_hours(24);
    let mut document = release(1);
    document.header.expires = Some(now() + day);
    assert!(world.check(&document, &Floors::default()).is_ok());
    document.header.expires = Some(now());
    assert_eq!(world.refusal(&document), "expired");
    document.header.created = now() + day;
    document.header.expires = Some(now() + day + day);
    assert_eq!(world.refusal(&document), "clock-skew");
    document.header.expires = None;
    assert!(world.check(&document, &Floors::default()).is_ok(), "without an end, no clock is needed");
}

#[test]
fn a_duplicate_key_inside_the_payload_is_refused() {
    let world = world();
    let payload = String::from_utf8(release(1).to_payload()).expect("text");
    let payload = payload.replacen('{', r#"{"serial":9,"#, 1);
    let kind = "application/vnd.npc.release.v1+json";
    let bytes = Envelope::sign(kind, payload.into_bytes(), &[&world.publishing]).to_bytes();
    assert_eq!(world.check_bytes(&bytes, &Floors::default()).expect_err("refused").kind(), "unreadable");
}

#[test]
fn an_overlong_document_is_not_even_parsed() {
    let world = world();
    let long = vec![b' '; usize::try_from(crate::limits::DOCUMENT_BYTES).expect("fits") + 1];
    assert_eq!(world.check_bytes(&long, &Floors::default()).expect_err("refused").kind(), "too-large");
}

#[test]
fn the_anchor_decides_whom_to_believe_first() {
    let world = world();
    assert_eq!(Trusted::anchored(&anchor(&key("npc-root-1", 9)), &world.first).expect_err("x").kind(), "bad-signature");
    let elsewhere = Anchor { fleet: FleetId::from_random([8; 16]), ..anchor(&world.root) };
    assert_eq!(Trusted::anchored(&elsewhere, &world.first).expect_err("x").kind(), "wrong-subject");
    let later = Anchor { version: serial(2), ..anchor(&world.root) };
    assert_eq!(Trusted::anchored(&later, &world.first).expect_err("x").kind(), "trust-out-of-turn");
    let two = Anchor { root_threshold: 2, ..anchor(&world.root) };
    assert_eq!(Trusted::anchored(&two, &world.first).expect_err("x").kind(), "bad-signature");
}

fn rotated(world: &World, changes: &[Change], keys: &[&SecretKey]) -> Trusted {
    next(&world.trusted, changes, keys, now()).expect("a next version").trusted
}

#[test]
fn a_replaced_key_is_refused_and_its_successor_believed() {
    let mut world = world();
    let successor = key("npc-publish-2", 3);
    let replace = Change::Replace(world.publishing.name().clone(), successor.public());
    world.trusted = rotated(&world, &[replace], &[&world.root]);
    assert_eq!(world.refusal(&release(1)), "bad-signature");
    assert!(world.check_bytes(&release(1).sign(&[&successor]).bytes, &Floors::default()).is_ok());
}

#[test]
fn a_new_trust_version_resets_serials_without_allowing_replays() {
    let mut world = world();
    let mut floors = Floors::default();
    let stolen = world.check(&release(crate::document::GREATEST_SERIAL), &floors).expect("believed");
    floors.raise(crate::document::Kind::Release, stolen.header(), stolen.digest());
    let second = key("npc-publish-2", 3);
    let add = Change::Add(RoleName::Release("*".into()), second.public());
    world.trusted = rotated(&world, &[add], &[&world.root]);
    let mut fresh = release(1);
    fresh.header.trust = serial(2);
    assert!(world.check(&fresh, &floors).is_ok(), "the way out");
    assert_eq!(world.check(&release(7), &floors).expect_err("refused").kind(), "rollback", "made under the old trust");
}

#[test]
fn a_trust_version_needs_the_old_root_and_its_own() {
    let world = world();
    let successor = key("npc-root-2", 4);
    let replace = Change::Replace(world.root.name().clone(), successor.public());
    let by = |keys: &[&SecretKey]| next(&world.trusted, std::slice::from_ref(&replace), keys, now());
    assert!(by(&[&world.root]).is_err(), "the new root has not shown that it can sign");
    assert!(by(&[&successor]).is_err(), "the new root alone could be anybody's");
    assert!(by(&[&world.root, &successor]).is_ok());
}

#[test]
fn a_skipped_version_is_refused() {
    let world = world();
    let add = |name: &str, seed| Change::Add(RoleName::Assignment, key(name, seed).public());
    let second = next(&world.trusted, &[add("npc-a", 5)], &[&world.root], now()).expect("a next version");
    let third = next(&second.trusted, &[add("npc-b", 6)], &[&world.root], now()).expect("a next version");
    assert_eq!(world.trusted.followed_by(third.trusted.bytes()).expect_err("x").kind(), "trust-out-of-turn");
    assert_eq!(world.trusted.followed_by(&world.first).expect_err("x").kind(), "trust-out-of-turn");
}

#[test]
fn the_fleet_is_not_left_without_a_way_back() {
    let world = world();
    let refused = |change| next(&world.trusted, &[change], &[&world.root], now()).is_err();
    assert!(refused(Change::Revoke(world.root.name().clone())));
    assert!(refused(Change::Revoke(world.publishing.name().clone())), "nobody could publish");
    assert!(refused(Change::Threshold(RoleName::Root, 2)));
    assert!(refused(Change::Threshold(RoleName::Root, 0)));
    assert!(refused(Change::Revoke("npc-nobody".parse().expect("a key name"))));
}

#[test]
fn a_threshold_needs_so_many_different_keys() {
    let mut world = world();
    let second = key("npc-publish-2", 3);
    let changes = [
        Change::Add(RoleName::Release("prod".into()), second.public()),
        Change::Add(RoleName::Release("prod".into()), world.publishing.public()),
        Change::Threshold(RoleName::Release("prod".into()), 2),
    ];
    world.trusted = rotated(&world, &changes, &[&world.root]);
    let signed = |keys: &[&SecretKey]| world.check_bytes(&release(1).sign(keys).bytes, &Floors::default());
    assert!(signed(&[&world.publishing]).is_err());
    assert!(signed(&[&world.publishing, &world.publishing]).is_err());
    assert!(signed(&[&world.publishing, &second]).is_ok());
}
