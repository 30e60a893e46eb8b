//! Serves a Terraform provider: plugin protocol 6, over TLS on a Unix socket that its own user alone can call.
//!
//! A provider is a [`Provider`] with [`Resource`]s and [`DataSource`]s. It reads and gives [`Object`]s, says in a [`Schema`] what they
//! have in them, and tells what is wrong in [`Diagnostic`]s. All else is here: the handshake, the protocol, values, and what Terraform
//! leaves to providers to check.
//!
//! It is a library of its own because the one that exists, `tf-provider`, needs `protoc` to build, has not been released since 2024, and
//! listens on loopback TCP without asking who calls: any local user could use the credentials of whoever runs Terraform.

mod block;
mod diagnostic;
mod json;
mod listen;
mod messages;
mod provider;
mod schema;
mod serve;
mod service;
mod value;

pub use block::{Block, Nesting};
pub use diagnostic::{Diagnostic, Diagnostics, Outcome, Severity, Step, Warnings};
pub use json::SchemaError;
pub use provider::{Change, DataSource, Provider, Resource, Unfinished};
pub use schema::{Attribute, Schema, SetBy, Type};
pub use serve::{ServeError, serve};
pub use value::{Object, Value, ValueError};
