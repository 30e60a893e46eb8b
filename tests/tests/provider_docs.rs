//! The provider's documentation: it names everything that there is, and its examples work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::{program, tool};
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};
use serde_json::Value;

/// As much of a program for `x86_64` as says that it is one: elf(5).
const PROGRAM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";

/// A directory in which the provider is installed as its pages say, beside a flake without an `npc.toml`.
fn installed() -> Option<Infrastructure> {
    let installed = Infrastructure::installed(|| World::new(&Kind::Directory))?;
    fs::remove_file(installed.world.path("fleet/npc.toml")).expect("removed");
    Some(installed)
}

fn pages() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../terraform/provider/docs");
    let pages = walkdir::WalkDir::new(&folder).sort_by_file_name().into_iter().filter_map(|entry| {
        let path = entry.expect("listed").into_path();
        let text = fs::read_to_string(&path).ok()?;
        Some((path.strip_prefix(&folder).expect("below it").to_owned(), text))
    });
    pages.collect()
}

/// The blocks of a page that are part of the one configuration that all pages make together.
fn examples(text: &str) -> Vec<&str> {
    let blocks = text.split("```terraform\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn the_examples_of_all_pages_are_one_configuration_that_applies() {
    let Some(installed) = installed() else { return };
    let hcl: Vec<_> = pages().iter().flat_map(|(_, text)| examples(text)).map(str::to_owned).collect();
    assert!(hcl.len() >= pages().len(), "every page has an example");
    fs::write(installed.world.path("infrastructure/main.tf"), hcl.join("\n")).expect("written");
    fs::write(installed.world.path("agent"), PROGRAM).expect("written");
    let store = format!("file://{}", installed.world.path("a-store").display());
    let variables = serde_json::json!({ "store": store, "agent": installed.world.path("agent") });
    fs::write(installed.world.path("infrastructure/terraform.tfvars.json"), variables.to_string()).expect("written");
    installed.terraform(&["fmt", "-check", "-diff"]).works();
    installed.terraform(&["init"]).works();
    installed.terraform(&["apply", "-auto-approve"]).works();
    let planned = installed.terraform(&["plan"]).works();
    assert!(planned.contains("No changes."), "{planned}");
    installed.terraform(&["destroy", "-auto-approve"]).works();
}

#[test]
fn every_page_names_what_its_schema_has_and_nothing_else() {
    let Some(installed) = installed() else { return };
    let provider = "terraform {\n  required_providers {\n    npc = { source = \"npc/npc\" }\n  }\n}\n";
    fs::write(installed.world.path("infrastructure/main.tf"), provider).expect("written");
    installed.terraform(&["init"]).works();
    let schemas: Value =
        serde_json::from_str(&installed.terraform(&["providers", "schema", "-json"]).works()).expect("JSON");
    let schemas = &schemas["provider_schemas"]["registry.terraform.io/npc/npc"];
    let pages = pages();
    let page = |path: String| &pages.iter().find(|(page, _)| *page == Path::new(&path)).expect(&path).1;
    let mut described = 0;
    let mut check = |path: String, schema: &Value| {
        let text = page(path.clone());
        let attributes = schema["block"]["attributes"].as_object().expect("attributes");
        let listed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("` (")).collect();
        for (name, attribute) in attributes {
            let (_, words) =
                listed.iter().find(|(listed, _)| listed == name).unwrap_or_else(|| panic!("{path}: {name}"));
            assert_eq!(words.contains("required"), attribute["required"] == true, "{path}: {name}");
        }
        for (name, _) in &listed {
            assert!(attributes.contains_key(*name), "{path} tells of `{name}`, which is not there");
        }
        described += 1;
    };
    check("index.md".to_owned(), &schemas["provider"]);
    for (kind, folder) in [("resource_schemas", "resources"), ("data_source_schemas", "data-sources")] {
        for (name, schema) in schemas[kind].as_object().expect("schemas") {
            check(format!("{folder}/{}.md", name.trim_start_matches("npc_")), schema);
        }
    }
    assert_eq!(described, pages.len(), "a page for each, and no other");
}

#[test]
fn a_provider_that_a_person_starts_says_what_it_is_for() {
    let Some(_) = tool("terraform") else { return };
    let started = Ended::of(&mut Command::new(program("terraform-provider-npc")));
    started.fails(2, &["provider for Terraform", "mirror DIR"]);
    let mut wrong = Command::new(program("terraform-provider-npc"));
    Ended::of(wrong.args(["mirror", "/proc/nowhere"])).fails(2, &["cannot write", "hint:"]);
}
