//! A fleet of twelve hosts with real Nix, on Garage: a release goes to `next` and out in waves, fails, is mended, becomes `prod`'s;
//! then that goes back, and forward again.

use std::collections::BTreeSet;
use std::fs;

use npc_tests::eventually;
use npc_tests::journal;
use npc_tests::parts::Nix;
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Agent, World, garage_kind};

const WEB: [&str; 9] = ["web-1", "web-2", "web-3", "web-4", "web-5", "web-6", "web-7", "web-8", "web-9"];
const DB: [&str; 3] = ["db-1", "db-2", "db-3"];

fn hosts() -> impl Iterator<Item = &'static str> {
    WEB.into_iter().chain(DB)
}

/// Makes the example's fleet one of twelve hosts, which say how they want to be changed: at most two of the web servers at once,
/// databases last, and the first of them before the others.
fn enlarge(world: &World) {
    let host = |name: &str, role: &str| {
        let file = world.path(&format!("fleet/hosts/{name}.nix"));
        let text = format!(
            "{{ ... }}:\n{{\n  imports = [ ../modules/roles/{role}.nix ];\n  networking.hostName = \"{name}\";\n\
               # activation.fail = true;\n}}\n"
        );
        fs::write(file, text).expect("written");
    };
    for name in hosts() {
        host(name, name.split('-').next().expect("its role"));
    }
    let edit = |name: &str, old: &str, new: &str| {
        let path = world.path(&format!("fleet/{name}"));
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains(old), "{name} has {old}");
        fs::write(path, text.replace(old, new)).expect("written");
    };
    let names: Vec<_> = hosts().map(|name| format!("\"{name}\"")).collect();
    edit("flake.nix", "[ \"web-1\" \"web-2\" \"db-1\" ]", &format!("[ {} ]", names.join(" ")));
    let metadata = "inherit (config.npc) role groups;\n      dependencies =\n        \
        if config.npc.role == \"db\" && config.networking.hostName != \"db-1\" then [ \"db-1\" ] else [ ];\n      \
        orchestration = if config.npc.role == \"db\" then { criticalityLevel = \"critical\"; } else { maxUnavailable.web = 2; };";
    edit("modules/base.nix", "inherit (config.npc) role groups;", metadata);
}

struct Story<'a> {
    world: &'a World,
    nix: &'a Nix,
    agents: Vec<(&'static str, Agent<'a>)>,
}

impl Story<'_> {
    fn publish(&self, remote: &str, words: &str) {
        self.world.edit(words);
        self.world.evaluating(self.nix, &["--remote", remote]).works();
    }

    fn operator(&self, arguments: &[&str]) -> Ended {
        self.world.in_fleet(arguments)
    }

    fn agent(&self, name: &str) -> &Agent<'_> {
        &self.agents.iter().find(|(host, _)| *host == name).expect("a host").1
    }

    /// Waits until every host runs a system that shows this.
    fn all_show(&self, words: &str) {
        for (name, agent) in &self.agents {
            eventually(&format!("{name} shows {words}"), || (agent.message().trim() == words).then_some(()));
        }
    }

    /// Waits until all are well, and follow `prod` at this serial.
    fn all_run_prod(&self, serial: u64) {
        for (name, agent) in &self.agents {
            eventually(&format!("{name} runs prod@{serial}"), || {
                let journal = agent.journal()?;
                let follows = journal.pointer("/committed/target/remote").is_some_and(|remote| remote == "prod");
                (follows && journal::is_steady_at(&journal, serial)).then_some(())
            });
        }
        eventually("the status says so", || (self.operator(&["status"]).code == Some(0)).then_some(()));
    }

    fn activations(&self) -> usize {
        self.agents.iter().map(|(_, agent)| agent.activations().len()).sum()
    }
}

/// At most two web servers are on their way at any time, by what the operator sees; databases go after them, the first before the rest.
fn goes_in_order(lines: &str) {
    let (mut under_way, mut told): (BTreeSet<&str>, Vec<&str>) = (BTreeSet::new(), Vec::new());
    for line in lines.lines() {
        let mut words = line.split([' ', ':']).filter(|word| !word.is_empty());
        match words.next() {
            Some("wave") => {
                let (Some(_), Some(name), Some(reached)) = (words.next(), words.next(), words.next()) else { continue };
                if matches!(reached, "soaking" | "done") {
                    under_way.remove(name);
                }
            }
            Some(name) if line.contains(" -> next@") => {
                told.push(name);
                under_way.insert(name);
                let web = under_way.iter().filter(|name| name.starts_with("web-")).count();
                assert!(web <= 2, "{web} web servers at once: {lines}");
            }
            _ => {}
        }
    }
    let place = |name: &str| told.iter().position(|host| *host == name).unwrap_or_else(|| panic!("{name}: {lines}"));
    assert!(WEB.iter().all(|web| place(web) < place("db-1")), "{lines}");
    assert!(place("db-1") < place("db-2") && place("db-1") < place("db-3"), "{lines}");
}

#[test]
fn twelve_hosts_go_to_a_release_in_waves_and_stop_and_go_on_and_back_and_forward() {
    let (Some(kind), Some(nix)) = (garage_kind(), Nix::find()) else { return };
    let world = World::new(&kind);
    enlarge(&world);
    let agents = hosts().map(|name| (name, world.agent_called(&format!("host-{name}"), name, &nix))).collect();
    let story = Story { world: &world, nix: &nix, agents };
    story.publish("prod", "the first");
    let _running: Vec<Background> = story.agents.iter().map(|(_, agent)| agent.start()).collect();
    story.all_run_prod(1);

    world.break_activation("web-3");
    story.publish("next", "the second");
    let start = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", "1,25%,100%", "--soak", "2s"];
    let plan = story.operator(&[&["rollout", "plan"], &start[2..]].concat()).works();
    let expected = "wave 1  1 of 12   web-1\nwave 2  3 of 12   web-2 web-3\n\
                    wave 3  12 of 12  web-4 web-5 web-6 web-7 web-8 web-9 db-1 db-2 db-3\n";
    assert_eq!(plan, expected);
    story.operator(&start).fails(7, &["rollout `next-1` is halted: web-3: activation-failed"]);
    assert_eq!(story.agent("web-1").message().trim(), "the second");
    let untouched = WEB[3..].iter().chain(&DB);
    for name in std::iter::once(&"web-3").chain(untouched.clone()) {
        assert_eq!(story.agent(name).message().trim(), "the first", "{name}");
    }
    for name in untouched {
        assert_eq!(
            story.agent(name).activations().len(),
            story.agent("db-1").activations().len(),
            "{name} was left alone"
        );
        assert_eq!(story.agent(name).status()["follows"]["remote"], "prod");
    }

    let host = world.path("fleet/hosts/web-3.nix");
    let text = fs::read_to_string(&host).expect("read");
    fs::write(&host, text.replace("activation.fail", "# activation.fail")).expect("written");
    story.publish("next", "the second, mended");
    let resumed = story.operator(&["rollout", "resume"]);
    assert!(resumed.words.contains("next@2 is new: from the first wave on"), "{resumed:?}");
    goes_in_order(&resumed.works());
    story.all_show("the second, mended");
    let before = story.activations();
    story.operator(&["rollout", "finish", "--yes"]).works();
    story.all_run_prod(2);
    assert_eq!(story.activations(), before, "nobody had anything to do");

    assert_eq!(story.operator(&["rollback", "prod", "--yes"]).works(), "prod@3\n");
    story.all_show("the first");
    story.all_run_prod(3);
    assert_eq!(story.operator(&["promote", "next", "prod", "--yes"]).works(), "prod@4\n");
    story.all_show("the second, mended");
    story.all_run_prod(4);
}
