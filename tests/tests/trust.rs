//! A store that lies: what its hosts refuse, end to end.

use std::fs;

use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{Document, Header, Release, RemoteState, Serial, Source, Standing};
use npc_core::envelope::Envelope;
use npc_core::key::SecretKey;
use npc_core::name::FleetId;
use npc_tests::world::{Agent, Kind, World};

const NOTE_SERIAL: &str = "echo \"$NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n";

/// A fleet in a directory, with one release that one host runs.
fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    world
}

fn agent(world: &World) -> Agent<'_> {
    let agent = world.command_agent("web-1", NOTE_SERIAL);
    agent.once().works();
    assert_eq!(activated(&agent), ["1"]);
    agent
}

fn activated(agent: &Agent<'_>) -> Vec<String> {
    let text = fs::read_to_string(agent.path("trace")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The release that `prod` holds, to be changed and signed by someone else.
fn current(world: &World) -> Document<RemoteState> {
    let bytes = fs::read(world.path("store/remotes/prod.json")).expect("a release");
    let envelope = Envelope::parse(&bytes).expect("an envelope");
    Document::from_payload(envelope.payload()).expect("a release")
}

/// Puts a release at `prod`, as whoever can write to the store could.
fn put(world: &World, document: &Document<RemoteState>, keys: &[&SecretKey]) {
    fs::write(world.path("store/remotes/prod.json"), document.sign(keys).bytes).expect("written");
}

fn bumped(world: &World) -> Document<RemoteState> {
    let mut document = current(world);
    document.header.serial = Serial::new(document.header.serial.get() + 1).expect("a serial");
    document
}

/// The host refuses what lies there, for that reason, and runs what it ran.
#[track_caller]
fn refuses(agent: &Agent<'_>, words: &str) {
    let but_for_trouble = || {
        let mut journal = agent.journal().expect("a journal");
        journal.as_object_mut().expect("an object").remove("trouble");
        journal
    };
    let before = but_for_trouble();
    agent.once().fails(4, &[words, "hint: the refusal is called `"]);
    assert_eq!(activated(agent), ["1"], "nothing was activated");
    assert_eq!(but_for_trouble(), before, "nothing was begun");
    let kind = agent.journal().expect("a journal")["trouble"]["reason"]["kind"].clone();
    let status = agent.run(&["status"]).works();
    assert!(status.contains(&format!("({})", kind.as_str().expect("a kind"))), "{status}");
}

#[test]
fn a_wrong_key_is_refused() {
    let world = world();
    let agent = agent(&world);
    let stranger = SecretKey::generate("npc-publish-1".parse().expect("a name")).expect("randomness");
    put(&world, &bumped(&world), &[&stranger]);
    refuses(&agent, "0 of the 1 keys needed");
    put(&world, &bumped(&world), &[]);
    refuses(&agent, "0 of the 1 keys needed");
}

#[test]
fn a_key_outside_its_role_is_refused() {
    let world = world();
    let agent = agent(&world);
    put(&world, &bumped(&world), &[&world.key("npc-root-1")]);
    refuses(&agent, "0 of the 1 keys needed");
}

#[test]
fn another_fleets_release_is_refused() {
    let world = world();
    let agent = agent(&world);
    let mut foreign = bumped(&world);
    foreign.header.fleet = FleetId::from_random([9; 16]);
    put(&world, &foreign, &[&world.key("npc-publish-1")]);
    refuses(&agent, "its fleet is");
    // A whole store of another fleet, put in the place of this one.
    let other = self::world();
    fs::remove_dir_all(world.path("store")).expect("removed");
    npc_tests::world::copy_tree(&other.path("store"), &world.path("store"));
    refuses(&agent, "0 of the 1 keys needed");
}

#[test]
fn another_remotes_release_is_refused() {
    let world = world();
    let agent = agent(&world);
    world.edit("staging\n");
    world.in_fleet(&["--remote", "staging"]).works();
    fs::copy(world.path("store/remotes/staging.json"), world.path("store/remotes/prod.json")).expect("copied");
    refuses(&agent, "its name is `staging`, not `prod`");
}

#[test]
fn a_replayed_release_is_refused() {
    let world = world();
    let agent = agent(&world);
    let old = fs::read(world.path("store/remotes/prod.json")).expect("read");
    world.edit("newer\n");
    world.publish();
    agent.once().works();
    fs::write(world.path("store/remotes/prod.json"), old).expect("written");
    agent.once().fails(4, &["its serial is 1 (trust 1), but 2 (trust 1) has been seen already"]);
    assert_eq!(agent.committed(), Some(2));
}

#[test]
fn a_second_release_with_the_same_serial_is_refused() {
    let world = world();
    let agent = agent(&world);
    let mut twin = current(&world);
    twin.header.created = Timestamp::now();
    put(&world, &twin, &[&world.key("npc-publish-1")]);
    refuses(&agent, "another document with serial 1");
}

#[test]
fn a_release_that_needs_a_newer_agent_is_refused() {
    let world = world();
    let agent = agent(&world);
    let mut modern = bumped(&world);
    modern.header.requires = vec!["inputs".into()];
    put(&world, &modern, &[&world.key("npc-publish-1")]);
    refuses(&agent, "it requires `inputs`");
}

#[test]
fn an_expired_release_is_refused() {
    let world = world();
    let agent = agent(&world);
    let mut stale = bumped(&world);
    stale.header.expires = Some(Timestamp::UNIX_EPOCH);
    stale.header.created = Timestamp::UNIX_EPOCH;
    put(&world, &stale, &[&world.key("npc-publish-1")]);
    refuses(&agent, "it expired");
}

#[test]
fn an_archive_that_was_swapped_is_refused() {
    let world = world();
    let agent = agent(&world);
    world.edit("honest\n");
    world.publish();
    let Standing::Present(release) = current(&world).body else { panic!("a release") };
    let path = world.path(&format!("store/archives/{}.tar.gz", release.archive.sha256));
    let size = usize::try_from(release.archive.size).expect("small");
    let forgeries =
        [("same", size, "digest-mismatch"), ("short", size - 1, "digest-mismatch"), ("long", size + 1, "too-large")];
    for (name, length, kind) in forgeries {
        fs::write(&path, vec![0; length]).expect("written");
        // Each by a host of its own: one that has failed waits before it tries again.
        let host = world.command_agent(name, NOTE_SERIAL);
        host.once().fails(5, &["not the one that was published"]);
        assert_eq!(host.outcome(), Some(format!("failed {kind}")));
        assert!(activated(&host).is_empty());
        assert_eq!(fs::read_dir(host.path("state/downloads")).expect("listed").count(), 0);
    }
    agent.once().fails(5, &["not the one that was published"]);
    assert_eq!(activated(&agent), ["1"]);
    let downloads = fs::read_dir(agent.path("state/downloads")).expect("listed").count();
    assert_eq!(downloads, 0, "nothing half-written is left");
}

/// An archive with one file under a name that no packer would write.
fn archive_with(name: &str) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().expect("a GNU header").name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = tar::Builder::new(gzip);
    tar.append(&header, &b"x"[..]).expect("appended");
    tar.into_inner().expect("finished").finish().expect("compressed")
}

#[test]
fn an_archive_with_a_way_out_is_refused_although_signed() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = world();
    let agent = agent(&world);
    let bytes = archive_with("../escaped");
    let archive = npc_core::document::Archive { sha256: Digest::of(&bytes), size: bytes.len() as u64 };
    fs::write(world.path(&format!("store/archives/{}.tar.gz", archive.sha256)), bytes).expect("written");
    let mut document = bumped(&world);
    let release = Release::new(archive, Source::default(), std::collections::BTreeMap::new());
    document.body = Standing::Present(Box::new(release));
    put(&world, &document, &[&world.key("npc-publish-1")]);
    agent.once().fails(5, &["illegal path"]);
    assert_eq!(agent.outcome().as_deref(), Some("failed archive-illegal-path"));
    assert!(!agent.path("state/flakes/escaped").exists() && !agent.path("state/escaped").exists());
    let hidden = fs::read_dir(agent.path("state/flakes")).expect("listed").flatten();
    let hidden = hidden.filter(|entry| entry.file_name().as_bytes().starts_with(b".")).count();
    assert_eq!(hidden, 0, "nothing half-unpacked is left");
}

#[test]
fn a_rotated_key_is_followed_and_the_old_one_refused() {
    let world = world();
    let agent = agent(&world);
    let old = world.key("npc-publish-1");
    let (new_file, root_file) = (world.path("npc-publish-2.secret"), world.key_file("npc-root-1"));
    let (new_file, root_file) = (new_file.to_str().expect("plain"), root_file.to_str().expect("plain").to_owned());
    let public = world.npc_publish(&["key", "generate", "npc-publish-2", "--output", new_file]).works();
    let replace = format!("npc-publish-1={}", public.trim());
    let rotated = world.in_fleet(&["trust", "rotate", "--root-key", &root_file, "--replace", &replace]);
    assert!(rotated.words.contains("no longer believed"), "what must be published again is said: {rotated:?}");
    rotated.works();
    world.in_fleet(&["--remote", "prod"]).fails(4, &["to publish to `prod` takes 1 of npc-publish-2", "hint:"]);

    put(&world, &bumped(&world), &[&old]);
    refuses(&agent, "0 of the 1 keys needed");

    world.edit("signed by the new key\n");
    world.in_fleet(&["--remote", "prod", "--key", new_file]).works();
    agent.once().works();
    assert_eq!(activated(&agent).len(), 2);
    let replay = fs::read_to_string(agent.path("state/replay.json")).expect("read");
    assert!(replay.contains("\"trust\": 2"), "the host walked to the new trust: {replay}");

    let mut late = bumped(&world);
    late.header.trust = Serial::FIRST;
    put(&world, &late, &[&old]);
    agent.once().fails(4, &["0 of the 1 keys needed"]);
}

#[test]
fn an_operator_is_told_before_signing_with_a_key_that_hosts_have_ceased_to_trust() {
    let world = world();
    let agent = agent(&world);
    let (new_file, root_file) = (world.path("npc-publish-2.secret"), world.key_file("npc-root-1"));
    let (new_file, root_file) = (new_file.to_str().expect("plain"), root_file.to_str().expect("plain").to_owned());
    let public = world.npc_publish(&["key", "generate", "npc-publish-2", "--output", new_file]).works();
    let replace = format!("npc-publish-1={}", public.trim());
    world.in_fleet(&["trust", "rotate", "--root-key", &root_file, "--replace", &replace]).works();
    world.edit("signed by the new key\n");
    world.in_fleet(&["--remote", "prod", "--key", new_file]).works();
    world.in_fleet(&["--remote", "next", "--key", new_file]).works();
    agent.once().works();
    // The store comes back from a backup, from before the rotation.
    fs::remove_file(world.path("store/trust/2.json")).expect("removed");
    let refused = ["web-1 trust version 2 of the trust, and the newest in this store is 1", "hint: "];
    world.edit("signed by the old key\n");
    world.in_fleet(&["--remote", "prod"]).fails(4, &refused);
    world.in_fleet(&["repoint", "web-1", "--remote", "next"]).fails(4, &refused);
    world.in_fleet(&["--remote", "other"]).works();
}

#[test]
fn a_rotated_root_is_walked_to_by_old_and_new_hosts() {
    let world = world();
    let old_host = agent(&world);
    let root = world.key_file("npc-root-1");
    let root = root.to_str().expect("plain");
    let second = world.path("npc-root-2.secret");
    let second = second.to_str().expect("plain");
    let public = world.npc_publish(&["key", "generate", "npc-root-2", "--output", second]).works();
    let replace = format!("npc-root-1={}", public.trim());
    let rotate = ["trust", "rotate", "--replace", &replace, "--root-key", root];
    world.in_fleet(&rotate).fails(4, &["did not sign it", "hint:"]);
    world.in_fleet(&[&rotate[..], &["--root-key", second]].concat()).works();
    world.edit("under the new root\n");
    world.publish();
    old_host.once().works();
    assert_eq!(old_host.committed(), Some(2));
    let new_host = world.command_agent("db-1", NOTE_SERIAL);
    new_host.once().works();
    assert_eq!(new_host.committed(), Some(2));
}

#[test]
fn a_skipped_or_forged_trust_version_is_refused() {
    let world = world();
    let agent = agent(&world);
    world.edit("newer\n");
    world.publish();
    let first = fs::read(world.path("store/trust/1.json")).expect("read");
    fs::write(world.path("store/trust/2.json"), first).expect("written");
    refuses(&agent, "trust version 2 is not to be believed");
}

#[test]
fn a_removed_remote_leaves_its_hosts_as_they_are() {
    let world = world();
    let agent = agent(&world);
    let mut tombstone = bumped(&world);
    tombstone.body = Standing::Removed;
    put(&world, &tombstone, &[&world.key("npc-publish-1")]);
    refuses(&agent, "was removed");
    fs::remove_file(world.path("store/remotes/prod.json")).expect("removed");
    agent.once().fails(3, &["cannot read `remotes/prod.json`"]);
    assert_eq!(activated(&agent), ["1"]);
}

#[test]
fn a_host_told_a_floor_believes_nothing_older() {
    let world = world();
    let host = world.command_agent("db-1", NOTE_SERIAL);
    let command = host.path("apply");
    let activation = format!("[activation]\ncommand = [\"sh\", \"{}\"]", command.display());
    host.configure(&format!(
        "remote = \"prod\"\nconfiguration = \"db-1\"\nminimum_serials = {{ prod = 5 }}\n{activation}"
    ));
    host.once().fails(4, &["has been seen already"]);
    // Told later, to a host that has long believed the older one, it counts as well.
    let late = world.command_agent("web-1", NOTE_SERIAL);
    late.once().works();
    late.configure(&format!(
        "remote = \"prod\"\nconfiguration = \"web-1\"\nminimum_serials = {{ prod = 5 }}\n{activation}"
    ));
    late.once().fails(4, &["has been seen already"]);
    let wrong = SecretKey::generate("npc-root-1".parse().expect("a name")).expect("randomness").public();
    let other = world.command_agent("web-2", NOTE_SERIAL);
    let settings = world.host_settings().replace(&world.key("npc-root-1").public().to_string(), &wrong.to_string());
    other.configure_for(&settings, &format!("remote = \"prod\"\nconfiguration = \"web-2\"\n{activation}"));
    other.once().fails(4, &["trust version 1 is not to be believed"]);
}

/// A document made by hand has every field that format 1 promises, by the names that it promises.
#[test]
fn format_1_is_what_it_was() {
    let world = world();
    let header = Header {
        fleet: FleetId::from_random([1; 16]),
        name: "prod".into(),
        serial: Serial::FIRST,
        created: "2026-01-01T00:00:00Z".parse().expect("a time"),
        trust: Serial::FIRST,
        requires: Vec::new(),
        expires: None,
    };
    let Standing::Present(mut release) = current(&world).body else { panic!("a release") };
    release.archive = npc_core::document::Archive { sha256: Digest::of(b"x"), size: 1 };
    let payload = Document { header, body: Standing::Present(release) }.to_payload();
    let text = String::from_utf8(payload).expect("text");
    let expected = r#"{"archive":{"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1},"created":"2026-01-01T00:00:00Z","fleet":"01010101010101010101010101010101","name":"prod","serial":1,"source":{"dirty":false},"trust":1}"#;
    assert_eq!(text, expected);
    let envelope: serde_json::Value =
        serde_json::from_slice(&fs::read(world.path("store/remotes/prod.json")).expect("read")).expect("JSON");
    assert_eq!(envelope["payloadType"], "application/vnd.npc.release.v1+json");
    assert_eq!(envelope["signatures"][0]["keyid"], "npc-publish-1");
}
