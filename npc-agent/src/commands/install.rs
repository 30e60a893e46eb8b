//! `npc-agent install`: makes a machine a host.
//!
//! The enrolment is written last: whoever finds it finds a host with everything that an agent there needs, and may be cut off
//! before that and begin again. The agent that was started meanwhile waits for it, by being started again.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use npc_core::Timestamp;
use npc_core::document::Obeyed;
use npc_core::enrolment::{self, Enrolment, Reported};
use npc_core::files;
use tokio::task::LocalSet;
use toml::{Table, Value};

use super::{data, machine_name};
use crate::activation::unit::is_booted;
use crate::assembly::reporter;
use crate::cli::Install;
use crate::failure::Failure;
use crate::machine::{Failed, Journal, Trouble};
use crate::report::{Account, ThisMachine};
use crate::settings::Settings;
use crate::stand_in::{self, DEFAULT_UNITS, StandIn};
use crate::state::{Lock, Replay, StateDirectory};
use crate::store;

/// The longest enrolment, in bytes: what brings it, a machine's user data, may be no longer.
const LONGEST: u64 = 16 * 1024;

pub(super) fn install(config: &Path, state: &Path, told: &Install) -> Result<(), Failure> {
    let text = read(&told.enrolment)?;
    let (enrolment, settings) = check(&text, &machine_name(state))?;
    let state = StateDirectory::create(state)?;
    let runtime = super::run::runtime()?;
    let steps = Steps { config, state: &state, told, text: &text, enrolment: &enrolment };
    let result = runtime.block_on(steps.take());
    if let Err(failure) = &result {
        runtime.block_on(LocalSet::new().run_until(tell_store(&settings, &state, failure.to_string())));
    }
    result
}

fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |error: io::Error| Failure::usage(format!("cannot read the enrolment `{}`: {error}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
    };
    if read.map_err(cannot)? as u64 > LONGEST {
        return Err(cannot(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

/// Holds an enrolment against what one may say, and against what an agent takes for settings.
fn check(text: &str, machine: &str) -> Result<(Enrolment, Settings), Failure> {
    let wrong = |reason: String| {
        Failure::usage(format!("the enrolment is not in order: {reason}"))
            .hint("`npc-publish bootstrap` prints one in order; docs/hosts.md has its fields")
    };
    let enrolment = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let table: Table = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let report = table.get("report").and_then(Value::as_table).into_iter().flat_map(Table::keys);
    let strange = table.keys().find(|field| !Enrolment::FIELDS.contains(&field.as_str()));
    let strange = strange.or_else(|| report.into_iter().find(|field| !Reported::FIELDS.contains(&field.as_str())));
    if let Some(field) = strange {
        return Err(wrong(format!("`{field}` is for a configuration file")));
    }
    let settings = Settings::parse(text, machine).map_err(wrong)?;
    Ok((enrolment, settings))
}

/// What a machine was enrolled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// With nothing.
    Nothing,
    /// With this very enrolment.
    This,
    /// With one that may be replaced.
    Another,
}

/// What is to be done.
struct Steps<'a> {
    config: &'a Path,
    state: &'a StateDirectory,
    told: &'a Install,
    text: &'a str,
    enrolment: &'a Enrolment,
}

impl Steps<'_> {
    async fn take(&self) -> Result<(), Failure> {
        let path = self.state.path(enrolment::FILE);
        let known = self.known(&path)?;
        let own = std::env::current_exe().map_err(Failure::other)?;
        let program = stand_in::keep_program(&own, self.state)
            .map_err(|error| Failure::other(format!("cannot keep a copy of `{}`: {error}", own.display())))?;
        let units = &self.told.units;
        let places = stand_in::unusual_places(units);
        let stand_in = StandIn { program, config: self.config, state: self.state, places };
        let units_are_new = stand_in
            .write_units(units)
            .map_err(|error| Failure::other(format!("cannot write units to `{}`: {error}", units.display())))?;
        if known == Known::This && !units_are_new {
            return data("is enrolled");
        }
        let write = || {
            files::write_atomically(&path, self.text.as_bytes(), 0o600)
                .map_err(|error| Failure::other(format!("cannot write `{}`: {error}", path.display())))
        };
        // Units elsewhere are for another machine: an image in the making.
        let has_systemd = is_booted() && *units == *DEFAULT_UNITS;
        let begin = async || {
            if !has_systemd {
                return Ok(());
            }
            stand_in::begin(units_are_new).await.map_err(|failed| Failure::other(failed.to_string()))
        };
        if known == Known::Nothing {
            begin().await?;
            write()?;
        } else {
            // The agent that runs has what the machine was told before.
            write()?;
            begin().await?;
        }
        data(if has_systemd {
            "enrolled"
        } else {
            "enrolled; nobody was told to run the agent: see to it that `npc-agent run` is"
        })
    }

    /// What the machine was enrolled with already, if that may be replaced.
    fn known(&self, path: &Path) -> Result<Known, Failure> {
        let known = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::Nothing),
            Err(error) => return Err(Failure::other(format!("cannot read `{}`: {error}", path.display()))),
        };
        let refused = |reason: &str| {
            Err(Failure::usage(format!("`{}` {reason}", path.display()))
                .hint("--force replaces it; a host that moves to another fleet also needs a new state directory"))
        };
        match toml::from_str::<Enrolment>(&known) {
            Ok(known) if known == *self.enrolment => Ok(Known::This),
            _ if self.told.force => Ok(Known::Another),
            Err(_) => refused("is damaged, and nobody knows which fleet it is about"),
            Ok(known) if known.fleet != self.enrolment.fleet => refused("is about another fleet"),
            Ok(_) => Ok(Known::Another),
        }
    }
}

/// Leaves word of a failure in the store, if that is possible. An agent that runs has its own say, and goes on.
async fn tell_store(settings: &Settings, state: &StateDirectory, reason: String) {
    let Ok(_lock) = Lock::take(state) else { return };
    let Ok((replay, instance)) = Replay::open(state, settings) else { return };
    let Ok(store) = store::open(settings).await else { return };
    let failed = Failed::new("install-failed", reason);
    let trouble = Some(Trouble { since: Timestamp::now(), reason: failed });
    let following = settings.following.clone();
    let account = Account {
        journal: Journal { trouble, ..state.read_journal().unwrap_or_default() },
        paused: true,
        heartbeat: None,
        obeyed: Obeyed {
            assignment: None,
            remote: following.remote,
            configuration: following.configuration,
            release: None,
        },
        running: None,
        trust: settings.anchor.version,
        trust_digest: replay.trust_digest(),
    };
    let machine = Box::new(ThisMachine { root: settings.root().to_owned() });
    if let Some(reporter) = reporter(settings, state, &instance, Arc::clone(&store), machine, account) {
        reporter.introduction().await;
        reporter.end().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    const ENROLMENT: &str = r#"
        fleet = "00000000000000000000000000000000"
        store = "file:///nowhere"
        root_keys = ["npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="]
        remote = "prod"
        host = "web-1"
        configuration = "web-1"
    "#;

    struct World {
        folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder") }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn install(&self, text: &str, force: bool) -> Result<(), String> {
            let file = self.path("enrolment");
            fs::write(&file, text).expect("written");
            let told = Install { enrolment: file, force, units: self.path("units") };
            install(&self.path("config.toml"), &self.path("state"), &told).map_err(|failure| failure.to_string())
        }

        fn enrolled(&self) -> Option<String> {
            fs::read_to_string(self.path("state/enrolment.toml")).ok()
        }
    }

    #[test]
    fn a_machine_is_enrolled_once_and_again_without_a_change() {
        let world = World::new();
        world.install(ENROLMENT, false).expect("enrolled");
        let path = world.path("state/enrolment.toml");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let before = fs::metadata(&path).expect("there").modified().expect("a time");
        world.install(ENROLMENT, false).expect("enrolled already");
        assert_eq!(fs::metadata(&path).expect("there").modified().expect("a time"), before);
        let settings = Settings::of_host(&world.path("config.toml"), &world.path("state"), "x").expect("settings");
        assert_eq!(settings.host.as_str(), "web-1");
    }

    #[test]
    fn what_was_damaged_or_lost_is_put_back() {
        let world = World::new();
        world.install(ENROLMENT, false).expect("enrolled");
        fs::remove_dir_all(world.path("units")).expect("removed");
        fs::remove_dir_all(world.path("state/bin")).expect("removed");
        world.install(ENROLMENT, false).expect("enrolled");
        assert!(world.path("units").join(stand_in::UNIT).exists());
        assert_eq!(fs::read_dir(world.path("state/bin")).expect("there").count(), 1);
    }

    #[test]
    fn another_fleet_takes_a_host_over_by_force_alone() {
        let world = World::new();
        world.install(ENROLMENT, false).expect("enrolled");
        let other = ENROLMENT.replace("00000000000000000000000000000000", "11111111111111111111111111111111");
        let error = world.install(&other, false).expect_err("another fleet");
        assert!(error.contains("another fleet"), "{error}");
        assert_eq!(world.enrolled().as_deref(), Some(ENROLMENT));
        world.install(&ENROLMENT.replace("prod", "canary"), false).expect("the same fleet may say otherwise");
        world.install(&other, true).expect("by force");
        assert_eq!(world.enrolled(), Some(other));
        fs::write(world.path("state/enrolment.toml"), "fleet = ").expect("damaged");
        assert!(world.install(ENROLMENT, false).expect_err("nobody knows").contains("damaged"));
    }

    #[test]
    fn what_is_no_enrolment_changes_nothing() {
        let world = World::new();
        for (text, part) in [
            ("fleet = ".to_owned(), "not in order"),
            (ENROLMENT.replace("remote", "remotes"), "remote"),
            (format!("poll_interval = 7\n{ENROLMENT}"), "poll_interval"),
            (format!("{ENROLMENT}\n[report]\nheartbeat = 70\n"), "heartbeat"),
            (format!("root_threshold = 2\n{ENROLMENT}"), "root_threshold"),
            (format!("# {}\n{ENROLMENT}", "x".repeat(16 * 1024)), "too large"),
        ] {
            let error = world.install(&text, false).expect_err("not an enrolment");
            assert!(error.contains(part), "{error}");
        }
        assert!(!world.path("state").exists());
    }

    #[test]
    fn a_failure_is_reported_to_the_store() {
        let world = World::new();
        let store = world.path("store");
        fs::create_dir(&store).expect("created");
        // What cannot be replaced by a file stands for a disk that takes none.
        fs::create_dir_all(world.path("units").join(stand_in::UNIT)).expect("created");
        let text = ENROLMENT.replace("file:///nowhere", &format!("file://{}", store.display()));
        let error = world.install(&text, false).expect_err("no units");
        assert!(error.contains("cannot write units"), "{error}");
        assert_eq!(world.enrolled(), None);
        let report = fs::read(store.join("reports/web-1.json")).expect("a report");
        let envelope = npc_core::envelope::Envelope::parse(&report).expect("an envelope");
        let told = String::from_utf8_lossy(envelope.payload()).into_owned();
        assert!(told.contains("install-failed") && told.contains("cannot write units"), "{told}");
    }
}
