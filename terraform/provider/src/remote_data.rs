//! `data npc_remote`: what a remote holds.

use std::sync::Arc;

use npc_core::document::Standing;
use npc_core::name::RemoteName;
use npc_operator::failure::Failure;
use npc_operator::held::unknown;
use terraform_plugin::{Attribute, DataSource, Object, Outcome, Schema, SetBy, Type, Warnings};

use crate::arguments::{check, needed};
use crate::operator::{Operator, check_place, with_place};
use crate::remote::systems;

pub(crate) struct RemoteData(pub(crate) Arc<Operator>);

impl DataSource for RemoteData {
    fn schema(&self) -> Schema {
        let own = |kind, words: &str| Attribute::new(SetBy::Provider, kind, words);
        with_place(Schema::new("What a remote holds, whoever has published it."))
            .with("name", Attribute::new(SetBy::User, Type::String, "The remote's name."))
            .with("serial", own(Type::Number, "The release's serial."))
            .with("created", own(Type::String, "When it was published, as RFC 3339 has it."))
            .with("removed", own(Type::Bool, "Whether the remote has ended. Then nothing but its serial is known."))
            .with("archive", own(Type::String, "The SHA-256 of its archive."))
            .with("archive_size", own(Type::Number, "The archive's size in bytes."))
            .with(
                "systems",
                own(
                    Type::String.map(),
                    "What the configurations evaluate to: store paths, by the configurations' names.",
                ),
            )
            .with("revision", own(Type::String, "The commit that it was published from, where that is known."))
            .with("message", own(Type::String, "What its publisher said."))
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)?;
        check::<RemoteName>(config, "name")
    }

    fn read(&self, config: Object, _: &mut Warnings) -> Outcome<Object> {
        let name: RemoteName = needed(&config, "name")?;
        let session = self.0.session_now(&config)?;
        let document = self.0.wait(async {
            let pointer = session.fleet.remote(&name).await?.ok_or_else(|| unknown(&name))?;
            Ok::<_, Failure>(pointer.state?)
        });
        let document = document.map_err(|errors| errors.or_at("name"))?;
        let header = document.header();
        let mut seen = config.with("serial", header.serial.get()).with("created", header.created.to_string());
        let Standing::Present(release) = document.body() else { return Ok(seen.with("removed", true)) };
        seen.set("removed", false);
        seen.set("archive", release.archive.sha256.to_string());
        seen.set("archive_size", release.archive.size);
        seen.set("systems", systems(&release.configurations));
        seen.set("revision", release.source.rev.clone());
        seen.set("message", release.source.message.clone());
        Ok(seen)
    }
}
