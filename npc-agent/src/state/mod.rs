//! What the agent remembers across restarts, below one directory.
//!
//! ```text
//! lock             held by the agent that runs; holds its process id
//! instance         this installation's id, and what tells its machine from others
//! lost             this installation's id, while the memory against replay is lost
//! machine          what the machine was called when its first agent began
//! enrolment.toml   what the host was told when it became one
//! replay.json      the newest trust and the floors against replay; kept twice
//! replay.copy.json
//! assignment.json  the assignment that the host obeys
//! followed.json    the remote, release and configuration that it really follows
//! report.key       the secret key that signs the host's reports
//! report.json      the number of the last report
//! journal.json     the phase, what is committed, what failed
//! local.json       what `npc-agent set` and `pause` said
//! commit.lock      held by whoever commits, or goes back in the agent's stead
//! units/           how the units of the last attempts ended, and what the dead-man timer needs
//! flakes/<sha256>  unpacked archives      roots/<name>  links that keep systems from garbage collection
//! bin/             agents that the host was enrolled with, by their digests
//! downloads/       archives on their way  logs/         the output of the last commands        home/  Nix's HOME
//! ```

mod assignment;
mod attempts;
mod instance;
mod local;
mod lock;
mod machine;
mod marks;
mod place;
mod replay;
mod tree;

pub use assignment::HeldAssignment;
pub use instance::Instance;
pub use local::{Local, Pause};
pub use lock::{CommitLock, Held, Lock, LockError};
pub use machine::current as current_machine_name;
pub use marks::Marks;
pub use place::Place;
pub use replay::{Replay, ReplayError};
pub use tree::{StateDirectory, StateError};
