//! What builds read of the flake: derivations that hold its store path, as `"${self}/secrets"` puts it there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::facts::{Sights, see_all_of};
use super::nix::Nix;
use super::tree::Tree;
use crate::failure::Failure;

/// What may end a path in a text. A name may hold most of them as well.
pub(super) const ENDS: &[u8] = b"\"\\ '`();:,<>|&$=[]{}*?#@%!~^\n\t";

/// A longer source than this is no text that somebody wrote, in bytes.
const TEXT_BYTES: u64 = 16 * 1024 * 1024;

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
        let text = text_of(&path).map_err(|error| Failure::other(format!("`{}`: {error}", path.display())))?;
        let is_derivation = path.extension().is_some_and(|extension| extension == "drv");
        mentioned.extend(mentioned_in(&text, if is_derivation { after_inputs(&text) } else { 0 }, copy));
    }
    let is_all = mentioned.contains(Path::new(""));
    for path in &mentioned {
        see_all_of(tree, path, sights);
        // The text may go on with what ends paths elsewhere: a blank, or a pattern that a shell fills in.
        for longer in tree.beginning_like(path) {
            let name = longer.as_os_str().as_bytes();
            let goes_on = |byte: &u8| ENDS.contains(byte) || tree.kind(path).is_none();
            if name.get(path.as_os_str().len()).is_some_and(goes_on) {
                see_all_of(tree, &longer, sights);
            }
        }
    }
    Ok(is_all)
}

/// A derivation or another text in the store; nothing where it is a directory.
fn text_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() && metadata.len() <= TEXT_BYTES {
        File::open(path)?.take(TEXT_BYTES).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// What follows the store path wherever it stands in `text` from a place on.
fn mentioned_in(text: &[u8], from: usize, copy: &Path) -> BTreeSet<PathBuf> {
    let prefix = copy.as_os_str().as_bytes();
    let mut found = BTreeSet::new();
    let mut from = from;
    while let Some(at) = text[from..].windows(prefix.len()).position(|window| window == prefix) {
        let (before, after) = (&text[..from + at], &text[from + at + prefix.len()..]);
        let length = after.iter().position(|byte| ENDS.contains(byte)).unwrap_or(after.len());
        if length > 0 || !is_registered(before, after) {
            let below = String::from_utf8_lossy(&after[..length]);
            found.insert(PathBuf::from(below.trim_start_matches('/')));
        }
        from += at + prefix.len();
    }
    found
}

/// Whether a flake's path stands in a flake registry, as `nix.registry` of NixOS writes it: `"to":{"path":"…","type":"path"}`,
/// which only says where the flake is.
fn is_registered(before: &[u8], after: &[u8]) -> bool {
    let plain = |text: &[u8]| text.iter().copied().filter(|byte| *byte != b'\\').collect::<Vec<_>>();
    let Some(open) = before.iter().rposition(|byte| *byte == b'{') else { return false };
    let Some(close) = after.iter().position(|byte| *byte == b'}') else { return false };
    let (head, inside, rest) = (plain(&before[..open]), plain(&before[open..]), plain(&after[..close]));
    head.ends_with(br#""to":"#)
        && inside.ends_with(br#""path":""#)
        && rest.windows(13).any(|window| window == br#""type":"path""#)
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
            let text = derive(environment);
            let found = mentioned_in(text.as_bytes(), after_inputs(text.as_bytes()), copy);
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert!(found("nothing").is_empty());
        assert_eq!(found("/nix/store/x-source/a/b.age"), ["a/b.age"]);
        assert_eq!(found("cp /nix/store/x-source/a /nix/store/x-source/b; x"), ["a", "b"]);
        assert_eq!(found("{\\\"file\\\":\\\"/nix/store/x-source/c d\\\"}"), ["c"]);
        assert_eq!(found("/nix/store/x-source"), [""]);
        assert_eq!(found("/nix/store/x-source/keys/web-$i.pub @/nix/store/x-source/s@"), ["keys/web-", "s"]);
        let registry = r#"{\"to\":{\"narHash\":\"sha256-x\",\"path\":\"/nix/store/x-source\",\"type\":\"path\"}}"#;
        assert!(found(registry).is_empty());
        for other in [
            r#"{\"path\":\"/nix/store/x-source\",\"root\":1}"#,
            r#"{\"to\":{\"path\":\"/nix/store/x-source\"}}"#,
            r#"{\"a\":{\"path\":\"/nix/store/x-source\",\"type\":\"path\"}}"#,
        ] {
            assert_eq!(found(other), [""], "{other}");
        }
    }
}
