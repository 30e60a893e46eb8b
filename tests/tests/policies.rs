//! The IAM policies in `examples/policies` and those that `terraform/modules/policies` renders, enforced: what they let operators
//! and hosts do, and that hosts can do nothing else.
//!
//! What moto cannot show, and AWS does: that a variable in a policy becomes the principal's tag, that a condition restricts a
//! listing to one prefix, and that what is absent is denied to whoever may not list.

use std::process::Command;

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_core::layout;
use npc_core::store::StoreUrl;
use npc_tests::eventually;
use npc_tests::moto::{Keys, Moto, policy};
use npc_tests::parts::BUCKET;
use npc_tests::process::{Background, Ended};
use npc_tests::terraform::Terraform;
use npc_tests::world::{Agent, Bucket, Kind, World};
use serde_json::{Value, json};

/// Where the store is in the bucket.
const PREFIX: &str = "fleet";

/// A machine of the group `batch`.
const MACHINE: &str = "batch-i-0123456789abcdef0";

/// Everybody's policies.
struct Policies {
    operator: String,
    reader: String,
    keeper: String,
    /// Of the host `web-1`.
    web: String,
    /// Of the host `w-7`, which obeys the shared assignment `workers`.
    worker: String,
    /// Of the group `batch`.
    batch: String,
}

impl Policies {
    /// Those in `examples/policies`, with the group's as `docs/isolation.md` says.
    fn examples() -> Self {
        let example = |name: &str, host: &str, assignment: &str| policy(name, PREFIX, host, assignment);
        Self {
            operator: example("operator.json", "", ""),
            reader: example("status.json", "", ""),
            keeper: example("upkeep.json", "", ""),
            web: example("host.json", "web-1", "web-1"),
            worker: example("host.json", "w-7", "workers"),
            batch: example("host.json", "batch-i-*", "batch"),
        }
    }

    /// Those that the Terraform module renders.
    fn rendered() -> Option<Self> {
        let rendered = Terraform::find()?.render(
            "modules/policies",
            &json!({
                "bucket_arn": format!("arn:aws:s3:::{BUCKET}"),
                "prefix": PREFIX,
                "hosts": { "web-1": {}, "w-7": { "assignment": "workers" } },
                "groups": ["batch"],
            }),
        );
        let policy = |pointer: &str| rendered.pointer(pointer).and_then(Value::as_str).expect("a policy").to_owned();
        Some(Self {
            operator: policy("/publisher/value"),
            reader: policy("/reader/value"),
            keeper: policy("/keeper/value"),
            web: policy("/hosts/value/web-1"),
            worker: policy("/hosts/value/w-7"),
            batch: policy("/groups/value/batch"),
        })
    }

    fn all(&self) -> [&str; 6] {
        [&self.operator, &self.reader, &self.keeper, &self.web, &self.worker, &self.batch]
    }
}

/// A policy without its conditions, which moto cannot evaluate: only listings have any.
fn without_conditions(policy: &str) -> String {
    let mut policy: Value = serde_json::from_str(policy).expect("JSON");
    for statement in policy["Statement"].as_array_mut().expect("statements") {
        let condition = statement.as_object_mut().expect("a statement").remove("Condition");
        assert_eq!(condition.is_some(), statement["Action"] == "s3:ListBucket", "{statement}");
    }
    policy.to_string()
}

/// A published fleet in a bucket whose policies are enforced, and everybody's credentials.
struct Fleet {
    world: World,
    operator: Keys,
    reader: Keys,
    /// Whoever looks after the store.
    keeper: Keys,
    /// The user `web-1`.
    web: Keys,
    /// A session of the role of `w-7`.
    worker: Keys,
    /// A session of the role of `batch`.
    batch: Keys,
    moto: Moto,
}

impl Fleet {
    fn publish(policies: &Policies) -> Option<Self> {
        let moto = Moto::start()?;
        let operator = moto.user("operator", &without_conditions(&policies.operator));
        let reader = moto.user("reader", &without_conditions(&policies.reader));
        let keeper = moto.user("keeper", &without_conditions(&policies.keeper));
        let web = moto.user("web-1", &policies.web);
        let worker = moto.role("w-7", &policies.worker);
        let batch = moto.role("batch", &policies.batch);
        moto.enforce();
        let bucket = Bucket { url: moto.url(PREFIX), operator: operator.clone() };
        let world = World::new(&Kind::Bucket(Box::new(bucket)));
        world.publish();
        world.edit("for canaries\n");
        world.in_fleet(&["--remote", "canary"]).works();
        world.in_fleet(&["repoint", "web-1", "web-2", "--remote", "canary"]).works();
        for shared in ["workers", "batch"] {
            world.in_fleet(&["repoint", shared, "--remote", "canary", "--configuration", "web-2"]).works();
        }
        Some(Self { world, operator, reader, keeper, web, worker, batch, moto })
    }

    /// How `npc-publish` ends with these credentials.
    fn npc_publish(&self, keys: &Keys, arguments: &[&str]) -> Ended {
        let mut command = self.world.command("npc-publish");
        Ended::of(keys.give(&mut command).args(arguments).current_dir(self.world.path("fleet")))
    }

    /// How attempts at the store end.
    fn attempts(&self, keys: &Keys, attempts: &[String]) -> Vec<String> {
        try_store(self.world.url(), keys, attempts)
    }

    /// A host's agent in the background, with the host's own credentials.
    fn start(agent: &Agent<'_>, keys: &Keys) -> Background {
        Background::start(keys.give(&mut agent.command()).arg("run"), &agent.path("agent.log"))
    }
}

fn try_store(url: &StoreUrl, keys: &Keys, attempts: &[String]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_try-store"));
    command.arg(url.to_string()).args(attempts).env("AWS_EC2_METADATA_DISABLED", "true");
    let said = Ended::of(keys.give(&mut command)).works();
    let ends: Vec<_> = said.lines().map(str::to_owned).collect();
    assert_eq!(ends.len(), attempts.len());
    ends
}

/// Objects of every kind, and whether they are there.
fn objects(archive: &str) -> Vec<(String, bool)> {
    let there = [
        "trust/1.json",
        "remotes/prod.json",
        "releases/prod/1.json",
        archive,
        "assignments/web-1.json",
        "assignments/web-2.json",
        "assignments/workers.json",
        "assignments/batch.json",
        "reports/web-1.json",
        "reports/w-7.json",
        "reports/batch-i-0123456789abcdef0.json",
    ];
    let absent = [
        "trust/9.json",
        "remotes/none.json",
        "releases/prod/9.json",
        "archives/none.tar.gz",
        "assignments/w-7.json",
        "assignments/none.json",
        "reports/none.json",
        "reports/workers.json",
        "reports/batch.json",
        "reports/batch-2.json",
        "reports/a-batch-i-0123456789abcdef0.json",
        "rollouts/none.json",
        "binaries/none",
        "probe/none",
    ];
    let there = there.map(|path| (path.to_owned(), true));
    there.into_iter().chain(absent.map(|path| (path.to_owned(), false))).collect()
}

/// The attempts at all these, and what a host that is called so and obeys that assignment must see of each.
fn expected_of_host(host: &str, assignment: &str, archive: &str) -> Vec<(String, &'static str)> {
    let shared = ["trust/", "remotes/", "releases/", "archives/", "binaries/"];
    let mut expected = Vec::new();
    for (path, is_there) in objects(archive) {
        let reads =
            shared.iter().any(|folder| path.starts_with(folder)) || path == format!("assignments/{assignment}.json");
        let writes = path == format!("reports/{host}.json");
        let read = match (reads, is_there) {
            (true, true) => "ok",
            // AWS says `denied` here, to whoever may not list; hosts take both for absent.
            (true, false) => "not-found",
            (false, _) => "denied",
        };
        expected.push((format!("read:{path}"), read));
        expected.push((format!("open:{path}"), read));
        expected.push((format!("create:{path}"), if writes { "conflict" } else { "denied" }));
        expected.push((format!("write:{path}"), if writes { "ok" } else { "denied" }));
        expected.push((format!("remove:{path}"), "denied"));
    }
    expected.extend(layout::FOLDERS.map(|folder| (format!("list:{folder}/"), "denied")));
    expected
}

#[track_caller]
fn check(fleet: &Fleet, who: &str, keys: &Keys, expected: Vec<(String, &'static str)>) {
    let (attempts, expected): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
    let ends = fleet.attempts(keys, &attempts);
    for ((attempt, expected), end) in attempts.iter().zip(expected).zip(ends) {
        assert_eq!(end, expected, "{who} {attempt}");
    }
}

/// Waits until all hosts have reported what they were assigned, to an operator who only reads.
fn hosts_report(fleet: &Fleet) {
    let world = &fleet.world;
    let [web, worker, machine] = ["web-1", "w-7", MACHINE].map(|host| world.command_agent(host, "true"));
    worker.add_settings("assignment = \"workers\"");
    machine.add_settings("assignment = \"batch\"");
    let running = [(&web, &fleet.web), (&worker, &fleet.worker), (&machine, &fleet.batch)];
    let running = running.map(|(agent, keys)| Fleet::start(agent, keys));
    for (agent, host) in [(&web, "web-1"), (&worker, "w-7"), (&machine, MACHINE)] {
        agent.commits(1);
        eventually(&format!("{host} reports"), || {
            let bytes = download(fleet, &format!("reports/{host}.json"))?;
            let envelope = Envelope::parse(&bytes).expect("an envelope");
            let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
            let obeyed = report.body.obeys?;
            (obeyed.remote.as_str() == "canary" && obeyed.assignment.is_some() && obeyed.release.is_some())
                .then_some(())
        });
    }
    for running in running {
        let words = running.words();
        assert!(!words.contains("denied") && !words.contains("cannot report"), "{words}");
        running.stop();
    }
}

/// Reads an object as the reading operator, if it is there.
fn download(fleet: &Fleet, path: &str) -> Option<Vec<u8>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_try-store"));
    command.arg(fleet.world.url().to_string()).arg(format!("show:{path}")).env("AWS_EC2_METADATA_DISABLED", "true");
    let ended = Ended::of(fleet.reader.give(&mut command));
    (ended.data.trim() != "not-found").then(|| ended.works().into_bytes())
}

/// The object of the archive that `prod` holds.
fn archive_of_prod(fleet: &Fleet) -> String {
    let release = Envelope::parse(&download(fleet, "releases/prod/1.json").expect("a release")).expect("an envelope");
    let release: Value = serde_json::from_slice(release.payload()).expect("JSON");
    let digest = release.pointer("/archive/sha256").and_then(Value::as_str).expect("a digest");
    format!("archives/{digest}.tar.gz")
}

#[test]
fn operators_publish_hosts_follow_and_report_and_can_do_nothing_else() {
    let Some(fleet) = Fleet::publish(&Policies::examples()) else { return };
    everybody_does_what_they_must_and_nothing_else(&fleet);
}

#[test]
fn the_policies_that_terraform_renders_are_as_good() {
    let Some(policies) = Policies::rendered() else { return };
    let Some(fleet) = Fleet::publish(&policies) else { return };
    everybody_does_what_they_must_and_nothing_else(&fleet);
}

#[test]
fn the_policies_that_terraform_renders_say_the_same() {
    let Some(rendered) = Policies::rendered() else { return };
    let parsed = |policy: &str| serde_json::from_str::<Value>(policy).expect("JSON");
    for (rendered, example) in rendered.all().iter().zip(Policies::examples().all()) {
        assert_eq!(parsed(rendered), parsed(example));
    }
}

fn everybody_does_what_they_must_and_nothing_else(fleet: &Fleet) {
    hosts_report(fleet);
    let archive = archive_of_prod(fleet);
    check(fleet, "web-1", &fleet.web, expected_of_host("web-1", "web-1", &archive));
    check(fleet, "w-7", &fleet.worker, expected_of_host("w-7", "workers", &archive));
    check(fleet, MACHINE, &fleet.batch, expected_of_host(MACHINE, "batch", &archive));
    // IAM cannot tell the machines of a group apart: one may write another's report, though not sign it.
    assert_eq!(fleet.attempts(&fleet.batch, &["write:reports/batch-i-0fedcba9876543210.json".to_owned()]), ["ok"]);
    // The same attempts by those who may: what was denied was denied by the policy, and nothing else.
    let mut reader = Vec::new();
    let mut operator = Vec::new();
    for (path, is_there) in objects(&archive) {
        let read = if is_there { "ok" } else { "not-found" };
        let is_report = path.starts_with("reports/");
        for what in ["read", "open"] {
            reader.push((format!("{what}:{path}"), read));
            operator.push((format!("{what}:{path}"), read));
        }
        for what in ["write", "create", "remove"] {
            reader.push((format!("{what}:{path}"), "denied"));
        }
        let create = if is_there { "conflict" } else { "ok" };
        operator.push((format!("create:{path}"), if is_report { "denied" } else { create }));
        operator.push((format!("write:{path}"), if is_report { "denied" } else { "ok" }));
        operator.push((format!("remove:{path}"), if path.starts_with("probe/") { "ok" } else { "denied" }));
    }
    for folder in layout::FOLDERS {
        reader.push((format!("list:{folder}/"), "ok"));
        operator.push((format!("list:{folder}/"), "ok"));
    }
    check(fleet, "the reader", &fleet.reader, reader);
    check(fleet, "the operator", &fleet.operator, operator);
}

#[test]
fn whoever_looks_after_the_store_removes_what_nobody_needs_and_cannot_publish() {
    let Some(fleet) = Fleet::publish(&Policies::examples()) else { return };
    let hosts_write = || {
        assert_eq!(fleet.attempts(&fleet.web, &["write:reports/web-1.json".to_owned()]), ["ok"]);
        assert_eq!(fleet.attempts(&fleet.worker, &["write:reports/w-7.json".to_owned()]), ["ok"]);
        assert_eq!(fleet.attempts(&fleet.batch, &[format!("write:reports/{MACHINE}.json")]), ["ok"]);
    };
    hosts_write();
    let cleaned = fleet.npc_publish(&fleet.keeper, &["gc", "--yes"]);
    assert!(cleaned.words.contains("removed nothing; 2 archives ("), "{cleaned:?}");
    cleaned.works();
    fleet.npc_publish(&fleet.keeper, &["hosts", "forget", "web-1", "w-7"]).works();
    fleet.npc_publish(&fleet.keeper, &["repoint", "web-1", "--remote", "prod"]).fails(3, &["cannot write"]);
    // Others may look at what would be removed.
    for keys in [&fleet.reader, &fleet.operator] {
        fleet.npc_publish(keys, &["gc"]).works();
        fleet.npc_publish(keys, &["inventory"]).works();
    }
    fleet.npc_publish(&fleet.reader, &["gc", "--yes"]).fails(3, &["cannot write `probe/"]);
    fleet.npc_publish(&fleet.operator, &["hosts", "forget", "w-7"]).fails(2, &["never reported"]);
    hosts_write();
    fleet.npc_publish(&fleet.operator, &["hosts", "forget", "w-7"]).fails(3, &["cannot remove"]);
    let mut keeper = Vec::new();
    for (path, is_there) in objects(&archive_of_prod(&fleet)) {
        let lies_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        let may = |allowed| if allowed { "ok" } else { "denied" };
        for what in ["read", "open"] {
            keeper.push((format!("{what}:{path}"), if is_there { "ok" } else { "not-found" }));
        }
        keeper.push((format!("write:{path}"), may(lies_in(&["probe/"]))));
        keeper.push((format!("remove:{path}"), may(lies_in(&["archives/", "reports/", "probe/"]))));
    }
    keeper.extend(layout::FOLDERS.map(|folder| (format!("list:{folder}/"), "ok")));
    check(&fleet, "the keeper", &fleet.keeper, keeper);
}

#[test]
fn credentials_that_are_not_ones_own_are_worth_nothing() {
    let Some(fleet) = Fleet::publish(&Policies::examples()) else { return };
    let attempts = ["read:trust/1.json".to_owned(), "write:reports/web-1.json".to_owned()];
    assert_eq!(fleet.attempts(&fleet.web, &attempts), ["ok", "ok"]);
    let forged = Keys { secret: fleet.worker.secret.clone(), ..fleet.web.clone() };
    let unknown = Keys { id: "AKIA00000000000NOBODY".to_owned(), ..fleet.web.clone() };
    let stolen = Keys { session: Some("another".to_owned()), ..fleet.worker.clone() };
    for keys in [forged, unknown, stolen] {
        assert_eq!(fleet.attempts(&keys, &attempts), ["bad-credentials", "bad-credentials"], "{keys:?}");
    }
    let elsewhere = fleet.moto.url("another-fleet");
    let attempts = ["read:trust/1.json", "write:reports/web-1.json", "write:remotes/prod.json"].map(str::to_owned);
    for keys in [&fleet.web, &fleet.worker, &fleet.reader, &fleet.operator] {
        assert_eq!(
            try_store(&elsewhere, keys, &attempts),
            ["denied"; 3],
            "another store in the bucket is none of theirs"
        );
    }
}

#[test]
fn the_policy_for_tagged_principals_is_the_one_for_a_single_host() {
    let tagged = policy("host-by-tag.json", PREFIX, "", "");
    let single = policy("host.json", PREFIX, "${aws:PrincipalTag/npc-host}", "${aws:PrincipalTag/npc-assignment}");
    assert_eq!(tagged, single);
}

#[test]
fn the_policies_name_every_kind_of_object() {
    let text = ["host.json", "operator.json"].map(|name| policy(name, PREFIX, "web-1", "web-1")).concat();
    for folder in layout::FOLDERS {
        assert!(text.contains(&format!("/{PREFIX}/{folder}/")), "{folder}");
    }
}
