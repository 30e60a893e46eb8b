//! A flake's directory: what belongs to the flake, and packing what is published of it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use globset::GlobSet;
use npc_core::archive::{self, Keep, Limits, Manifest, Packed};
use npc_core::document::Source;
use npc_core::key::SecretKey;
use npc_core::name::ConfigurationName;
use walkdir::WalkDir;

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::git::{self, Tracked};
use crate::keys;
use crate::selection::{Choice, NixChoice, Selection, Strategy, Tree, select};
use crate::session;
use crate::voice;
use crate::words;

/// Which files of a flake are published, and for which configurations.
#[derive(Debug, Clone, Default)]
pub struct Picking {
    /// How the files are chosen, instead of what `npc.toml` says.
    pub selection: Option<Strategy>,
    /// The configurations to publish; all where none is named.
    pub configurations: Vec<ConfigurationName>,
    /// The Nix to evaluate with, instead of the one on the PATH.
    pub nix: Option<NixChoice>,
}

/// A flake packed into a temporary file.
#[derive(Debug)]
pub struct PackedFlake {
    /// Its files, chosen, packed and proved.
    pub selection: Selection,
    /// Where it came from.
    pub source: Source,
    /// What there was to choose from.
    pub tree: Tree,
    whole: Whole,
}

/// A tree in figures.
#[derive(Debug, Default)]
pub struct Whole {
    files: usize,
    bytes: u64,
    /// Bytes that are not packed, by what they lie below.
    left_out: BTreeMap<PathBuf, u64>,
}

impl Whole {
    fn of(tree: &Tree, selection: &Selection) -> Self {
        let mut whole = Self::default();
        for path in tree.paths() {
            let Ok(metadata) = tree.root().join(path).symlink_metadata() else { continue };
            if metadata.is_dir() {
                continue;
            }
            whole.files += 1;
            whole.bytes += metadata.len();
            let is_packed = selection.chosen.get(path).is_some_and(|chosen| chosen.keep == Keep::Content);
            let Some(top) = path.iter().next().filter(|_| !is_packed) else { continue };
            if let Some(bytes) = whole.left_out.get_mut(Path::new(top)) {
                *bytes += metadata.len();
            } else {
                whole.left_out.insert(top.into(), metadata.len());
            }
        }
        whole
    }

    /// What weighs most of what was left out.
    fn heaviest(&self) -> String {
        match self.left_out.iter().max_by_key(|(_, bytes)| **bytes) {
            Some((path, bytes)) if *bytes > 0 => {
                format!(" (`{}`: {})", words::printable(&path.to_string_lossy()), words::bytes(*bytes))
            }
            _ => String::new(),
        }
    }
}

impl PackedFlake {
    /// The archive's digest and content.
    pub fn packed(&self) -> Packed {
        self.selection.archived.packed
    }

    /// What the archive holds.
    pub fn manifest(&self) -> Result<Manifest, Failure> {
        let reader = self.selection.archived.reader().map_err(Failure::scratch)?;
        archive::manifest(reader, Limits::default()).map_err(Failure::other)
    }

    /// What was packed of how much, and what was evaluated for it, in a line.
    pub fn summary(&self) -> String {
        let packed = self.packed();
        let selection = &self.selection;
        let read = selection.chosen.values().filter(|chosen| chosen.keep == Keep::Content).count();
        let proofs = match (selection.configurations.len(), selection.evaluated) {
            (0, _) => String::new(),
            (all, 0) => format!("; {all} configurations, none evaluated anew"),
            (all, evaluated) => format!("; {evaluated} of {all} configurations evaluated"),
        };
        let whole = &self.whole;
        format!(
            "{read} of {} files ({} of {}) packed into {}, {} left out{}{proofs}",
            whole.files,
            words::bytes(packed.content.bytes),
            words::bytes(whole.bytes),
            words::bytes(packed.archive.size),
            whole.files.saturating_sub(read),
            whole.heaviest(),
        )
    }
}

/// Packs the flake in `directory`: of the files that git tracks, or of all files where there is no git, less what
/// `npc.toml` excludes, those that the strategy chooses, as they lie in the working tree.
pub fn pack_flake(directory: &Path, picking: impl Into<Picking>) -> Result<PackedFlake, Failure> {
    let picking = picking.into();
    if !directory.join("flake.nix").is_file() {
        return Err(Failure::new(Exit::Flake, format!("there is no flake.nix in `{}`", directory.display()))
            .hint("name the flake's directory with --flake"));
    }
    let config = Config::read_if_present(directory)?;
    let (excluded, included, strategy) = match &config {
        Some(config) => (config.excluded()?, config.included()?, config.selection),
        None => (GlobSet::empty(), GlobSet::empty(), Strategy::Auto),
    };
    let (paths, source) = match git::find(directory)? {
        Some(work) => (tracked(directory, &work)?, work.source()?),
        None => (all_files(directory)?, Source::default()),
    };
    let paths: Vec<_> = paths.into_iter().filter(|path| !excluded.is_match(path)).collect();
    let choice = Choice {
        strategy: picking.selection.unwrap_or(strategy),
        nix: picking.nix.unwrap_or_default(),
        configurations: picking.configurations,
        include: included,
        cache: session::cache(),
    };
    let root = directory.canonicalize().map_err(|error| Failure::new(Exit::Flake, error))?;
    let tree = Tree::new(root, paths);
    let selection = select(&tree, &choice)?;
    let whole = Whole::of(&tree, &selection);
    let content = selection.chosen.iter().filter(|(_, chosen)| chosen.keep == Keep::Content);
    refuse_secret_keys(directory, content.map(|(path, _)| path))?;
    Ok(PackedFlake { selection, source, tree, whole })
}

fn tracked(directory: &Path, work: &git::Work<'_>) -> Result<Vec<PathBuf>, Failure> {
    let tracked = work.tracked()?;
    if !tracked.iter().any(|entry| entry.path == Path::new("flake.nix")) {
        return Err(Failure::new(Exit::Flake, "git does not track flake.nix, so neither Nix nor npc would see it")
            .hint("`git add` the files of the flake"));
    }
    let mut behind_links = BehindLinks { directory, known: HashMap::new() };
    let mut paths = Vec::with_capacity(tracked.len());
    for Tracked { path, is_submodule } in tracked {
        if is_submodule {
            voice::warn(format_args!("the submodule `{}` is left out", path.display()));
        } else if !path.parent().is_some_and(|parent| behind_links.hides(parent)) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Where a directory was replaced by a link, what git still has below it is gone.
struct BehindLinks<'a> {
    directory: &'a Path,
    known: HashMap<PathBuf, bool>,
}

impl BehindLinks<'_> {
    /// Whether a directory of the flake is a link, or lies behind one.
    fn hides(&mut self, path: &Path) -> bool {
        if path.as_os_str().is_empty() {
            return false;
        }
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        let hidden = path.parent().is_some_and(|parent| self.hides(parent)) || self.directory.join(path).is_symlink();
        self.known.insert(path.to_owned(), hidden);
        hidden
    }
}

/// Whether a program leaves something behind under this name that belongs to no flake: git its history, Terraform its working
/// directory and its state, which may hold secrets and changes with every apply.
fn is_left_behind(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    matches!(&*name, ".git" | ".terraform") || name.ends_with(".tfstate") || name.contains(".tfstate.")
}

/// All files, links and directories, less what other programs leave behind, such as the links of `nix build`.
fn all_files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = WalkDir::new(directory).min_depth(1).into_iter();
    let entries = entries.filter_entry(|entry| !is_left_behind(entry.file_name()));
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::new(Exit::Flake, error).hint("make it readable, or remove it"))?;
        let is_result = entry.file_name().as_encoded_bytes().starts_with(b"result");
        if entry.path_is_symlink() && is_result && points_into_a_store(entry.path()) {
            continue;
        }
        let relative = entry.path().strip_prefix(directory).map_err(Failure::other)?;
        // A directory comes right before what is in it, and along with it by itself.
        if paths.last().is_some_and(|last: &PathBuf| relative.starts_with(last)) {
            paths.pop();
        }
        paths.push(relative.to_owned());
    }
    Ok(paths)
}

/// Every host can read every archive: a key in one would belong to all of them.
fn refuse_secret_keys<'a>(directory: &Path, paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    let found = paths.into_iter().find(|path| {
        let full = directory.join(path);
        full.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= keys::FILE_BYTES)
            && std::fs::read_to_string(&full).is_ok_and(|text| text.parse::<SecretKey>().is_ok())
    });
    match found {
        None => Ok(()),
        Some(path) => {
            Err(Failure::new(Exit::Flake, format!("`{}` is a secret key, and would reach every host", path.display()))
                .hint("move it out of the flake; if it was ever published, replace it: npc-publish trust rotate"))
        }
    }
}

fn points_into_a_store(link: &Path) -> bool {
    link.read_link()
        .is_ok_and(|target| target.is_absolute() && target.components().any(|part| part.as_os_str() == "store"))
}
