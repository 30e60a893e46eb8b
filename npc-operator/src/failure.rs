//! How a command fails: a chain of reasons, what to do about it, and a documented exit code.

use std::error::Error;

use npc_core::archive::PackError;
use npc_core::explain;
use npc_core::publish::replace::ReplaceError;
use npc_core::publish::trust::TrustError;
use npc_core::publish::{PublishError, Unauthorised};
use npc_core::store::{Fault, StoreError, TokenError};
use npc_core::trust::Refusal;
use npc_core::trust::walk::WalkError;

/// What kinds of failures there are, with the exit codes of `npc-publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Anything without a code of its own.
    Other = 1,
    /// The command line, `npc.toml`, a name, an address or a key file is wrong. Clap uses the same code.
    Usage = 2,
    /// The store cannot be reached, does not exist, or does not allow it.
    Store = 3,
    /// Keys may not sign this, or what lies in the store is not to be believed.
    Trust = 4,
    /// Someone else wrote at the same time.
    Raced = 5,
    /// The flake cannot be packed.
    Flake = 6,
    /// Nothing went wrong but on hosts: some of those asked about are not well.
    Unwell = 7,
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
    /// Whether it has been said already.
    is_said: bool,
    /// Whether trying again in a moment can help.
    may_pass: bool,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), hint: None, is_said: false, may_pass: exit == Exit::Raced }
    }

    /// A failure without a code of its own.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Other, error)
    }

    /// A mistake in what the operator gave.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// A temporary file that could not be written, or read again.
    pub fn scratch(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Flake, error).hint("make room where temporary files go (TMPDIR), then try again")
    }

    /// Something that was shown already, and only makes the exit code another one.
    pub fn said(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { is_said: true, ..Self::new(exit, error) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether trying again in a moment can help: the store may answer again, and another operator be done.
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// The same, although trying again would not help.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { may_pass: false, ..self }
    }

    /// The reasons, without the hint.
    pub fn words(&self) -> String {
        explain::in_one_line(&*self.error)
    }

    /// Several of one kind, told in a row, with the hints that there are.
    pub fn of_all(failures: Vec<Self>) -> Self {
        let exit = failures.first().map_or(Exit::Other, |failure| failure.exit);
        let may_pass = failures.iter().all(|failure| failure.may_pass);
        let words: Vec<_> = failures.iter().map(|failure| failure.error.to_string()).collect();
        let mut hints: Vec<_> = failures.into_iter().filter_map(|failure| failure.hint).collect();
        hints.dedup();
        let failure = Self { may_pass, ..Self::new(exit, words.join("\n")) };
        if hints.is_empty() { failure } else { failure.hint(hints.join("; ")) }
    }

    /// What kind of failure it is.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The chain of reasons and the hint, for the terminal of this program; nothing, where it was said already.
    pub fn at_length(&self, program: &str) -> Option<String> {
        (!self.is_said).then(|| explain::at_length(program, &*self.error, self.hint.as_deref()))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let hint = error.fault.hint();
        let exit = if error.fault == Fault::Conflict { Exit::Raced } else { Exit::Store };
        let may_pass = exit == Exit::Raced || error.fault.may_pass();
        let failure = Self { may_pass, ..Self::new(exit, error) };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::usage(error)
    }
}

impl From<Refusal> for Failure {
    fn from(error: Refusal) -> Self {
        let hint = format!("the refusal is called `{}`; hosts refuse this too", error.kind());
        Self::new(Exit::Trust, error).hint(hint)
    }
}

impl From<Unauthorised> for Failure {
    fn from(error: Unauthorised) -> Self {
        Self::new(Exit::Trust, error).hint(
            "`npc-publish trust show` lists who may sign what; give keys with --key, several times for a threshold",
        )
    }
}

impl From<WalkError> for Failure {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Store(error) if error.fault == Fault::NotFound => Self::new(Exit::Store, error)
                .hint("no fleet lives there; check the store's address, or make a fleet with `npc-publish init`"),
            WalkError::Store(error) => error.into(),
            error => Self::new(Exit::Trust, error)
                .hint("check `fleet` and `root_keys` in npc.toml: this store may belong to another fleet"),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Store(error) => error.into(),
            PublishError::Unauthorised(error) => error.into(),
            error @ PublishError::Raced { .. } => Self::new(Exit::Raced, error)
                .hint("nothing of yours was made current; look at `npc-publish log`, then publish again"),
            error @ PublishError::Moved { .. } => Self::new(Exit::Raced, error)
                .hint("look at what it holds now, with `npc-publish log`, before it is replaced")
                .lasting(),
            error @ PublishError::NoSerialLeft(_) => {
                Self::new(Exit::Trust, error).hint("a new trust version resets serials: see `npc-publish trust rotate`")
            }
        }
    }
}

impl From<ReplaceError> for Failure {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Store(error) => error.into(),
            ReplaceError::Unauthorised(error) => error.into(),
            error @ ReplaceError::Raced { .. } => Self::new(Exit::Raced, error)
                .hint("look at what stands there now, then say it again if it still has to be said"),
            error @ ReplaceError::NoSerialLeft(_) => {
                Self::new(Exit::Trust, error).hint("a new trust version resets serials: see `npc-publish trust rotate`")
            }
            error @ ReplaceError::TooLarge { .. } => Self::usage(error).hint("take fewer hosts at a time"),
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Store(error) => error.into(),
            TrustError::Unauthorised(error) => {
                Self::new(Exit::Trust, error).hint("give the root key with --root-key, several times for a threshold")
            }
            error @ TrustError::NoWayBack(_) => Self::new(Exit::Trust, error)
                .hint("give the new root key with --root-key as well: it has to show that it can sign"),
            error => Self::new(Exit::Trust, error),
        }
    }
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let hint = match &error {
            PackError::Read { .. } => "make it readable, or leave it out with `exclude` in npc.toml",
            PackError::Write(_) => "make room where temporary files go (TMPDIR), then try again",
            PackError::Changed(_) => "try again when nothing else is writing to the flake",
            PackError::BehindLink(_) => "tell git what became of it: `git add --all`",
            PackError::Special(_) | PackError::IllegalPath(_) | PackError::EscapingLink(_) => {
                "leave it out with `exclude` in npc.toml: an agent would refuse it"
            }
            PackError::TooLarge { .. } => "leave out what no host needs with `exclude` in npc.toml",
        };
        Self::new(Exit::Flake, error).hint(hint)
    }
}
