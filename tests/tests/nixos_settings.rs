//! The agent's settings as options of NixOS's: neither has any that the other lacks, and both say the same of them.

use std::collections::BTreeSet;
use std::fs;

use npc_agent::settings::Settings;
use npc_tests::modules::{Modules, agent, complaints, file};
use npc_tests::parts::nixpkgs_lib;
use npc_tests::process::Ended;
use serde_json::{Map, Value, json};

/// How the agent reads its configuration file, on a machine that is called web-1.
fn read(settings: &Value) -> Result<Settings, String> {
    Settings::parse(&toml::to_string(settings).expect("TOML"), "web-1")
}

#[test]
fn what_is_not_said_is_left_to_the_agent_and_to_its_enrolment() {
    let Some(modules) = Modules::find() else { return };
    let made = modules.make_of_agent(json!({ "settings": { "poll_interval": 30, "build": { "timeout": null } } }));
    assert_eq!(made["settings"], json!({ "host": "nixos", "poll_interval": 30 }));
    assert_eq!(complaints(&made), [""; 0]);
}

#[test]
fn settings_that_the_agent_would_refuse_are_refused_before_they_are_published() {
    let Some(modules) = Modules::find() else { return };
    for (settings, part) in [
        (json!({ "pol_interval": 5 }), "pol_interval"),
        (json!({ "build": { "timeuot": 5 } }), "timeuot"),
        (json!({ "poll_interval": 0 }), "poll_interval"),
        (json!({ "poll_interval": "5" }), "poll_interval"),
        (json!({ "remote": "Prod!" }), "remote"),
        (json!({ "fleet": "mine" }), "fleet"),
        (json!({ "root": "relative" }), "root"),
        (json!({ "activation": { "command": [] } }), "command"),
        (json!({ "activation": { "boot_instead_of_switch": ["never"] } }), "boot_instead_of_switch"),
        (json!({ "metrics": { "listen": "somewhere" } }), "listen"),
    ] {
        modules.refuse(&agent(json!({ "settings": settings })), part);
    }
    for (settings, part) in [
        (json!({ "probation": { "settle": 600 } }), "settings.probation"),
        (json!({ "reboot": { "when": "in-window" } }), "settings.reboot"),
        (json!({ "report": { "heartbeat": 59 } }), "settings.report.heartbeat"),
        (json!({ "root_keys": ["one:key"], "root_threshold": 2 }), "settings.root_threshold"),
        (json!({ "store": "s3://bucket", "store_token_file": "/a/token" }), "storeTokenFile"),
        (json!({ "build": { "ssh_known_hosts_file": "/known" } }), "sshKnownHostsFile"),
    ] {
        let made = modules.make_of_agent(json!({ "settings": settings }));
        let [words] = complaints(&made)[..] else { panic!("{made}") };
        assert!(words.contains(&format!("services.npc-agent.{part}")), "{words}");
    }
}

/// Every value in it that is none of a table's, by its path.
fn leaves(prefix: &str, tables: &Value, value: &Value, found: &mut Vec<(String, Value)>) {
    match (tables, value) {
        (Value::Object(tables), Value::Object(map)) if !tables.is_empty() => {
            for (name, one) in map {
                leaves(&format!("{prefix}.{name}"), &tables[name], one, found);
            }
        }
        _ => found.push((prefix.to_owned(), value.clone())),
    }
}

#[test]
fn the_agent_reads_every_option_and_the_options_default_to_what_the_agent_takes() {
    let Some(modules) = Modules::find() else { return };
    let (examples, mut defaults) = (modules.declared("example"), modules.declared("default"));
    let (mut said, mut unsaid) = (Vec::new(), Vec::new());
    leaves("", &defaults, &examples, &mut said);
    leaves("", &defaults, &defaults, &mut unsaid);
    let names = |leaves: &[(String, Value)]| leaves.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&said), names(&unsaid), "each setting has an example");
    for ((path, example), (_, default)) in said.iter().zip(&unsaid) {
        assert_ne!(example, default, "the example of {path} shows nothing");
    }

    let made = modules.make_of_agent(json!({ "settings": examples }));
    assert_eq!(complaints(&made), [""; 0]);
    assert_eq!(made["settings"], examples);
    read(&made["settings"]).expect("what every option's example says");

    // What an agent cannot do without, once with what the options say of its defaults and once without.
    let needed = ["fleet", "store", "root_keys", "remote"].map(|name| (name.to_owned(), examples[name].clone()));
    for (name, value) in &needed {
        defaults[name] = value.clone();
    }
    let made = modules.make_of_agent(json!({ "settings": defaults }));
    let smallest = Value::Object(Map::from_iter(needed));
    let shown = |settings: &Value| format!("{:#?}", read(settings).expect("settings"));
    let mut explicit = made["settings"].clone();
    explicit.as_object_mut().expect("a table").remove("host");
    assert!(explicit["build"]["timeout"].is_u64(), "{explicit}");
    assert_eq!(shown(&explicit), shown(&smallest));
}

/// The names that the agent knows in a table: it lists them when it meets another one.
fn known_to_the_agent(table: &str) -> Option<BTreeSet<String>> {
    let text = format!("{table}\nnonsense = 1\n");
    let words = Settings::parse(&text, "web-1").expect_err("there is no such setting");
    let (_, names) = words.split_once("unknown field `nonsense`, expected ")?;
    Some(names.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

#[test]
fn every_setting_of_the_agents_is_an_option() {
    let Some(modules) = Modules::find() else { return };
    let options = modules.declared("default");
    let names = |value: &Value| value.as_object().expect("a table").keys().cloned().collect::<BTreeSet<_>>();
    let known = known_to_the_agent("").expect("the agent's settings");
    assert_eq!(names(&options), known);
    let is_table = |name: &&String| options[*name].as_object().is_some_and(|table| !table.is_empty());
    let tables: Vec<_> = known.iter().filter(is_table).collect();
    assert!(tables.len() >= 8, "{tables:?}");
    for table in tables {
        let known = known_to_the_agent(&format!("[{table}]")).expect("a table of the agent's");
        assert_eq!(names(&options[table]), known, "{table}");
    }
}

#[test]
fn every_setting_is_documented_in_the_words_of_its_option() {
    let Some(modules) = Modules::find() else { return };
    let documented = fs::read_to_string(file("../../docs/options.md")).expect("the documentation");
    let mut descriptions = Vec::new();
    leaves("", &modules.declared("default"), &modules.declared("description"), &mut descriptions);
    assert!(descriptions.len() > 40, "{descriptions:?}");
    for (path, description) in descriptions {
        let words = description.as_str().expect("words").replace("{option}", "").replace("{file}", "");
        let entry = format!("### `services.npc-agent.settings{path}`\n\n{}", words.trim());
        assert!(documented.contains(&entry), "docs/options.md has no such entry:\n{entry}");
    }
}

#[test]
fn the_documentation_of_the_options_is_that_of_the_options() {
    let (Some(modules), Some(library)) = (Modules::find(), nixpkgs_lib()) else { return };
    let mut command = modules.nix_instantiate();
    let library = format!("import {}", library.display());
    command.args(["--eval", "--strict", "--json", "--arg", "lib", &library]).arg(file("../../nixos/options.nix"));
    let rendered: String = serde_json::from_str(&Ended::of(&mut command).works()).expect("a text");
    let path = file("../../docs/options.md");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if rendered != committed {
        let anew = std::env::temp_dir().join("npc-options.md");
        fs::write(&anew, &rendered).expect("written");
        panic!("{} is not what nixos/options.nix renders, which is in {}", path.display(), anew.display());
    }
}
