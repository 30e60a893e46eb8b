//! The protocol's calls, as calls of a provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::diagnostic::{Diagnostic, Diagnostics, Outcome, Step, Warnings, path};
use crate::messages as m;
use crate::provider::{Change, DataSource, Provider, Resource, Unfinished};
use crate::schema::Schema;
use crate::value::{Object, Value, ValueError};

/// A provider, as Terraform calls it.
pub(crate) struct Service {
    provider: Arc<dyn Provider>,
    schema: Schema,
    resources: BTreeMap<&'static str, Kind<dyn Resource>>,
    data_sources: BTreeMap<&'static str, Kind<dyn DataSource>>,
}

/// A resource or a data source with its schema.
struct Kind<T: ?Sized> {
    schema: Arc<Schema>,
    it: Arc<T>,
}

impl<T: ?Sized> Clone for Kind<T> {
    fn clone(&self) -> Self {
        Self { schema: Arc::clone(&self.schema), it: Arc::clone(&self.it) }
    }
}

impl Service {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        let resources = provider.resources().into_iter();
        let resources = resources.map(|(name, it)| (name, Kind { schema: Arc::new(it.schema()), it })).collect();
        let data_sources = provider.data_sources().into_iter();
        let data_sources = data_sources.map(|(name, it)| (name, Kind { schema: Arc::new(it.schema()), it })).collect();
        Self { schema: provider.schema(), resources, data_sources, provider }
    }

    fn resource(&self, name: &str) -> Result<Kind<dyn Resource>, Status> {
        self.resources.get(name).cloned().ok_or_else(|| Status::not_found(format!("there is no resource `{name}`")))
    }

    fn data_source(&self, name: &str) -> Result<Kind<dyn DataSource>, Status> {
        self.data_sources
            .get(name)
            .cloned()
            .ok_or_else(|| Status::not_found(format!("there is no data source `{name}`")))
    }
}

/// Does what may block on a thread of its own, and gives what came of it with what is to be told.
async fn work<T, E>(
    work: impl FnOnce(&mut Warnings) -> Result<T, E> + Send + 'static,
) -> (Result<T, Option<E>>, Vec<m::Diagnostic>)
where
    T: Send + 'static,
    E: Send + 'static,
{
    let done = tokio::task::spawn_blocking(move || {
        let mut warnings = Warnings::default();
        (work(&mut warnings), warnings)
    });
    match done.await {
        Ok((done, warnings)) => (done.map_err(Some), warnings.into_messages()),
        Err(error) => (Err(None), vec![panicked(error).into_message()]),
    }
}

/// The message alone: where in the code it happened went to the log.
fn panicked(error: tokio::task::JoinError) -> Diagnostic {
    let panic = error.try_into_panic().ok();
    let text = panic.as_ref().and_then(|panic| {
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
    });
    Diagnostic::error("The provider has a bug").detail(text.unwrap_or("It ended what it was doing without a word."))
}

/// Does what may block, where nothing comes of it beside what failed.
async fn outcome<T: Send + 'static>(
    what: impl FnOnce(&mut Warnings) -> Outcome<T> + Send + 'static,
) -> (Option<T>, Vec<m::Diagnostic>) {
    let (done, mut told) = work(what).await;
    match done {
        Ok(done) => (Some(done), told),
        Err(errors) => {
            told.extend(errors.into_iter().flat_map(Diagnostics::into_messages));
            (None, told)
        }
    }
}

impl From<ValueError> for Diagnostics {
    fn from(error: ValueError) -> Self {
        let detail = format!("{error}: this version of Terraform and the provider do not understand each other.");
        Diagnostic::error("Terraform's request cannot be read").detail(detail).into()
    }
}

fn optional(schema: &Schema, value: Option<m::DynamicValue>) -> Outcome<Option<Object>> {
    let value = value.unwrap_or_default();
    let object = if value.msgpack.is_empty() && !value.json.is_empty() {
        match Value::from_json(&value.json)? {
            Value::Null => None,
            Value::Object(object) => Some(object),
            _ => return Err(ValueError::NoObject.into()),
        }
    } else {
        Object::read(&value.msgpack)?
    };
    Diagnostics::none_of(object.iter().flat_map(|object| schema.inexact(object)))?;
    Ok(object)
}

fn object(schema: &Schema, value: Option<m::DynamicValue>) -> Outcome<Object> {
    Ok(optional(schema, value)?.ok_or(ValueError::NoObject)?)
}

fn written(schema: &Schema, object: Option<&Object>) -> m::DynamicValue {
    let value = object.map_or(Value::Null, |object| Value::Object(schema.complete(object)));
    m::DynamicValue { msgpack: value.to_message_pack(), json: Vec::new() }
}

/// First what only the provider may set, then what the provider itself has to say.
fn validated(schema: &Schema, config: &Object, own: Outcome<()>) -> Outcome<()> {
    Diagnostics::none_of(schema.wrongly_set(config))?;
    own
}

#[tonic::async_trait]
impl m::provider_server::Provider for Service {
    async fn get_provider_schema(
        &self,
        _: Request<m::get_provider_schema::Request>,
    ) -> Result<Response<m::get_provider_schema::Response>, Status> {
        let message = |name: &&str, schema: &Schema| ((*name).to_owned(), schema.clone().into_message());
        Ok(Response::new(m::get_provider_schema::Response {
            provider: Some(self.schema.clone().into_message()),
            resource_schemas: self.resources.iter().map(|(name, kind)| message(name, &kind.schema)).collect(),
            data_source_schemas: self.data_sources.iter().map(|(name, kind)| message(name, &kind.schema)).collect(),
            diagnostics: Vec::new(),
            server_capabilities: Some(m::ServerCapabilities { plan_destroy: true, get_provider_schema_optional: true }),
        }))
    }

    async fn validate_provider_config(
        &self,
        request: Request<m::validate_provider_config::Request>,
    ) -> Result<Response<m::validate_provider_config::Response>, Status> {
        let (provider, schema) = (Arc::clone(&self.provider), self.schema.clone());
        let (_, diagnostics) = outcome(move |_| {
            let config = object(&schema, request.into_inner().config)?;
            validated(&schema, &config, provider.validate(&config))
        })
        .await;
        Ok(Response::new(m::validate_provider_config::Response { diagnostics }))
    }

    async fn validate_resource_config(
        &self,
        request: Request<m::validate_resource_config::Request>,
    ) -> Result<Response<m::validate_resource_config::Response>, Status> {
        let request = request.into_inner();
        let kind = self.resource(&request.type_name)?;
        let (_, diagnostics) = outcome(move |_| {
            let config = object(&kind.schema, request.config)?;
            validated(&kind.schema, &config, kind.it.validate(&config))
        })
        .await;
        Ok(Response::new(m::validate_resource_config::Response { diagnostics }))
    }

    async fn validate_data_resource_config(
        &self,
        request: Request<m::validate_resource_config::Request>,
    ) -> Result<Response<m::validate_resource_config::Response>, Status> {
        let request = request.into_inner();
        let kind = self.data_source(&request.type_name)?;
        let (_, diagnostics) = outcome(move |_| {
            let config = object(&kind.schema, request.config)?;
            validated(&kind.schema, &config, kind.it.validate(&config))
        })
        .await;
        Ok(Response::new(m::validate_resource_config::Response { diagnostics }))
    }

    async fn upgrade_resource_state(
        &self,
        request: Request<m::upgrade_resource_state::Request>,
    ) -> Result<Response<m::upgrade_resource_state::Response>, Status> {
        let request = request.into_inner();
        let kind = self.resource(&request.type_name)?;
        let (upgraded_state, diagnostics) = outcome(move |_| {
            let json = request.raw_state.unwrap_or_default().json;
            let state = optional(&kind.schema, Some(m::DynamicValue { json, msgpack: Vec::new() }))?;
            Ok(written(&kind.schema, state.as_ref()))
        })
        .await;
        Ok(Response::new(m::upgrade_resource_state::Response { upgraded_state, diagnostics }))
    }

    async fn configure_provider(
        &self,
        request: Request<m::configure_provider::Request>,
    ) -> Result<Response<m::configure_provider::Response>, Status> {
        let (provider, schema) = (Arc::clone(&self.provider), self.schema.clone());
        let (_, diagnostics) =
            outcome(move |warnings| provider.configure(&object(&schema, request.into_inner().config)?, warnings)).await;
        Ok(Response::new(m::configure_provider::Response { diagnostics }))
    }

    async fn read_resource(
        &self,
        request: Request<m::read_resource::Request>,
    ) -> Result<Response<m::read_resource::Response>, Status> {
        let request = request.into_inner();
        let kind = self.resource(&request.type_name)?;
        let (new_state, diagnostics) = outcome(move |warnings| {
            let state = optional(&kind.schema, request.current_state)?;
            let state = state.map(|state| kind.it.read(state, warnings)).transpose()?;
            Ok(written(&kind.schema, state.flatten().as_ref()))
        })
        .await;
        Ok(Response::new(m::read_resource::Response { new_state, diagnostics, private: request.private }))
    }

    async fn plan_resource_change(
        &self,
        request: Request<m::plan_resource_change::Request>,
    ) -> Result<Response<m::plan_resource_change::Response>, Status> {
        let request = request.into_inner();
        let kind = self.resource(&request.type_name)?;
        let (planned, diagnostics) = outcome(move |warnings| planned(&kind, request, warnings)).await;
        let (planned_state, requires_replace) = planned.unzip();
        Ok(Response::new(m::plan_resource_change::Response {
            planned_state,
            requires_replace: requires_replace.unwrap_or_default(),
            planned_private: Vec::new(),
            diagnostics,
        }))
    }

    async fn apply_resource_change(
        &self,
        request: Request<m::apply_resource_change::Request>,
    ) -> Result<Response<m::apply_resource_change::Response>, Status> {
        let request = request.into_inner();
        let kind = self.resource(&request.type_name)?;
        let prior = request.prior_state.clone();
        let schema = Arc::clone(&kind.schema);
        let (done, mut diagnostics) = work(move |warnings| applied(&kind, request, warnings)).await;
        let new_state = match done {
            Ok(new_state) => Some(new_state),
            Err(None) => prior,
            Err(Some(unfinished)) => {
                diagnostics.extend(unfinished.errors.into_messages());
                // Where nothing was done, it is as it was.
                unfinished.state.map_or(prior, |state| Some(written(&schema, Some(&state))))
            }
        };
        Ok(Response::new(m::apply_resource_change::Response { new_state, private: Vec::new(), diagnostics }))
    }

    async fn import_resource_state(
        &self,
        request: Request<m::import_resource_state::Request>,
    ) -> Result<Response<m::import_resource_state::Response>, Status> {
        let request = request.into_inner();
        let kind = self.resource(&request.type_name)?;
        let type_name = request.type_name;
        let (state, diagnostics) =
            outcome(move |_| Ok(written(&kind.schema, Some(&kind.it.import(&request.id)?)))).await;
        let imported =
            |state| m::import_resource_state::ImportedResource { type_name, state: Some(state), private: Vec::new() };
        let imported_resources = state.map(imported).into_iter().collect();
        Ok(Response::new(m::import_resource_state::Response { imported_resources, diagnostics }))
    }

    async fn read_data_source(
        &self,
        request: Request<m::read_data_source::Request>,
    ) -> Result<Response<m::read_data_source::Response>, Status> {
        let request = request.into_inner();
        let kind = self.data_source(&request.type_name)?;
        let (state, diagnostics) = outcome(move |warnings| {
            let config = object(&kind.schema, request.config)?;
            Ok(written(&kind.schema, Some(&kind.it.read(config, warnings)?)))
        })
        .await;
        Ok(Response::new(m::read_data_source::Response { state, diagnostics }))
    }

    async fn stop_provider(
        &self,
        _: Request<m::stop_provider::Request>,
    ) -> Result<Response<m::stop_provider::Response>, Status> {
        self.provider.stop();
        Ok(Response::new(m::stop_provider::Response::default()))
    }
}

fn planned(
    kind: &Kind<dyn Resource>,
    request: m::plan_resource_change::Request,
    warnings: &mut Warnings,
) -> Outcome<(m::DynamicValue, Vec<m::AttributePath>)> {
    let prior = optional(&kind.schema, request.prior_state)?;
    let proposed = optional(&kind.schema, request.proposed_new_state)?;
    let Some(proposed) = proposed else {
        if let Some(prior) = &prior {
            kind.it.plan_removal(prior, warnings)?;
        }
        return Ok((written(&kind.schema, None), Vec::new()));
    };
    let change = Change { prior: prior.clone(), proposed, config: object(&kind.schema, request.config)? };
    let planned = kind.it.plan(change, warnings)?;
    let mut replacing = Vec::new();
    if let Some(prior) = &prior {
        replacing = kind.it.replacing(prior, &planned)?;
        replacing.extend(kind.schema.replacing(prior, &planned));
    }
    let requires_replace = replacing.into_iter().map(|name| path([Step::from(name)])).collect();
    Ok((written(&kind.schema, Some(&planned)), requires_replace))
}

fn applied(
    kind: &Kind<dyn Resource>,
    request: m::apply_resource_change::Request,
    warnings: &mut Warnings,
) -> Result<m::DynamicValue, Unfinished> {
    let prior = optional(&kind.schema, request.prior_state)?;
    let Some(proposed) = optional(&kind.schema, request.planned_state)? else {
        if let Some(prior) = prior {
            kind.it.remove(prior, warnings)?;
        }
        return Ok(written(&kind.schema, None));
    };
    let state = kind.it.apply(Change { prior, proposed, config: object(&kind.schema, request.config)? }, warnings)?;
    Ok(written(&kind.schema, Some(&state)))
}
