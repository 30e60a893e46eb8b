//! From HCL to hosts that run what it describes, and follow what is applied later: `terraform/examples/local`, with its store in a
//! bucket, and machines that have nothing but their user data.

use std::fs;

use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host, System};
use npc_tests::infrastructure::Infrastructure;
use npc_tests::metadata::Metadata;
use npc_tests::moto::Keys;
use npc_tests::parts::{ACCESS_KEY, Garage, HostBase, Nix, SECRET_KEY, program};
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};
use serde_json::{Value, json};

const HOSTS: [&str; 3] = ["web-1", "web-2", "db-1"];

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// What images for EC2 do at every boot: NixOS's `amazon-init` runs user data that are a script.
const RUN_USER_DATA: &str = r#"[Unit]
After=network.target

[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=/bin/sh -euc 'session=$$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token); \
  curl -sf -H "X-aws-ec2-metadata-token: $$session" -o /run/user-data http://169.254.169.254/latest/user-data; \
  exec sh /run/user-data'
"#;

/// The settings that a fleet's hosts have in common, and that no enrolment has.
const SETTINGS: &str = "poll_interval = 1\n[probation]\nsettle = 2\nstore = 20\nlimit = 60\n";

/// A system that runs its user data at every boot.
fn image(world: &World) -> System {
    world.system().with("/npc/agent/settings", SETTINGS).unit("user-data.service", RUN_USER_DATA)
}

/// A fleet that HCL describes.
struct Story {
    infrastructure: Infrastructure,
    hosts: Vec<(Host, Metadata)>,
}

impl Story {
    /// Machines that are off, and a flake with their configurations.
    fn begin() -> Option<Self> {
        let (base, garage, nix) = (HostBase::find()?, Garage::find()?, Nix::find()?);
        let agent = program("npc-agent");
        let variables = |world: &World| {
            let agents = json!({ std::env::consts::ARCH: agent });
            json!({ "store": world.url().to_string(), "flake": "..", "agents": agents })
        };
        let world = || host::world_without_fleet(&Kind::Garage(garage));
        let infrastructure = Infrastructure::example(world, "local", variables)?.evaluating(&nix);
        let world = &infrastructure.world;
        let role = Keys { id: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), session: None };
        let machine = |number: usize| {
            let metadata = Metadata::start(&format!("i-{number:017x}"), Some(&role));
            let host = Host::install(&base, world, &image(world).without_agent());
            (host.with_metadata(metadata.address()), metadata)
        };
        let hosts = (1..=HOSTS.len()).map(machine).collect();
        fs::remove_file(world.path("fleet/hosts/host.nix")).expect("removed");
        for name in HOSTS {
            let host = format!("{{ ... }}: {{ networking.hostName = \"{name}\"; }}\n");
            fs::write(world.path(&format!("fleet/hosts/{name}.nix")), host).expect("written");
        }
        Some(Self { infrastructure, hosts })
    }

    fn world(&self) -> &World {
        &self.infrastructure.world
    }

    /// Gives each machine what was rendered for it, and nothing else, and switches it on.
    fn power_on(&mut self) {
        let scripts = self.infrastructure.output_value("scripts");
        for ((host, metadata), name) in self.hosts.iter_mut().zip(HOSTS) {
            metadata.hand_out_user_data(scripts[name].as_str().expect("a script"));
            host.press_power();
        }
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().map(|(host, _)| host)
    }

    /// Waits until every host runs this unit, and has proved well with it.
    fn come_to_run(&self, unit: &str, serial: u64) {
        for host in self.hosts() {
            eventually(&format!("{unit} runs"), || (host.unit_state(unit) == "active").then_some(()));
            host.commits(serial);
        }
    }

    /// Runs `npc-publish` where there is nothing but this `npc.toml`.
    fn publisher_told(&self, npc_toml: &str, arguments: &[&str]) -> Ended {
        let directory = self.world().path("operator");
        fs::create_dir_all(&directory).expect("created");
        fs::write(directory.join("npc.toml"), npc_toml).expect("written");
        Ended::of(self.world().command("npc-publish").args(arguments).current_dir(directory))
    }

    /// What the fleet's hosts say of themselves, once all are current.
    fn all_are_current(&self) -> Value {
        let npc_toml = self.infrastructure.output("npc_toml");
        eventually("all are current", || {
            let status = self.publisher_told(&npc_toml, &["status", "--json"]);
            (status.code == Some(0)).then(|| serde_json::from_str(&status.data).expect("JSON"))
        })
    }

    fn begins(&mut self) {
        image(self.world()).unit("first.service", GOOD).choose(self.world());
        self.infrastructure.plans(&["+ \"flake.nix\" =", "(known after apply)", "7 to add"]);
        self.infrastructure.apply().works();
        self.infrastructure.plans_nothing();
        self.keys_are_made_and_kept_out_of_everything();
        self.power_on();
        self.come_to_run("first.service", 1);
        let status = self.all_are_current().to_string();
        for ((host, metadata), name) in self.hosts.iter().zip(HOSTS) {
            assert_eq!(host.unit_state(AGENT), "active");
            assert!(status.contains(&format!("\"{name}\"")), "{status}");
            let asked = metadata.asked();
            assert!(asked.iter().any(|line| line.contains("/security-credentials/")), "{asked:?}");
            assert!(!asked.iter().any(|line| line.ends_with(" 401")), "version 2 alone: {asked:?}");
        }
    }

    fn keys_are_made_and_kept_out_of_everything(&self) {
        let state = fs::read_to_string(self.infrastructure.path("terraform.tfstate")).expect("a state");
        for name in ["npc-root-1", "npc-publish-1"] {
            let secret = fs::read_to_string(self.world().key_file(name)).expect("a key");
            let (_, secret) = secret.trim().split_once(':').expect("a key has a name");
            assert!(!state.contains(secret), "{name} is in the state, of which the scripts are a part");
        }
    }

    fn follows_a_change_of_the_flake(&self) {
        image(self.world()).unit("second.service", GOOD).choose(self.world());
        let mut parts = vec!["~ \"choices.json\" =".to_owned(), "~ systems = {".to_owned(), "2 to change".to_owned()];
        parts.extend(HOSTS.map(|name| format!("~ \"{name}\" = \"/nix/store/")));
        let planned = self.infrastructure.plans(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!planned.contains("will be read"), "scripts do not change with releases: {planned}");
        self.infrastructure.apply().works();
        self.come_to_run("second.service", 2);
    }

    fn moves_one_by_a_word(&self) {
        self.infrastructure.replace("web-2 = { remote = \"prod\" }", "web-2 = { remote = \"canary\" }");
        let parts = ["~ remote = \"prod\" -> \"canary\"", "0 to add, 1 to change, 0 to destroy"];
        let planned = self.infrastructure.plans(&parts);
        assert_eq!(planned.matches(" -> ").count(), 1, "one line: {planned}");
        self.infrastructure.apply().works();
        self.infrastructure.plans_nothing();
        let moved = &self.hosts[1].0;
        let follows = || moved.run(["/opt/npc/npc-agent", "status", "--json"]).data;
        eventually("it follows the canary", || follows().contains("canary").then_some(()));
        self.all_are_current();
    }

    fn outlives_a_power_cut(&mut self) {
        let (host, _) = &mut self.hosts[0];
        host.power_cycle();
        eventually("user data have been run", || (host.unit_state("user-data.service") == "active").then_some(()));
        assert_eq!((host.committed(), host.unit_state(AGENT).as_str()), (Some(2), "active"));
    }

    fn ends(&self) {
        let npc_toml = self.infrastructure.output("npc_toml");
        self.infrastructure.terraform(&["destroy", "-auto-approve"]).works();
        let held = self.publisher_told(&npc_toml, &["remotes", "--json"]).works();
        let assigned = self.publisher_told(&npc_toml, &["hosts", "--json"]).works();
        for (tombstones, all, names) in [(2, "\"remote\": ", &held), (3, "\"name\": ", &assigned)] {
            let count = |part: &str| names.matches(part).count();
            assert_eq!((count("\"removed\": true"), count(all)), (tombstones, tombstones), "{names}");
        }
        for host in self.hosts() {
            assert_eq!(host.unit_state("second.service"), "active", "nobody is led nowhere");
        }
    }
}

#[test]
fn bare_machines_become_the_hosts_that_hcl_describes_and_follow_every_apply() {
    let Some(mut story) = Story::begin() else { return };
    story.begins();
    story.follows_a_change_of_the_flake();
    story.moves_one_by_a_word();
    story.outlives_a_power_cut();
    story.ends();
}
