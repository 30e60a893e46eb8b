//! The provider: what it has, and what all of that shares.

use std::collections::BTreeMap;
use std::sync::Arc;

use terraform_plugin::{DataSource, Object, Outcome, Provider, Resource, Schema, ServeError, Warnings};

use crate::binary::AgentBinary;
use crate::bootstrap::BootstrapData;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::operator::{Operator, check_place};
use crate::remote::Remote;
use crate::remote_data::RemoteData;
use crate::report::Report;

/// The provider.
pub(crate) struct Npc(Arc<Operator>);

impl Npc {
    pub(crate) fn new() -> Result<Self, ServeError> {
        Ok(Self(Arc::new(Operator::new()?)))
    }

    fn operator(&self) -> Arc<Operator> {
        Arc::clone(&self.0)
    }
}

impl Provider for Npc {
    fn schema(&self) -> Schema {
        Operator::schema()
    }

    fn resources(&self) -> BTreeMap<&'static str, Arc<dyn Resource>> {
        BTreeMap::from([
            ("npc_agent_binary", Arc::new(AgentBinary(self.operator())) as Arc<dyn Resource>),
            ("npc_fleet", Arc::new(Fleet(self.operator()))),
            ("npc_host", Arc::new(Host(self.operator()))),
            ("npc_remote", Arc::new(Remote(self.operator()))),
        ])
    }

    fn data_sources(&self) -> BTreeMap<&'static str, Arc<dyn DataSource>> {
        BTreeMap::from([
            ("npc_bootstrap", Arc::new(BootstrapData(self.operator())) as Arc<dyn DataSource>),
            ("npc_remote", Arc::new(RemoteData(self.operator()))),
            ("npc_report", Arc::new(Report(self.operator()))),
        ])
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)
    }

    fn configure(&self, config: &Object, _: &mut Warnings) -> Outcome<()> {
        self.0.configure(config)
    }

    fn stop(&self) {
        self.0.stop();
    }
}
