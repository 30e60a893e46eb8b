//! The corpus as it lies on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::expectation::Attack;
use super::layer::Layer;

const EXPECTATION: &str = "attack.toml";

/// An attack with its states of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// What is claimed.
    pub attack: Attack,
    /// The layers that the claim names.
    pub layers: BTreeMap<String, Layer>,
}

/// All attacks by name.
pub type Corpus = BTreeMap<String, Folder>;

/// A folder that is not an attack: its name, and what is wrong with it.
pub type ReadError = (PathBuf, String);

impl Folder {
    /// The folder's files.
    pub fn to_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let text = toml::to_string(&self.attack).expect("expectations can be written");
        let mut files = BTreeMap::from([(PathBuf::from(EXPECTATION), text.into_bytes())]);
        for (name, layer) in &self.layers {
            files.extend(layer.to_files().into_iter().map(|(path, bytes)| (Path::new(name).join(path), bytes)));
        }
        files
    }
}

/// Reads one attack. Whatever is in its folder must be accounted for.
pub fn read_folder(folder: &Path) -> Result<Folder, ReadError> {
    let wrong = |reason: String| (folder.to_owned(), reason);
    let text =
        fs::read_to_string(folder.join(EXPECTATION)).map_err(|error| wrong(format!("{EXPECTATION}: {error}")))?;
    let attack: Attack = toml::from_str(&text).map_err(|error| wrong(format!("{EXPECTATION}: {error}")))?;
    if attack.hosts.is_empty() || attack.steps.is_empty() {
        return Err(wrong("it has no hosts or no steps, and so would prove nothing".to_owned()));
    }
    let found = names(folder).map_err(|error| wrong(error.to_string()))?;
    let expected: BTreeSet<_> = attack.layers().into_iter().chain([EXPECTATION]).map(str::to_owned).collect();
    if found != expected {
        return Err(wrong(format!("it holds {found:?}, and its expectation names {expected:?}")));
    }
    let read = |name: &str| Layer::read(&folder.join(name)).map(|layer| (name.to_owned(), layer));
    let layers: io::Result<_> = attack.layers().into_iter().map(read).collect();
    let layers = layers.map_err(|error| wrong(error.to_string()))?;
    Ok(Folder { attack, layers })
}

/// The names of what lies in a folder.
pub(super) fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
