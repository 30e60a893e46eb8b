//! The fleet as other programs see it.

use std::fs;

use npc_core::document::{Document, Header, Report, Running, Serial};
use npc_core::key::SecretKey;
use npc_core::layout;
use npc_core::store::{Content, Precondition, open};
use npc_core::text;
use npc_tests::eventually;
use npc_tests::parts::Nix;
use npc_tests::world::{Kind, World};
use serde_json::{Value, json};

fn inventory(world: &World, arguments: &[&str]) -> Value {
    let said = world.in_fleet(&[&["inventory"], arguments].concat()).works();
    assert!(said.chars().all(|char| char == '\n' || !text::steers(char)), "{said:?}");
    serde_json::from_str(&said).expect("JSON")
}

fn key(name: &str, seed: u8) -> SecretKey {
    SecretKey::from_seed(name.parse().expect("a name"), &zeroize::Zeroizing::new([seed; 32]))
}

/// Writes a report of `host`, signed with this key, as a host would.
fn report(world: &World, host: &str, key: &SecretKey, report: Report) {
    let header = Header {
        fleet: world.fleet_id(),
        name: host.to_owned(),
        serial: Serial::FIRST,
        created: npc_core::Timestamp::now(),
        trust: Serial::FIRST,
        requires: Vec::new(),
        expires: None,
    };
    let body = Report { report_key: Some(key.public()), phase: "steady".to_owned(), ..report };
    let file = world.path("store/reports").join(format!("{host}.json"));
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(file, Document { header, body }.sign(&[key]).bytes).expect("written");
}

/// Everything that a report can say which should never be passed on as it is.
fn hostile() -> Report {
    let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Xa2yN8gYp7o2vUXkIpt0Zc4y7O3FvVvHq4c0b1kQe";
    Report {
        instance: "\u{1b}]0;owned\u{7}".to_owned(),
        addresses: vec!["10.0.0.7".parse().expect("an address"), "2001:db8::7".parse().expect("an address")],
        ssh_host_keys: vec![
            format!("{ssh} root@\u{202e}7-w"),
            format!("{ssh} root@w-7"),
            format!("{ssh}\n* {ssh}"),
            "@cert-authority * ssh-ed25519 AAAA".to_owned(),
        ],
        runs: Some(Running {
            archive: None,
            configuration: None,
            system: "/nix/store/\u{1b}[2Jsystem\u{9b}31m".to_owned(),
            rev: Some("0123456789\u{200b}abcdef".to_owned()),
            remote: None,
            serial: None,
            since: None,
        }),
        reboot_needed: true,
        ..Report::default()
    }
}

#[test]
fn hosts_are_told_of_with_what_they_run_and_should_run() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let running = agent.start();
    agent.commits(1);
    world.in_fleet(&["repoint", "web-9", "--remote", "prod"]).works();
    let web = eventually("web-1 is current", || {
        let inventory = inventory(&world, &[]);
        Some(inventory["hosts"]["web-1"].clone()).filter(|host| host["standing"] == "current")
    });
    drop(running);
    assert_eq!(
        (&web["name"], &web["remote"], &web["configuration"]),
        (&json!("web-1"), &json!("prod"), &json!("web-1"))
    );
    assert_eq!((&web["wanted"]["remote"], &web["wanted"]["serial"]), (&json!("prod"), &json!(1)));
    assert_eq!((&web["running"]["remote"], &web["running"]["serial"]), (&json!("prod"), &json!(1)));
    assert!(web["running"]["since"].is_string() && web["seen"].is_string(), "{web}");
    assert_eq!(
        (&web["key"], &web["reboot_needed"], &web["assignment"]),
        (&json!("unpinned"), &json!(false), &json!("web-1"))
    );
    assert!(web["addresses"].is_array() && web["ssh_host_keys"].is_array(), "{web}");
    let all = inventory(&world, &[]);
    let never = &all["hosts"]["web-9"];
    assert_eq!((&never["standing"], &never["key"], &never["running"]), (&json!("unknown"), &Value::Null, &Value::Null));
    assert_eq!((&never["addresses"], &never["reboot_needed"]), (&json!([]), &Value::Null));
    assert_eq!(all["remotes"]["prod"]["serial"], 1);
    assert!(all["remotes"]["prod"]["created"].is_string(), "{all}");
    let some = inventory(&world, &["web-*", "--except", "web-9"]);
    assert_eq!(some["hosts"].as_object().expect("hosts").keys().collect::<Vec<_>>(), ["web-1"]);
    world.in_fleet(&["inventory", "web-7"]).fails(2, &["`web-7` matches no host"]);
}

#[test]
fn roles_and_groups_have_their_hosts() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.evaluating(&nix, &["--remote", "prod"]).works();
    world.in_fleet(&["repoint", "web-1", "web-2", "db-1", "--remote", "prod"]).works();
    let all = inventory(&world, &[]);
    assert_eq!(all["roles"]["web"], json!(["web-1", "web-2"]), "{all}");
    assert_eq!(all["hosts"]["db-1"]["role"], "db");
    assert_eq!(all["hosts"]["db-1"]["metadata"]["role"], "db");
    assert_eq!(inventory(&world, &["role:db"])["roles"], json!({ "db": ["db-1"] }));
}

#[test]
fn what_hosts_say_is_passed_on_without_what_could_deceive_and_with_whose_word_it_is() {
    for kind in [Kind::Directory, Kind::Served] {
        let world = World::new(&kind);
        world.publish();
        let own = key("npc-w-7", 7);
        report(&world, "w-7", &own, hostile());
        let ended = world.in_fleet(&["inventory"]);
        assert!(ended.words.contains("1 of 1 hosts") && ended.words.contains("unpinned"), "{ended:?}");
        let host = inventory(&world, &[])["hosts"]["w-7"].clone();
        assert_eq!(host["addresses"], json!(["10.0.0.7", "2001:db8::7"]));
        let ssh = host["ssh_host_keys"].as_array().expect("keys");
        assert!(
            !ssh.is_empty() && ssh.iter().all(|key| key.as_str().expect("text").split(' ').count() == 2),
            "{ssh:?}"
        );
        assert_eq!((&host["key"], &host["reboot_needed"]), (&json!("unpinned"), &json!(true)));
        assert!(host["running"]["system"].as_str().expect("a path").starts_with("/nix/store/"), "{host}");
        world.in_fleet(&["repoint", "w-7", "--remote", "prod", "--configuration", "web-1"]).works();
        assert_eq!(inventory(&world, &[])["hosts"]["w-7"]["key"], "pinned");
        report(&world, "w-7", &key("npc-other", 8), hostile());
        let forged = inventory(&world, &[])["hosts"]["w-7"].clone();
        assert_eq!((&forged["key"], &forged["standing"]), (&json!("wrong"), &json!("refused")));
        assert_eq!(
            (&forged["addresses"], &forged["running"]),
            (&json!([]), &Value::Null),
            "nobody's word is passed on"
        );
    }
}

#[tokio::test]
async fn a_fleet_in_a_bucket_is_told_of_likewise() {
    let Some(kind) = npc_tests::world::garage_kind() else { return };
    let world = World::new(&kind);
    world.publish();
    world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    let store = open(world.url(), npc_core::store::Options::default()).await.expect("opened");
    let place = layout::report(&"w-7".parse().expect("a name"));
    store.write(&place, Content::Bytes(b"nonsense"), Precondition::None).await.expect("written");
    let all = inventory(&world, &[]);
    assert_eq!(
        (&all["hosts"]["web-1"]["standing"], &all["hosts"]["w-7"]["standing"]),
        (&json!("unknown"), &json!("refused"))
    );
    assert_eq!(all["remotes"]["prod"]["serial"], 1);
}
