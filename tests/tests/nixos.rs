//! The NixOS modules: what they write is what the agent reads.

use std::fs;
use std::path::Path;
use std::process::Command;

use npc_agent::health::{HostFile, Kind};
use npc_tests::parts::Nix;
use npc_tests::process::Ended;
use serde_json::{Value, json};

/// Evaluates the modules with these definitions.
fn evaluate(nix: &Nix, definitions: &Value) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("nixos/evaluate.nix");
    let mut command = Command::new(nix.programs.join("nix-instantiate"));
    command.args(["--eval", "--strict", "--json", "--argstr", "definitions", &definitions.to_string()]).arg(file);
    for name in ["STORE", "STATE", "LOG", "CONF"] {
        command.env(format!("NIX_{name}_DIR"), folder.path().join(name));
    }
    Ended::of(command.env("NIX_REMOTE", "").env("HOME", folder.path()))
}

fn works(nix: &Nix, definitions: &Value) -> Value {
    serde_json::from_str(&evaluate(nix, definitions).works()).expect("JSON")
}

#[test]
fn the_agent_reads_what_the_metadata_module_writes() {
    let Some(nix) = Nix::find() else { return };
    let host = json!({
        "role": "web",
        "groups": ["canary", "eu"],
        "rebootOrder": 2,
        "dependencies": ["db-1"],
        "orchestration": { "deployStrategy": "recreate", "rebootDelay": 30, "criticalityLevel": "high", "maxUnavailable": { "web": 1 } },
        "healthChecks": {
            "web": { "type": "http", "url": "http://localhost/health", "status": 204, "startPeriod": 20, "retries": 1 },
            "ssh": { "type": "tcp", "port": 22 },
            "disk": { "type": "command", "command": ["df", "/"], "timeout": 2 },
            "proxy": { "type": "unit", "unit": "nginx.service" },
        },
    });
    let evaluated = works(&nix, &json!({ "npc": { "host": host } }));
    assert!(evaluated["assertions"].as_array().expect("assertions").iter().all(|one| one["assertion"] == true));
    let text = evaluated["host"].as_str().expect("a text");
    let written: Value = serde_json::from_str(text).expect("JSON");
    for field in ["role", "groups", "rebootOrder", "dependencies", "orchestration"] {
        assert_eq!(written[field], host[field]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("host.json");
    fs::write(&path, text).expect("written");
    let checks = HostFile::read(&path).expect("a description").health_checks;
    let kinds: Vec<_> = checks.iter().map(|(name, check)| (name.as_str(), &check.kind)).collect();
    let [("disk", Kind::Command { .. }), ("proxy", Kind::Unit { .. }), ("ssh", ssh), ("web", web)] = &kinds[..] else {
        panic!("{kinds:?}")
    };
    assert!(matches!(ssh, Kind::Tcp { host, port: 22 } if host == "localhost"), "{ssh:?}");
    assert!(matches!(web, Kind::Http { status: 204, body: None, .. }), "{web:?}");
    assert_eq!((checks["web"].retries, checks["web"].start_period().as_secs()), (1, 20));
    assert_eq!((checks["disk"].timeout().as_secs(), checks["disk"].retries), (2, 3));
}

#[test]
fn a_check_that_lacks_what_it_needs_is_told_by_its_name() {
    let Some(nix) = Nix::find() else { return };
    for (check, part) in [("http", "url"), ("tcp", "port"), ("command", "command"), ("unit", "unit")] {
        let evaluated = works(&nix, &json!({ "npc": { "host": { "healthChecks": { "one": { "type": check } } } } }));
        let [assertion] = &evaluated["assertions"].as_array().expect("assertions")[..] else { panic!("{evaluated}") };
        assert_eq!(assertion["assertion"], false);
        let message = assertion["message"].as_str().expect("a message");
        assert!(message.contains("healthChecks.one") && message.contains(part), "{message}");
    }
    let nonsense = json!({ "npc": { "host": { "orchestration": { "deployStrategy": "sideways" } } } });
    evaluate(&nix, &nonsense).fails(1, &["deployStrategy"]);
}

#[test]
fn a_check_that_begins_to_count_too_late_is_told_by_its_name() {
    let Some(nix) = Nix::find() else { return };
    let holds = |start_period, settings: &Value| {
        let check = json!({ "type": "tcp", "port": 22, "startPeriod": start_period });
        let agent = json!({ "enable": true, "package": "/package", "settings": settings });
        let definitions =
            json!({ "npc": { "host": { "healthChecks": { "slow": check } } }, "services": { "npc-agent": agent } });
        let evaluated = works(&nix, &definitions);
        let assertions = evaluated["assertions"].as_array().expect("assertions").clone();
        let failed: Vec<_> = assertions.into_iter().filter(|one| one["assertion"] == false).collect();
        assert!(
            failed.iter().all(|one| one["message"].as_str().is_some_and(|words| words.contains("healthChecks.slow")))
        );
        failed.is_empty()
    };
    assert!(holds(599, &json!({})));
    assert!(!holds(600, &json!({})), "the agent's own limit is ten minutes");
    assert!(holds(600, &json!({ "probation": { "limit": 900 } })));
}

#[test]
fn a_host_is_called_what_its_configuration_says_and_not_what_the_network_does() {
    let Some(nix) = Nix::find() else { return };
    let evaluated = |host_name: &str, settings: Value| {
        let agent = json!({ "enable": true, "package": "/package", "settings": settings });
        works(&nix, &json!({ "networking": { "hostName": host_name }, "services": { "npc-agent": agent } }))
    };
    assert_eq!(evaluated("Web-1", json!({}))["settings"]["host"], "web-1");
    assert_eq!(evaluated("web-1", json!({ "host": "db-1" }))["settings"]["host"], "db-1");
    let unnamed = evaluated("", json!({}))["assertions"][0].clone();
    assert_eq!(unnamed["assertion"], false);
    assert!(unnamed["message"].as_str().is_some_and(|words| words.contains("settings.host")), "{unnamed}");
}

#[test]
fn the_agents_unit_is_not_restarted_by_its_own_switch() {
    let Some(nix) = Nix::find() else { return };
    let settings = json!({ "remote": "prod" });
    let agent = json!({ "enable": true, "package": "/package", "settings": settings });
    let service = &works(&nix, &json!({ "services": { "npc-agent": agent } }))["service"];
    assert_eq!(service["restartIfChanged"], false);
    assert_eq!(service["unitConfig"]["X-StopOnRemoval"], false);
    assert_eq!(service["serviceConfig"]["ExecStart"], "/package/bin/npc-agent run");
    assert_eq!(
        (&service["serviceConfig"]["Type"], &service["serviceConfig"]["Restart"]),
        (&json!("notify"), &json!("always"))
    );
    assert!(works(&nix, &json!({}))["service"].is_null(), "nothing is there unless it is enabled");
}

#[test]
fn the_agent_begins_once_ssh_host_keys_were_made_and_brings_no_ssh_server_along() {
    let Some(nix) = Nix::find() else { return };
    let agent = json!({ "enable": true, "package": "/package" });
    let service = &works(&nix, &json!({ "services": { "npc-agent": agent } }))["service"];
    for unit in ["network-online.target", "sshd-keygen.service", "sshd.service"] {
        assert!(service["after"].as_array().is_some_and(|units| units.contains(&json!(unit))), "{unit}: {service}");
    }
    assert_eq!(service["wants"], json!(["network-online.target"]));
    assert!(service["requires"].is_null(), "{service}");
}

#[test]
fn the_stores_token_reaches_the_agent_as_a_credential_and_not_through_the_nix_store() {
    let Some(nix) = Nix::find() else { return };
    let evaluated = |more: &Value| {
        let mut agent = json!({ "enable": true, "package": "/package" });
        agent.as_object_mut().expect("a table").extend(more.as_object().expect("a table").clone());
        works(&nix, &json!({ "services": { "npc-agent": agent } }))
    };
    let with = evaluated(&json!({ "storeTokenFile": "/run/secrets/token" }));
    assert_eq!(with["service"]["serviceConfig"]["LoadCredential"], json!(["store-token:/run/secrets/token"]));
    // systemd.exec(5): the credentials of a system's service lie below /run/credentials, in a directory of the unit's name.
    let path = with["settings"]["store_token_file"].as_str().expect("a path");
    assert_eq!(path, "/run/credentials/npc-agent.service/store-token");
    let settings = format!(
        "fleet = \"00000000000000000000000000000000\"\nstore = \"https://store.example.org/\"\nremote = \"prod\"\n\
         root_keys = [\"npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE=\"]\nstore_token_file = \"{path}\"\n"
    );
    let read = npc_agent::settings::Settings::parse(&settings, "web-1").expect("settings that the agent reads");
    assert_eq!(read.store_token_file.as_deref(), Some(Path::new(path)));
    let without = evaluated(&json!({}));
    assert_eq!(without["service"]["serviceConfig"]["LoadCredential"], json!([]));
    assert!(without["settings"]["store_token_file"].is_null());
}
