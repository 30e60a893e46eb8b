//! `npc-publish why HOST`: why a host does not run the latest release, in a sentence.

use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::selector::Strangers;
use npc_operator::fleet::{Selection, rivals, standing};
use npc_operator::session::Session;

use crate::cli;
use crate::console;

pub(crate) async fn why(arguments: cli::Why) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let view = rivals::read(&session).await?;
    let selection = Selection { included: vec![arguments.host], excluded: Vec::new() };
    let mut all_well = true;
    for name in selection.hosts(&view, Strangers::Refused)? {
        let host = &view.hosts[&name];
        all_well &= host.standing.is_well();
        console::data(standing::why(host, view.now))?;
    }
    if all_well { Ok(()) } else { Err(Failure::said(Exit::Unwell, "not all is well")) }
}
