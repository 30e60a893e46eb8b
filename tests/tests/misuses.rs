//! The provider that the modules are tested over refuses what the AWS provider refuses: what is misspelled, missing, of another
//! type, or not to be set at all. Without that, valid modules would prove nothing.

use std::collections::BTreeSet;
use std::fs;

use npc_tests::terraform::{Terraform, sources};
use serde_json::Value;

/// A configuration in order, of which each misuse changes one thing.
const RIGHT: &str = r#"
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region = "eu-central-1"
}

data "aws_ami_ids" "nixos" {
  owners             = ["427812963091"]
  include_deprecated = true

  filter {
    name   = "name"
    values = ["nixos/*"]
  }
}

resource "aws_s3_bucket" "store" {
  bucket        = "my-bucket"
  force_destroy = true
}

resource "aws_s3_bucket_policy" "store" {
  bucket = aws_s3_bucket.store.bucket
  policy = "{}"
}

resource "aws_s3_bucket_versioning" "store" {
  bucket = aws_s3_bucket.store.bucket

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_instance" "host" {
  ami           = data.aws_ami_ids.nixos.ids[0]
  instance_type = "t3.medium"

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_size = 20
  }
}

output "address" {
  value = aws_instance.host.private_ip
}
"#;

/// What is done wrong, what is written in place of what, and how that is refused.
const MISUSES: &[(&str, &str, &str, &str)] = &[
    ("a misspelled argument", "force_destroy ", "force_destory ", "Unsupported argument"),
    ("a misspelled argument of a block", "http_tokens  ", "http_token   ", "Unsupported argument"),
    ("a misspelled argument of a data source", "include_deprecated", "with_deprecated   ", "Unsupported argument"),
    ("a misspelled argument of the provider", "region =", "regoin =", "Unsupported argument"),
    ("a misspelled block", "metadata_options {", "metadata_option {", "Unsupported block type"),
    ("a misspelled resource", "\"aws_s3_bucket_policy\"", "\"aws_s3_buckets_policy\"", "Invalid resource type"),
    ("a misspelled data source", "data \"aws_ami_ids\"", "data \"aws_amis_ids\"", "Invalid data source"),
    ("a misspelled attribute", "host.private_ip", "host.private_address", "Unsupported attribute"),
    ("a missing argument", "  policy = \"{}\"\n", "", "Missing required argument"),
    ("a missing argument of a block", "    status = \"Enabled\"\n", "", "Missing required argument"),
    ("a missing argument of a data source's block", "    values = [\"nixos/*\"]\n", "", "Missing required argument"),
    (
        "a missing block",
        "  versioning_configuration {\n    status = \"Enabled\"\n  }\n",
        "",
        "Insufficient versioning_configuration blocks",
    ),
    (
        "a block twice",
        "  root_block_device {",
        "  root_block_device {\n  }\n\n  root_block_device {",
        "Too many root_block_device blocks",
    ),
    (
        "a text in place of a truth value",
        "= true\n}\n\nresource \"aws_s3_bucket_policy\"",
        "= \"perhaps\"\n}\n\nresource \"aws_s3_bucket_policy\"",
        "Incorrect attribute value type",
    ),
    ("a text in place of a number", "volume_size = 20", "volume_size = \"big\"", "Incorrect attribute value type"),
    ("a text in place of a list", "[\"427812963091\"]", "\"427812963091\"", "Incorrect attribute value type"),
    ("a list in place of a text", "= \"t3.medium\"", "= [\"t3.medium\"]", "Incorrect attribute value type"),
    (
        "a block in place of an argument",
        "  instance_type = \"t3.medium\"",
        "  instance_type {\n  }",
        "Unsupported block type",
    ),
    (
        "what only AWS says of a machine",
        "  instance_type = \"t3.medium\"",
        "  instance_type = \"t3.medium\"\n  arn = \"arn:aws:ec2:eu-central-1:1:instance/i-1\"",
        "This attribute cannot be set",
    ),
    (
        "what only AWS says of a disk",
        "    volume_size = 20",
        "    volume_size = 20\n    volume_id = \"vol-1\"",
        "This attribute cannot be set",
    ),
    (
        "what only AWS says of images",
        "  include_deprecated = true",
        "  include_deprecated = true\n  ids = [\"ami-1\"]",
        "This attribute cannot be set",
    ),
];

/// What `terraform validate` says of a configuration, by summary.
fn summaries(terraform: &Terraform, name: &str, configuration: &str) -> Vec<String> {
    let folder = terraform.copy(name);
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("main.tf"), configuration).expect("written");
    terraform.run(&folder, &["init", "-no-color", "-backend=false"]).works();
    let said: Value = serde_json::from_str(&terraform.run(&folder, &["validate", "-json"]).data).expect("JSON");
    let diagnostics = said["diagnostics"].as_array().expect("diagnostics").iter();
    let summaries: Vec<_> = diagnostics.map(|found| found["summary"].as_str().expect("a summary").to_owned()).collect();
    assert_eq!(said["valid"], summaries.is_empty(), "{said}");
    summaries
}

#[test]
fn what_the_aws_provider_refuses_is_refused() {
    let Some(terraform) = Terraform::find() else { return };
    let terraform = terraform.with_providers();
    assert_eq!(summaries(&terraform, "right", RIGHT), Vec::<String>::new());
    let try_all = |misuses: &[(&str, &str, &str, &str)], thread: usize| {
        for (number, (what, from, to, refusal)) in misuses.iter().enumerate() {
            assert_eq!(RIGHT.matches(from).count(), 1, "{what}: `{from}`");
            let found = summaries(&terraform, &format!("wrong-{thread}-{number}"), &RIGHT.replace(from, to));
            assert!(found.iter().any(|summary| summary == refusal), "{what}: {found:?}");
        }
    };
    std::thread::scope(|scope| {
        for (thread, misuses) in MISUSES.chunks(MISUSES.len().div_ceil(2)).enumerate() {
            scope.spawn(move || try_all(misuses, thread));
        }
    });
}

/// What the modules use, no more and no less, in the form of `terraform providers schema -json`.
#[test]
fn the_schema_is_that_of_what_the_modules_use() {
    let text = fs::read_to_string(sources().join("aws-stub/schema.json")).expect("read");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["format_version"], "1.0");
    let provider = &schema["provider_schemas"]["registry.terraform.io/hashicorp/aws"];
    let names = |kind: &str| -> BTreeSet<_> { provider[kind].as_object().expect(kind).keys().cloned().collect() };
    assert_eq!(names("resource_schemas"), used("resource"));
    assert_eq!(names("data_source_schemas"), used("data"));
    // An attribute of this name may have a type; a text of this name is a description.
    let described = text.lines().filter(|line| line.trim_start().starts_with("\"description\": \""));
    assert_eq!(described.filter(|line| !line.contains(": \"string\"")).count(), 0, "facts are taken over, not texts");
}

/// What Terraform itself makes of the schema that the provider serves is what the schema says.
#[test]
fn the_schema_is_served_as_it_is() {
    let Some(terraform) = Terraform::find() else { return };
    let terraform = terraform.with_providers();
    assert_eq!(summaries(&terraform, "right", RIGHT), Vec::<String>::new());
    let served = terraform.run(&terraform.copy("right"), &["providers", "schema", "-json"]).works();
    let mut served: Value = serde_json::from_str(&served).expect("JSON");
    without_kinds_of_text(&mut served);
    let kept = fs::read_to_string(sources().join("aws-stub/schema.json")).expect("read");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    for kind in ["provider", "resource_schemas", "data_source_schemas"] {
        let pointer = format!("/provider_schemas/registry.terraform.io~1hashicorp~1aws/{kind}");
        assert_eq!(served.pointer(&pointer), kept.pointer(&pointer), "{kind}");
    }
}

/// Terraform says of every description, also of one that is not there, in what markup it is.
fn without_kinds_of_text(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "description_kind" || !value.is_string());
            fields.values_mut().for_each(without_kinds_of_text);
        }
        Value::Array(items) => items.iter_mut().for_each(without_kinds_of_text),
        _ => {}
    }
}

/// The names of what configurations use of the AWS provider.
fn used(kind: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for file in walkdir::WalkDir::new(sources()) {
        let path = file.expect("read").into_path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            let text = fs::read_to_string(&path).expect("read");
            let named = text.lines().filter_map(|line| line.strip_prefix(&format!("{kind} \"aws_"))?.split('"').next());
            used.extend(named.map(|name| format!("aws_{name}")));
        }
    }
    used
}
