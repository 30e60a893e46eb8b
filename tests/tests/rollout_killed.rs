//! Operators whose process is killed at each write of a rollout, and others who go on from what the store holds.

use std::fs;
use std::thread;

use npc_core::document::{Assignment, Document, Following, Standing};
use npc_core::envelope::Envelope;
use npc_tests::eventually;
use npc_tests::process::{Background, Ended};
use npc_tests::reaper::{Death, Reaper, Written};
use npc_tests::world::{Agent, Kind, World, socket_of};

const HOSTS: [&str; 3] = ["a-1", "a-2", "a-3"];

/// So many fleets at a time; they mostly wait.
const AT_ONCE: usize = 3;

fn token(host: &str) -> String {
    format!("the-token-of-{host}-0123456789")
}

fn world() -> World {
    let mut world = World::new(&Kind::Served);
    let lines: Vec<_> = HOSTS.iter().map(|host| format!("{host} {}\n", token(host))).collect();
    world.serve_hosts(&lines.concat());
    world.edit("the first\n");
    world.publish();
    world
}

fn agent<'world>(world: &'world World, host: &str) -> Agent<'world> {
    use std::os::unix::fs::PermissionsExt as _;
    let agent = world.command_agent(host, "echo \"$NPC_REMOTE@$NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n");
    let file = agent.path("token");
    fs::write(&file, token(host)).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
    agent.add_settings(&format!("store_token_file = \"{}\"", file.display()));
    agent
}

fn trace(agent: &Agent<'_>) -> Vec<String> {
    fs::read_to_string(agent.path("trace")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A fleet, and an operator whose every write passes the reaper.
struct Trials<'a> {
    world: &'a World,
    reaper: Reaper,
    agents: Vec<Agent<'a>>,
    rounds: usize,
}

impl Trials<'_> {
    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.world.command("npc-publish");
        let store = format!("http://{}", self.reaper.address());
        command.args(arguments).args(["--store", &store]).current_dir(self.world.path("fleet"));
        command
    }

    /// Runs an operator who dies there. Says whether it came to that.
    fn dies(&self, arguments: &[&str], death: Death) -> bool {
        let mut operator = Background::start(&mut self.command(arguments), &self.world.path("killed.log"));
        self.reaper.await_death(operator.id(), death);
        let ended = operator.wait();
        self.reaper.rest();
        assert!(ended.code().is_none_or(|code| code == 0), "{}", operator.words());
        ended.code().is_none()
    }

    fn works(&self, arguments: &[&str]) -> String {
        Ended::of(&mut self.command(arguments)).works()
    }

    /// A rollout whose operator dies at one write of its beginning or of its end. Says whether there was such a write.
    fn round(&mut self, dies_at_its_end: bool, death: Death) -> bool {
        self.rounds += 1;
        self.world.edit(&format!("round {}\n", self.rounds));
        self.works(&["--remote", "next"]);
        let name = format!("next-{}", self.rounds);
        let start = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", "1,100%", "--soak", "0s"];
        let finish = ["rollout", "finish", &name, "--yes"];
        let mut was_killed = false;
        if dies_at_its_end {
            self.works(&start);
            was_killed = self.dies(&finish, death);
            if was_killed {
                self.works(&finish);
            }
            self.is_told_once(&name, |following, _| following.remote.as_str() == "prod");
        } else {
            was_killed |= self.dies(&start, death);
            let is_there = self.world.in_fleet(&["rollout", "status", &name]).code != Some(2);
            match (was_killed, is_there) {
                (true, true) => drop(self.works(&["rollout", "resume", &name, "--force"])),
                (true, false) => drop(self.works(&start)),
                (false, _) => {}
            }
            self.is_told_once(&name, |following, name| {
                following.rollout.as_ref().is_some_and(|place| place.id.as_str() == name)
            });
            self.works(&finish);
        }
        self.all_follow_prod();
        was_killed
    }

    /// Every host was told so exactly once, whoever drove, and nobody of a later wave before one of an earlier.
    fn is_told_once(&self, name: &str, is_it: impl Fn(&Following, &str) -> bool) {
        let told: Vec<_> = self.reaper.written().iter().filter_map(assignment).collect();
        let told: Vec<_> = told.into_iter().filter(|(_, following)| is_it(following, name)).collect();
        let mut hosts: Vec<_> = told.iter().map(|(host, _)| host.as_str()).collect();
        let waves: Vec<_> = told.iter().filter_map(|(_, following)| Some(following.rollout.as_ref()?.wave)).collect();
        assert!(waves.is_sorted(), "{told:?}");
        assert!(waves.is_empty() || waves == [1, 2, 2], "no wave is widened: {told:?}");
        hosts.sort_unstable();
        assert_eq!(hosts, HOSTS, "each once: {told:?}");
    }

    /// Every host has built every release once, and follows `prod` again.
    fn all_follow_prod(&self) {
        let expected: Vec<_> = std::iter::once("prod@1".to_owned())
            .chain((1..=self.rounds).map(|round| format!("next@{round}")))
            .collect();
        for agent in &self.agents {
            eventually("it follows prod again", || {
                let follows = agent.status()["follows"]["remote"] == "prod";
                (follows && agent.journal()?.pointer("/committed/target/remote")? == "prod").then_some(())
            });
            assert_eq!(trace(agent), expected);
        }
    }
}

/// The host and what it is told, if that was written.
fn assignment(written: &Written) -> Option<(String, Following)> {
    let host = written.path.strip_prefix("assignments/")?.strip_suffix(".json")?.to_owned();
    let envelope = Envelope::parse(&written.body).expect("an envelope");
    let document: Document<Assignment> = Document::from_payload(envelope.payload()).expect("an assignment");
    match document.body {
        Standing::Present(following) => Some((host, *following)),
        Standing::Removed => None,
    }
}

/// Kills operators at every third write, from this one on, as long as there are any. Gives how many were killed.
fn killed_at_every_third_write_from(first: usize, dies_at_its_end: bool) -> usize {
    let world = world();
    let agents: Vec<_> = HOSTS.iter().map(|host| agent(&world, host)).collect();
    let _running: Vec<_> = agents.iter().map(Agent::start).collect();
    for agent in &agents {
        agent.commits(1);
    }
    eventually("all have reported", || world.in_fleet(&["status"]).words.contains("3 hosts: 3 current").then_some(()));
    let reaper = Reaper::start(socket_of(world.url().to_string().trim_end_matches('/'))).expect("a proxy");
    let mut trials = Trials { world: &world, reaper, agents, rounds: 0 };
    let mut killed = 0;
    for number in (first..).step_by(AT_ONCE) {
        let before = trials.round(dies_at_its_end, Death::Before(number));
        let after = before && trials.round(dies_at_its_end, Death::After(number));
        killed += usize::from(before) + usize::from(after);
        if !before {
            return killed;
        }
    }
    unreachable!("a rollout has an end")
}

fn killed_everywhere(dies_at_its_end: bool, at_least: usize) {
    let killed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|first| scope.spawn(move || killed_at_every_third_write_from(first, dies_at_its_end)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it held")).sum()
    });
    assert!(killed >= at_least, "{killed} were killed");
}

#[test]
fn an_operator_may_be_killed_at_any_write_while_hosts_are_told() {
    // The intent, three hosts, and that nobody drives any more.
    killed_everywhere(false, 10);
}

#[test]
fn an_operator_may_be_killed_at_any_write_while_a_rollout_is_finished() {
    // The intent, archive, release and remote, three hosts, and the intent again.
    killed_everywhere(true, 16);
}
