//! Terraform, interrupted while the provider evaluates a flake: everything ends, nothing is published and nothing is left behind.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use npc_tests::eventually;
use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::Nix;
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Kind, World};
use rustix::process::{Pid, Signal, kill_process_group};

const REMOTE: &str = r#"
resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
}
"#;

/// What takes a Nix days and no memory.
const SLOW: &str = "  outputs = { self }:
    let
      many = builtins.genList (number: number) 10000;
      often = do: builtins.foldl' (_: number: do number) 0 many;
    in
    assert often (_: often (_: often (number: number))) == 0;";

/// A fleet, and what Terraform's provider evaluates it with.
struct Fleet {
    described: Infrastructure,
    nix: PathBuf,
    /// Where the provider remembers evaluations.
    cache: PathBuf,
}

impl Fleet {
    fn new() -> Option<Self> {
        let nix = Nix::find()?.program();
        let described = Infrastructure::beside(|| World::new(&Kind::Directory), REMOTE)?;
        fs::create_dir(described.world.path("scratch")).expect("created");
        let cache = described.world.path("cache");
        Some(Self { described, nix, cache })
    }

    /// From now on, Nix never comes to an end once it is asked to evaluate.
    fn hang(&mut self) {
        let hanging = self.described.world.path("nix-that-hangs");
        let nix = self.nix.display();
        let script = format!("#!/bin/sh\ncase \" $* \" in *' eval '*) sleep 1000;; esac\nexec {nix} \"$@\"\n");
        npc_core::files::write_atomically(&hanging, script.as_bytes(), 0o755).expect("written");
        self.nix = hanging;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.described.command(arguments);
        command.env("NPC_NIX", &self.nix).env("XDG_CACHE_HOME", &self.cache);
        command.env("TMPDIR", self.described.world.path("scratch"));
        command
    }

    fn works(&self, arguments: &[&str]) -> String {
        Ended::of(&mut self.command(arguments)).works()
    }

    /// Starts Terraform as a shell does: whoever presses Ctrl-C means it and all that it has started.
    fn starts(&self, arguments: &[&str]) -> Background {
        let mut command = self.command(arguments);
        Background::start(command.process_group(0), &self.described.world.path("terraform.log"))
    }

    /// What of all that was started still runs: processes that write temporary files where only these do, and their command lines.
    fn processes(&self) -> Vec<(u32, String)> {
        let mark = format!("TMPDIR={}", self.described.world.path("scratch").display());
        let process = |entry: fs::DirEntry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let is_ours = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            let words = fs::read(entry.path().join("cmdline")).ok()?;
            is_ours.then(|| (id, String::from_utf8_lossy(&words).replace('\0', " ")))
        };
        fs::read_dir("/proc").expect("listed").flatten().filter_map(process).collect()
    }

    /// Interrupts Terraform, which ends with all that it has started. Gives what it said.
    fn interrupt(&self, mut terraform: Background) -> String {
        let group = i32::try_from(terraform.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process_group(group, Signal::INT).expect("it is there");
        assert!(!terraform.wait().success());
        self.left_nothing();
        terraform.words()
    }

    /// Waits until somebody evaluates.
    fn evaluates(&self, terraform: &mut Background) {
        eventually("an evaluation begins", || {
            assert!(terraform.runs(), "Terraform ended: {} {}", terraform.data(), terraform.words());
            self.processes().iter().any(|(_, words)| words.contains(" eval ")).then_some(())
        });
    }

    #[track_caller]
    fn left_nothing(&self) {
        // A process that is about to become another shows no environment for a moment.
        eventually("all that was started has ended, and cleaned up", || {
            let left = fs::read_dir(self.described.world.path("scratch")).expect("listed").count();
            (self.processes().is_empty() && left == 0).then_some(())
        });
        let beside = fs::read_dir(self.described.world.path("infrastructure")).expect("listed").flatten();
        assert!(!beside.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("lock.info")));
        assert_eq!(self.described.publisher(&["remotes", "--json"]).works().trim(), "[]", "nothing is published");
        assert!(!self.described.world.path("store/archives").exists(), "no archive is uploaded");
    }
}

#[test]
fn an_interrupted_plan_ends_what_evaluates() {
    let Some(fleet) = Fleet::new() else { return };
    let flake = fleet.described.world.path("fleet/flake.nix");
    let text = fs::read_to_string(&flake).expect("read");
    let slow = text.replacen("  outputs = { self }:", SLOW, 1);
    assert_ne!(text, slow, "the example has outputs");
    fs::write(&flake, slow).expect("written");
    let mut terraform = fleet.starts(&["apply", "-auto-approve"]);
    fleet.evaluates(&mut terraform);
    fleet.interrupt(terraform);
    fs::write(&flake, text).expect("written");
    fleet.works(&["apply", "-auto-approve"]);
    assert!(fleet.works(&["plan"]).contains("No changes."));
}

#[test]
fn an_interrupted_apply_publishes_nothing() {
    let Some(mut fleet) = Fleet::new() else { return };
    fleet.works(&["plan", "-out", "planned"]);
    // As on another machine, where nothing is remembered of what was evaluated for the plan.
    let nix = fleet.nix.clone();
    fleet.cache = fleet.described.world.path("another-cache");
    fleet.hang();
    let mut terraform = fleet.starts(&["apply", "planned"]);
    fleet.evaluates(&mut terraform);
    fleet.interrupt(terraform);
    fleet.nix = nix;
    fleet.works(&["apply", "-auto-approve"]);
    assert!(fleet.works(&["plan"]).contains("No changes."));
}

#[test]
fn an_interrupt_ends_waiting_for_a_host() {
    let Some(fleet) = Fleet::new() else { return };
    fleet.described.says("data \"npc_report\" \"web_1\" {\n  host     = \"web-1\"\n  wait_for = \"report\"\n}\n");
    let mut terraform = fleet.starts(&["plan"]);
    eventually("it waits", || {
        assert!(terraform.runs(), "Terraform ended: {} {}", terraform.data(), terraform.words());
        terraform.data().contains("data.npc_report.web_1: Reading...").then_some(())
    });
    let said = fleet.interrupt(terraform);
    assert!(said.contains("The provider was interrupted"), "{said}");
}

/// Nobody tells a provider to stop where Terraform is killed, or interrupted twice.
#[test]
fn what_evaluates_does_not_outlive_a_terraform_that_was_killed() {
    let Some(mut fleet) = Fleet::new() else { return };
    let nix = fleet.nix.clone();
    fleet.hang();
    let mut terraform = fleet.starts(&["plan", "-lock=false"]);
    fleet.evaluates(&mut terraform);
    terraform.kill();
    fleet.left_nothing();
    fleet.nix = nix;
    fleet.works(&["apply", "-auto-approve"]);
}
