//! Nothing is declared in the Terraform modules and examples for nobody: every variable, local value and data source is used in its
//! own folder. What `terraform validate` lets pass, tflint would say, which is not at hand where the tests run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use npc_tests::terraform::sources;
use walkdir::WalkDir;

/// The text of every folder that has a configuration, without comments.
fn configurations() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let files = WalkDir::new(sources()).sort_by_file_name().into_iter();
    for file in files.filter_entry(|entry| entry.file_name() != ".terraform") {
        let path = file.expect("read").into_path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            let text = fs::read_to_string(&path).expect("read");
            let folder = path.parent().map(Path::to_owned).expect("a folder");
            let all: &mut String = found.entry(folder).or_default();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            all.extend(lines.flat_map(|line| [line, "\n"]));
        }
    }
    found
}

/// What a configuration declares, as it is referred to, each with the text that remains without the declaration. Blocks begin and
/// end at the beginning of a line, and what is in them is indented by two spaces: `terraform fmt` sees to that.
fn declarations(text: &str) -> Vec<(String, String)> {
    let mut declared = Vec::new();
    let blocks: Vec<&str> = text.split_inclusive("\n}\n").collect();
    for (number, block) in blocks.iter().enumerate() {
        let without = || [&blocks[..number], &blocks[number + 1..]].concat().concat();
        let header: Vec<&str> = block.trim_start().lines().next().unwrap_or_default().split('"').collect();
        match header[..] {
            ["variable ", name, _] => declared.push((format!("var.{name}"), without())),
            ["data ", kind, _, name, _] => declared.push((format!("data.{kind}.{name}"), without())),
            ["locals {"] => declared.extend(locals(block).map(|name| (format!("local.{name}"), text.to_owned()))),
            _ => {}
        }
    }
    declared
}

/// The names that a block of local values gives.
fn locals(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split_once('=')?.0.trim_end();
        (!name.is_empty() && name.chars().all(is_of_a_name)).then_some(name)
    })
}

fn is_of_a_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// Whether the text has the reference, and not only as the beginning of a longer one or the end of another.
fn refers(text: &str, reference: &str) -> bool {
    text.match_indices(reference).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + reference.len()..].chars().next();
        !before.is_some_and(|before| is_of_a_name(before) || before == '.') && !after.is_some_and(is_of_a_name)
    })
}

/// What a configuration declares and does not use.
fn unused(text: &str) -> BTreeSet<String> {
    let declared = declarations(text).into_iter();
    declared.filter(|(reference, rest)| !refers(rest, reference)).map(|(reference, _)| reference).collect()
}

#[test]
fn whatever_is_declared_is_used() {
    let configurations = configurations();
    assert!(configurations.len() >= 9, "{:?}", configurations.keys());
    for (folder, text) in configurations {
        assert_eq!(unused(&text), BTreeSet::new(), "{}", folder.display());
    }
}

#[test]
fn whatever_is_not_used_any_more_is_found() {
    let configurations = configurations();
    let mut kinds = BTreeMap::<&str, usize>::new();
    for (folder, text) in &configurations {
        for (reference, rest) in declarations(text) {
            let kind = ["var", "local", "data"].into_iter().find(|kind| reference.starts_with(kind)).expect("a kind");
            *kinds.entry(kind).or_default() += 1;
            // The declaration alone, without what refers to it.
            let weakened = text.replace(&reference, "null");
            assert!(refers(&rest, &reference), "{reference}");
            assert!(unused(&weakened).contains(&reference), "{}: {reference}", folder.display());
        }
    }
    for (kind, least) in [("var", 60), ("local", 10), ("data", 5)] {
        assert!(kinds[kind] >= least, "{kinds:?}");
    }
}

#[test]
fn a_variable_that_only_its_own_validation_names_is_not_used() {
    let text = "variable \"one\" {\n  validation {\n    condition = var.one != null\n  }\n}\n\noutput \"two\" {\n  value = var.one_more\n}\n";
    assert_eq!(unused(text), BTreeSet::from(["var.one".to_owned()]));
    assert_eq!(unused(&text.replace("one_more", "one")), BTreeSet::new());
}
