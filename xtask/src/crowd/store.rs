//! The stores that a crowd asks, which can be away for a while.

use std::path::{Path, PathBuf};

use npc_tests::agents::Served;
use npc_tests::parts::Garage;
use npc_tests::process::{Background, start_garage, start_garage_again};
use npc_tests::world::{Kind, World};

/// A store and its server.
pub(super) enum StoreAtWork {
    /// Garage.
    Garage {
        /// Its program, and where its data lie.
        program: PathBuf,
        folder: PathBuf,
        address: String,
        running: Option<Background>,
    },
    /// `npc-publish serve`.
    Served(Served),
}

impl StoreAtWork {
    /// A world in a Garage whose data lie in this folder.
    pub(super) fn garage(garage: &Path, folder: &Path) -> Result<(World, Self), String> {
        let (running, endpoint) = start_garage(garage, folder).map_err(|error| error.to_string())?;
        let world = World::new(&Kind::Garage(Garage::at(&endpoint)));
        let address = endpoint.trim_start_matches("http://").to_owned();
        let (program, folder) = (garage.to_owned(), folder.to_owned());
        Ok((world, Self::Garage { program, folder, address, running: Some(running) }))
    }

    /// A world in a directory, served to so many hosts.
    pub(super) fn served(programs: &Path, hosts: usize) -> (World, Self) {
        let world = World::new(&Kind::Directory);
        let served = Served::start(&programs.join("npc-publish"), &world, hosts, &[]);
        (world, Self::Served(served))
    }

    /// What it is called in tables.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Garage { .. } => "Garage",
            Self::Served(_) => "embedded server",
        }
    }

    /// The settings of the world's hosts.
    pub(super) fn settings(&self, world: &World) -> String {
        match self {
            Self::Garage { .. } => world.host_settings().to_owned(),
            Self::Served(served) => served.settings(world),
        }
    }

    /// Is away from now on.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Garage { running, .. } => drop(running.take().map(Background::stop)),
            Self::Served(served) => served.stop(),
        }
    }

    /// Is back.
    pub(super) fn start_again(&mut self) {
        match self {
            Self::Garage { program, folder, address, running } => {
                *running = Some(start_garage_again(program, folder, address));
            }
            Self::Served(served) => served.start_again(),
        }
    }
}
