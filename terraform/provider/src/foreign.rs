//! Releases that somebody else has published: what a remote holds under another serial than the last that its resource stands for.

use npc_core::document::Serial;
use npc_core::publish::Over;
use terraform_plugin::{Diagnostic, Object, Outcome, Warnings};

/// What to do with such a release.
pub(crate) const CONFLICT: [&str; 2] = ["fail", "overwrite"];

/// What to put in the place of what a remote holds, as far as it was seen.
pub(crate) fn over(seen: &Object, planned: &Object) -> Over {
    if overwrites(planned) { Over::Anything } else { Over::Serial(serial(seen)) }
}

pub(crate) fn overwrites(object: &Object) -> bool {
    object.text("on_conflict") == Some("overwrite")
}

fn serial(object: &Object) -> Option<Serial> {
    object.get("serial").as_u64().and_then(Serial::new)
}

/// Whether the remote holds somebody else's release. What nobody believes is nobody's.
pub(crate) fn is_foreign(seen: &Object) -> bool {
    !seen.get("serial").is_null() && seen.get("serial") != seen.get("published_serial")
}

/// Whether somebody else's release would be undone: one of other content.
fn undoes(seen: &Object, planned: &Object) -> bool {
    is_foreign(seen) && seen.get("archive") != planned.get("archive")
}

/// Warns where somebody else's release would be undone.
pub(crate) fn warn_of_undoing(seen: &Object, planned: &Object, warnings: &mut Warnings) {
    if undoes(seen, planned) {
        warnings.tell(summary(seen), detail(seen, planned));
    }
}

/// Refuses to undo somebody else's release, unless that is said.
pub(crate) fn refuse_to_undo(seen: &Object, planned: &Object) -> Outcome<()> {
    if overwrites(planned) || !undoes(seen, planned) {
        return Ok(());
    }
    Err(Diagnostic::error(summary(seen)).detail(detail(seen, planned)).at(["on_conflict"]).into())
}

/// Warns where a removal would end somebody else's release.
pub(crate) fn warn_of_ending(seen: &Object, warnings: &mut Warnings) {
    if !is_foreign(seen) {
        return;
    }
    let consequence = if overwrites(seen) {
        "This is about to end it, as `on_conflict` says."
    } else {
        "A removal refuses to end that."
    };
    warnings.tell(summary(seen), format!("{} {consequence}", serials(seen)));
}

/// Refuses to end somebody else's release, unless that is said.
pub(crate) fn refuse_to_end(seen: &Object) -> Outcome<()> {
    if overwrites(seen) || !is_foreign(seen) {
        return Ok(());
    }
    let detail = format!(
        "{} Nothing was ended: bring the flake to what the remote holds, or say `on_conflict = \"overwrite\"`, and apply that first. \
         To leave the remote as it is, take it out of the state with `terraform state rm`.",
        serials(seen)
    );
    Err(Diagnostic::error(summary(seen)).detail(detail).at(["on_conflict"]).into())
}

fn summary(seen: &Object) -> String {
    format!("Somebody else has changed the remote `{}`", seen.text("name").unwrap_or_default())
}

fn short(object: &Object) -> String {
    object.text("archive").unwrap_or_default().chars().take(12).collect()
}

fn serials(seen: &Object) -> String {
    let number = |name| seen.get(name).as_u64().unwrap_or_default();
    let (now, before) = (number("serial"), number("published_serial"));
    format!("It holds serial {now} (archive {}), and serial {before} was published from here last.", short(seen))
}

fn detail(seen: &Object, planned: &Object) -> String {
    let consequence = if overwrites(planned) {
        "This is about to replace it, as `on_conflict` says."
    } else {
        "An apply refuses to undo that: bring the flake to what the remote holds, or say `on_conflict = \"overwrite\"`."
    };
    format!("{} The flake packs into {}. {consequence}", serials(seen), short(planned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(serial: u64, published: u64, archive: &str) -> Object {
        let seen = Object::default().with("name", "prod").with("archive", archive);
        seen.with("serial", serial).with("published_serial", published)
    }

    #[test]
    fn only_other_content_of_somebody_else_is_undone() {
        let planned = Object::default().with("archive", "ours");
        assert!(refuse_to_undo(&held(2, 1, "theirs"), &planned).is_err());
        assert!(refuse_to_undo(&held(2, 1, "ours"), &planned).is_ok());
        assert!(refuse_to_undo(&held(1, 1, "before"), &planned).is_ok());
        assert!(refuse_to_undo(&held(2, 1, "theirs"), &planned.with("on_conflict", "overwrite")).is_ok());
    }

    #[test]
    fn what_nobody_believes_is_nobodys() {
        let seen = held(2, 1, "").with("serial", None::<u64>);
        assert!(refuse_to_undo(&seen, &Object::default().with("archive", "ours")).is_ok());
        assert!(refuse_to_end(&seen).is_ok());
        assert_eq!(over(&seen, &Object::default()), Over::Serial(None));
    }

    #[test]
    fn only_what_was_published_from_here_is_ended() {
        assert!(refuse_to_end(&held(2, 1, "theirs")).is_err());
        assert!(refuse_to_end(&held(1, 1, "ours")).is_ok());
        assert!(refuse_to_end(&held(2, 1, "theirs").with("on_conflict", "overwrite")).is_ok());
    }
}
