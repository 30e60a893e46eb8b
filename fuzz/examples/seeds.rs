//! Writes the seeds of the corpus: real documents and archives, and the edges that a fuzzer would take long to find.
//!
//! `cargo run -p npc-fuzz --example seeds`, after a format has changed. What a fuzzer found lies beside them under names that
//! begin with `found-`, and is left alone.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use npc_core::archive::pack;
use npc_core::document::Kind;
use npc_core::envelope::Envelope;
use npc_core::key::SecretKey;
use npc_fuzz::fleet::FLEET;
use npc_fuzz::{TARGETS, Target};
use serde_json::{Value, json};
use tar::EntryType;

/// Seeds of one target, by name.
type Seeds = Vec<(&'static str, Vec<u8>)>;

const DIGEST: &str = "f147d4c40e3ec0a19aadde01e29c7998a0e15248fad9aa8104f4d87b22412da7";

fn header(name: &str) -> Value {
    json!({"fleet": "07".repeat(16), "name": name, "serial": 3, "created": "2025-12-31T23:59:59.5Z", "trust": 1})
}

/// A payload: a header, and these fields.
fn payload(name: &str, fields: Value) -> Vec<u8> {
    let mut payload = header(name);
    let (Some(all), Value::Object(fields)) = (payload.as_object_mut(), fields) else {
        unreachable!("both are objects")
    };
    all.extend(fields);
    payload.to_string().into_bytes()
}

fn releases() -> Seeds {
    let archive = json!({"sha256": DIGEST, "size": 4751});
    let system = json!({"system": "x86_64-linux", "drv_path": "/nix/store/a.drv", "out_path": "/nix/store/b",
        "proof": "whole-tree", "host": {"class": "web", "ports": [80, 443]}});
    let full = json!({"archive": archive, "attempt": 2, "expires": "2027-01-01T00:00:00Z",
        "source": {"rev": "c97a9e3", "dirty": true, "url": "https://example.org/fleet", "message": "motd"},
        "configurations": {"web-1": system, "ein ü": {"system": "", "drv_path": "", "proof": "of-later"}},
        "inputs": [{"name": "nixpkgs", "nar_hash": "sha256-x", "sha256": DIGEST, "size": 0}], "later": {"x": [1.5, -1, null]}});
    vec![
        ("small", payload("prod", json!({"archive": archive}))),
        ("full", payload("prod", full)),
        ("removed", payload("prod", json!({"removed": true, "archive": 1}))),
        ("standing", payload("prod", json!({"removed": false, "archive": archive}))),
        ("expired", payload("prod", json!({"archive": archive, "expires": "2025-12-31T23:59:59Z"}))),
        ("other-remote", payload("staging", json!({"archive": archive}))),
        ("other-fleet", payload("prod", json!({"archive": archive, "fleet": "08".repeat(16)}))),
        ("newer-trust", payload("prod", json!({"archive": archive, "trust": 2}))),
        ("unknown-feature", payload("prod", json!({"archive": archive, "requires": ["teleport"]}))),
        ("greatest-serial", payload("prod", json!({"archive": archive, "serial": 9_007_199_254_740_991_u64}))),
        ("serial-beyond", payload("prod", json!({"archive": archive, "serial": 9_007_199_254_740_992_u64}))),
        ("huge-size", payload("prod", json!({"archive": {"sha256": DIGEST, "size": u64::MAX}}))),
        ("twice", br#"{"name":"prod","name":"prod"}"#.to_vec()),
        ("twice-escaped", br#"{"archive":{"size":1,"s\u0069ze":2}}"#.to_vec()),
        ("deep", [vec![b'['; 127], vec![b']'; 127]].concat()),
    ]
}

fn assignments() -> Seeds {
    let full = json!({"remote": "prod", "configuration": "web-1", "pin": {"serial": 3, "archive": DIGEST}, "paused": true,
        "poll_interval": 30, "report_key": FLEET.host_key.public().to_string(), "rollout": {"id": "r-1", "wave": 2},
        "orders": {"reboot": {"boot_id": "5d07e5ce"}}, "later": true});
    vec![
        ("small", payload("web-1", json!({"remote": "prod", "configuration": "web-1"}))),
        ("full", payload("web-1", full)),
        ("removed", payload("web-1", json!({"removed": true}))),
        ("no-such-name", payload("web-1", json!({"remote": "-", "configuration": ""}))),
        ("other-host", payload("web-2", json!({"remote": "prod", "configuration": "web-2"}))),
    ]
}

fn reports() -> Seeds {
    let small = json!({"instance": "i", "boot_id": "b", "agent_version": "0.1.0", "phase": "steady"});
    let outcome = json!({"at": "2025-12-31T00:00:00Z", "serial": 3, "kind": "rolled-back", "error": "activation-failed",
        "message": "prod@3: exit 1", "log": "activation.fail"});
    let mut full = small.clone();
    full["obeys"] = json!({"assignment": 1, "remote": "prod", "serial": 3, "digest": DIGEST});
    full["runs"] = json!({"archive": DIGEST, "system": "/nix/store/b", "rev": "c97a9e3"});
    full["outcomes"] = json!([outcome]);
    full["failed_units"] = json!(["nginx.service"]);
    full["addresses"] = json!(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]);
    full["ssh_host_keys"] = json!(["ssh-ed25519 AAAA"]);
    full["reboot_needed"] = true.into();
    full["later"] = json!({});
    let mut no_address = small.clone();
    no_address["addresses"] = json!(["example.org"]);
    let mut unknown = small.clone();
    unknown["outcomes"] = json!([{"at": "2025-12-31T00:00:00Z", "kind": "exploded", "message": ""}]);
    let mut newer_trust = small.clone();
    newer_trust["trust"] = 7.into();
    vec![
        ("small", payload("web-1", small)),
        ("newer-trust", payload("web-1", newer_trust)),
        ("full", payload("web-1", full)),
        ("unknown-outcome", payload("web-1", unknown)),
        ("no-address", payload("web-1", no_address)),
    ]
}

fn rollouts() -> Seeds {
    let member = |name: &str| json!({"assignment": name, "hosts": [name], "configuration": name});
    let small = json!({"remote": "next", "release": {"serial": 1, "digest": DIGEST}, "archive": DIGEST, "extents": ["100%"],
        "waves": [[member("web-1")]], "state": "running",
        "gates": {"soak": 600, "timeout": 1800, "max_failed": 0, "on_failure": "halt"}});
    let mut full = small.clone();
    full["extents"] = json!(["1", "10%", "100%"]);
    full["waves"] = json!([[member("web-1")], [member("web-2"), member("web-3")]]);
    full["waves"][0][0]["before"] =
        json!({"remote": "prod", "configuration": "web-1", "pin": {"serial": 3, "archive": DIGEST}});
    full["waves"][0][0]["failed_units"] = json!(["nginx.service"]);
    full["gates"] = json!({"soak": 0, "timeout": 1, "max_failed": 3, "on_failure": "revert", "reboot": true});
    full["state"] = json!({"finishing": "prod"});
    full["reason"] = "web-3: activation-failed".into();
    full["driver"] = json!({"name": "ana@laptop", "id": "5d07e5ce", "until": "2026-01-01T00:01:00Z"});
    full["later"] = true.into();
    let with = |field: &str, value: Value| {
        let mut changed = small.clone();
        changed[field] = value;
        payload("next-1", changed)
    };
    vec![
        ("small", payload("next-1", small.clone())),
        ("full", payload("next-1", full)),
        ("nobody", with("waves", json!([]))),
        ("no-extent", with("extents", json!(["0"]))),
        ("too-much", with("extents", json!(["101%"]))),
        ("unknown-state", with("state", "resting".into())),
        ("no-such-name", with("remote", "-".into())),
        ("other-rollout", payload("next-2", small.clone())),
    ]
}

fn trusts() -> Seeds {
    let envelope = Envelope::parse(&FLEET.first).expect("an envelope");
    let first: Value = serde_json::from_slice(envelope.payload()).expect("a payload");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut changed = first.clone();
        change(&mut changed);
        changed.to_string().into_bytes()
    };
    vec![
        ("first", envelope.payload().to_vec()),
        ("second", changed(&|trust| trust["serial"] = 2.into())),
        ("third", changed(&|trust| trust["serial"] = 3.into())),
        ("impossible-threshold", changed(&|trust| trust["root"]["threshold"] = 2.into())),
        ("no-threshold", changed(&|trust| trust["root"]["threshold"] = 0.into())),
        ("unlisted-key", changed(&|trust| trust["assignment"]["keys"] = json!(["npc-nobody"]))),
        ("no-release", changed(&|trust| trust["release"] = json!([]))),
        ("key-twice", changed(&|trust| trust["keys"] = json!([trust["keys"][0], trust["keys"][0]]))),
        ("patterns", changed(&|trust| trust["release"][0]["remotes"] = "*a*b*".into())),
        ("later-field", changed(&|trust| trust["weather"] = json!({"wind": 1e300}))),
    ]
}

fn envelopes() -> Seeds {
    let sign = |kind: Kind, seeds: &Seeds, keys: &[&SecretKey]| {
        Envelope::sign(&kind.payload_type(), seeds[0].1.clone(), keys).to_bytes()
    };
    let release = sign(Kind::Release, &releases(), &[&FLEET.publishing]);
    let text = String::from_utf8(release.clone()).expect("JSON is text");
    let doubled = text.replacen('{', r#"{"payloadType":"x","#, 1);
    vec![
        ("release", release),
        ("assignment", sign(Kind::Assignment, &assignments(), &[&FLEET.publishing])),
        ("report", sign(Kind::Report, &reports(), &[&FLEET.host_key])),
        ("trust", FLEET.first.clone()),
        ("second-trust", Envelope::sign(&Kind::Trust.payload_type(), trusts()[1].1.clone(), &[&FLEET.root]).to_bytes()),
        ("stranger", sign(Kind::Release, &releases(), &[&FLEET.stranger])),
        ("thrice", sign(Kind::Release, &releases(), &[&FLEET.publishing, &FLEET.stranger, &FLEET.publishing])),
        ("too-many", sign(Kind::Release, &releases(), &[&FLEET.root; 33])),
        ("nobody", sign(Kind::Release, &releases(), &[])),
        ("key-twice", doubled.into_bytes()),
        ("url-safe", br#"{"payloadType":"","payload":"-_-_","signatures":[{"sig":"-_8="}]}"#.to_vec()),
        ("no-base64", br#"{"payloadType":"","payload":"?","signatures":[]}"#.to_vec()),
        ("page", b"<!doctype html><title>Welcome</title>".to_vec()),
    ]
}

fn settings() -> Seeds {
    let root = FLEET.root.public();
    let told = |store: &str, more: &str| {
        let fleet = "07".repeat(16);
        let text =
            format!("fleet = \"{fleet}\"\nstore = \"{store}\"\nroot_keys = [\"{root}\"]\nremote = \"prod\"\n{more}\n");
        text.into_bytes()
    };
    let s3 = "s3://my-bucket/on-garage?region=eu-central-1&endpoint=http://127.0.0.1:3900";
    let command = "configuration = \"web-1\"\npoll_interval = 5\n[activation]\ncommand = [\"sh\", \"-c\", \"true\"]\n\
                   timeout = 10\nprobation = 1\n[build]\ntimeout = 1";
    let full = "configuration = \"ein ü\"\nroot_threshold = 1\nminimum_trust = 2\nroot = \"/mnt\"\n\
                profile = \"/mnt/profile\"\n[minimum_serials]\nprod = 7\n\"canary\" = 1";
    vec![
        ("small", told("https://store.example.org/", "")),
        ("command", told("file:///srv/npc%20store", command)),
        ("full", told(s3, full)),
        ("loopback", told("http://[::1]:8420/a/b", "")),
        ("no-store", told("nonsense", "")),
        ("password", told("https://me:secret@store.example.org/", "")),
        ("unknown-setting", told("https://store.example.org/", "pol_interval = 5")),
        ("threshold", told("https://store.example.org/", "root_threshold = 2")),
        ("interval", told("https://store.example.org/", "poll_interval = 3601")),
        ("relative-root", told("https://store.example.org/", "root = \"mnt\"")),
        ("empty-command", told("https://store.example.org/", "[activation]\ncommand = []")),
        ("twice", told("https://store.example.org/", "remote = \"prod\"")),
    ]
}

/// Path, kind, link target and content of a member.
type Member<'a> = (&'a str, EntryType, &'a str, &'a [u8]);

/// A tar of these members, as nobody's packer would write it.
fn forged(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, target, content) in members {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().expect("a GNU header");
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, *content).expect("appended");
    }
    tar.into_inner().expect("finished")
}

fn tars() -> Seeds {
    use EntryType as T;
    let directory = ("a", T::Directory, "", &b""[..]);
    let long = [b"a/".to_vec(), vec![b'n'; 150], vec![0]].concat();
    let far = [b"a/../".repeat(40), vec![b'x', 0]].concat();
    let (name, target) = (("././@LongLink", T::GNULongName, ""), ("././@LongLink", T::GNULongLink, ""));
    vec![
        ("tree", forged(&[directory, ("a/x", T::Regular, "", b"content"), ("a/y", T::Symlink, "x", b"")])),
        ("empty", forged(&[])),
        ("long-name", forged(&[directory, (name.0, name.1, name.2, &long), ("", T::Regular, "", b"x")])),
        ("long-target", forged(&[directory, (target.0, target.1, target.2, &far), ("l", T::Symlink, "", b"")])),
        ("absolute", forged(&[("/etc/passwd", T::Regular, "", b"x")])),
        ("above", forged(&[directory, ("a/../../x", T::Regular, "", b"x")])),
        ("directory-above", forged(&[("..", T::Directory, "", b""), ("../x", T::Regular, "", b"x")])),
        ("root-directory", forged(&[("/", T::Directory, "", b""), ("/x", T::Regular, "", b"x")])),
        ("twice", forged(&[directory, ("a/", T::Directory, "", b"")])),
        ("below-a-file", forged(&[("x", T::Regular, "", b"x"), ("x/y", T::Regular, "", b"x")])),
        ("through-a-link", forged(&[("l", T::Symlink, "/tmp", b""), ("l/y", T::Regular, "", b"x")])),
        ("link-out", forged(&[directory, ("a/up", T::Symlink, "..", b""), ("b", T::Symlink, "a/up/../x", b"")])),
        ("link-loop", forged(&[("l", T::Symlink, "m", b""), ("m", T::Symlink, "l/x", b"")])),
        ("hard-link", forged(&[("x", T::Regular, "", b"x"), ("h", T::Link, "x", b"")])),
        ("device", forged(&[("d", T::Char, "", b"")])),
        ("sparse", forged(&[("s", T::GNUSparse, "", b"")])),
        ("pax", forged(&[("p", T::XHeader, "", b"20 path=/etc/passwd\n"), ("x", T::Regular, "", b"x")])),
        ("cut-off", forged(&[("x", T::Regular, "", &[7; 2000])])[..1000].to_vec()),
    ]
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut gzip, bytes).expect("compressed");
    gzip.finish().expect("compressed")
}

fn archives() -> Seeds {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
    let members = ["flake.nix", "hosts/web-1.nix", "modules/motd.txt"].map(PathBuf::from);
    let (real, _) = pack(&example, members, Vec::new(), |_| {}).expect("packed");
    let tree = compressed(&tars()[0].1);
    let zeros = forged(&[("zeros", EntryType::Regular, "", &vec![0; 4_000_000])]);
    let names: Vec<_> = (0..65).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), EntryType::Regular, "", &b""[..])).collect();
    vec![
        ("real", real.clone()),
        ("tree", tree.clone()),
        ("nothing", compressed(b"")),
        ("bomb", compressed(&zeros)),
        ("many", compressed(&forged(&many))),
        ("no-checksum", real[..real.len() - 8].to_vec()),
        ("cut-off", real[..real.len() / 2].to_vec()),
        ("two-streams", [tree.clone(), tree].concat()),
        ("no-gzip", b"PK\x03\x04".to_vec()),
    ]
}

fn seeds(target: &Target) -> Seeds {
    match target.name {
        "envelope" => envelopes(),
        "release" => releases(),
        "assignment" => assignments(),
        "report" => reports(),
        "rollout" => rollouts(),
        "trust" => trusts(),
        "archive" => archives(),
        "tar" => tars(),
        "settings" => settings(),
        other => unreachable!("`{other}` has no seeds"),
    }
}

fn main() {
    for target in TARGETS {
        fs::create_dir_all(target.corpus()).expect("created");
        for (name, bytes) in seeds(&target) {
            fs::write(target.corpus().join(name), bytes).expect("written");
        }
    }
}
