//! One state of the store: objects, and how the server answers for some of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::large;
use super::recipe::{Behaviour, Recipe};

/// Where a layer's recipe lies, beside the folders of its objects.
const RECIPE: &str = "serve.toml";

/// One state of the store, or what is laid over one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// The objects by key.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Objects that are answered for in another way than with their bytes.
    pub recipe: Recipe,
}

impl Layer {
    /// Adds an object.
    #[must_use]
    pub(super) fn with(mut self, key: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.objects.insert(key.into(), bytes);
        self
    }

    /// Has the server answer so for an object.
    #[must_use]
    pub(super) fn answering(mut self, key: impl Into<String>, behaviour: Behaviour) -> Self {
        self.recipe.insert(key.into(), behaviour);
        self
    }

    /// Lays `upper` over this one.
    #[must_use]
    pub(super) fn under(mut self, upper: &Self) -> Self {
        self.objects.extend(upper.objects.clone());
        self.recipe.extend(upper.recipe.clone());
        self
    }

    /// Whether there is a large archive in it.
    pub(super) fn is_large(&self) -> bool {
        self.recipe.values().any(|behaviour| large::archive(behaviour).is_some())
    }

    /// Whether unpacking what is in it makes a large file.
    pub(super) fn has_a_large_file(&self) -> bool {
        self.recipe.values().any(|behaviour| matches!(behaviour, Behaviour::Zeros(_)))
    }

    /// The layer's files.
    pub fn to_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files: BTreeMap<_, _> =
            self.objects.iter().map(|(key, bytes)| (PathBuf::from(key), bytes.clone())).collect();
        if !self.recipe.is_empty() {
            let text = toml::to_string(&self.recipe).expect("recipes can be written");
            files.insert(PathBuf::from(RECIPE), text.into_bytes());
        }
        files
    }

    /// Reads a layer back.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut layer = Self::default();
        for entry in WalkDir::new(folder).min_depth(1) {
            let entry = entry?;
            if entry.file_type().is_dir() {
                continue;
            }
            let key =
                entry.path().strip_prefix(folder).ok().and_then(Path::to_str).expect("below the folder").to_owned();
            if key == RECIPE {
                let text = fs::read_to_string(entry.path())?;
                layer.recipe =
                    toml::from_str(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            } else {
                layer.objects.insert(key, fs::read(entry.path())?);
            }
        }
        Ok(layer)
    }
}
