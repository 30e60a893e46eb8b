//! `terraform-provider-npc mirror DIR`: lays this program where Terraform looks for providers that come from no registry.
//!
//! The layout is that of a filesystem mirror with unpacked packages (developer.hashicorp.com, "Provider Installation"):
//! `HOST/NAMESPACE/TYPE/VERSION/OS_ARCH/terraform-provider-TYPE_vVERSION`.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use npc_operator::failure::Failure;

/// What the provider is called where no registry has it.
const ADDRESS: &str = "registry.terraform.io/npc/npc";

/// Lays this program into a mirror, and prints the settings that have Terraform look there.
pub(crate) fn write(mirror: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error: io::Error| {
        Failure::usage(format!("cannot write `{}`: {error}", path.display())).hint("name a directory of your own")
    };
    let place = place(mirror);
    fs::create_dir_all(&place).map_err(|error| failed(&place, error))?;
    let mirror = fs::canonicalize(mirror).map_err(|error| failed(mirror, error))?;
    let program = place.join(concat!("terraform-provider-npc_v", env!("CARGO_PKG_VERSION")));
    let own = std::env::current_exe().map_err(Failure::other)?;
    // Whoever runs Terraform meanwhile finds a whole program there.
    let mut copy = tempfile::NamedTempFile::new_in(&place).map_err(|error| failed(&place, error))?;
    fs::File::open(own)
        .and_then(|mut own| io::copy(&mut own, &mut copy))
        .and_then(|_| copy.as_file().set_permissions(Permissions::from_mode(0o755)))
        .and_then(|()| copy.as_file().sync_all())
        .and_then(|()| copy.persist(&program).map_err(io::Error::from))
        .map_err(|error| failed(&program, error))?;
    settings(&mirror).map_err(|error| Failure::other(format!("cannot write to stdout: {error}")))
}

fn place(mirror: &Path) -> PathBuf {
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    mirror.join(ADDRESS).join(env!("CARGO_PKG_VERSION")).join(format!("{system}_{architecture}"))
}

/// What belongs into `~/.terraformrc`.
fn settings(mirror: &Path) -> io::Result<()> {
    let path = mirror.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    writeln!(
        io::stdout(),
        "provider_installation {{\n  filesystem_mirror {{\n    path    = \"{path}\"\n    include = [\"{ADDRESS}\"]\n  }}\n  \
         direct {{\n    exclude = [\"{ADDRESS}\"]\n  }}\n}}"
    )
}
