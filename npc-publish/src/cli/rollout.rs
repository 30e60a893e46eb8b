//! The command line of rollouts.

use clap::{Args, Subcommand};
use npc_core::document::{Extent, OnFailure};
use npc_core::name::{RemoteName, RolloutName};
use npc_operator::fleet::Selection;
use npc_operator::fleet::selector::Selector;

use super::{Place, Signing, Writing};

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// List rollouts
    List {
        #[command(flatten)]
        place: Place,
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show which host would be told in which wave, and write nothing
    Plan(Begin),
    /// Begin a rollout, and drive it until it is done or has stopped
    Start(Begin),
    /// Show how far a rollout has got
    Status {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how far a rollout has got until it is done or has stopped
    Watch {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
    /// Tell nobody else until the rollout is resumed
    Pause {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        signing: Signing,
    },
    /// Go on with a rollout that was paused, has stopped, or lost its operator; a newer release restarts at the first wave
    Resume {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        signing: Signing,
        /// How many hosts may fail from now on
        #[arg(long, value_name = "NUMBER")]
        max_failed: Option<u32>,
        /// Go on with the release that is pinned, even if the remote holds a newer one by now
        #[arg(long)]
        same_release: bool,
        /// Take over from another operator who seems to be at it
        #[arg(long)]
        force: bool,
    },
    /// End a rollout where it stands
    Abort {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        signing: Signing,
        /// Point its hosts back to where they came from first
        #[arg(long)]
        revert: bool,
    },
    /// Make the release another remote's, once all hosts run it, and point the hosts there
    Finish {
        #[command(flatten)]
        which: Which,
        /// The remote that gets the release [default: the one that the hosts came from]
        #[arg(long, value_name = "REMOTE")]
        to: Option<RemoteName>,
        #[command(flatten)]
        writing: Writing,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Finish although hosts outside of the rollout follow that remote too, or hosts of it are not well
        #[arg(long)]
        force: bool,
    },
}

/// A rollout by its name.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The rollout [default: the only one that is under way]
    pub(crate) rollout: Option<RolloutName>,
}

/// What a rollout begins with.
#[derive(Debug, Args)]
pub(crate) struct Begin {
    /// The remote whose release the hosts are brought to
    #[arg(long, value_name = "REMOTE")]
    pub(crate) to: RemoteName,
    /// Hosts: a name, a glob, group:NAME, role:NAME, remote:NAME or all; several are taken together
    #[arg(long, required = true, num_args = 1.., value_name = "SELECTOR")]
    pub(crate) hosts: Vec<Selector>,
    /// Hosts to leave out, named likewise
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) except: Vec<Selector>,
    /// How many hosts have been told at the end of each wave, as numbers or parts of all; the last is 100%
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,10%,50%,100%")]
    pub(crate) waves: Vec<Extent>,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    /// What it is called [default: the remote and the release's serial]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<RolloutName>,
    #[command(flatten)]
    pub(crate) writing: Writing,
    /// Take hosts that another rollout has taken, or that are shared with hosts that were not named
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Begin {
    /// Who is meant.
    pub(crate) fn selection(&self) -> Selection {
        Selection { included: self.hosts.clone(), excluded: self.except.clone() }
    }
}

/// When a wave is done, and when a rollout has failed.
#[derive(Debug, Args)]
pub(crate) struct Bounds {
    /// How long every host of a wave must be well before the next wave begins, such as `10m`
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = super::seconds)]
    pub(crate) soak: u64,
    /// How long a host may take, from being told to being well, before it counts as failed
    #[arg(long, value_name = "SPAN", default_value = "30m", value_parser = super::seconds)]
    pub(crate) timeout: u64,
    /// How many hosts may fail
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) max_failed: u32,
    /// What becomes of the rollout when more do: nobody else is told, or all are pointed back
    #[arg(long, value_name = "WHAT", default_value = "halt", value_parser = on_failure)]
    pub(crate) on_failure: OnFailure,
    /// Have hosts reboot that need it for the release, in the order of their metadata
    #[arg(long)]
    pub(crate) reboot: bool,
}

fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text {
        "halt" => Ok(OnFailure::Halt),
        "revert" => Ok(OnFailure::Revert),
        other => Err(format!("`{other}` is neither `halt` nor `revert`")),
    }
}
