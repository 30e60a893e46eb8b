//! Every command in the README is run.

use std::fs;
use std::process::Command;

use npc_tests::eventually;
use npc_tests::parts::{Garage, Nix};
use npc_tests::process::{Background, Ended, free_port};
use npc_tests::readme::{Checkout, blocks, run, text};
use npc_tests::world::{Kind, World};

#[test]
fn every_block_has_a_test() {
    let names: Vec<String> = blocks().into_keys().collect();
    assert_eq!(
        names,
        [
            "",
            "agent",
            "aws",
            "aws-apply",
            "aws-rollout",
            "directory",
            "garage",
            "gc",
            "pack",
            "promote",
            "repoint",
            "rollout",
            "rotate",
            "s3",
            "serve",
            "status"
        ]
    );
    // What has no name builds the workspace, or is what runs this test; cargo itself says whether the names are right.
    let unnamed = blocks()[""].clone();
    let expected = [
        "cargo xtask demo",
        "cargo build --release -p npc-publish -p npc-agent",
        "cargo build --release -p npc-publish -p terraform-provider-npc",
        "RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target x86_64-unknown-linux-gnu -p npc-agent",
        "cargo xtask test",
    ];
    assert_eq!(unnamed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_quick_start_on_a_directory_works() {
    let ended = Checkout::new().run(&blocks()["directory"], &[]);
    assert!(ended.words.contains("unchanged: prod@1"), "{ended:?}");
    let data = ended.works();
    assert!(data.contains("M modules/motd.txt") && data.contains("announce the maintenance"), "{data}");
    assert!(data.contains("runs     prod@2"), "{data}");
}

#[test]
fn the_commands_that_explain_an_archive_work() {
    let world = World::new(&Kind::Directory);
    let data = run(&blocks()["pack"], &world.path("fleet"), &world.path("home"), &[]).works();
    assert!(data.contains("flake.nix") && data.contains("read by all 3 configurations"), "{data}");
}

#[test]
fn the_commands_that_roll_out_work() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agents = ["web-1", "db-1"].map(|name| world.command_agent(name, "true"));
    let _running = agents.each_ref().map(npc_tests::world::Agent::start);
    eventually("both have reported", || world.in_fleet(&["status"]).words.contains("2 current").then_some(()));
    world.edit("which is rolled out\n");
    // Nobody waits for ten minutes here.
    let block = blocks()["rollout"].replace("10m", "1s");
    let ended = run(&block, &world.path("fleet"), &world.path("home"), &[("NPC_NIX", "none")]);
    assert!(ended.words.contains("is finished: its hosts follow prod"), "{ended:?}");
    let data = ended.works();
    assert!(data.contains("wave 2/2 of next-1 is done") && data.contains("all waves are done"), "{data}");
    for agent in &agents {
        agent.commits(2);
    }
}

#[test]
fn the_commands_that_point_hosts_elsewhere_work() {
    let world = World::new(&Kind::Directory);
    let nix_free = [("NPC_NIX", "none")];
    let ended = run(&blocks()["repoint"], &world.path("fleet"), &world.path("home"), &nix_free);
    let data = ended.works();
    for line in ["web-2: its own settings -> canary web-2", "web-1@1", "web-1: canary web-1 -> its own settings"] {
        assert!(data.contains(line), "{line}: {data}");
    }
}

#[test]
fn the_commands_that_show_the_fleet_work() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let _running = agent.start();
    eventually("all is well", || (world.in_fleet(&["why", "web-1"]).code == Some(0)).then_some(()));
    let data = run(&blocks()["status"], &world.path("fleet"), &world.path("home"), &[]).works();
    assert!(data.contains("SHOULD RUN") && data.contains("web-1 runs prod@1, which is what it should"), "{data}");
    assert!(data.contains("\"ssh_host_keys\": ["), "{data}");
}

#[test]
fn the_commands_that_clean_up_work() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let ended = run(&blocks()["gc"], &world.path("fleet"), &world.path("home"), &[]);
    assert!(ended.words.contains("removed nothing; 1 archive ("), "{ended:?}");
    assert_eq!(ended.works(), "");
}

#[test]
fn the_commands_that_promote_and_go_back_work() {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.edit("proved in staging\n");
    let nix_free = [("NPC_NIX", "none")];
    let ended = run(&blocks()["promote"], &world.path("fleet"), &world.path("home"), &nix_free);
    assert!(ended.words.contains("prod@3 holds what prod@1 holds"), "{ended:?}");
    assert!(ended.works().contains("prod@3"));
}

/// Nix at least parses what the README has of Nix.
#[test]
fn what_the_readme_has_of_nix_is_nix() {
    let Some(nix) = Nix::find() else { return };
    let text = text();
    let blocks: Vec<_> = text.split("```nix\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        // A flake, or part of a module.
        let expression =
            if block.starts_with('{') { block } else { &format!("{{ config, pkgs, npc-agent }}: {{ {block} }}") };
        let mut parse = Command::new(nix.programs.join("nix-instantiate"));
        Ended::of(parse.args(["--parse", "--expr", expression])).works();
    }
}

#[test]
fn the_quick_start_on_garage_works() {
    let Some(garage) = Garage::find() else { return };
    let block = blocks()["garage"].replace("http://127.0.0.1:3900", garage.endpoint());
    let ended = Checkout::new().run(&block, &[]);
    assert!(ended.words.contains("accepts conditional writes and ignores them"), "{ended:?}");
    assert!(ended.works().ends_with("prod@1\n"));
}

/// AWS itself is not to be had: the same commands, with the SDK's own setting for another endpoint.
#[test]
fn the_quick_start_on_s3_works() {
    let Some(garage) = Garage::find() else { return };
    let ended = Checkout::new().run(&blocks()["s3"], &[("AWS_ENDPOINT_URL", garage.endpoint())]);
    assert!(ended.works().ends_with("prod@1\n"));
}

#[test]
fn the_web_server_of_ones_own_works() {
    let port = free_port().expect("a port");
    // A person sees that the server is up and stops it by hand; a script has to wait for it and to end it.
    let by_hand = "&\nserver=$!\ntrap 'kill $server' EXIT\nuntil curl -so tokens.probe http://127.0.0.1:8420/; do sleep 0.1; done\n";
    let block = blocks()["serve"].replacen("&\n", by_hand, 1).replace("8420", &port.to_string());
    let ended = Checkout::new().run(&block, &[]);
    assert!(ended.works().ends_with("prod@1\n"));
}

#[test]
fn the_commands_on_a_host_work() {
    let world = World::new(&Kind::Served);
    world.publish();
    world.in_fleet(&["--remote", "canary"]).works();
    let agent = world.command_agent("web-1", "true");
    let running: Background = agent.start();
    agent.commits(1);
    let (config, state) = (agent.path("agent.toml"), agent.path("state"));
    let settings =
        [("NPC_AGENT_CONFIG", config.to_str().expect("plain")), ("NPC_AGENT_STATE", state.to_str().expect("plain"))];
    let data = run(&blocks()["agent"], &world.path(""), &world.path("home"), &settings).works();
    for words in ["runs     prod@1", "paused until", "resumed, at once", "follows remote canary, at once"] {
        assert!(data.contains(words), "no `{words}` in {data}");
    }
    eventually("it still runs", || agent.journal());
    running.stop();
}

#[test]
fn the_commands_for_replacing_a_key_work() {
    let world = World::new(&Kind::Directory);
    world.publish();
    fs::copy(world.key_file("npc-root-1"), world.path("home/npc-root-1.secret")).expect("copied");
    let ended = run(&blocks()["rotate"], &world.path("fleet"), &world.path("home"), &[]);
    let data = ended.works();
    assert!(data.contains("trust version 2") && data.ends_with("prod@2\n"), "{data}");
}
