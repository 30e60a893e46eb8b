//! What a provider is made of. Its methods may block: each runs on a thread of its own, and a panic in one becomes a diagnostic.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostics, Outcome, Warnings};
use crate::schema::Schema;
use crate::value::Object;

/// A provider.
pub trait Provider: Send + Sync + 'static {
    /// What it is configured with.
    fn schema(&self) -> Schema;

    /// Its resources, by the names of their types.
    fn resources(&self) -> BTreeMap<&'static str, Arc<dyn Resource>>;

    /// Its data sources, by the names of their types.
    fn data_sources(&self) -> BTreeMap<&'static str, Arc<dyn DataSource>>;

    /// Checks what a configuration says, as far as it is known yet.
    fn validate(&self, config: &Object) -> Outcome<()> {
        let _ = config;
        Ok(())
    }

    /// Takes a configuration. What depends on resources that do not exist yet is unknown in a first plan.
    fn configure(&self, config: &Object, warnings: &mut Warnings) -> Outcome<()>;

    /// Ends what is under way: the user has asked for that.
    fn stop(&self);
}

/// A kind of things that Terraform makes, changes and removes.
pub trait Resource: Send + Sync {
    /// What it has.
    fn schema(&self) -> Schema;

    /// Checks what a configuration says, as far as it is known yet.
    fn validate(&self, config: &Object) -> Outcome<()> {
        let _ = config;
        Ok(())
    }

    /// How a thing is now; none, where it is gone.
    fn read(&self, state: Object, warnings: &mut Warnings) -> Outcome<Option<Object>>;

    /// What a thing will be. What the provider decides, and cannot tell yet, is unknown.
    fn plan(&self, change: Change, warnings: &mut Warnings) -> Outcome<Object>;

    /// The attributes by which what is planned is another thing than this one, beside those that always make another of it.
    fn replacing(&self, prior: &Object, planned: &Object) -> Outcome<Vec<&'static str>> {
        let _ = (prior, planned);
        Ok(Vec::new())
    }

    /// Makes or changes a thing as planned, and says how it is then.
    fn apply(&self, change: Change, warnings: &mut Warnings) -> Result<Object, Unfinished>;

    /// Looks at a thing that is to be removed, before anything is.
    fn plan_removal(&self, state: &Object, warnings: &mut Warnings) -> Outcome<()> {
        let _ = (state, warnings);
        Ok(())
    }

    /// Removes a thing.
    fn remove(&self, state: Object, warnings: &mut Warnings) -> Outcome<()>;

    /// As much of a thing that exists already as `read` needs to tell the rest.
    fn import(&self, id: &str) -> Outcome<Object>;
}

/// What Terraform looks at, and leaves as it is.
pub trait DataSource: Send + Sync {
    /// What it has.
    fn schema(&self) -> Schema;

    /// Checks what a configuration says, as far as it is known yet.
    fn validate(&self, config: &Object) -> Outcome<()> {
        let _ = config;
        Ok(())
    }

    /// Reads what a configuration, all of it known, asks for.
    fn read(&self, config: Object, warnings: &mut Warnings) -> Outcome<Object>;
}

/// A thing that is made or changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// How it is; none, where it is new.
    pub prior: Option<Object>,
    /// How it shall be. To `plan`, the configuration with what the provider decided before; to `apply`, what was planned.
    pub proposed: Object,
    /// What the configuration says.
    pub config: Object,
}

/// What was begun and not brought to its end.
#[derive(Debug)]
pub struct Unfinished {
    /// How the thing is now; none, where nothing was done.
    pub state: Option<Object>,
    /// Why.
    pub errors: Diagnostics,
}

impl<E: Into<Diagnostics>> From<E> for Unfinished {
    fn from(errors: E) -> Self {
        Self { state: None, errors: errors.into() }
    }
}
