//! The NixOS modules: what they write is what the agent reads, and the unit is one that can switch.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use npc_agent::health::{HostFile, Kind};
use npc_agent::settings::Settings;
use npc_tests::eventually;
use npc_tests::modules::{Modules, agent, complaints};
use npc_tests::parts::{program, tool};
use npc_tests::process::{Background, Ended};
use serde_json::{Value, json};

#[test]
fn the_agent_reads_what_the_metadata_module_writes() {
    let Some(modules) = Modules::find() else { return };
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
    let evaluated = modules.make_of(&json!({ "npc": { "host": host } }));
    assert_eq!(complaints(&evaluated), [""; 0]);
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
    let Some(modules) = Modules::find() else { return };
    for (check, part) in [("http", "url"), ("tcp", "port"), ("command", "command"), ("unit", "unit")] {
        let evaluated =
            modules.make_of(&json!({ "npc": { "host": { "healthChecks": { "one": { "type": check } } } } }));
        let [assertion] = &evaluated["assertions"].as_array().expect("assertions")[..] else { panic!("{evaluated}") };
        assert_eq!(assertion["assertion"], false);
        let message = assertion["message"].as_str().expect("a message");
        assert!(message.contains("healthChecks.one") && message.contains(part), "{message}");
    }
    let nonsense = json!({ "npc": { "host": { "orchestration": { "deployStrategy": "sideways" } } } });
    modules.refuse(&nonsense, "deployStrategy");
}

#[test]
fn a_check_that_begins_to_count_too_late_is_told_by_its_name() {
    let Some(modules) = Modules::find() else { return };
    let holds = |start_period, settings: Value| {
        let check = json!({ "type": "tcp", "port": 22, "startPeriod": start_period });
        let mut definitions = agent(json!({ "settings": settings }));
        definitions["npc"] = json!({ "host": { "healthChecks": { "slow": check } } });
        let made = modules.make_of(&definitions);
        let complaints = complaints(&made);
        assert!(complaints.iter().all(|words| words.contains("healthChecks.slow")), "{complaints:?}");
        complaints.is_empty()
    };
    assert!(holds(599, json!({})));
    assert!(!holds(600, json!({})), "the agent's own limit is ten minutes");
    assert!(holds(600, json!({ "probation": { "limit": 900 } })));
}

#[test]
fn a_host_is_called_what_its_configuration_says_and_not_what_the_network_does() {
    let Some(modules) = Modules::find() else { return };
    let made = |host_name: &str, settings: Value| {
        let mut definitions = agent(json!({ "settings": settings }));
        definitions["networking"] = json!({ "hostName": host_name });
        modules.make_of(&definitions)
    };
    assert_eq!(made("Web-1", json!({}))["settings"]["host"], "web-1");
    assert_eq!(made("web-1", json!({ "host": "db-1" }))["settings"]["host"], "db-1");
    let as_enrolled = made("web-1", json!({ "host": null }));
    assert_eq!(as_enrolled["settings"]["host"], Value::Null, "many machines may share this configuration");
    assert_eq!(complaints(&as_enrolled), [""; 0]);
    for bad in ["", "web_1_", "a b"] {
        let made = made(bad, json!({}));
        let [words] = complaints(&made)[..] else { panic!("{made}") };
        assert!(words.contains("settings.host") && words.contains("networking.hostName"), "{words}");
    }
}

#[test]
fn the_agents_unit_is_not_restarted_by_its_own_switch() {
    let Some(modules) = Modules::find() else { return };
    let service = &modules.make_of_agent(json!({ "settings": { "remote": "prod" } }))["service"];
    assert_eq!(service["restartIfChanged"], false);
    assert_eq!(service["unitConfig"]["X-StopOnRemoval"], false);
    assert_eq!(service["serviceConfig"]["ExecStart"], "/package/bin/npc-agent run");
    assert_eq!(
        (&service["serviceConfig"]["Type"], &service["serviceConfig"]["Restart"]),
        (&json!("notify"), &json!("always"))
    );
    assert!(modules.make_of(&json!({}))["service"].is_null(), "nothing is there unless it is enabled");
}

#[test]
fn an_agent_that_cannot_start_takes_ever_longer_pauses_and_one_that_could_starts_at_once() {
    let Some(modules) = Modules::find() else { return };
    let made = modules.make_of_agent(json!({}));
    let service = &made["service"]["serviceConfig"];
    assert_eq!((&service["RestartSec"], &service["RestartMaxDelaySec"]), (&json!(1), &json!(60)));
    assert!(service["RestartSteps"].as_u64().is_some_and(|steps| steps > 0), "{service}");
    // systemd counts restarts until somebody says otherwise; that it fails must not fail the agent.
    assert_eq!(service["ExecStartPost"], "-/systemd/bin/systemctl reset-failed npc-agent.service");
    assert_eq!(made["service"]["startLimitIntervalSec"], 0, "it is tried for ever");
}

#[test]
fn what_nix_needs_of_a_proxy_of_nixos_settings_and_of_ssh_is_in_the_agents_unit() {
    let Some(modules) = Modules::find() else { return };
    let mut definitions = agent(json!({ "awsCredentialsFile": "/run/secrets/aws" }));
    definitions["networking"] =
        json!({ "proxy": { "envVars": { "http_proxy": "http://proxy:3128", "no_proxy": "localhost" } } });
    definitions["nix"] =
        json!({ "envVars": { "NIX_SSL_CERT_FILE": "/etc/own.crt", "http_proxy": "http://other:3128" } });
    definitions["programs"] = json!({ "ssh": { "package": "/own-ssh" } });
    let service = &modules.make_of(&definitions)["service"];
    assert_eq!(
        service["environment"],
        json!({
            "AWS_SHARED_CREDENTIALS_FILE": "/run/credentials/npc-agent.service/aws-credentials",
            "NIX_SSL_CERT_FILE": "/etc/own.crt",
            "http_proxy": "http://proxy:3128",
            "no_proxy": "localhost",
        })
    );
    assert_eq!(service["path"], json!(["/nix", "/git", "/own-ssh"]), "git runs ssh, whoever's key it is");
}

/// What the modules make of a firewall like this.
fn firewall(modules: &Modules, agent_options: Value, networking: Value) -> Value {
    let mut definitions = agent(agent_options);
    definitions["networking"] = networking;
    modules.make_of(&definitions)
}

#[test]
fn roots_metadata_are_rejected_to_others_by_iptables_once_however_often_it_is_reloaded() {
    let Some(modules) = Modules::find() else { return };
    let on = json!({ "metadataForRootOnly": true });
    let made = firewall(&modules, on.clone(), json!({}));
    assert_eq!(complaints(&made), [""; 0]);
    let text = |made: &Value, name: &str| made["firewall"][name].as_str().expect("commands").to_owned();
    let (start, stop) = (text(&made, "extraCommands"), text(&made, "extraStopCommands"));
    for (command, address) in [("iptables", "169.254.169.254"), ("ip6tables", "fd00:ec2::254")] {
        let rule = format!("OUTPUT --destination {address} --match owner ! --uid-owner root --jump REJECT");
        let remove = format!("while {command} --wait --delete {rule} 2> /dev/null; do :; done\n");
        let insert = format!("\n{command} --wait --insert {rule}\n");
        assert!(start.find(&remove) < start.find(&insert) && start.contains(&remove), "{start}");
        assert!(stop.contains(&remove) && !stop.contains("--insert"), "{stop}");
    }
    assert_eq!(made["firewall"]["tables"], json!({}));

    let off = firewall(&modules, json!({}), json!({}));
    assert!(!text(&off, "extraCommands").contains("--insert"), "{off}");
    assert!(text(&off, "extraCommands").contains("--delete"), "what was on is taken away: {off}");
    let without_ipv6 = firewall(&modules, on, json!({ "enableIPv6": false }));
    assert!(!text(&without_ipv6, "extraCommands").contains("ip6tables"), "{without_ipv6}");
    let nothing = modules.make_of(&json!({}));
    assert_eq!(text(&nothing, "extraCommands"), "", "nothing is there unless the agent is enabled");
}

#[test]
fn roots_metadata_are_rejected_to_others_by_nftables() {
    let Some(modules) = Modules::find() else { return };
    let nftables = json!({ "nftables": { "enable": true } });
    let made = firewall(&modules, json!({ "metadataForRootOnly": true }), nftables.clone());
    assert_eq!(complaints(&made), [""; 0]);
    let table = &made["firewall"]["tables"]["npc-metadata"];
    assert_eq!(table["family"], "inet");
    let content = table["content"].as_str().expect("rules");
    for line in [
        "type filter hook output priority filter; policy accept;",
        "ip daddr 169.254.169.254 meta skuid != 0 reject",
        "ip6 daddr fd00:ec2::254 meta skuid != 0 reject",
    ] {
        assert!(content.lines().any(|found| found.trim() == line), "{content}");
    }
    assert_eq!(made["firewall"]["extraCommands"], "", "nftables refuses those");
    assert_eq!(firewall(&modules, json!({}), nftables)["firewall"]["tables"], json!({}));
}

#[test]
fn without_a_firewall_nobody_is_told_that_metadata_are_roots() {
    let Some(modules) = Modules::find() else { return };
    for networking in [json!({ "firewall": { "enable": false } }), json!({ "firewall": { "backend": "firewalld" } })] {
        let made = firewall(&modules, json!({ "metadataForRootOnly": true }), networking.clone());
        assert!(matches!(complaints(&made)[..], [words] if words.contains("metadataForRootOnly")), "{made}");
        assert_eq!(complaints(&firewall(&modules, json!({}), networking)), [""; 0]);
    }
}

#[test]
fn the_agents_unit_keeps_what_nix_and_a_switch_need() {
    let Some(modules) = Modules::find() else { return };
    let service = &modules.make_of_agent(json!({}))["service"]["serviceConfig"];
    let dropped = service["CapabilityBoundingSet"].as_str().expect("capabilities");
    assert!(dropped.starts_with('~'), "the others are kept: {dropped}");
    for kept in
        ["SYS_ADMIN", "SYS_CHROOT", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "MKNOD", "NET_ADMIN"]
    {
        assert!(!dropped.contains(kept), "Nix needs CAP_{kept}");
    }
    for hinders in [
        "ProtectHostname",
        "ProtectClock",
        "ProtectKernelTunables",
        "ProtectProc",
        "PrivateDevices",
        "RestrictNamespaces",
    ] {
        assert!(service[hinders].is_null(), "{hinders}");
    }
    assert_eq!(service["OOMPolicy"], "continue");
}

#[test]
fn systemd_understands_the_agents_unit() {
    let (Some(modules), Some(analyze)) = (Modules::find(), tool("systemd-analyze")) else { return };
    let mut service = modules.make_of_agent(json!({ "netrcFile": "/run/secrets/netrc" }))["service"].clone();
    // It looks whether there are such programs.
    service["serviceConfig"]["ExecStart"] = "/bin/true run".into();
    service["serviceConfig"]["ExecStartPost"] = "-/bin/true".into();
    // What is newer than systemd 253 would be told as unknown.
    for newer in ["RestartSteps", "RestartMaxDelaySec"] {
        assert!(service["serviceConfig"].as_object_mut().expect("settings").remove(newer).is_some(), "{newer}");
    }
    let section = |name: &str, settings: &Value| {
        let lines = settings.as_object().expect("settings").iter().flat_map(|(key, value)| {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            values.into_iter().map(move |value| format!("{key}={}\n", plain(value)))
        });
        format!("[{name}]\n{}", lines.collect::<String>())
    };
    let verify = |unit: &str| {
        let path = modules.folder().join("npc-agent.service");
        fs::write(&path, unit).expect("written");
        let words = Ended::of(Command::new(&analyze).args(["verify", "--man=no"]).arg(&path)).words;
        words.lines().filter(|line| line.contains("npc-agent.service")).map(str::to_owned).collect::<Vec<_>>()
    };
    let unit = section("Unit", &service["unitConfig"]) + &section("Service", &service["serviceConfig"]);
    assert_eq!(verify(&unit), [""; 0], "{unit}");
    assert_ne!(verify(&unit.replace("OOMPolicy=continue", "OOMPolicy=go-on")), [""; 0], "it would say so");
}

#[test]
fn the_agent_begins_once_ssh_host_keys_were_made_and_brings_no_ssh_server_along() {
    let Some(modules) = Modules::find() else { return };
    let service = &modules.make_of_agent(json!({}))["service"];
    for unit in ["network-online.target", "sshd-keygen.service", "sshd.service"] {
        assert!(service["after"].as_array().is_some_and(|units| units.contains(&json!(unit))), "{unit}: {service}");
    }
    assert_eq!(service["wants"], json!(["network-online.target"]));
    assert!(service["requires"].is_null(), "{service}");
}

#[test]
fn secrets_reach_the_agent_as_credentials_and_not_through_the_nix_store() {
    let Some(modules) = Modules::find() else { return };
    let made = modules.make_of_agent(json!({
        "settings": modules.declared("example").as_object().map(|all| json!({
            "fleet": all["fleet"], "store": all["store"], "root_keys": all["root_keys"], "remote": all["remote"],
        })),
        "storeTokenFile": "/run/secrets/token",
        "awsCredentialsFile": "/run/secrets/aws",
        "netrcFile": "/run/secrets/netrc",
        "accessTokensFile": "/run/secrets/access-tokens",
        "sshKeyFile": "/run/secrets/key",
        "sshKnownHostsFile": "/etc/npc/known_hosts",
    }));
    assert_eq!(complaints(&made), [""; 0]);
    assert_eq!(
        made["service"]["serviceConfig"]["LoadCredential"],
        json!([
            "access-tokens:/run/secrets/access-tokens",
            "aws-credentials:/run/secrets/aws",
            "netrc:/run/secrets/netrc",
            "ssh-key:/run/secrets/key",
            "store-token:/run/secrets/token",
        ])
    );
    // systemd.exec(5): the credentials of a system's service lie below /run/credentials, in a directory of the unit's name.
    let credential = |name| format!("/run/credentials/npc-agent.service/{name}");
    assert_eq!(made["settings"]["store_token_file"], credential("store-token"));
    assert_eq!(made["service"]["environment"], json!({ "AWS_SHARED_CREDENTIALS_FILE": credential("aws-credentials") }));
    let build = &made["settings"]["build"];
    let expected = json!({
        "netrc_file": credential("netrc"),
        "access_tokens_file": credential("access-tokens"),
        "ssh_key_file": credential("ssh-key"),
        "ssh_known_hosts_file": "/etc/npc/known_hosts",
    });
    assert_eq!(*build, expected);
    let text = toml::to_string(&made["settings"]).expect("TOML");
    let read = Settings::parse(&text, "web-1").expect("settings that the agent reads");
    assert_eq!(read.store_token_file, Some(credential("store-token").into()));
    assert_eq!(read.platform.build.access.netrc, Some(credential("netrc").into()));

    let without = modules.make_of_agent(json!({}));
    assert_eq!(without["service"]["serviceConfig"]["LoadCredential"], json!([]));
    assert_eq!(
        (&without["settings"]["store_token_file"], &without["service"]["environment"]),
        (&Value::Null, &json!({}))
    );
}

#[test]
fn an_agent_shows_s3_what_the_file_of_aws_credentials_holds() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (key, secret) = ("AKIDOFTHEFILE", "a-secret-key-of-the-file");
    let credentials = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    fs::write(path("aws-credentials"), credentials).expect("written");
    let settings = json!({
        "fleet": "00000000000000000000000000000000",
        "store": format!("s3://bucket/fleet?region=eu-central-1&endpoint=http://{endpoint}"),
        "root_keys": ["npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="],
        "remote": "prod",
        "configuration": "web-1",
        "host": "web-1",
    });
    fs::write(path("config.toml"), toml::to_string(&settings).expect("TOML")).expect("written");
    let mut agent = Command::new(program("npc-agent"));
    agent.arg("--config").arg(path("config.toml")).arg("--state").arg(path("state")).arg("run");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        agent.env_remove(name);
    }
    agent.env("HOME", folder.path()).env("AWS_SHARED_CREDENTIALS_FILE", path("aws-credentials"));
    let _agent = Background::start(&mut agent, &path("log"));
    listener.set_nonblocking(true).expect("set");
    let (stream, _) = eventually("the agent asks S3", || listener.accept().ok());
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line").to_lowercase());
    let shown = lines.take_while(|line| !line.is_empty()).find(|line| line.starts_with("authorization:"));
    let shown = shown.expect("a signed request");
    assert!(shown.contains(&format!("credential={}/", key.to_lowercase())) && !shown.contains(secret), "{shown}");
}

#[test]
fn secrets_in_the_nix_store_are_refused_by_the_name_of_their_option() {
    let Some(modules) = Modules::find() else { return };
    let inside = modules.store().join("00000000000000000000000000000000-secret");
    for option in
        ["environmentFile", "storeTokenFile", "awsCredentialsFile", "netrcFile", "accessTokensFile", "sshKeyFile"]
    {
        let made = modules.make_of_agent(json!({ option: inside }));
        let [words] = complaints(&made)[..] else { panic!("{option}: {made}") };
        assert!(words.contains(&format!("services.npc-agent.{option}")) && words.contains("Nix store"), "{words}");
    }
    let made = modules.make_of_agent(json!({ "settings": { "build": { "netrc_file": inside } } }));
    assert!(matches!(complaints(&made)[..], [words] if words.contains("settings.build.netrc_file")), "{made}");
}
