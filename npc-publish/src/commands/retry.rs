//! `npc-publish retry SELECTOR…`: has hosts try again what failed on them.

use jiff::Timestamp;
use npc_core::document::{Assignment, Following, Orders};

use crate::cli;
use crate::failure::Failure;

use super::hosts::{amend, assigned};
use crate::fleet::selector::Strangers;

pub(crate) async fn retry(choice: cli::Choice) -> Result<(), Failure> {
    let now = Timestamp::now();
    amend(choice, Strangers::Refused, |_, name, stands| {
        let before = assigned(name, stands)?.clone();
        let orders = Orders { retry: Some(now), ..before.orders.unwrap_or_default() };
        Ok(Assignment::Present(Box::new(Following { orders: Some(orders), ..before })))
    })
    .await
}
