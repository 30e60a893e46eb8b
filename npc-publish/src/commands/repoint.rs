//! `npc-publish repoint SELECTOR… --remote R`: has hosts follow another remote.

use jiff::Timestamp;
use npc_core::document::{Assignment, Following};
use npc_core::fleet::{Assigned, KeyStanding};
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, ConfigurationName, RemoteName};
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::View;
use npc_operator::fleet::amend::{Amending, Change, assignments_of, following, plan};
use npc_operator::fleet::selector::Strangers;
use npc_operator::fleet::trusting::check as check_trust;
use npc_operator::held::{believable, holds_all, removed, unknown};
use npc_operator::session::Session;

use crate::cli;
use crate::console;

pub(crate) async fn repoint(arguments: cli::Repoint) -> Result<(), Failure> {
    let choice = arguments.choice;
    let session = Session::open(&choice.writing.signing.place).await?;
    let keys = session.keys(&choice.writing.signing.key)?;
    let amending = Amending { session: &session, keys: &keys, force: choice.force, dry_run: choice.writing.dry_run };
    amending.authorise()?;
    let view = View::read(&session.fleet, Timestamp::now()).await?;
    let hosts = choice.hosts.selection().hosts(&view, Strangers::Welcome)?;
    check_trust(&session.fleet.trusted, hosts.iter().filter_map(|name| Some((name, &view.hosts.get(name)?.heard))))?;
    let names = assignments_of(&view, &hosts, choice.force)?;
    let (remote, configuration) = (&arguments.remote, arguments.configuration.as_ref());
    let changes = plan(&session, names, |name, stands| {
        is_told(name, stands, configuration)?;
        let mut says = says(name, stands, remote, configuration.or_else(|| obeyed(&view, name, stands)));
        says.instance.clone_from(&arguments.instance);
        says.report_key = says.report_key.or_else(|| key_of(&view, name));
        says.shared |= arguments.shared;
        Ok(Assignment::Present(Box::new(says)))
    })
    .await?;
    check(&session, remote, changes.iter().filter_map(Change::after).map(|after| &after.configuration)).await?;
    amending.carry_out(changes, console::data).await
}

/// The configuration that a host builds by its own settings, if no assignment says which.
fn obeyed<'a>(view: &'a View, name: &AssignmentName, stands: Option<&Assigned>) -> Option<&'a ConfigurationName> {
    let host = view.hosts.get(&name.as_str().parse().ok()?).filter(|_| following(stands).is_none())?;
    Some(&host.heard.report()?.obeys.as_ref()?.configuration)
}

/// The key that a host signs its reports with: known from the first time that it is assigned to anything.
fn key_of(view: &View, name: &AssignmentName) -> Option<PublicKey> {
    let host = view.hosts.get(&name.as_str().parse().ok()?)?;
    let is_its_own = !host.shares_its_assignment() && host.heard.key() == Some(KeyStanding::Unpinned);
    host.heard.report().filter(|_| is_its_own)?.report_key.clone()
}

/// What hosts may still obey, but nobody here can believe any more, cannot be kept in part: then everything has to be said anew.
fn is_told(
    name: &AssignmentName,
    stands: Option<&Assigned>,
    configuration: Option<&ConfigurationName>,
) -> Result<(), Failure> {
    match stands.map(|stands| &stands.state) {
        Some(Err(refusal)) if configuration.is_none() => {
            let error = format!("what `{name}` is assigned to cannot be believed ({}): {refusal}", refusal.kind());
            Err(Failure::new(Exit::Trust, error)
                .hint("say its configuration with --configuration; a pause or an interval has to be said anew as well"))
        }
        Some(Err(refusal)) => {
            console::warn(format_args!(
                "what `{name}` was assigned to is replaced: it is refused ({})",
                refusal.kind()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Everything that was said of the host stays, but where it points: a pin was to one release of the remote before.
fn says(
    name: &AssignmentName,
    stands: Option<&Assigned>,
    remote: &RemoteName,
    configuration: Option<&ConfigurationName>,
) -> Following {
    let named = || name.as_str().parse().expect("every name is one of a configuration too");
    let said = following(stands);
    let kept = || said.map_or_else(named, |said| said.configuration.clone());
    let configuration = configuration.cloned().unwrap_or_else(kept);
    match said {
        Some(said) => said.clone().led_to(remote.clone(), configuration),
        None => Following::new(remote.clone(), configuration),
    }
}

/// Hosts stay where they are rather than follow what they cannot: whoever repoints them is told at once.
async fn check(
    session: &Session,
    remote: &RemoteName,
    configurations: impl Iterator<Item = &ConfigurationName>,
) -> Result<(), Failure> {
    let pointer = session.fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?;
    let document = pointer.state?;
    let release = believable(&document).ok_or_else(|| removed(remote))?;
    holds_all(remote, document.header().serial, release, configurations)
}
