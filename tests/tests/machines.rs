//! Machines that come and go, and such as share an assignment.

use jiff::{SignedDuration, Timestamp};
use npc_tests::absent::{Absent, assigns};
use npc_tests::world::{Kind, World};
use serde_json::Value;

fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.edit("the next\n");
    world.in_fleet(&["--remote", "next"]).works();
    world
}

/// A host that was last heard of so many minutes ago.
fn heard_of(name: &str, minutes: i64, ephemeral: bool) -> Absent {
    let mut host = Absent::following(name, "prod");
    host.created = Timestamp::now() - SignedDuration::from_mins(minutes);
    host.report.ephemeral = ephemeral;
    host
}

/// A host that asks for this assignment rather than for one of its own.
fn asks_for(name: &str, assignment: &str) -> Absent {
    let mut host = Absent::following(name, "prod");
    host.report.assignment = Some(assignment.parse().expect("a name"));
    host
}

fn hosts(world: &World) -> Vec<Value> {
    let ended = world.in_fleet(&["status", "--json"]);
    let status: Value = serde_json::from_str(&ended.data).expect("JSON");
    status["hosts"].as_array().expect("hosts").clone()
}

fn names(hosts: &[Value]) -> Vec<&str> {
    hosts.iter().map(|host| host["host"].as_str().expect("a name")).collect()
}

/// The assignment of a host, and the remote that it should follow.
fn place<'a>(hosts: &'a [Value], name: &str) -> (&'a str, &'a str) {
    let host = hosts.iter().find(|host| host["host"] == name).expect("a host");
    (host["assignment"].as_str().expect("a name"), host["follows"]["remote"].as_str().expect("a remote"))
}

#[test]
fn a_machine_that_comes_and_goes_leaves_the_status_once_it_is_silent_and_others_stay() {
    let world = world();
    heard_of("w-1", 60, true).reports(&world);
    heard_of("w-2", 70, true).reports(&world);
    heard_of("w-3", 70, false).reports(&world);
    for (name, minutes) in [("w-4", 5), ("w-5", 10)] {
        let mut often = heard_of(name, minutes, true);
        often.report.heartbeat = Some(60);
        often.reports(&world);
    }
    let seen = hosts(&world);
    assert_eq!(names(&seen), ["w-1", "w-3", "w-4"]);
    assert_eq!(seen[1]["standing"], "silent");
    world.in_fleet(&["status", "w-2"]).fails(2, &["`w-2` matches no host"]);
    heard_of("w-2", 0, true).reports(&world);
    assert_eq!(names(&hosts(&world)), ["w-1", "w-2", "w-3", "w-4"]);
}

#[test]
fn machines_that_share_an_assignment_follow_what_it_says_and_are_told_together() {
    let world = world();
    assigns(&world, "workers", "next");
    for name in ["w-1", "w-2"] {
        asks_for(name, "workers").reports(&world);
    }
    Absent::following("db-1", "prod").reports(&world);
    let seen = hosts(&world);
    assert_eq!(names(&seen), ["db-1", "w-1", "w-2"], "an assignment that is shared is no host");
    assert_eq!((place(&seen, "w-1"), place(&seen, "w-2")), (("workers", "next"), ("workers", "next")));
    assert_eq!(place(&seen, "db-1"), ("db-1", "prod"));
    let shared = ["assignment `workers` is shared with hosts that were not named, such as `w-2`", "hint: "];
    world.in_fleet(&["repoint", "w-1", "--remote", "prod"]).fails(2, &shared);
    let told = world.in_fleet(&["repoint", "workers", "--remote", "prod"]).works();
    assert_eq!(told, "workers: next workers -> prod workers\n");
    let planned = ["rollout", "plan", "--to", "next", "--hosts", "all", "--waves", "1,100%"];
    let planned = world.in_fleet(&planned).works();
    assert_eq!(planned, "wave 1  1 of 3  db-1\nwave 2  3 of 3  workers\n");
    for name in ["w-1", "w-2"] {
        let gone = asks_for(name, "workers");
        let created = gone.created - SignedDuration::from_hours(2);
        let report = npc_core::document::Report { ephemeral: true, ..gone.report.clone() };
        Absent { created, report, ..gone }.reports(&world);
    }
    assert_eq!(names(&hosts(&world)), ["db-1"], "nor is one whose machines are gone");
}

#[test]
fn no_machine_takes_another_ones_assignment_for_its_own_by_asking_for_it() {
    let world = world();
    Absent::following("db-1", "prod").reports(&world);
    world.in_fleet(&["repoint", "db-1", "--remote", "next"]).works();
    asks_for("w-1", "db-1").reports(&world);
    let seen = hosts(&world);
    assert_eq!((place(&seen, "db-1"), place(&seen, "w-1")), (("db-1", "next"), ("w-1", "prod")));
    world.in_fleet(&["repoint", "db-1", "--remote", "prod"]).works();
    // Likewise where nobody knows yet by which key the other one reports.
    Absent::following("db-2", "prod").reports(&world);
    asks_for("w-1", "db-2").reports(&world);
    assert_eq!(place(&hosts(&world), "w-1"), ("w-1", "prod"));
    world.in_fleet(&["repoint", "db-2", "--remote", "next"]).works();
}

#[test]
fn an_assignment_that_is_said_to_be_shared_is_no_host_and_can_be_told_without_any() {
    let world = world();
    Absent::following("db-1", "prod").reports(&world);
    world.in_fleet(&["repoint", "workers", "--remote", "prod", "--configuration", "web-1", "--shared"]).works();
    assert_eq!(names(&hosts(&world)), ["db-1"]);
    world.in_fleet(&["hosts", "pause", "workers"]).works();
    world.in_fleet(&["hosts", "resume", "workers"]).works();
    world.in_fleet(&["repoint", "workers", "--remote", "next"]).works();
    assert_eq!(names(&hosts(&world)), ["db-1"], "it is still shared");
    asks_for("w-1", "workers").reports(&world);
    assert_eq!(place(&hosts(&world), "w-1"), ("workers", "next"));
}
