//! What was planned to be published, so that an apply can tell that the flake has changed since.
//!
//! Before it applies, Terraform plans once more, and where that gives something else than the plan that somebody has seen, it takes the
//! provider for broken and says so. It does not tell a provider which of the two plans it is asked for. Where it was started to apply a
//! file, that file tells what was planned, wherever that was. Otherwise both plans are asked for by one process, and the first leaves a
//! note beside the publisher's other caches. Where neither tells anything, nothing wrong is published either: Terraform's own refusal
//! remains.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use npc_core::digest::Digest;
use npc_core::files;
use npc_operator::session;
use terraform_plugin::{Diagnostic, Object, Outcome, Value};

use crate::arguments::path;
use crate::plan_file;

/// How many processes are remembered that have planned to publish one flake to one remote.
const KEPT: usize = 64;

/// No list of notes is longer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What decides, beside the files and the machine, what is packed and evaluated.
const DECIDING: [&str; 5] = ["name", "flake", "configurations", "selection", "nix"];

/// The Terraform that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Caller {
    /// What tells it from every other process since the machine was started.
    id: String,
    /// The plan that it was started to apply.
    plan: Option<PathBuf>,
}

impl Caller {
    /// The process that started this one, as far as the kernel tells (`proc_pid_stat(5)`).
    fn find() -> Option<Self> {
        let process = std::os::unix::process::parent_id();
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The program's name, in parentheses, may hold anything. The start is the 22nd field, and the 20th after it.
        let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
        let arguments = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        let arguments = arguments.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let plan = applied_file(arguments.collect(), plan_file::is_plan);
        Some(Self { id: format!("{process}-{started}"), plan })
    }
}

/// The file of a command line that is `terraform [OPTIONS] apply [OPTIONS] FILE`. Options may have values that stand by themselves, so
/// what is last is a plan only if it looks like one. A provider runs where Terraform does, `-chdir` included.
fn applied_file(mut words: Vec<String>, is_plan: impl Fn(&str) -> bool) -> Option<PathBuf> {
    // The last argument ends with a zero byte too.
    words.retain(|word| !word.is_empty());
    let is_apply = words.iter().skip(1).find(|word| !word.starts_with('-')).is_some_and(|word| word == "apply");
    words.pop().filter(|last| is_apply && is_plan(last)).map(PathBuf::from)
}

/// A note: who has planned, and the digest of what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    caller: String,
    content: String,
}

fn parse(text: &str) -> Vec<Note> {
    let note = |line: &str| {
        let (caller, content) = line.split_once(' ')?;
        Some(Note { caller: caller.to_owned(), content: content.to_owned() })
    };
    text.lines().filter_map(note).collect()
}

/// Whether who asks was shown something else before.
fn is_another(notes: &[Note], caller: &str, content: &str) -> bool {
    notes.iter().any(|note| note.caller == caller && note.content != content)
}

fn noted(mut notes: Vec<Note>, caller: &str, content: &str) -> Vec<Note> {
    notes.retain(|note| note.caller != caller);
    notes.push(Note { caller: caller.to_owned(), content: content.to_owned() });
    let surplus = notes.len().saturating_sub(KEPT);
    notes.drain(..surplus);
    notes
}

/// What a release is made of: its archive, and what its configurations evaluate to.
pub(crate) fn is_same_content(one: &Object, other: &Object) -> bool {
    ["archive", "systems"].iter().all(|name| one.get(name) == other.get(name))
}

/// Whether a plan would publish something else for what asks for the same; where it does not tell that, it does not.
fn is_planned_otherwise(plan: &[Object], shown: &Object) -> bool {
    let mut same = plan.iter().filter(|one| DECIDING.iter().all(|name| one.get(name) == shown.get(name))).peekable();
    same.peek().is_some() && same.all(|one| one.get("archive").is_known() && !is_same_content(one, shown))
}

/// Where it is noted what one Terraform has planned for one flake and one remote.
pub(crate) struct Planned {
    caller: Caller,
    path: PathBuf,
}

impl Planned {
    /// None, where that cannot be told.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let flake = path(object, "flake").now()?.canonicalize().ok()?;
        let deciding = DECIDING.iter().map(|name| ((*name).to_owned(), object.get(name).clone()));
        let deciding: Object = deciding.collect();
        let deciding = Value::from(deciding.with("flake", flake.to_string_lossy().into_owned()));
        let name = Digest::of(&deciding.to_message_pack()).short();
        Some(Self { caller: Caller::find()?, path: session::cache()?.join("planned").join(name) })
    }

    /// Notes what is about to be shown, and refuses something else than was shown before.
    pub(crate) fn show(&self, shown: &Object) -> Outcome<()> {
        if let Some(plan) = &self.caller.plan {
            return if is_planned_otherwise(&plan_file::planned(plan), shown) { Err(changed().into()) } else { Ok(()) };
        }
        let content = Object::default().with("archive", shown.get("archive").clone());
        let content = Value::from(content.with("systems", shown.get("systems").clone()));
        let content = Digest::of(&content.to_message_pack()).to_string();
        let notes = read(&self.path);
        if is_another(&notes, &self.caller.id, &content) {
            return Err(changed().into());
        }
        write(&self.path, &noted(notes, &self.caller.id, &content));
        Ok(())
    }

    /// Forgets what this process has planned, once that was done.
    pub(crate) fn forget(&self) {
        let notes = read(&self.path).into_iter().filter(|note| note.caller != self.caller.id);
        write(&self.path, &notes.collect::<Vec<_>>());
    }
}

/// How it is told that something else would be published than was planned.
pub(crate) fn changed() -> Diagnostic {
    Diagnostic::error("The flake has changed since the plan")
        .detail(
            "What would be published now is not what was planned, and nobody has seen that: the files differ, or what they evaluate to. \
             Nothing was published: plan again, with the same Nix, and let nothing write to the flake's directory meanwhile.",
        )
        .at(["flake"])
}

fn read(path: &Path) -> Vec<Note> {
    // Without notes, Terraform's own refusal remains.
    let text = files::read_limited(path, LONGEST).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text))
}

fn write(path: &Path, notes: &[Note]) {
    let lines: Vec<_> = notes.iter().map(|note| format!("{} {}", note.caller, note.content)).collect();
    let text = lines.join("\n");
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| files::write_atomically(path, text.as_bytes(), 0o644))
        .map_err(|error: io::Error| error.to_string());
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), error, "cannot note what was planned");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_apply_of_a_file_is_one() {
        for (line, expected) in [
            ("terraform plan -out planned", None),
            ("terraform apply", None),
            ("terraform apply -auto-approve", None),
            ("terraform apply planned", Some("planned")),
            ("/usr/bin/terraform -chdir=infrastructure apply -input=false planned", Some("planned")),
            ("terraform test", None),
            ("terraform apply -var-file production.tfvars", None),
            ("terraform apply -var remote=prod", None),
        ] {
            let words = line.split(' ').map(str::to_owned).collect();
            assert_eq!(applied_file(words, |path| path == "planned"), expected.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn who_plans_twice_must_find_the_same() {
        let once = noted(noted(Vec::new(), "1", "one"), "2", "one");
        assert!(!is_another(&once, "1", "one"));
        assert!(is_another(&once, "1", "two"), "whoever else has planned the same");
        assert!(!is_another(&once, "3", "two"), "somebody plans anew");
        let full = (0..2 * KEPT).fold(Vec::new(), |notes, n| noted(notes, &n.to_string(), "one"));
        assert_eq!(full.len(), KEPT);
        assert!(!is_another(&full, "0", "two"), "it was forgotten");
    }

    #[test]
    fn a_plan_in_a_file_tells_only_of_what_asks_for_the_same() {
        let asks = |name: &str| Object::default().with("name", name).with("flake", "../fleet");
        let shown = asks("prod").with("archive", "one");
        assert!(!is_planned_otherwise(&[asks("prod").with("archive", "one")], &shown));
        assert!(is_planned_otherwise(&[asks("prod").with("archive", "two")], &shown));
        assert!(!is_planned_otherwise(&[asks("canary").with("archive", "two")], &shown));
        assert!(!is_planned_otherwise(&[asks("prod").with("archive", Value::Unknown)], &shown));
        assert!(!is_planned_otherwise(&[], &shown), "a file that tells nothing");
        let evaluated = Object::default().with("web-1", "/nix/store/one");
        assert!(is_planned_otherwise(&[asks("prod").with("archive", "one").with("systems", evaluated)], &shown));
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let notes = noted(noted(Vec::new(), "1-2", "one"), "3-4", "two");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("planned/notes");
        write(&path, &notes);
        assert_eq!(read(&path), notes);
    }
}
