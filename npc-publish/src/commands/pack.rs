//! `npc-publish pack`: packs a flake without publishing it, and says what is in the archive and why.

use std::fs;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;
use npc_core::files;
use npc_operator::failure::{Exit, Failure};
use npc_operator::flake::{PackedFlake, pack_flake};
use npc_operator::selection::{Strategy, normalize};
use npc_operator::words;
use serde_json::{Value, json};

use crate::cli;
use crate::console;

pub(crate) fn pack(arguments: &cli::Pack) -> Result<(), Failure> {
    let flake = pack_flake(&arguments.flake, &arguments.picking)?;
    if let Some(output) = &arguments.output {
        write(&flake, output)?;
    }
    console::say(flake.summary());
    if let Some(path) = &arguments.why {
        return why(&flake, &arguments.flake, path, arguments.json);
    }
    if arguments.list {
        return list(&flake, &arguments.flake, arguments.json);
    }
    let packed = flake.packed();
    if arguments.json {
        return console::json(&json!({
            "archive": packed.archive,
            "entries": packed.content.entries,
            "selection": flake.selection.strategy,
            "evaluated": flake.selection.evaluated,
            "configurations": flake.selection.configurations,
        }));
    }
    console::data(packed.archive.sha256)
}

fn write(flake: &PackedFlake, output: &Path) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Flake, format!("cannot write `{}`: {error}", output.display())).hint(match error.kind() {
            std::io::ErrorKind::StorageFull => "make room, or write it elsewhere",
            _ => "name a file in a directory that is there and that you may write to",
        })
    };
    // The temporary file may lie on another file system: copy beside the output, then rename.
    let directory = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    let copy =
        tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory.unwrap_or(".".as_ref())).map_err(cannot)?;
    fs::copy(flake.selection.archived.file.path(), copy.path()).map_err(cannot)?;
    files::settle(copy, output, 0o644).map_err(cannot)
}

/// How many bytes of a path are in the archive.
fn packed_bytes(directory: &Path, path: &Path, keep: Keep) -> u64 {
    match directory.join(path).symlink_metadata() {
        Ok(metadata) if metadata.is_file() && keep == Keep::Content => metadata.len(),
        _ => 0,
    }
}

fn list(flake: &PackedFlake, directory: &Path, as_json: bool) -> Result<(), Failure> {
    let chosen = &flake.selection.chosen;
    if as_json {
        let describe = |(path, chosen): (&PathBuf, &npc_operator::selection::Chosen)| {
            let bytes = packed_bytes(directory, path, chosen.keep);
            json!({ "path": path.to_string_lossy(), "bytes": bytes, "keep": keep(chosen), "reason": chosen.reason })
        };
        return console::json(&chosen.iter().map(describe).collect::<Vec<Value>>());
    }
    let row = |(path, chosen): (&PathBuf, &npc_operator::selection::Chosen)| {
        let bytes = packed_bytes(directory, path, chosen.keep);
        let reason = match chosen.keep {
            Keep::Name if !chosen.reason.contains("name") => format!("its name alone: {}", chosen.reason),
            Keep::Name | Keep::Content => chosen.reason.clone(),
        };
        vec![words::printable(&path.to_string_lossy()), bytes.to_string(), reason]
    };
    console::table(&chosen.iter().map(row).collect::<Vec<_>>())
}

fn keep(chosen: &npc_operator::selection::Chosen) -> Value {
    serde_json::to_value(chosen).map(|value| value["keep"].clone()).unwrap_or_default()
}

fn why(flake: &PackedFlake, directory: &Path, path: &Path, as_json: bool) -> Result<(), Failure> {
    let root = directory.canonicalize().map_err(Failure::other)?;
    let path = path.strip_prefix(&root).or_else(|_| path.strip_prefix(directory)).unwrap_or(path);
    let path = normalize(path).ok_or_else(|| Failure::usage(format!("`{}` lies outside the flake", path.display())))?;
    let chosen = flake.selection.chosen.get(&path);
    let below = flake.selection.chosen.keys().any(|other| other.starts_with(&path));
    let reason = match chosen {
        Some(chosen) => chosen.reason.clone(),
        None if below => "it is a directory above files that are packed".to_owned(),
        None if directory.join(&path).symlink_metadata().is_err() => {
            return Err(Failure::usage(format!("there is no `{}`", path.display())));
        }
        None if flake.tree.below(&path).next().is_some() => "it is a directory of which nothing is packed".to_owned(),
        None if !flake.tree.lists(&path) => {
            "it is not packed: git does not track it, it is a submodule, or npc.toml excludes it".to_owned()
        }
        None if flake.selection.strategy == Strategy::Evaluated => {
            "it is not packed: evaluating the configurations did not ask for it".to_owned()
        }
        None => "it is not packed: no file that is packed mentions it".to_owned(),
    };
    if as_json {
        let keep = chosen.map(keep);
        return console::json(
            &json!({ "path": path.to_string_lossy(), "packed": chosen.is_some(), "keep": keep, "reason": reason }),
        );
    }
    console::data(reason)
}
