//! Promoting what one remote has proved, and going back.

use npc_tests::parts::Nix;
use npc_tests::world::{Kind, World};
use serde_json::Value;

fn log(world: &World, remote: &str) -> Value {
    serde_json::from_str(&world.in_fleet(&["log", remote, "--json"]).works()).expect("JSON")
}

/// Three releases of `prod`, which say `one`, `two` and `three`.
fn three_releases(world: &World) -> [String; 3] {
    ["one", "two", "three"].map(|words| {
        world.edit(&format!("{words}\n"));
        world.publish();
        log(world, "prod")[0]["release"]["archive"]["sha256"].as_str().expect("a digest").to_owned()
    })
}

#[test]
fn a_promotion_gives_another_remote_exactly_the_same_bytes_and_says_whom_it_concerns() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.evaluating(&nix, &["--remote", "prod"]).works();
    let role = world.path("fleet/modules/roles/web.nix");
    let text = std::fs::read_to_string(&role).expect("read");
    std::fs::write(&role, text.replace("web.workers = 2", "web.workers = 3")).expect("written");
    world.evaluating(&nix, &["--remote", "staging"]).works();
    world.in_fleet(&["promote", "staging", "prod"]).fails(2, &["nobody is there to be asked", "--yes"]);
    let shown = world.in_fleet(&["promote", "staging", "prod", "--dry-run"]);
    assert!(shown.words.contains("prod holds prod@1") && shown.words.contains("staging@1"), "{shown:?}");
    assert!(shown.words.contains("M modules/roles/web.nix"), "{shown:?}");
    assert!(shown.words.contains("web-1: changes") && shown.words.contains("db-1: unchanged"), "{shown:?}");
    assert_eq!(log(&world, "prod").as_array().map(Vec::len), Some(1), "nothing was written");
    assert_eq!(world.in_fleet(&["promote", "staging", "prod", "--yes"]).works(), "prod@2\n");
    let (prod, staging) = (log(&world, "prod")[0]["release"].clone(), log(&world, "staging")[0]["release"].clone());
    for part in ["archive", "configurations", "source"] {
        assert_eq!(prod[part], staging[part], "{part}");
    }
    assert_eq!(prod["origin"], serde_json::json!({ "remote": "staging", "serial": 1 }));
    let again = world.in_fleet(&["promote", "staging", "prod", "--yes"]);
    assert!(again.words.contains("unchanged: prod@2"), "{again:?}");
    world.in_fleet(&["promote", "stagging", "prod", "--yes"]).fails(2, &["there is no remote `stagging`"]);
    world.in_fleet(&["promote", "staging", "prod", "--serial", "7", "--yes"]).fails(2, &["no release staging@7"]);
}

#[test]
fn rolling_back_twice_goes_back_twice_and_every_time_under_a_higher_serial() {
    let world = World::new(&Kind::Directory);
    let [one, two, three] = three_releases(&world);
    let current = || log(&world, "prod")[0]["release"]["archive"]["sha256"].clone();
    assert_eq!(current(), three.as_str());
    assert_eq!(world.in_fleet(&["rollback", "prod", "--yes"]).works(), "prod@4\n");
    assert_eq!(current(), two.as_str());
    assert_eq!(world.in_fleet(&["rollback", "prod", "--yes"]).works(), "prod@5\n");
    assert_eq!(current(), one.as_str());
    world.in_fleet(&["rollback", "prod", "--yes"]).fails(2, &["never held anything else before prod@1", "--to"]);
    assert_eq!(world.in_fleet(&["rollback", "prod", "--to", "3", "--yes"]).works(), "prod@6\n");
    assert_eq!(current(), three.as_str());
    world.in_fleet(&["rollback", "prod", "--to", "9", "--yes"]).fails(2, &["there is no release prod@9"]);
}

#[test]
fn what_is_promoted_must_be_whole() {
    let world = World::new(&Kind::Directory);
    let [_, two, _] = three_releases(&world);
    let archive = world.path(&format!("store/archives/{two}.tar.gz"));
    std::fs::write(archive, "something else").expect("written");
    world.in_fleet(&["promote", "prod", "staging", "--serial", "2", "--yes"]).fails(4, &["digest"]);
    assert!(!world.path("store/remotes/staging.json").exists());
}
