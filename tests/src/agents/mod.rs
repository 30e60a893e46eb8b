//! Very many real agents in one process, on hosts that are only pretended.
//!
//! Each has a state directory, a name, a key and a store client of its own, as on a host of its own, and runs the agent's own
//! loop; what is pretended is activating ([`PretendedHost`]) and the machine that reports are about. What they ask of the store
//! is counted and timed at the store client ([`CountedStore`]). The program `fleet-of-agents` runs them, and whoever starts
//! it tells it by its stdin what happens meanwhile ([`Agents`]); operators' commands are that one's business.

mod agent;
mod counted;
mod figures;
mod host;
mod ledger;
mod polls;
mod running;
mod served;
mod settled;
mod spread;

pub use agent::{Fleet, name};
pub use counted::CountedStore;
pub use figures::{Figures, Latency, Polls, Requests};
pub use host::{PretendedHost, PretendedMachine};
pub use ledger::{Answered, Class, Ledger, Request, Verb};
pub use running::{Agents, Order, Said};
pub use served::Served;
pub use settled::{Settled, settled};
pub use spread::Spread;
