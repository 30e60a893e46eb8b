//! Agents on instances: their only credentials are those of the instance's role, which its metadata service tells.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use npc_tests::eventually;
use npc_tests::metadata::{Metadata, ROLE};
use npc_tests::moto::{Keys, Moto, policy};
use npc_tests::parts::{ACCESS_KEY, SECRET_KEY};
use npc_tests::process::{Background, Ended, free_port};
use npc_tests::world::{Agent, Bucket, Kind, World, garage_kind};

const INSTANCE: &str = "i-0123456789abcdef0";

/// Where the store is in the bucket whose policies are enforced.
const PREFIX: &str = "fleet";

const ANYTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

/// Credentials that Garage takes. It knows no sessions.
fn keys() -> Keys {
    Keys { id: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), session: None }
}

/// The agent's command on an instance: nothing but the instance's metadata gives it credentials.
fn on_instance(agent: &Agent<'_>, metadata: SocketAddr) -> Command {
    let mut command = agent.command();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED"] {
        command.env_remove(name);
    }
    // What says most is likeliest to say a secret.
    command.env("NPC_LOG", "debug");
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{metadata}"));
    command
}

fn start(agent: &Agent<'_>, metadata: SocketAddr) -> Background {
    Background::start(on_instance(agent, metadata).arg("run"), &agent.path("agent.log"))
}

/// The agent has said none of this to anybody.
#[track_caller]
fn keeps_secret(agent: &Background, keys: &Keys) {
    let said = format!("{}{}", agent.words(), agent.data());
    assert!(said.contains("loading credentials from IMDS"), "it says what it does: {said}");
    for secret in std::iter::once(&keys.secret).chain(&keys.session) {
        assert!(!said.contains(secret.as_str()), "a secret is in the log: {said}");
    }
}

/// How often the service has told the credentials of the role.
fn told(metadata: &Metadata) -> usize {
    let role = format!("GET /latest/meta-data/iam/security-credentials/{ROLE} 200");
    metadata.asked().iter().filter(|asked| **asked == role).count()
}

#[test]
fn an_instances_role_is_all_that_an_agent_needs() {
    let Some(kind) = garage_kind() else { return };
    let world = World::new(&kind);
    world.publish();
    let metadata = Metadata::start(INSTANCE, Some(&keys()));
    let agent = world.command_agent("web-1", "true");
    let running = start(&agent, metadata.address());
    agent.commits(1);
    world.edit("the second release\n");
    world.publish();
    agent.commits(2);
    eventually("the host reports", || world.in_fleet(&["status"]).data.contains("prod@2").then_some(()));
    keeps_secret(&running, &keys());
    let asked = metadata.asked();
    assert_eq!(asked[0], "PUT /latest/api/token 200");
    assert!(!asked.iter().any(|asked| asked.ends_with(" 401")), "version 1 is never asked: {asked:?}");
    assert_eq!(told(&metadata), 1, "what lasts is asked for once: {asked:?}");
}

#[test]
fn credentials_are_replaced_by_those_that_come_after_them() {
    let Some(moto) = Moto::start() else { return };
    let operator = moto.user("operator", ANYTHING);
    let allowed = policy("host.json", PREFIX, "web-1", "web-1");
    let (old, new) = (moto.role("old", &allowed), moto.role("new", &allowed));
    moto.enforce();
    let world = World::new(&Kind::Bucket(Box::new(Bucket { url: moto.url(PREFIX), operator })));
    world.publish();
    let metadata = Metadata::start(INSTANCE, None);
    // The SDK asks again some seconds before the end.
    metadata.hand_out(&old, Duration::from_secs(40));
    let agent = world.command_agent("web-1", "true");
    let mut running = start(&agent, metadata.address());
    agent.commits(1);
    let before = told(&metadata);
    metadata.hand_out(&new, Duration::from_hours(1));
    eventually("the agent asks for credentials anew", || (told(&metadata) > before).then_some(()));
    moto.revoke("old");
    let denied =
        Ended::of(old.give(&mut world.command("npc-publish")).args(["remotes"]).current_dir(world.path("fleet")));
    denied.fails(3, &["AccessDenied"]);
    world.edit("the second release\n");
    world.publish();
    agent.commits(2);
    assert!(running.runs());
    for keys in [&old, &new] {
        keeps_secret(&running, keys);
    }
}

#[test]
fn an_agent_goes_on_asking_a_metadata_service_that_is_not_there() {
    let Some(kind) = garage_kind() else { return };
    let world = World::new(&kind);
    world.publish();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().expect("a port")));
    let agent = world.command_agent("web-1", "true");
    let mut running = start(&agent, address);
    for words in ["(no-credentials)", "could not communicate with IMDS", "give AWS credentials by environment"] {
        eventually(words, || running.words().contains(words).then_some(()));
    }
    assert!(running.runs());
    let _metadata = Metadata::start_at(address, INSTANCE, Some(&keys()));
    agent.commits(1);
    keeps_secret(&running, &keys());
}

#[test]
fn an_instance_without_a_role_is_told_so_until_it_has_one() {
    let Some(kind) = garage_kind() else { return };
    let world = World::new(&kind);
    world.publish();
    let metadata = Metadata::start(INSTANCE, None);
    let agent = world.command_agent("web-1", "true");
    let once = Ended::of(on_instance(&agent, metadata.address()).args(["run", "--once"]));
    once.fails(3, &["received 404 from IMDS", "hint: give AWS credentials", "metadata service answers 404 has none"]);
    let mut running = start(&agent, metadata.address());
    for words in ["trouble: cannot read", "received 404 from IMDS", "metadata service answers 404 has none"] {
        eventually(words, || running.words().contains(words).then_some(()));
    }
    let lines = running.words();
    let trouble = lines.lines().find(|line| line.contains("trouble: cannot read")).expect("said");
    assert!(!trouble.contains("\\n"), "it is one line: {trouble}");
    assert!(running.runs());
    metadata.hand_out(&keys(), Duration::from_hours(1));
    agent.commits(1);
    keeps_secret(&running, &keys());
}
