//! The bucket's own policy that the Terraform module renders, at a gate before the store: npc does all its work under it, and whoever
//! writes without a condition where npc writes under one, or removes what is signed, is denied.

use std::net::SocketAddr;
use std::process::Command;

use npc_core::store::StoreUrl;
use npc_tests::eventually;
use npc_tests::gate::{Gate, asked, denies};
use npc_tests::moto::{Keys, Moto};
use npc_tests::parts::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};
use npc_tests::process::{Background, Ended};
use npc_tests::terraform::Terraform;
use npc_tests::world::{Bucket, Kind, World};
use serde_json::{Value, json};

/// Where the store is in the bucket.
const PREFIX: &str = "fleet";

/// The policy as the module renders it.
fn rendered() -> Option<Value> {
    let variables = json!({ "bucket_arn": format!("arn:aws:s3:::{BUCKET}"), "prefix": PREFIX });
    let rendered = Terraform::find()?.render("modules/policies", &variables);
    let policy = rendered.pointer("/bucket/value").and_then(Value::as_str).expect("a policy");
    Some(serde_json::from_str(policy).expect("JSON"))
}

/// A fleet whose store is behind the gate.
struct Fleet {
    world: World,
    keys: Keys,
    _gate: Gate,
    _moto: Moto,
}

impl Fleet {
    fn make() -> Option<Self> {
        let policy = rendered()?;
        let moto = Moto::start()?;
        // moto lets everybody do everything here: what is denied, the gate denies.
        let keys = Keys { id: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), session: None };
        let StoreUrl::S3(behind) = moto.url(PREFIX) else { panic!("a bucket") };
        let behind = behind.endpoint.expect("an endpoint");
        let behind: SocketAddr = behind.socket_addrs(|| None).expect("an address")[0];
        let gate = Gate::start(behind, policy).expect("a gate");
        let url = format!("s3://{BUCKET}/{PREFIX}?region={REGION}&endpoint=http://{}", gate.address());
        let bucket = Bucket { url: url.parse().expect("an address"), operator: keys.clone() };
        Some(Self { world: World::new(&Kind::Bucket(Box::new(bucket))), keys, _gate: gate, _moto: moto })
    }

    /// How attempts at the store end.
    fn attempts(&self, attempts: &[&str]) -> Vec<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_try-store"));
        command.arg(self.world.url().to_string()).args(attempts).env("AWS_EC2_METADATA_DISABLED", "true");
        Ended::of(self.keys.give(&mut command)).works().lines().map(str::to_owned).collect()
    }
}

#[test]
fn npc_does_all_its_work_under_the_buckets_policy() {
    let Some(fleet) = Fleet::make() else { return };
    let world = &fleet.world;
    let works = |arguments: &[&str]| drop(world.in_fleet(arguments).works());
    world.publish();
    world.edit("for canaries\n");
    works(&["--remote", "canary"]);
    works(&["--remote", "prod"]);
    works(&["rollback", "prod", "--yes"]);
    works(&["promote", "canary", "prod", "--yes"]);
    works(&["repoint", "web-1", "web-2", "--remote", "canary"]);
    works(&["repoint", "web-1", "--remote", "prod"]);
    works(&["hosts", "pause", "web-2"]);
    works(&["hosts", "remove", "web-1"]);
    works(&["hosts", "resume", "web-2"]);
    let root = world.key_file("npc-root-1");
    let root = root.to_str().expect("a plain path");
    let add = format!("release:canary={}", world.key("npc-publish-1").public());
    works(&["trust", "rotate", "--root-key", root, "--add", &add]);
    rolls_out(&fleet);
    works(&["gc", "--yes"]);
}

/// A host reports, a rollout leads it elsewhere and, after a while, leaves it there.
fn rolls_out(fleet: &Fleet) {
    let agent = fleet.world.command_agent("web-2", "true");
    let mut command = agent.command();
    let running = Background::start(fleet.keys.give(&mut command).arg("run"), &agent.path("agent.log"));
    agent.commits(1);
    eventually("it reports", || (fleet.attempts(&["read:reports/web-2.json"]) == ["ok"]).then_some(()));
    let start = ["rollout", "start", "--to", "prod", "--hosts", "web-2", "--waves", "100%", "--soak", "0s"];
    fleet.world.in_fleet(&start).works();
    fleet.world.in_fleet(&["rollout", "finish", "--yes"]).works();
    let words = running.words();
    assert!(!words.contains("denied"), "{words}");
    running.stop();
}

#[test]
fn pointers_are_not_overwritten_unseen() {
    let Some(fleet) = Fleet::make() else { return };
    fleet.world.publish();
    fleet.world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    for pointer in ["remotes/prod", "assignments/web-1", "rollouts/2026-01-01", "trust/1", "releases/prod/1"] {
        assert_eq!(fleet.attempts(&[&format!("write:{pointer}.json")]), ["denied"], "{pointer}");
    }
    for new in ["remotes/new", "assignments/new", "rollouts/new", "trust/2", "releases/prod/9"] {
        assert_eq!(
            fleet.attempts(&[&format!("create:{new}.json"), &format!("create:{new}.json")]),
            ["ok", "conflict"],
            "{new}"
        );
    }
    for free in ["archives/one.tar.gz", "binaries/one", "reports/web-1.json", "probe/one"] {
        assert_eq!(fleet.attempts(&[&format!("write:{free}"), &format!("write:{free}")]), ["ok", "ok"], "{free}");
    }
}

#[test]
fn what_is_signed_is_not_removed() {
    let (Some(fleet), Some(policy)) = (Fleet::make(), rendered()) else { return };
    fleet.world.publish();
    fleet.world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    for signed in ["remotes/prod", "assignments/web-1", "trust/1", "releases/prod/1"] {
        let attempts = [format!("remove:{signed}.json"), format!("read:{signed}.json")];
        assert_eq!(fleet.attempts(&[&attempts[0], &attempts[1]]), ["denied", "ok"], "{signed}");
        let version = format!("DELETE /{BUCKET}/{PREFIX}/{signed}.json?versionId=1 HTTP/1.1");
        assert!(denies(&policy, &asked(&version).expect("a request")), "{version}");
    }
    for free in ["archives/one.tar.gz", "binaries/one", "reports/web-1.json", "probe/one"] {
        assert_eq!(fleet.attempts(&[&format!("write:{free}"), &format!("remove:{free}")]), ["ok", "ok"], "{free}");
    }
}

#[test]
fn nothing_is_answered_without_tls() {
    let Some(policy) = rendered() else { return };
    for request in [
        "GET /my-bucket/fleet/trust/1.json HTTP/1.1",
        "GET /my-bucket?list-type=2 HTTP/1.1",
        "GET /my-bucket/else HTTP/1.1",
    ] {
        let mut asked = asked(request).expect("a request");
        assert!(!denies(&policy, &asked), "{request}");
        asked.keys.insert("aws:SecureTransport", "false".to_owned());
        assert!(denies(&policy, &asked), "{request}");
    }
}
