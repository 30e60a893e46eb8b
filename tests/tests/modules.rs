//! The Terraform modules and examples, over a provider that knows what the AWS provider takes: they are formatted, valid, and do
//! what their own tests say; their READMEs tell of every input and output.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use npc_tests::terraform::{Terraform, sources};
use walkdir::WalkDir;

/// Everything that is a configuration of its own.
const CONFIGURATIONS: [&str; 9] = [
    "examples/aws",
    "examples/existing-bucket",
    "examples/local",
    "modules/host",
    "modules/hosts",
    "modules/hosts/group",
    "modules/machine",
    "modules/policies",
    "modules/store",
];

/// What must not be in a module's `main.tf`, in place of what is: its tests notice.
const WEAKENED: &[(&str, &[(&str, &str)])] = &[
    (
        "modules/host",
        &[
            ("\"required\"", "\"optional\""),
            ("hop_limit = 1", "hop_limit = 2"),
            ("user_data, user_data_base64]", "user_data_base64]"),
            ("[ami, ", "["),
            ("condition     = module.machine.has_image", "condition     = module.machine.ami != \"\""),
            ("associate_public_ip_address, user", "user"),
            ("{ assignment = var.assignment }", "{}"),
            ("    kms_key_id  = var.root_disk.kms_key_id\n", ""),
        ],
    ),
    (
        "modules/hosts",
        &[
            ("each.value.subnet_id : var.subnet_ids[0]", "var.subnet_ids[0] : var.subnet_ids[0]"),
            ("each.value.subnet_ids : var", "var.subnet_ids : var"),
            ("in host.root_disk : field => value if value != null", "in host.root_disk : field => value"),
            ("in group.root_disk : field => value if value != null", "in group.root_disk : field => value"),
            ("  assignment         = each.value.assignment\n", ""),
        ],
    ),
    (
        "modules/hosts/group",
        &[
            ("\"required\"", "\"optional\""),
            ("\"$Latest\"", "\"1\""),
            ("/dev/xvda", "/dev/sda1"),
            ("base64encode(", "("),
            ("condition     = module.machine.has_image", "condition     = module.machine.ami != \"\""),
            ("      kms_key_id            = var.root_disk.kms_key_id\n", ""),
        ],
    ),
    (
        "modules/machine",
        &[
            ("[\"427812963091\"]", "[\"self\"]"),
            ("nixos/${var.nixos_release}", "nixos/"),
            ("policy_arn = each.value", "policy_arn = each.key"),
            ("\"ec2.amazonaws.com\"", "\"lambda.amazonaws.com\""),
            (
                "name_prefix = \"${substr(\"npc-${var.name}\", 0, 37)}-\"\n  description",
                "name_prefix = \"npc-${var.name}-\"\n  description",
            ),
        ],
    ),
    (
        "modules/policies",
        &[("reports/${name}-i-*.json", "reports/*"), ("StringLike = {\n      \"kms", "StringEquals = {\n      \"kms")],
    ),
    (
        "modules/store",
        &[
            ("skip_destroy            = true\n", ""),
            ("block_public_policy     = true", "block_public_policy     = false"),
            ("\"Enabled\"\n  }", "\"Suspended\"\n  }"),
            ("expired_object_delete_marker = true", "days = 365"),
            ("policy = module.policies.bucket", "policy = \"{}\""),
            ("\"AES256\" : \"aws:kms\"", "\"AES256\" : \"AES256\""),
            ("data.aws_partition.current.partition", "\"aws\""),
        ],
    ),
];

/// The configuration is valid, and its tests pass.
#[track_caller]
fn passes(name: &str) {
    let Some(terraform) = Terraform::find() else { return };
    let terraform = terraform.with_providers();
    let folder = terraform.copy(name);
    terraform.run(&folder, &["init", "-no-color", "-backend=false"]).works();
    let validated = terraform.run(&folder, &["validate", "-json"]).works();
    assert!(validated.contains("\"warning_count\": 0"), "{name}: {validated}");
    let tested = terraform.run(&folder, &["test", "-no-color"]);
    assert!(tested.data.contains("Success!") && tested.data.contains(", 0 failed."), "{name}: {tested:?}");
    assert!(!tested.data.contains("Success! 0 passed"), "{name} has no test");
    tested.works();
}

#[test]
fn the_store_is_as_its_tests_say() {
    passes("modules/store");
}

#[test]
fn policies_are_as_their_tests_say() {
    passes("modules/policies");
}

#[test]
fn what_a_machine_has_before_it_starts_is_as_its_tests_say() {
    passes("modules/machine");
}

#[test]
fn a_host_is_as_its_tests_say() {
    passes("modules/host");
}

#[test]
fn many_hosts_are_as_their_tests_say() {
    passes("modules/hosts");
}

#[test]
fn a_group_is_as_its_tests_say() {
    passes("modules/hosts/group");
}

#[test]
fn the_example_on_aws_fits_together() {
    passes("examples/aws");
}

#[test]
fn the_example_in_an_existing_bucket_fits_together() {
    passes("examples/existing-bucket");
}

#[test]
fn the_example_without_a_cloud_fits_together() {
    passes("examples/local");
}

#[test]
fn what_is_weakened_fails_its_tests() {
    std::thread::scope(|scope| {
        for (module, weakenings) in WEAKENED {
            scope.spawn(|| notices(module, weakenings));
        }
    });
}

/// The module's own tests fail with each of these changes.
fn notices(module: &str, weakenings: &[(&str, &str)]) {
    let Some(terraform) = Terraform::find() else { return };
    let terraform = terraform.with_providers();
    let folder = terraform.copy(module);
    terraform.run(&folder, &["init", "-no-color", "-backend=false"]).works();
    let right = fs::read_to_string(folder.join("main.tf")).expect("read");
    for (from, to) in weakenings {
        assert_eq!(right.matches(from).count(), 1, "{module}: `{from}`");
        fs::write(folder.join("main.tf"), right.replace(from, to)).expect("written");
        let tested = terraform.run(&folder, &["test", "-no-color"]);
        let is_noticed = tested.code == Some(1) && tested.words.contains(", in run \"");
        assert!(is_noticed, "{module} with `{to}` for `{from}`: {tested:?}");
    }
}

#[test]
fn everything_is_formatted() {
    let Some(terraform) = Terraform::find() else { return };
    let formatted = terraform.run(&sources(), &["fmt", "-check", "-recursive", "-diff", "-no-color"]);
    assert_eq!((formatted.code, formatted.data.as_str()), (Some(0), ""), "{formatted:?}");
}

#[test]
fn no_configuration_is_left_out() {
    let found: BTreeSet<_> = files("tf").into_iter().map(|path| folder_of(&path)).collect();
    let tested: BTreeSet<_> = CONFIGURATIONS.map(str::to_owned).into();
    assert_eq!(found, tested);
    let with_tests: BTreeSet<_> = files("hcl").iter().map(|path| folder_of(path).replace("/tests", "")).collect();
    assert_eq!(with_tests, tested);
}

#[test]
fn nothing_is_let_in() {
    for path in files("tf") {
        let text = fs::read_to_string(sources().join(&path)).expect("read");
        for word in ["ingress", "aws_security_group_rule"] {
            assert!(!text.contains(word), "{path} speaks of `{word}`");
        }
    }
}

#[test]
fn readmes_tell_of_every_input_and_output_and_of_no_other() {
    for module in CONFIGURATIONS.iter().filter(|name| name.starts_with("modules/")) {
        let folder = sources().join(module);
        let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_else(|_| panic!("{module} has no README"));
        let mut expected = BTreeSet::new();
        for (file, kind) in [("variables.tf", "variable"), ("outputs.tf", "output")] {
            let text = fs::read_to_string(folder.join(file)).expect("read");
            for declared in declarations(&text, kind) {
                let described = field(declared, "description").unwrap_or_else(|| panic!("{module}: {declared}"));
                assert!(
                    kind == "output" || declared.contains("\n  type "),
                    "{module}: an input has a type: {declared}"
                );
                expected.insert(row(kind, declared, &described.replace("\\\"", "\"")));
            }
        }
        let told: BTreeSet<_> = readme.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
        assert_eq!(told, expected, "{module}/README.md");
    }
}

/// The line of a README's table.
fn row(kind: &str, declared: &str, described: &str) -> String {
    let name = declared.split('"').nth(1).expect("a name");
    if kind == "output" {
        return format!("| `{name}` | {described} |");
    }
    let default = match field(declared, "default") {
        None => "required".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    format!("| `{name}` | {described} | `{}` | {default} |", kind_of(declared))
}

/// An input's type, without the fields of objects that take more than a line.
fn kind_of(declared: &str) -> String {
    let kind = field(declared, "type").expect("an input has a type");
    match kind.strip_suffix("({") {
        Some(opened) => format!("{opened}{}", ")".repeat(opened.matches('(').count())),
        None => kind,
    }
}

/// The blocks of this kind, which begin and end at the beginning of a line.
fn declarations<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let is_one = |block: &&str| block.starts_with(&format!("{kind} \""));
    text.split("\n}").map(|block| block.trim_start_matches('\n')).filter(is_one).collect()
}

/// What a block sets in a line of its own, without quotes around it.
fn field(block: &str, name: &str) -> Option<String> {
    let line =
        block.lines().find(|line| line.strip_prefix("  ").is_some_and(|line| line.starts_with(&format!("{name} "))))?;
    let (_, value) = line.split_once("= ")?;
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(unquoted.filter(|_| name == "description").unwrap_or(value).to_owned())
}

/// The files below `terraform/` with this extension, without what was built.
fn files(extension: &str) -> Vec<String> {
    let all = WalkDir::new(sources()).into_iter().filter_entry(|entry| entry.file_name() != ".terraform");
    all.map(|file| file.expect("read").into_path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.strip_prefix(sources()).expect("below it").to_string_lossy().into_owned())
        .collect()
}

fn folder_of(path: &str) -> String {
    Path::new(path).parent().expect("a folder").to_string_lossy().into_owned()
}
