//! `npc_fleet`: a fleet, with its first trust and its keys.
//!
//! Secret keys are files on the machine that applies, as `npc-publish init` makes them. Nothing secret is in the state.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use npc_core::store::StoreUrl;
use npc_operator::config::Config;
use npc_operator::founding::{Foundation, key_directory};
use terraform_plugin::{
    Attribute, Change, Diagnostic, Object, Outcome, Resource, Schema, SetBy, Type, Unfinished, Value, Warnings,
};

use crate::arguments::{check, path};
use crate::operator::Operator;
use crate::told::{told, warning};

pub(crate) struct Fleet(pub(crate) Arc<Operator>);

impl Resource for Fleet {
    fn schema(&self) -> Schema {
        Schema::new("A fleet: an id, the keys that may speak for it, and the first trust in a store.")
            .with(
                "store",
                Attribute::new(
                    SetBy::UserOrProvider,
                    Type::String,
                    "The address of the store in which the fleet is made: `s3://…`, `https://…` or `file:///…`. Unless said, the \
                     provider's.",
                )
                .replaces(),
            )
            .with(
                "key_directory",
                Attribute::new(
                    SetBy::UserOrProvider,
                    Type::String,
                    "The directory on this machine in which the secret keys are made, readable by their owner alone. Unless said, \
                     `~/.config/npc/` and the beginning of the id. It is never removed.",
                )
                .replaces(),
            )
            .with("id", Attribute::new(SetBy::Provider, Type::String, "The fleet's id."))
            .with(
                "root_keys",
                Attribute::new(SetBy::Provider, Type::String.list(), "The public keys that vouch for the first trust."),
            )
            .with(
                "root_threshold",
                Attribute::new(SetBy::Provider, Type::Number, "How many of them must have signed it."),
            )
            .with(
                "npc_toml",
                Attribute::new(
                    SetBy::Provider,
                    Type::String,
                    "The `npc.toml` that describes the fleet to `npc-publish`. It holds no secrets.",
                ),
            )
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check::<StoreUrl>(config, "store")
    }

    fn read(&self, state: Object, _: &mut Warnings) -> Outcome<Option<Object>> {
        // A fleet without its trust is nothing that could be made again: that is an error, and not one that Terraform repairs.
        let described = Object::default().with("fleet", state.clone());
        self.0.session_now(&described).map_err(|errors| errors.or_at("id"))?;
        Ok(Some(state))
    }

    fn plan(&self, change: Change, _: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        if change.config.get("store").is_null() {
            let store = self.0.store(&change.config)?;
            planned.set("store", store.map_or(Value::Unknown, |store| store.to_string().into()));
        }
        if change.prior.is_none() {
            for decided in ["id", "root_keys", "root_threshold", "npc_toml"] {
                planned.set(decided, Value::Unknown);
            }
            if change.config.get("key_directory").is_null() {
                planned.set("key_directory", Value::Unknown);
            }
        }
        Ok(planned)
    }

    fn apply(&self, change: Change, warnings: &mut Warnings) -> Result<Object, Unfinished> {
        let planned = change.proposed;
        if change.prior.is_some() {
            return Ok(planned);
        }
        let Some(store) = self.0.store(&planned)? else {
            return Err(Diagnostic::error("Nobody says where the store is").at(["store"]).into());
        };
        let made = warning(warnings, || {
            self.0.wait(async {
                let foundation = Foundation::at(&store).await?;
                let directory = match path(&planned, "key_directory").now() {
                    Some(directory) => directory,
                    None => key_directory(&foundation.fleet)?,
                };
                let founded = foundation.lay(&directory, Timestamp::now()).await?;
                Ok((founded.config(store.clone()), directory))
            })
        });
        let (config, directory) = made.map_err(|errors| errors.or_at("store"))?;
        warnings.tell(
            "Move the fleet's root key offline",
            format!(
                "The keys of the new fleet are in {}. The root key changes who may sign, and is not needed to publish.",
                directory.display()
            ),
        );
        let address = planned.text("store").map_or_else(|| store.to_string(), str::to_owned);
        let planned = planned.with("store", address).with("key_directory", directory.to_string_lossy().into_owned());
        Ok(described(planned, &config)?)
    }

    fn remove(&self, state: Object, warnings: &mut Warnings) -> Outcome<()> {
        warnings.tell(
            "The fleet's trust and keys stay where they are",
            format!(
                "Hosts that believe this fleet can be told something as long as its trust is in {} and its keys in {}. Remove \
                 both by hand once no host is left.",
                state.text("store").unwrap_or("the store"),
                state.text("key_directory").unwrap_or("their directory"),
            ),
        );
        Ok(())
    }

    fn import(&self, id: &str) -> Outcome<Object> {
        let directory = PathBuf::from(id);
        let config = Config::read(&directory).map_err(|failure| told(&failure))?;
        let keys = key_directory(&config.fleet).map_err(|failure| told(&failure))?;
        let keys = config
            .key
            .as_deref()
            .and_then(|key| key.parent())
            .map_or(keys, |parent| npc_operator::config::resolve(parent, &directory));
        let imported = Object::default()
            .with("store", config.store.to_string())
            .with("key_directory", keys.to_string_lossy().into_owned());
        described(imported, &config)
    }
}

/// The fleet as others refer to it.
fn described(fleet: Object, config: &Config) -> Outcome<Object> {
    let root_keys: Vec<_> = config.root_keys.iter().map(ToString::to_string).collect();
    Ok(fleet
        .with("id", config.fleet.to_string())
        .with("root_keys", root_keys)
        .with("root_threshold", config.root_threshold as u64)
        .with("npc_toml", config.to_text().map_err(|failure| told(&failure))?))
}
