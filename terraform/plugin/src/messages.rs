//! The protocols' messages, as their definitions in `proto/` say.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::pedantic,
    unused_qualifications,
    reason = "generated, and differs with the version of what generates it"
)]

tonic::include_proto!("tfplugin6");

/// Those that all plugins have.
pub mod plugin {
    tonic::include_proto!("plugin");
}
