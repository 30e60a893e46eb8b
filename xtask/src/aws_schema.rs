//! `cargo xtask aws-schema`: what the AWS provider takes and gives for the resources that the Terraform modules use.
//!
//! The provider itself is too much to carry, and to download where tests run. CDK Terrain publishes bindings that it generates
//! from the provider's own schema; each file holds its TypeScript in its source map, and that holds every argument's name, type
//! and nesting. What the modules use of it is put into the form of `terraform providers schema -json`.

mod typescript;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::Outcome;
use crate::shell::{announce, command, root};

/// The npm package, which was made from version 6.45.0 of the provider.
const PACKAGE: &str = "@cdktn/provider-aws@24.1.0";

/// What npm says that this version consists of.
const INTEGRITY: &str =
    "sha512-G7ETnOAhM7crDBrhgfypedNkWeDgdWNEQadL582qmvar13k2Ry2sWrYZJNERi8IXVtqq5CVwVl1aHUt64b8+xA==";

/// Where the schema is kept.
const SCHEMA: &str = "terraform/aws-stub/schema.json";

/// The provider's address.
const ADDRESS: &str = "registry.terraform.io/hashicorp/aws";

/// Whole features of the provider's own configuration that no module needs, and that are most of its bulk.
const LEFT_OUT_OF_THE_PROVIDER: [&str; 1] = ["endpoints"];

/// A kind of thing that a module may use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    /// The provider's own configuration.
    Provider,
    /// A `resource`.
    Resource(String),
    /// A `data` source.
    Data(String),
}

impl Used {
    /// The folder of its bindings in the package.
    fn folder(&self) -> String {
        match self {
            Self::Provider => "provider".to_owned(),
            Self::Resource(name) => name.trim_start_matches("aws_").replace('_', "-"),
            Self::Data(name) => format!("data-{}", name.replace('_', "-")),
        }
    }
}

pub(crate) fn aws_schema() -> Outcome {
    let used = used()?;
    announce(&format!("{} things that the modules use, from {PACKAGE}", used.len()));
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let sources = sources(&download(folder.path())?, &used)?;
    let mut parts: [serde_json::Map<String, Value>; 2] = Default::default();
    let mut provider = Value::Null;
    for thing in &used {
        let source = sources.get(thing).ok_or_else(|| format!("{PACKAGE} has no `{}`", thing.folder()))?;
        let block = typescript::block(source).map_err(|reason| format!("{}: {reason}", thing.folder()))?;
        let schema = json!({ "version": 0, "block": block });
        match thing {
            Used::Provider => provider = without(schema, &LEFT_OUT_OF_THE_PROVIDER),
            Used::Resource(name) => drop(parts[0].insert(name.clone(), schema)),
            Used::Data(name) => drop(parts[1].insert(name.clone(), schema)),
        }
    }
    let [resources, data] = parts;
    let schemas = json!({ "provider": provider, "resource_schemas": resources, "data_source_schemas": data });
    let whole = json!({ "format_version": "1.0", "provider_schemas": { ADDRESS: schemas } });
    let text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
    fs::write(root().join(SCHEMA), text + "\n").map_err(|error| format!("{SCHEMA}: {error}"))
}

/// The schema without some of its blocks.
fn without(mut schema: Value, blocks: &[&str]) -> Value {
    if let Some(Value::Object(found)) = schema.pointer_mut("/block/block_types") {
        found.retain(|name, _| !blocks.contains(&name.as_str()));
    }
    schema
}

/// What the modules and the examples use of the provider.
fn used() -> Result<BTreeSet<Used>, String> {
    let mut used = BTreeSet::from([Used::Provider]);
    let mut folders = ["modules", "examples"].map(|name| root().join("terraform").join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("tf")) {
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                used.extend(text.lines().filter_map(used_in));
            }
        }
    }
    Ok(used)
}

/// What a line of HCL begins, if that is the provider's.
fn used_in(line: &str) -> Option<Used> {
    let (kind, rest) = line.split_once(" \"")?;
    let (name, _) = rest.split_once('"').filter(|(name, _)| name.starts_with("aws_"))?;
    match kind {
        "resource" => Some(Used::Resource(name.to_owned())),
        "data" => Some(Used::Data(name.to_owned())),
        _ => None,
    }
}

/// Downloads the package; npm runs none of its scripts, and checks its bytes against the registry's digest.
fn download(folder: &Path) -> Result<PathBuf, String> {
    let mut pack = command("npm", &["pack", "--ignore-scripts", "--json", PACKAGE, "--pack-destination"]);
    let output = pack.arg(folder).output().map_err(|error| format!("npm cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("npm pack: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("npm pack: {error}"))?;
    let field = |name: &str| said.pointer(&format!("/0/{name}")).and_then(Value::as_str);
    if field("integrity") != Some(INTEGRITY) {
        return Err(format!("{PACKAGE} is another than it was: {:?}", field("integrity")));
    }
    field("filename").map(|name| folder.join(name)).ok_or_else(|| "npm pack names no file".to_owned())
}

/// The TypeScript of everything used.
fn sources(package: &Path, used: &BTreeSet<Used>) -> Result<BTreeMap<Used, String>, String> {
    let wanted: BTreeMap<_, _> =
        used.iter().map(|thing| (format!("package/lib/{}/index.js", thing.folder()), thing)).collect();
    let failed = |error: std::io::Error| format!("{}: {error}", package.display());
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(package).map_err(failed)?));
    let mut sources = BTreeMap::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        if let Some(thing) = wanted.get(&path) {
            let mut script = String::new();
            entry.read_to_string(&mut script).map_err(failed)?;
            sources.insert((*thing).clone(), typescript_of(&script).map_err(|reason| format!("{path}: {reason}"))?);
        }
    }
    Ok(sources)
}

/// What a script was compiled from, which its source map holds.
fn typescript_of(script: &str) -> Result<String, String> {
    const MAP: &str = "//# sourceMappingURL=data:application/json;base64,";
    let (_, map) = script.rsplit_once(MAP).ok_or("it has no source map")?;
    let map = STANDARD.decode(map.trim()).map_err(|error| error.to_string())?;
    let map: Value = serde_json::from_slice(&map).map_err(|error| error.to_string())?;
    let source = map.pointer("/sourcesContent/0").and_then(Value::as_str);
    source.map(str::to_owned).ok_or_else(|| "its source map holds no source".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_modules_use_is_read_off_their_files() {
        assert_eq!(used_in("resource \"aws_s3_bucket\" \"store\" {"), Some(Used::Resource("aws_s3_bucket".to_owned())));
        assert_eq!(used_in("data \"aws_ami\" \"nixos\" {"), Some(Used::Data("aws_ami".to_owned())));
        assert_eq!(used_in("resource \"npc_fleet\" \"fleet\" {"), None);
        assert_eq!(used_in("  ami = data.aws_ami.nixos.id"), None);
        assert_eq!(Used::Data("aws_ami".to_owned()).folder(), "data-aws-ami");
        assert_eq!(Used::Resource("aws_s3_bucket".to_owned()).folder(), "s3-bucket");
    }
}
