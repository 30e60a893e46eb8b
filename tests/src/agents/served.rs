//! The embedded server in front of a world's directory, with a token for each of very many hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::agent::name;
use crate::eventually;
use crate::process::Background;
use crate::world::World;

/// A server that can be away for a while, and returns to its old address.
#[derive(Debug)]
pub struct Served {
    program: PathBuf,
    folder: PathBuf,
    /// What it is told beside where the store and the tokens are.
    arguments: Vec<String>,
    address: String,
    running: Option<Background>,
}

impl Served {
    /// Serves the directory of a world of that kind to so many hosts, with this `npc-publish`.
    pub fn start(program: &Path, world: &World, hosts: usize, arguments: &[&str]) -> Self {
        let folder = world.path("served");
        fs::create_dir_all(folder.join("tokens")).expect("created");
        let mut lines = String::new();
        for number in 1..=hosts {
            let (name, token) = (name(number), format!("the-token-of-{}", name(number)));
            npc_core::files::create_private(&folder.join("tokens").join(&name), token.as_bytes()).expect("written");
            lines.extend([name.as_str(), " ", token.as_str(), "\n"]);
        }
        npc_core::files::create_private(&folder.join("hosts"), lines.as_bytes()).expect("written");
        std::os::unix::fs::symlink(world.path("store"), folder.join("store")).expect("linked");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (program, address) = (program.to_owned(), "127.0.0.1:0".to_owned());
        let mut served = Self { program, folder, arguments, address, running: None };
        served.start_again();
        served
    }

    /// The settings of a world's hosts, with this server in place of the world's directory, and each host's token.
    pub fn settings(&self, world: &World) -> String {
        let settings = world.host_settings().replace(&world.url().to_string(), &format!("http://{}/", self.address));
        format!("{settings}\nstore_token_file = \"{}/{{host}}\"\n", self.folder.join("tokens").display())
    }

    /// Is away from now on.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// Is back.
    pub fn start_again(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(self.folder.join("store")).args(["--listen", &self.address]);
        command.arg("--host-tokens").arg(self.folder.join("hosts")).args(&self.arguments).env("NPC_LOG", "warn");
        let mut running = Background::start(&mut command, &self.folder.join("server.log"));
        self.address = eventually("the server says where it is", || {
            assert!(running.runs(), "the server ended: {}", running.words());
            let data = running.data();
            Some(data.strip_suffix('\n')?.trim_start_matches("http://").trim_end_matches('/').to_owned())
        });
        self.running = Some(running);
    }
}
