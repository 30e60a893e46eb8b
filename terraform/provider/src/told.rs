//! What operators' code says while Terraform waits: warnings become Terraform's, and the rest goes to the log.

use std::cell::RefCell;

use npc_operator::failure::{Exit, Failure};
use npc_operator::interrupt;
use npc_operator::voice::{self, Moving};
use terraform_plugin::{Diagnostic, Diagnostics, Warnings};

thread_local! {
    /// What was warned of in the call that this thread serves.
    static WARNED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Collects warnings, and logs the rest.
pub(crate) struct Voice;

impl voice::Voice for Voice {
    fn say(&self, words: &str) {
        tracing::info!("{words}");
    }

    fn warn(&self, words: &str) {
        tracing::warn!("{words}");
        WARNED.with_borrow_mut(|warned| warned.push(words.to_owned()));
    }

    fn begin(&self, what: &str) -> Box<dyn Moving> {
        Box::new(Logged(what.to_owned()))
    }
}

struct Logged(String);

impl Moving for Logged {
    fn tell(&mut self, words: String) {
        tracing::debug!("{} {words}", self.0);
    }
}

/// Does something, and has Terraform warn of what it warns of.
pub(crate) fn warning<T>(warnings: &mut Warnings, work: impl FnOnce() -> T) -> T {
    WARNED.take();
    let done = work();
    for words in WARNED.take() {
        let (summary, detail) = words.split_once('\n').unwrap_or((&words, ""));
        warnings.tell(summary, detail);
    }
    done
}

/// A failure, as Terraform tells it. Where no attribute is at fault for certain, the kind of the failure says which one it is.
pub(crate) fn told(failure: &Failure) -> Diagnostics {
    told_of(failure, "fleet")
}

/// Likewise, where another attribute says what is to be believed.
pub(crate) fn told_of(failure: &Failure, fleet: &str) -> Diagnostics {
    // What fails from then on does so for that reason.
    if interrupt::exit_code().is_some() {
        return interrupted();
    }
    let (summary, attribute) = match failure.exit() {
        Exit::Usage => ("This cannot be done", None),
        Exit::Store => ("The store does not do its part", Some("store")),
        Exit::Trust => ("This would not be believed", Some(fleet)),
        Exit::Raced => ("Somebody else was there first", None),
        Exit::Flake => ("The flake cannot be packed", Some("flake")),
        Exit::Unwell => ("Hosts are not well", None),
        Exit::Other => ("npc failed", None),
    };
    let advice = failure.advice().and_then(advice).map(|advice| format!("\n\nHint: {advice}")).unwrap_or_default();
    let diagnostic = Diagnostic::error(summary).detail(format!("{}{advice}", failure.words()));
    match attribute {
        Some(attribute) => diagnostic.at([attribute]).into(),
        None => diagnostic.into(),
    }
}

/// That the user asked to end what was not done yet.
pub(crate) fn interrupted() -> Diagnostics {
    let error = Diagnostic::error("The provider was interrupted");
    error.detail("It has ended what it was doing: apply again once you mean to.").into()
}

/// What to do about it, as far as it can be done here: options outside of whole commands are those of another program.
fn advice(words: &str) -> Option<String> {
    let names_option = |part: &str| part.split('`').step_by(2).any(|text| text.contains(" --"));
    let kept: Vec<_> = words.split("; ").filter(|part| !names_option(part)).collect();
    (!kept.is_empty()).then(|| kept.join("; "))
}

#[cfg(test)]
mod tests {
    use super::advice;

    #[test]
    fn options_of_another_program_are_no_advice() {
        assert_eq!(advice("name it with --key, NPC_KEY or `key` in npc.toml"), None);
        assert_eq!(
            advice("`npc-publish log` tells more; say --force").as_deref(),
            Some("`npc-publish log` tells more")
        );
        let command = "end the rollout, or take the host out of it with `npc-publish repoint --force`";
        assert_eq!(advice(command).as_deref(), Some(command));
    }
}
