//! `npc_fleet`: a fleet, with its first trust and its keys.
//!
//! Secret keys are files on the machine that applies, as `npc-publish init` makes them. Nothing secret is in the state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use npc_operator::config::{Config, portable, resolve};
use npc_operator::founding::{Foundation, is_founded, key_directory};
use terraform_plugin::{
    Attribute, Change, Diagnostic, Object, Outcome, Resource, Schema, SetBy, Type, Unfinished, Value, Warnings,
};
use tokio::time::timeout;

use crate::arguments::path;
use crate::operator::{Operator, address, publishing_key};
use crate::told::{told, warning};

/// How long a plan looks whether a store has a fleet already.
const PATIENCE: Duration = Duration::from_secs(10);

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
                ),
            )
            .with(
                "key_directory",
                Attribute::new(
                    SetBy::UserOrProvider,
                    Type::String,
                    "The directory on this machine in which the secret keys are made, readable by their owner alone, and looked for \
                     from then on. Unless said, `~/.config/npc/` and the beginning of the id. It is never removed, and nothing in it \
                     is moved.",
                ),
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
        address(config).map(drop)
    }

    fn read(&self, state: Object, _: &mut Warnings) -> Outcome<Option<Object>> {
        // A fleet without its trust is nothing that could be made again: that is an error, and not one that Terraform repairs.
        let described = Object::default().with("fleet", state.clone());
        if let Some(config) = self.0.config(&described).map_err(|errors| errors.or_at("id"))? {
            self.0.session_at(config, "id")?;
        }
        Ok(Some(state))
    }

    fn plan(&self, change: Change, _: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        if change.config.get("store").is_null() {
            let store = self.0.store(&change.config)?;
            planned.set("store", store.map_or(Value::Unknown, |store| store.to_string().into()));
        }
        let Some(prior) = change.prior else {
            for decided in ["id", "root_keys", "root_threshold", "npc_toml"] {
                planned.set(decided, Value::Unknown);
            }
            if change.config.get("key_directory").is_null() {
                planned.set("key_directory", Value::Unknown);
            }
            self.check_is_free(&planned)?;
            return Ok(planned);
        };
        if address(&prior)? == address(&planned)? {
            // In other words, perhaps.
            planned.set("store", prior.get("store").clone());
        }
        let is_moved = ["store", "key_directory"].into_iter().any(|name| prior.get(name) != planned.get(name));
        if is_moved && !prior.get("npc_toml").is_null() {
            planned.set("npc_toml", Value::Unknown);
        }
        Ok(planned)
    }

    fn replacing(&self, prior: &Object, planned: &Object) -> Outcome<Vec<&'static str>> {
        let stays = match (address(prior)?.now(), address(planned)?.now()) {
            (Some(before), Some(after)) => before.is_same_place(&after),
            _ => false,
        };
        Ok(if stays { Vec::new() } else { vec!["store"] })
    }

    fn apply(&self, change: Change, warnings: &mut Warnings) -> Result<Object, Unfinished> {
        let planned = change.proposed;
        if let Some(prior) = change.prior {
            return Ok(described_anew(&prior, planned)?);
        }
        let Some(store) = self.0.store(&planned)? else {
            return Err(Diagnostic::error("Nobody says where the store is").at(["store"]).into());
        };
        let made = warning(warnings, || {
            self.0.wait(async {
                let foundation = Foundation::at(&store).await?;
                let directory = match path(&planned, "key_directory").now() {
                    Some(directory) => resolve(&directory, Path::new("")),
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
        let keys =
            planned.text("key_directory").map_or_else(|| directory.to_string_lossy().into_owned(), str::to_owned);
        Ok(described(planned.with("store", address).with("key_directory", keys), &config)?)
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
        let keys =
            config.key.as_deref().and_then(|key| key.parent()).map_or(keys, |parent| resolve(parent, &directory));
        let imported = Object::default()
            .with("store", config.store.to_string())
            .with("key_directory", keys.to_string_lossy().into_owned());
        described(imported, &config)
    }
}

impl Fleet {
    /// Refuses what an apply would, before that has ended another fleet for it. A store that cannot be asked may not be there yet.
    fn check_is_free(&self, planned: &Object) -> Outcome<()> {
        let keys = path(planned, "key_directory").now().map(|directory| publishing_key(&directory));
        if let Some(key) = keys.filter(|key| key.exists()) {
            let detail =
                format!("`{}` is there, and no key is ever overwritten: name another directory.", key.display());
            return Err(Diagnostic::error("The keys of another fleet lie there")
                .detail(detail)
                .at(["key_directory"])
                .into());
        }
        let Some(store) = address(planned)?.now() else { return Ok(()) };
        let asked = self.0.wait(async { Ok(timeout(PATIENCE, is_founded(&store)).await) })?;
        if !matches!(asked, Ok(Ok(true))) {
            return Ok(());
        }
        let detail = format!(
            "What made the fleet at {store} is not made again, and nothing would replace it. `terraform import` brings it into the \
             state, by the directory of the `npc.toml` that describes it; another fleet takes another prefix or directory."
        );
        Err(Diagnostic::error("A fleet lives there already").detail(detail).at(["store"]).into())
    }
}

/// The same fleet, whose store is reached or whose keys are found otherwise than before.
fn described_anew(prior: &Object, planned: Object) -> Outcome<Object> {
    let (false, Some(text)) = (planned.get("npc_toml").is_known(), prior.text("npc_toml")) else { return Ok(planned) };
    let mut config = Config::parse(text, "npc_toml").map_err(|failure| told(&failure).or_at("npc_toml"))?;
    if let Some(store) = address(&planned)?.now() {
        config.store = store;
    }
    if prior.get("key_directory") != planned.get("key_directory") {
        let key = path(&planned, "key_directory").now().map(|directory| portable(&publishing_key(&directory)));
        config.key = key;
    }
    described(planned, &config)
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
