//! `npc-publish pack`: packs a flake without publishing it.

use std::fs;

use npc_core::files;
use serde_json::json;

use crate::cli;
use crate::console;
use crate::failure::{Exit, Failure};
use crate::flake::pack_flake;

pub(crate) fn pack(arguments: &cli::Pack) -> Result<(), Failure> {
    let flake = pack_flake(&arguments.flake)?;
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Flake, format!("cannot write `{}`: {error}", arguments.output.display()))
            .hint("make room, or write it elsewhere")
    };
    // The temporary file may lie on another file system: copy beside the output, then rename.
    let directory = arguments.output.parent().filter(|parent| !parent.as_os_str().is_empty());
    let copy =
        tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory.unwrap_or(".".as_ref())).map_err(cannot)?;
    fs::copy(flake.file.path(), copy.path()).map_err(cannot)?;
    files::settle(copy, &arguments.output, 0o644).map_err(cannot)?;
    let packed = flake.packed;
    console::say(format_args!(
        "packed {} files, {} into {}",
        packed.content.entries,
        console::bytes(packed.content.bytes),
        console::bytes(packed.archive.size)
    ));
    if arguments.json {
        return console::json(&json!({ "archive": packed.archive, "entries": packed.content.entries }));
    }
    console::data(packed.archive.sha256)
}
