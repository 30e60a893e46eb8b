//! What a host's next system is like.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::{Kind, World};

/// The configuration in `tests/systems`.
const CONFIGURATION: &str = "host";

/// The file in which choices are made.
const CHOICES: &str = "fleet/choices.json";

/// A world whose flake makes systems for hosts.
pub fn world(kind: &Kind) -> World {
    World::of(&flake(), kind)
}

/// Likewise, in whose store nobody has made a fleet yet.
pub fn world_without_fleet(kind: &Kind) -> World {
    World::without_fleet(&flake(), kind)
}

fn flake() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systems")
}

impl World {
    /// A good system for a host that follows `prod`, to make choices on.
    pub fn system(&self) -> System {
        let settings = format!(
            "{}\nremote = \"prod\"\nconfiguration = \"{CONFIGURATION}\"\nhost = \"{CONFIGURATION}\"\npoll_interval = 1\n\
             [probation]\nsettle = 2\nstore = 3\nlimit = 10\n",
            self.host_settings()
        );
        System { choices: json!({}) }.with("/npc/agent/settings", settings)
    }

    /// Publishes a system to `prod`, and gives its serial.
    pub fn publish_system(&self, choose: impl FnOnce(System) -> System) -> u64 {
        choose(self.system()).choose(self);
        let published = self.publish();
        published.strip_prefix("prod@").and_then(|serial| serial.parse().ok()).expect("prod@SERIAL")
    }
}

/// A system, by what distinguishes it from the plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    choices: Value,
}

impl System {
    /// Sets an option of `tests/systems`, by its JSON pointer.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.choices;
        for name in option.split('/').skip(1) {
            place = &mut place[name.replace("~1", "/")];
        }
        *place = value.into();
        self
    }

    /// Makes this the next system of the world's flake, published or not.
    pub fn choose(&self, world: &World) {
        fs::write(world.path(CHOICES), self.choices.to_string()).expect("written");
    }

    /// Watches the host for so many seconds, instead of two, and within a limit that leaves room for that.
    #[must_use]
    pub fn settle(self, seconds: u32) -> Self {
        let settings = self.choices["npc"]["agent"]["settings"].as_str().expect("settings");
        let usual = "settle = 2\nstore = 3\nlimit = 10\n";
        assert!(settings.contains(usual), "{settings}");
        let settings = settings.replace(usual, &format!("settle = {seconds}\nstore = 3\nlimit = {}\n", seconds + 8));
        self.with("/npc/agent/settings", settings)
    }

    /// Adds a unit that `multi-user.target` wants.
    #[must_use]
    pub fn unit(self, name: &str, text: &str) -> Self {
        self.with(&format!("/systemd/units/{name}"), json!({ "text": text, "wantedBy": ["multi-user.target"] }))
    }

    /// Adds a unit that nothing wants.
    #[must_use]
    pub fn idle_unit(self, name: &str, text: &str) -> Self {
        self.with(&format!("/systemd/units/{name}"), json!({ "text": text, "wantedBy": [] }))
    }

    /// Adds a unit that fails when it is started.
    #[must_use]
    pub fn failing_unit(self, name: &str) -> Self {
        self.unit(name, "[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/false\n")
    }

    /// Adds a unit that starts well, ends a moment later with an error, and is restarted without end.
    #[must_use]
    pub fn crash_looping_unit(self, name: &str) -> Self {
        let unit = "[Unit]\nStartLimitIntervalSec=0\n\
                    [Service]\nExecStart=/bin/sh -c 'sleep 0.5; exit 1'\nRestart=always\nRestartSec=0\n";
        self.unit(name, unit)
    }

    /// Adds a unit whose start never ends.
    #[must_use]
    pub fn hanging_unit(self, name: &str) -> Self {
        self.unit(name, "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n")
    }

    /// Adds a unit that cuts the host off from the store for as long as it is active: whatever is sent is lost without a word, as
    /// behind a pulled cable, so that only the agent's own patience ends its waiting.
    #[must_use]
    pub fn cut_network(self, name: &str) -> Self {
        self.network_unit(name, "ExecStart=/bin/ip link set lo down\nExecStop=/bin/ip link set lo up\n")
    }

    /// Adds a unit that takes the network away for as long as it is active: connections break, and new ones are refused at once.
    #[must_use]
    pub fn refuse_network(self, name: &str) -> Self {
        let commands = "ExecStart=/bin/ip address delete 127.0.0.1/8 dev lo\nExecStart=/bin/ss --kill dst 127.0.0.1\n\
                        ExecStop=/bin/ip address add 127.0.0.1/8 dev lo\n";
        self.network_unit(name, commands)
    }

    fn network_unit(self, name: &str, commands: &str) -> Self {
        self.unit(name, &format!("[Service]\nType=oneshot\nRemainAfterExit=true\n{commands}"))
    }

    /// Has activation run this shell as well. If it fails, `switch-to-configuration` exits 2.
    #[must_use]
    pub fn activation(self, script: &str) -> Self {
        self.with("/activation/snippet", script)
    }

    /// Has activation wait for ever, after writing `/run/activation-hangs`.
    #[must_use]
    pub fn hanging_activation(self) -> Self {
        self.activation("touch /run/activation-hangs\nsleep infinity")
    }

    /// Puts a file below `/etc`, such as `npc/host.json`.
    #[must_use]
    pub fn etc(self, path: &str, text: &str) -> Self {
        self.with(&format!("/environment/etc/{}", path.replace('/', "~1")), json!({ "text": text }))
    }

    /// Has another kernel, and with it another initrd.
    #[must_use]
    pub fn kernel(self, version: &str) -> Self {
        self.with("/boot/kernelVersion", version)
    }

    /// Has an initrd with these modules as well.
    #[must_use]
    pub fn initrd_modules(self, modules: &[&str]) -> Self {
        self.with("/boot/initrd/kernelModules", modules)
    }

    /// Has these kernel parameters as well.
    #[must_use]
    pub fn kernel_params(self, params: &[&str]) -> Self {
        self.with("/boot/kernelParams", params)
    }

    /// Can be booted, but not switched to: `switch-to-configuration` exits 100.
    #[must_use]
    pub fn init_interface_version(self, version: u32) -> Self {
        self.with("/system/initInterfaceVersion", version)
    }

    /// Refuses to be switched to from a system that runs, for this reason, unless checks are skipped.
    #[must_use]
    pub fn inhibit_switch(self, reason: &str) -> Self {
        self.with("/system/preSwitchChecks", fails_with(reason))
    }

    /// Has these switch inhibitors: refuses to be switched to from a system with others, unless checks are skipped.
    #[must_use]
    pub fn switch_inhibitors(self, inhibitors: &[&str]) -> Self {
        self.with("/system/switch/inhibitors", inhibitors)
    }

    /// Fails to become the boot default, for this reason.
    #[must_use]
    pub fn fail_boot_loader(self, reason: &str) -> Self {
        self.with("/boot/loader/check", fails_with(reason))
    }

    /// Lacks the agent's unit.
    #[must_use]
    pub fn without_agent(self) -> Self {
        self.with("/npc/agent/enable", false)
    }

    /// Has another version of the agent: the same program by another store path.
    #[must_use]
    pub fn agent_version(self, version: &str) -> Self {
        self.with("/npc/agent/version", version)
    }

    /// Has another program for the agent: a path on the host, such as `/bin/false` or `/opt/npc/NAME`. It is copied into the Nix
    /// store once for each path and version, and not again if the file changes.
    #[must_use]
    pub fn agent_program(self, program: &str) -> Self {
        self.with("/npc/agent/program", program)
    }

    /// Gives the agent this environment, as `NAME=VALUE`.
    #[must_use]
    pub fn agent_environment(self, variables: &[&str]) -> Self {
        self.with("/npc/agent/environment", variables)
    }

    /// Adds lines to the agent's configuration file.
    #[must_use]
    pub fn agent_settings(self, lines: &str) -> Self {
        let settings = self.choices.pointer("/npc/agent/settings").and_then(Value::as_str).unwrap_or_default();
        let settings = format!("{settings}{lines}\n");
        self.with("/npc/agent/settings", settings)
    }
}

/// Shell that complains and fails.
fn fails_with(reason: &str) -> String {
    format!("echo '{}' >&2; exit 1", reason.replace('\'', "'\\''"))
}
