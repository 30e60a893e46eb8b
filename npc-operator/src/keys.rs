//! Secret keys in files.

use std::io;
use std::path::Path;

use npc_core::files;
use npc_core::key::SecretKey;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// No key file is longer, in bytes.
pub const FILE_BYTES: u64 = 4096;

/// Reads a secret key. A file that others can read is refused: the key must be taken for known.
pub fn read(path: &Path) -> Result<SecretKey, Failure> {
    let shown = path.display();
    let cannot = |error: io::Error| {
        let failure = Failure::usage(format!("cannot read the key file `{shown}`: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => failure.hint("name it with --key, NPC_KEY or `key` in npc.toml"),
            _ => failure,
        }
    };
    if files::is_readable_by_others(path).map_err(cannot)? {
        return Err(Failure::usage(format!("the key file `{shown}` can be read by others than its owner"))
            .hint(format!("`chmod 600 {shown}`, and replace the key if others had access: npc-publish trust rotate")));
    }
    let bytes = Zeroizing::new(files::read_limited(path, FILE_BYTES).map_err(cannot)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("`{shown}` is not a key file")))?;
    text.parse().map_err(|error| {
        Failure::usage(format!("`{shown}` is not a secret key of npc's: {error}"))
            .hint("make one with `npc-publish key generate` or `nix key generate-secret --key-name npc-…`")
    })
}

/// Reads several keys.
pub fn read_all(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Vec<SecretKey>, Failure> {
    paths.into_iter().map(|path| read(path.as_ref())).collect()
}

/// Writes a new secret key for its owner alone.
pub fn write(path: &Path, key: &SecretKey) -> Result<(), Failure> {
    let mut text = key.to_secret_text();
    text.push('\n');
    files::create_private(path, text.as_bytes()).map_err(|error| {
        Failure::usage(format!("cannot create the key file `{}`: {error}", path.display()))
            .hint("name a new file in a directory of your own: no key is ever overwritten")
    })
}

/// Makes a key from the operating system's randomness.
pub fn generate(name: &str) -> Result<SecretKey, Failure> {
    let name = name.parse().map_err(Failure::usage)?;
    SecretKey::generate(name).map_err(|error| Failure::other(format!("the system gives no randomness: {error}")))
}
