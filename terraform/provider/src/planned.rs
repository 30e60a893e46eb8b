//! What was planned to be published, noted so that an apply can tell that the flake has changed since.
//!
//! Before it applies, Terraform plans once more, and where that gives another archive than the plan that somebody has seen, it takes the
//! provider for broken and says so. It does not tell a provider which of the two plans it is asked for. So each plan leaves a note beside
//! the publisher's other caches, and a plan is known for a second one by the process that asks for it: one that has asked before, or one
//! that was started to apply a file. Where that cannot be told, nothing wrong is published either: Terraform's own refusal remains.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use npc_core::digest::Digest;
use npc_core::files;
use npc_core::name::RemoteName;
use npc_operator::session;
use terraform_plugin::{Diagnostic, Outcome};

/// How many archives are remembered of one flake and one remote.
const KEPT: usize = 64;

/// No list of notes is longer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// The Terraform that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Caller {
    /// What tells it from every other process since the machine was started.
    id: String,
    /// Whether it was started to apply a plan that lies in a file.
    applies_file: bool,
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
        let applies_file = applies_file(arguments.collect(), is_plan);
        Some(Self { id: format!("{process}-{started}"), applies_file })
    }
}

/// Whether a command line is `terraform [OPTIONS] apply [OPTIONS] FILE`. Options may have values that stand by themselves, so what is
/// last is a plan only if it looks like one.
fn applies_file(mut words: Vec<String>, is_plan: impl Fn(&str) -> bool) -> bool {
    // The last argument ends with a zero byte too.
    words.retain(|word| !word.is_empty());
    let is_apply = words.iter().skip(1).find(|word| !word.starts_with('-')).is_some_and(|word| word == "apply");
    is_apply && words.last().is_some_and(|last| is_plan(last))
}

/// A plan is a ZIP archive. A provider runs where Terraform does, `-chdir` included.
fn is_plan(path: &str) -> bool {
    let mut begin = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == *b"PK\x03\x04"
}

/// A note: an archive, and who last planned it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    caller: String,
    archive: String,
}

fn parse(text: &str) -> Vec<Note> {
    let note = |line: &str| {
        let (caller, archive) = line.split_once(' ')?;
        Some(Note { caller: caller.to_owned(), archive: archive.to_owned() })
    };
    text.lines().filter_map(note).collect()
}

/// Whether this archive is another one than what was planned before.
fn is_another(notes: &[Note], caller: &Caller, archive: &str) -> bool {
    let is_known = |note: &&Note| note.archive == archive;
    let mut own = notes.iter().filter(|note| note.caller == caller.id).peekable();
    if own.peek().is_some() {
        return !own.any(|note| is_known(&note));
    }
    // A full list may have lost the one that matters.
    caller.applies_file && (1..KEPT).contains(&notes.len()) && !notes.iter().any(|note| is_known(&note))
}

fn noted(mut notes: Vec<Note>, caller: &Caller, archive: &str) -> Vec<Note> {
    notes.retain(|note| note.archive != archive);
    notes.push(Note { caller: caller.id.clone(), archive: archive.to_owned() });
    let surplus = notes.len().saturating_sub(KEPT);
    notes.drain(..surplus);
    notes
}

/// The notes of one flake and one remote.
pub(crate) struct Planned(Option<(Caller, PathBuf)>);

impl Planned {
    pub(crate) fn of(flake: &Path, remote: &RemoteName) -> Self {
        let find = || {
            let flake = flake.canonicalize().ok()?;
            let name = Digest::of(format!("{remote} {}", flake.display()).as_bytes()).short();
            Some((Caller::find()?, session::cache()?.join("planned").join(name)))
        };
        Self(find())
    }

    /// Notes that this archive is about to be shown, and refuses another one than was shown before.
    pub(crate) fn show(&self, archive: &str) -> Outcome<()> {
        let Some((caller, path)) = &self.0 else { return Ok(()) };
        let notes = read(path);
        if is_another(&notes, caller, archive) {
            return Err(changed().into());
        }
        write(path, &noted(notes, caller, archive));
        Ok(())
    }

    /// Forgets what this process has planned, once that was done.
    pub(crate) fn forget(&self) {
        let Some((caller, path)) = &self.0 else { return };
        let notes = read(path).into_iter().filter(|note| note.caller != caller.id);
        write(path, &notes.collect::<Vec<_>>());
    }
}

/// How it is told that something else would be published than was planned.
pub(crate) fn changed() -> Diagnostic {
    Diagnostic::error("The flake has changed since the plan")
        .detail(
            "What was planned is not what lies there now, and nobody has seen that. Nothing was published: plan again, and let \
             nothing write to the flake's directory meanwhile.",
        )
        .at(["flake"])
}

fn read(path: &Path) -> Vec<Note> {
    // Without notes, Terraform's own refusal remains.
    let text = files::read_limited(path, LONGEST).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text))
}

fn write(path: &Path, notes: &[Note]) {
    let lines: Vec<_> = notes.iter().map(|note| format!("{} {}", note.caller, note.archive)).collect();
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

    fn caller(id: &str, applies_file: bool) -> Caller {
        Caller { id: id.to_owned(), applies_file }
    }

    #[test]
    fn only_an_apply_of_a_file_is_one() {
        for (line, expected) in [
            ("terraform plan -out planned", false),
            ("terraform apply", false),
            ("terraform apply -auto-approve", false),
            ("terraform apply planned", true),
            ("/usr/bin/terraform -chdir=infrastructure apply -input=false planned", true),
            ("terraform test", false),
            ("terraform apply -var-file production.tfvars", false),
            ("terraform apply -var remote=prod", false),
        ] {
            let words = line.split(' ').map(str::to_owned).collect();
            assert_eq!(applies_file(words, |path| path == "planned"), expected, "{line}");
        }
    }

    #[test]
    fn who_plans_twice_must_find_the_same() {
        let once = noted(Vec::new(), &caller("1", false), "one");
        assert!(!is_another(&once, &caller("1", false), "one"));
        assert!(is_another(&once, &caller("1", false), "two"));
        assert!(!is_another(&once, &caller("2", false), "two"), "somebody plans anew");
    }

    #[test]
    fn who_applies_a_file_must_find_what_somebody_has_planned() {
        let planned = noted(noted(Vec::new(), &caller("1", false), "one"), &caller("2", false), "two");
        let applying = caller("3", true);
        assert!(!is_another(&planned, &applying, "one"));
        assert!(is_another(&planned, &applying, "three"));
        assert!(!is_another(&[], &applying, "three"), "planned on another machine, for what is known");
        let full = (0..2 * KEPT).fold(Vec::new(), |notes, n| noted(notes, &caller("1", false), &n.to_string()));
        assert_eq!(full.len(), KEPT);
        assert!(!is_another(&full, &applying, "0"), "it may have been forgotten");
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let notes = noted(noted(Vec::new(), &caller("1-2", false), "one"), &caller("3-4", true), "two");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("planned/notes");
        write(&path, &notes);
        assert_eq!(read(&path), notes);
    }
}
