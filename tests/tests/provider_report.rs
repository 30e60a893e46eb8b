//! The Terraform provider, waiting for hosts: where it waits, what does not end that, and what does.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use npc_tests::absent::Absent;
use npc_tests::eventually;
use npc_tests::infrastructure::Infrastructure;
use npc_tests::process::Background;
use npc_tests::proxy::Proxy;
use npc_tests::world::{Kind, World};
use rustix::process::Signal;

const REMOTE_AND_HOST: &str = r#"
resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
}

resource "npc_host" "web_1" {
  name   = "web-1"
  remote = npc_remote.prod.name
}
"#;

/// What the page shows of waiting, for a fleet that `npc.toml` describes and somebody in a hurry.
fn waiting_as_documented() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../terraform/provider/docs/data-sources/report.md");
    let page = fs::read_to_string(page).expect("read");
    let (_, example) = page.split_once("```hcl\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let lines = example.lines().filter(|line| !line.contains("npc_fleet"));
    let example: String = lines.flat_map(|line| [line, "\n"]).collect();
    assert!(example.contains("= 1200\n"), "{example}");
    example.replace("= 1200\n", "= 2\n")
}

#[test]
fn what_mends_a_host_is_planned_and_published_before_anybody_waits_for_it() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), REMOTE_AND_HOST) else { return };
    fleet.apply().works();
    fleet.world.edit("mended\n");
    fleet.says(&format!("{REMOTE_AND_HOST}{}", waiting_as_documented()));
    fleet.plans(&["will be read during apply", "1 to change"]);
    fleet.apply().fails(1, &["`web-1` is not there yet"]);
    assert!(fleet.publisher(&["remotes", "--json"]).works().contains("\"serial\": 2"));
}

/// A report that is waited for, out of this store.
fn waiting(store: &str) -> String {
    format!(
        r#"
data "npc_report" "web_1" {{
  host     = "web-1"
  wait_for = "report"
  timeout  = 600
  store    = "{store}"
}}
"#
    )
}

#[test]
fn a_store_that_is_silent_for_a_while_does_not_end_a_wait() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Served), "") else { return };
    let address = fleet.world.url().to_string();
    let host = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let proxy = Proxy::start(host.parse().expect("an address")).expect("a proxy");
    fleet.says(&waiting(&address.replace(&host, &proxy.address().to_string())));
    let log = fleet.world.path("terraform.log");
    let mut command = fleet.command(&["apply", "-auto-approve"]);
    command.env("TF_LOG", "DEBUG").env("TF_LOG_PATH", &log);
    let mut applying = Background::start(&mut command, &fleet.world.path("applying"));
    let says = |words: &str| {
        eventually(words, || fs::read_to_string(&log).is_ok_and(|log| log.contains(words)).then_some(()));
    };
    says("waiting for `web-1`");
    proxy.go_down();
    says("trying again");
    proxy.come_back();
    Absent::following("web-1", "prod").reports(&fleet.world);
    let ended = applying.wait();
    assert!(ended.success(), "{}{}", applying.data(), applying.words());
}

#[test]
fn ctrl_c_ends_a_wait() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), "") else { return };
    fleet.says(&waiting(&fleet.world.url().to_string()));
    // While an apply plans, Terraform tells no provider to stop.
    let mut planning = Background::start(&mut fleet.command(&["plan"]), &fleet.world.path("planning"));
    eventually("it waits", || planning.data().contains("Reading...").then_some(()));
    planning.signal(Signal::INT);
    let ended = planning.wait();
    assert!(!ended.success());
    assert!(planning.words().contains("The provider was interrupted"), "{}{}", planning.data(), planning.words());
}

/// The trust is read before anything else.
#[test]
fn ctrl_c_ends_a_wait_for_a_store_that_never_answers() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), "") else { return };
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("bound");
    fleet.says(&waiting(&format!("http://{address}/")));
    let mut planning = Background::start(&mut fleet.command(&["plan"]), &fleet.world.path("planning"));
    silent.set_nonblocking(true).expect("set");
    let _asked = eventually("it asks", || {
        assert!(planning.runs(), "{}{}", planning.data(), planning.words());
        silent.accept().ok()
    });
    planning.signal(Signal::INT);
    let begun = Instant::now();
    assert!(!planning.wait().success());
    assert!(planning.words().contains("The provider was interrupted"), "{}{}", planning.data(), planning.words());
    assert!(begun.elapsed() < Duration::from_mins(1), "silence alone takes longer: {:?}", begun.elapsed());
}
