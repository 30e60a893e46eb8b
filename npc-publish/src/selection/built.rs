//! What builds read of the flake: derivations that hold its store path, as `"${self}/secrets"` puts it there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::facts::{Sight, Sights};
use super::nix::Nix;
use super::tree::{Last, Tree};
use crate::failure::Failure;

/// What ends a path in the text of a derivation.
const ENDS: &[u8] = b"\"\\ '`();:,<>|&$=[]{}*?\n\t";

/// What stands before a flake's path in a registry (registry.json, "to"), as a derivation quotes it.
const REGISTERED: &[u8] = br#"\"path\":\""#;

/// Adds to `sights` every file of the tree that building `derivation` may read by way of the flake's store path `copy`.
/// Returns whether that is all of them, since the path is there by itself.
pub(super) fn add_what_builds_read(
    tree: &Tree,
    nix: &Nix,
    derivation: &str,
    copy: &Path,
    sights: &mut Sights,
) -> Result<bool, Failure> {
    let mut mentioned = BTreeSet::new();
    for path in nix.closure(derivation)? {
        let text =
            fs::read(&path).map_err(|error| Failure::other(format!("cannot read `{}`: {error}", path.display())))?;
        mentioned.extend(mentioned_in(&text, copy));
    }
    let is_all = mentioned.contains(Path::new(""));
    for path in &mentioned {
        let Some(end) = tree.resolve(path, Last::Follow).end else { continue };
        if tree.kind(&end).is_none() {
            sights.insert(end, Sight::Absent);
            continue;
        }
        let below = tree.below(&end).map(Path::to_owned);
        for path in std::iter::once(end.clone()).chain(below) {
            if tree.kind(&path).is_none() {
                continue;
            }
            // The directories in between as well: a new name in one is a change.
            for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&end)) {
                sights.insert(above.to_owned(), Sight::Inside);
            }
            sights.insert(path, Sight::Inside);
        }
    }
    Ok(is_all)
}

/// What follows the store path wherever it stands in a derivation but in the list of its inputs.
fn mentioned_in(text: &[u8], copy: &Path) -> BTreeSet<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let prefix = copy.as_os_str().as_bytes();
    let mut found = BTreeSet::new();
    let mut from = after_inputs(text);
    while let Some(at) = text[from..].windows(prefix.len()).position(|window| window == prefix) {
        let rest = &text[from + at + prefix.len()..];
        let length = rest.iter().position(|byte| ENDS.contains(byte)).unwrap_or(rest.len());
        let below = String::from_utf8_lossy(&rest[..length]);
        // `nix.registry` of NixOS only writes down where the flake is.
        let is_registered = length == 0 && text[..from + at].ends_with(REGISTERED);
        if !is_registered {
            found.insert(PathBuf::from(below.trim_start_matches('/').trim_end_matches('/')));
        }
        from += at + prefix.len();
    }
    found
}

/// Where the platform stands in `Derive([outputs],[derivations],[sources],"platform",…`: after the third list.
fn after_inputs(text: &[u8]) -> usize {
    let (mut depth, mut lists, mut quoted, mut escaped) = (0, 0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' if !quoted => depth += 1,
            b']' if !quoted => {
                depth -= 1;
                lists += i32::from(depth == 0);
                if lists == 3 {
                    return at;
                }
            }
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_the_text_and_not_among_the_inputs() {
        let copy = Path::new("/nix/store/x-source");
        let derive = |environment: &str| {
            let inputs =
                "[(\"out\",\"/nix/store/o\",\"\",\"\")],[(\"/nix/store/d.drv\",[\"out\"])],[\"/nix/store/x-source\"]";
            format!("Derive({inputs},\"x86_64-linux\",\"/bin/sh\",[],[(\"a\",\"{environment}\")])")
        };
        let found = |environment: &str| {
            let found = mentioned_in(derive(environment).as_bytes(), copy);
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert!(found("nothing").is_empty());
        assert_eq!(found("/nix/store/x-source/a/b.age"), ["a/b.age"]);
        assert_eq!(found("cp /nix/store/x-source/a /nix/store/x-source/b; x"), ["a", "b"]);
        assert_eq!(found("{\\\"file\\\":\\\"/nix/store/x-source/c d\\\"}"), ["c"]);
        assert_eq!(found("/nix/store/x-source"), [""]);
        assert!(found(r#"{\"to\":{\"path\":\"/nix/store/x-source\",\"type\":\"path\"}}"#).is_empty());
    }
}
