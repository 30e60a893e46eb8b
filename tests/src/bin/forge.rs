//! Writes the corpus of attacks anew: `cargo run -p npc-tests --bin forge`.
//!
//! It gives the same bytes each time; what git then shows as changed was changed in the catalogue.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use npc_tests::attacks::{attacks, catalogue, honest};

fn main() -> io::Result<()> {
    let store = catalogue::honest();
    write(&honest(), [("first", store.first.to_files()), ("later", store.later.to_files())])?;
    let corpus = catalogue::all();
    write(&attacks(), corpus.iter().map(|(name, folder)| (name.as_str(), folder.to_files())))
}

/// Replaces the folders in `place`; files beside them stay.
fn write<'name>(
    place: &Path,
    folders: impl IntoIterator<Item = (&'name str, BTreeMap<PathBuf, Vec<u8>>)>,
) -> io::Result<()> {
    fs::create_dir_all(place)?;
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    for (name, files) in folders {
        for (path, bytes) in files {
            let path = place.join(name).join(path);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, bytes)?;
        }
    }
    Ok(())
}
