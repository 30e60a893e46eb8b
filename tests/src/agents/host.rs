//! A host that is only pretended: what activating changes on it is kept in memory.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use npc_agent::activation::Platform;
use npc_agent::dead_man::DeadMan;
use npc_agent::machine::{Attempt, Baseline, Built, Ended, Failed, Found, Target};
use npc_agent::report::{Contact, Machine};

/// A host on which activating does nothing but take its time.
#[derive(Debug)]
pub struct PretendedHost {
    /// How long activating takes.
    pub takes: Duration,
    /// Whether nothing can take the place of the first system that it ever had.
    pub is_failing: bool,
    running: RefCell<Option<PathBuf>>,
}

impl PretendedHost {
    /// A host that runs this system, if any.
    pub fn new(takes: Duration, is_failing: bool, running: Option<PathBuf>) -> Self {
        Self { takes, is_failing, running: RefCell::new(running) }
    }

    fn running(&self) -> Option<PathBuf> {
        self.running.borrow().clone()
    }
}

#[async_trait(?Send)]
impl Platform for PretendedHost {
    async fn look(&self, _: Option<&Attempt>) -> Found {
        Found { running: self.running(), ..Found::default() }
    }

    fn check_room(&self) -> Result<(), Failed> {
        Ok(())
    }

    async fn build(&self, _: &Target, flake: &Path) -> Result<Built, Failed> {
        Ok(flake.to_owned().into())
    }

    async fn survey(&self, _: &Path) -> Result<Baseline, Failed> {
        Ok(Baseline { running: self.running(), ..Baseline::default() })
    }

    async fn activate(&self, attempt: &Attempt) -> Ended {
        tokio::time::sleep(self.takes).await;
        let is_first = attempt.before.running.is_none();
        self.running.replace(Some(attempt.system.clone()));
        if self.is_failing && !is_first {
            return Ended::Failed(Failed::new("activation-failed", "this host is pretended to fail"));
        }
        Ended::Well
    }

    async fn commit(&self, _: &Attempt) -> Result<(), Failed> {
        Ok(())
    }

    async fn roll_back(&self, attempt: &Attempt, _: bool) -> Result<Option<Failed>, Failed> {
        tokio::time::sleep(self.takes).await;
        self.running.replace(attempt.before.running.clone());
        Ok(None)
    }

    async fn reboot(&self, _: bool) -> Result<(), Failed> {
        Err(Failed::new("reboot-failed", "a host that is pretended does not reboot"))
    }

    fn dead_man(&self) -> Option<&DeadMan> {
        None
    }

    fn host_file(&self) -> Option<PathBuf> {
        None
    }
}

/// The machine that the reports of a pretended host are about: one among many in a private network.
#[derive(Debug)]
pub struct PretendedMachine {
    /// The host's number.
    pub number: usize,
}

#[async_trait(?Send)]
impl Machine for PretendedMachine {
    fn boot_id(&self) -> String {
        format!("{:08x}-0000-4000-8000-000000000000", self.number)
    }

    fn contact(&self) -> Contact {
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        let address = Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) | (number & 0x00ff_ffff));
        Contact { addresses: [address.into()].into(), ssh_host_keys: [format!("ssh-ed25519 {number:068}")].into() }
    }

    async fn failed_units(&self) -> Option<BTreeSet<String>> {
        Some(BTreeSet::new())
    }
}
