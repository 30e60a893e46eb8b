//! Putting together what the configuration file says and what the host was enrolled with.
//!
//! The configuration goes before the enrolment, setting by setting, with three exceptions. What trust hangs on comes from one of
//! the two as a whole: a key of the one must not vouch for the fleet of the other. Of two floors the higher counts, since neither
//! was told for nothing. And a token is shown to the store that it was given for, and to no other.

use std::fs;
use std::io;
use std::path::Path;

use npc_core::enrolment::{self, Enrolment};
use toml::{Table, Value};

use super::{File, not_in_order, unreadable};
use crate::failure::Failure;

/// What trust hangs on.
const TRUST: [&str; 3] = ["fleet", "root_keys", "root_threshold"];

/// What either may say without the other's knowledge.
const PLAIN: [&str; 5] = ["remote", "configuration", "initial_configuration", "host", "assignment"];

/// What both come to, and what they are to a person. Where the host was enrolled, there may be no configuration at all.
pub(super) fn read(config: &Path, state: &Path) -> Result<(Table, String), Failure> {
    let path = state.join(enrolment::FILE);
    let (configured, enrolled) = (text_of(config)?, text_of(&path)?);
    let shown = (format!("`{}`", config.display()), format!("`{}`", path.display()));
    match (configured, enrolled) {
        (None, None) => Err(unreadable(config, &io::ErrorKind::NotFound.into())),
        (Some(text), None) => Ok((table(&text).map_err(|reason| not_in_order(&shown.0, &reason))?, shown.0)),
        (configured, Some(text)) => {
            let own = table(&configured.unwrap_or_default()).map_err(|reason| not_in_order(&shown.0, &reason))?;
            let enrolment = toml::from_str(&text).map_err(|error| not_in_order(&shown.1, &error.to_string()))?;
            let both = join(own, &enrolment).map_err(|reason| not_in_order(&shown.0, &reason))?;
            Ok((both, format!("{}, with {},", shown.0, shown.1)))
        }
    }
}

fn text_of(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Parsed twice: what is wrong with a setting is said with the line in which it stands.
fn table(text: &str) -> Result<Table, String> {
    toml::from_str::<File>(text).map_err(|error| error.to_string())?;
    toml::from_str(text).map_err(|error| error.to_string())
}

/// What a configuration and an enrolment come to.
fn join(mut own: Table, enrolment: &Enrolment) -> Result<Table, String> {
    let told = Table::try_from(enrolment).map_err(|error| error.to_string())?;
    if TRUST.iter().any(|field| own.contains_key(*field)) {
        if !own.contains_key("fleet") || !own.contains_key("root_keys") {
            return Err("fleet, root_keys and root_threshold belong together, and one of fleet and root_keys is \
                        missing; say both, or neither where the host was enrolled"
                .to_owned());
        }
        // An enrolment in another fleet says nothing about this one.
        if own["fleet"] != told["fleet"] {
            return Ok(own);
        }
    } else {
        take(&mut own, &told, &TRUST);
    }
    if own.get("store").is_none_or(|store| is_store(store, enrolment)) {
        take(&mut own, &told, &["store", "store_token_file"]);
    }
    take(&mut own, &told, &PLAIN);
    raise(&mut own, "minimum_trust", &told["minimum_trust"]);
    take_floors(&mut own, &told);
    if enrolment.report.ephemeral {
        let report = own.entry("report").or_insert_with(|| Table::new().into());
        if let Value::Table(report) = report {
            report.entry("ephemeral").or_insert(true.into());
        }
    }
    Ok(own)
}

/// Takes what is told and not said.
fn take(own: &mut Table, told: &Table, fields: &[&str]) {
    for field in fields {
        if let Some(value) = told.get(*field) {
            own.entry(*field).or_insert_with(|| value.clone());
        }
    }
}

fn take_floors(own: &mut Table, told: &Table) {
    let Some(Value::Table(floors)) = told.get("minimum_serials") else { return };
    let serials = own.entry("minimum_serials").or_insert_with(|| Table::new().into());
    if let Value::Table(serials) = serials {
        floors.iter().for_each(|(remote, floor)| raise(serials, remote, floor));
    }
}

fn raise(own: &mut Table, field: &str, floor: &Value) {
    let known = own.get(field).and_then(Value::as_integer);
    if floor.as_integer() > known {
        own.insert(field.to_owned(), floor.clone());
    }
}

fn is_store(said: &Value, enrolment: &Enrolment) -> bool {
    said.as_str().and_then(|url| url.parse().ok()).as_ref() == Some(&enrolment.store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const KEY: &str = "npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE=";
    const OTHER_KEY: &str = "npc-example-2:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE=";
    const FLEET: &str = "00000000000000000000000000000000";
    const OTHER_FLEET: &str = "11111111111111111111111111111111";

    fn enrolment(more: &str) -> String {
        format!(
            "fleet = \"{FLEET}\"\nstore = \"https://store.example.org/\"\nroot_keys = [\"{KEY}\"]\nremote = \"prod\"\n\
             host = \"web-7\"\nconfiguration = \"small\"\n{more}"
        )
    }

    /// What a host with these two comes to, on a machine that is called `machine`; no configuration is an absent file.
    fn read(config: Option<&str>, enrolment: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        if let Some(text) = config {
            fs::write(&path, text).expect("written");
        }
        fs::write(folder.path().join(enrolment::FILE), enrolment).expect("written");
        Settings::of_host(&path, folder.path(), "machine").map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_enrolled_host_needs_no_configuration_file() {
        let settings = read(None, &enrolment("[report]\nephemeral = true\n")).expect("settings");
        assert_eq!((settings.host.as_str(), settings.following.configuration.as_str()), ("web-7", "small"));
        assert!(settings.report.expect("it reports").ephemeral);
        let nowhere = tempfile::tempdir().expect("a folder");
        let neither = Settings::of_host(&nowhere.path().join("config.toml"), nowhere.path(), "machine");
        assert!(neither.expect_err("nothing was told").to_string().contains("config.toml"));
    }

    #[test]
    fn what_the_configuration_says_goes_before_the_enrolment_setting_by_setting() {
        let said = "remote = \"canary\"\npoll_interval = 7\n[report]\nephemeral = false\n";
        let settings = read(Some(said), &enrolment("[report]\nephemeral = true\n")).expect("settings");
        assert_eq!(settings.following.remote.as_str(), "canary");
        assert_eq!((settings.host.as_str(), settings.poll_interval.as_secs()), ("web-7", 7));
        assert!(!settings.report.expect("it reports").ephemeral);
        assert_eq!(settings.anchor.fleet.as_str(), FLEET);
    }

    #[test]
    fn an_initial_configuration_is_either_files_to_say() {
        let told = enrolment("initial_configuration = \"tiny\"\n");
        let initial = |config: Option<&str>, told: &str| {
            let name = read(config, told).expect("settings").initial_configuration;
            name.map(|name| name.to_string())
        };
        assert_eq!(initial(None, &told).as_deref(), Some("tiny"));
        let said = Some("initial_configuration = \"swap\"\n");
        assert_eq!(initial(said, &told).as_deref(), Some("swap"));
        assert_eq!(initial(said, &enrolment("")).as_deref(), Some("swap"));
        assert_eq!(initial(None, &enrolment("")), None);
    }

    #[test]
    fn of_two_floors_the_higher_counts_whoever_told_it() {
        let floors =
            |trust: u64, prod: u64| format!("minimum_trust = {trust}\nminimum_serials = {{ prod = {prod} }}\n");
        for (said, told, trust, prod) in [((3, 4), (5, 6), 5, 6), ((5, 6), (3, 4), 5, 6), ((3, 6), (5, 4), 5, 6)] {
            let settings = read(Some(&floors(said.0, said.1)), &enrolment(&floors(told.0, told.1))).expect("settings");
            let remote = "prod".parse().expect("a name");
            assert_eq!((settings.anchor.version.get(), settings.minimum_serials[&remote].get()), (trust, prod));
        }
    }

    #[test]
    fn what_trust_hangs_on_comes_from_one_of_the_two_alone() {
        let told = enrolment("");
        for half in
            [format!("fleet = \"{FLEET}\""), format!("root_keys = [\"{OTHER_KEY}\"]"), "root_threshold = 1".into()]
        {
            let error = read(Some(&half), &told).expect_err("half a trust");
            assert!(error.contains("root_keys"), "{error}");
        }
        let whole = format!("fleet = \"{FLEET}\"\nroot_keys = [\"{OTHER_KEY}\"]\n");
        let told = told.replace(&format!("[\"{KEY}\"]"), &format!("[\"{KEY}\", \"{OTHER_KEY}\"]\nroot_threshold = 2"));
        let settings = read(Some(&whole), &told).expect("settings");
        assert_eq!((settings.anchor.root_keys.len(), settings.anchor.root_threshold), (1, 1));
        assert_eq!(settings.host.as_str(), "web-7", "all else still counts");
    }

    #[test]
    fn an_enrolment_in_another_fleet_says_nothing_at_all() {
        let whole = format!(
            "fleet = \"{OTHER_FLEET}\"\nroot_keys = [\"{KEY}\"]\nstore = \"https://other.example.org/\"\nremote = \"prod\"\n"
        );
        let settings = read(Some(&whole), &enrolment("minimum_trust = 9\n")).expect("settings");
        assert_eq!((settings.anchor.version.get(), settings.host.as_str()), (1, "machine"));
    }

    #[test]
    fn a_token_is_shown_to_the_store_that_it_was_given_for_alone() {
        let told = enrolment("store_token_file = \"/a/token\"\n");
        let shown = |said: &str| read(Some(said), &told).expect("settings").store_token_file;
        assert!(shown("").is_some() && shown("store = \"https://store.example.org/\"\n").is_some());
        assert_eq!(shown("store = \"https://elsewhere.example.org/\"\n"), None);
    }

    #[test]
    fn an_older_agent_reads_the_enrolment_of_a_newer_one_and_a_damaged_one_is_named() {
        assert!(read(None, &enrolment("added_later = true\n")).is_ok());
        let error = read(None, "fleet = ").expect_err("damaged");
        assert!(error.contains(enrolment::FILE), "{error}");
        let error = read(Some("pol_interval = 7\n"), &enrolment("")).expect_err("a mistake");
        assert!(error.contains("line 1") && error.contains("pol_interval"), "{error}");
    }

    #[test]
    fn both_as_one_file_are_what_they_are_as_two() {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, one) = (folder.path().join("config.toml"), folder.path().join("one.toml"));
        fs::write(&config, "poll_interval = 7\n").expect("written");
        fs::write(folder.path().join(enrolment::FILE), enrolment("minimum_trust = 3\n")).expect("written");
        fs::write(&one, super::super::as_one_file(&config, folder.path()).expect("one file")).expect("written");
        let read = Settings::read(&one, "machine").expect("settings");
        assert_eq!((read.anchor.version.get(), read.poll_interval.as_secs(), read.host.as_str()), (3, 7, "web-7"));
    }
}
