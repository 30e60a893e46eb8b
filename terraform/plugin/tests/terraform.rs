//! A provider of this library under a real Terraform, which is skipped, loudly, where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use npc_tests::parts::missing;
use tempfile::TempDir;

/// A directory in which Terraform finds the example, and nothing else.
struct Bench {
    folder: TempDir,
}

/// What Terraform said, and whether it was content.
struct Said {
    is_content: bool,
    words: String,
}

impl Said {
    fn works(self) -> String {
        assert!(self.is_content, "{}", self.words);
        self.words
    }

    fn fails(self, parts: &[&str]) {
        assert!(!self.is_content, "{}", self.words);
        for part in parts {
            assert!(self.words.contains(part), "`{part}` is not in: {}", self.words);
        }
        assert!(!self.words.contains("stack backtrace"), "{}", self.words);
    }
}

/// The example, which cargo builds for tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("this test's program");
    test.ancestors().nth(2).expect("the profile's directory").join("examples")
}

impl Bench {
    fn new(hcl: &str) -> Option<Self> {
        if Command::new("terraform").arg("version").output().is_err() {
            return missing("terraform");
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("notes")).expect("a directory");
        let overrides = format!(
            "provider_installation {{\n  dev_overrides {{ \"example.org/test/notes\" = \"{}\" }}\n}}\n",
            example().display()
        );
        fs::write(folder.path().join("terraform.rc"), overrides).expect("written");
        let bench = Self { folder };
        bench.says(hcl);
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn note(&self, title: &str) -> PathBuf {
        self.path("notes").join(title)
    }

    fn says(&self, hcl: &str) {
        let provider =
            "terraform {\n  required_providers {\n    notes = { source = \"example.org/test/notes\" }\n  }\n}\n";
        let directory = self.path("notes");
        let text = format!("{provider}provider \"notes\" {{\n  directory = \"{}\"\n}}\n{hcl}\n", directory.display());
        fs::write(self.path("main.tf"), text).expect("written");
    }

    fn terraform(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(self.folder.path());
        command.env("TF_CLI_CONFIG_FILE", self.path("terraform.rc")).env("CHECKPOINT_DISABLE", "1");
        command.env("RUST_BACKTRACE", "1").env("TF_IN_AUTOMATION", "1").env("TMPDIR", self.folder.path());
        let Output { status, stdout, stderr } = command.output().expect("terraform runs");
        let words = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        // Long sentences are wrapped, and what belongs together is marked.
        let words = words.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        Said { is_content: status.success(), words }
    }

    fn apply(&self) -> Said {
        self.terraform(&["apply", "-auto-approve", "-no-color"])
    }

    fn plan(&self) -> Said {
        self.terraform(&["plan", "-no-color"])
    }

    fn has_left_sockets(&self) -> bool {
        let entries = fs::read_dir(self.folder.path()).expect("a directory").flatten();
        entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("terraform-provider-"))
    }
}

const NOTE: &str = r#"resource "notes_note" "it" {
  title = "milk"
  text  = "two litres"
  tags  = ["shop", "food"]
}
output "length" { value = notes_note.it.length }"#;

#[test]
fn a_thing_is_made_changed_replaced_and_removed() {
    let Some(bench) = Bench::new(NOTE) else { return };
    let planned = bench.plan().works();
    assert!(planned.contains("+ length = 10"), "what can be told is told at once: {planned}");
    let made = bench.apply().works();
    assert!(made.contains("length = 10"), "{made}");
    assert_eq!(fs::read_to_string(bench.note("milk")).expect("a note"), "two litres");
    assert!(bench.plan().works().contains("No changes"));

    bench.says(&NOTE.replace("two litres", "three"));
    assert!(bench.apply().works().contains("1 changed"));
    bench.says(&NOTE.replace("milk", "bread"));
    let replaced = bench.plan().works();
    assert!(replaced.contains("must be replaced") && replaced.contains("forces replacement"), "{replaced}");
    bench.apply().works();
    assert!(!bench.note("milk").exists() && bench.note("bread").exists());
    bench.terraform(&["destroy", "-auto-approve"]).works();
    assert!(!bench.note("bread").exists());
    assert!(!bench.has_left_sockets(), "the socket goes with the provider");
}

#[test]
fn what_changed_elsewhere_is_seen_and_put_right() {
    let Some(bench) = Bench::new(NOTE) else { return };
    bench.apply().works();
    fs::write(bench.note("milk"), "none").expect("written");
    let drifted = bench.plan().works();
    assert!(drifted.contains("\"none\" -> \"two litres\""), "{drifted}");
    bench.apply().works();
    assert_eq!(fs::read_to_string(bench.note("milk")).expect("a note"), "two litres");
    fs::remove_file(bench.note("milk")).expect("removed");
    assert!(bench.plan().works().contains("1 to add"));
}

#[test]
fn what_exists_is_imported_and_read() {
    let hcl = r#"resource "notes_note" "it" {
  title = "milk"
  text  = "cold"
}
data "notes_note" "it" { title = "milk" }
output "text" { value = data.notes_note.it.text }"#;
    let Some(bench) = Bench::new(hcl) else { return };
    fs::write(bench.note("milk"), "cold").expect("written");
    bench.terraform(&["import", "notes_note.it", "milk"]).works();
    assert!(bench.apply().works().contains("text = \"cold\""));
    assert!(bench.plan().works().contains("No changes"));
}

#[test]
fn mistakes_are_told_where_they_are() {
    let Some(bench) = Bench::new(NOTE) else { return };
    for (from, to, parts) in [
        ("text ", "txet ", &["Unsupported argument"][..]),
        ("\"milk\"", "\"a/b\"", &["A title has no slash", "line 10"]),
        ("tags  = [\"shop\", \"food\"]", "length = 3", &["This attribute cannot be set", "`length` is decided"]),
        ("title = \"milk\"", "", &["Missing required argument", "title"]),
        ("[\"shop\", \"food\"]", "7", &["Inappropriate value", "tags"]),
    ] {
        assert!(NOTE.contains(from));
        bench.says(&NOTE.replace(from, to));
        bench.terraform(&["validate", "-no-color"]).fails(parts);
    }
}

#[test]
fn a_bug_is_told_without_a_backtrace_and_what_was_begun_is_remembered() {
    let Some(bench) = Bench::new(NOTE) else { return };
    bench.says(&NOTE.replace("two litres", "panic"));
    bench.plan().fails(&["The provider has a bug", "a note that nobody can plan"]);
    bench.says(&NOTE.replace("two litres", "unfinished"));
    bench.apply().fails(&["The note was not finished"]);
    // Terraform knows of it, and makes it anew.
    let state = fs::read_to_string(bench.path("terraform.tfstate")).expect("a state");
    assert!(state.contains("tainted") && state.contains("unfinished"), "{state}");
}

#[test]
fn a_provider_that_a_person_starts_says_what_it_is() {
    let Output { status, stdout, stderr } =
        Command::new(example().join("terraform-provider-notes")).output().expect("the example runs");
    assert!(!status.success() && stdout.is_empty());
    assert!(String::from_utf8_lossy(&stderr).contains("which starts it by itself"));
}

/// A process that is ended with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nobody_else_may_enter_the_socket() {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Stdio;

    let folder = tempfile::tempdir().expect("a folder");
    let provider = Command::new(example().join("terraform-provider-notes"))
        .env("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
        .env("PLUGIN_PROTOCOL_VERSIONS", "5,6")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example runs");
    let mut provider = Ended(provider);
    let mut line = String::new();
    BufReader::new(provider.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let fields: Vec<_> = line.trim_end().split('|').collect();
    let &["1", "6", "unix", socket, "grpc", certificate] = &fields[..] else { panic!("{line}") };
    assert!(!certificate.is_empty());
    let directory = Path::new(socket).parent().expect("a directory");
    assert_eq!(fs::metadata(directory).expect("a directory").permissions().mode() & 0o777, 0o700);
}
