//! What a person sees at a terminal.

use npc_tests::absent::Absent;
use npc_tests::eventually;
use npc_tests::terminal::Terminal;
use npc_tests::world::{Kind, World};

/// What moves the cursor home and clears the screen below it.
const HOME: &str = "\u{1b}[H\u{1b}[J";

fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    world
}

fn at_a_terminal(world: &World, arguments: &[&str]) -> Terminal {
    let mut command = world.command("npc-publish");
    command.args(arguments).current_dir(world.path("fleet"));
    Terminal::start(command)
}

#[test]
fn a_person_is_asked_before_a_promotion_and_nothing_but_a_yes_goes_on() {
    let world = world();
    let staging = world.path("store/remotes/staging.json");
    for answer in ["\n", "n\n", "yesterday\n"] {
        let mut asked = at_a_terminal(&world, &["promote", "prod", "staging"]);
        asked.shows("staging holds nothing, and is to hold prod@1");
        asked.shows("go on? [y/N] ");
        assert!(!staging.exists(), "nothing is done before there is an answer");
        asked.types(answer);
        assert_eq!(asked.wait().code(), Some(1), "{answer:?}");
        asked.shows("nothing was changed");
        assert!(!staging.exists(), "{answer:?}");
    }
    let mut asked = at_a_terminal(&world, &["promote", "prod", "staging"]);
    asked.shows("go on? [y/N] ");
    asked.types("y\n");
    assert_eq!(asked.wait().code(), Some(0), "{}", asked.screen());
    asked.shows("staging@1 holds what prod@1 holds");
    assert!(staging.exists());
}

#[test]
fn a_status_that_is_watched_is_drawn_anew_over_what_was_shown() {
    let world = world();
    Absent::following("web-1", "prod").reports(&world);
    let watching = at_a_terminal(&world, &["status", "--watch", "--interval", "1"]);
    let last = || watching.screen().rsplit_once(HOME).map(|(_, last)| last.to_owned()).unwrap_or_default();
    eventually("it was drawn twice", || (watching.screen().matches(HOME).count() >= 2).then_some(()));
    let drawn = eventually("it is drawn whole", || Some(last()).filter(|drawn| drawn.contains("1 host: ")));
    assert!(drawn.contains("HOST") && drawn.contains("web-1 ") && !drawn.contains("web-2"), "{drawn}");
    Absent::following("web-2", "prod").reports(&world);
    let drawn = eventually("the other appears", || Some(last()).filter(|drawn| drawn.contains("2 hosts: ")));
    assert!(drawn.contains("web-1 ") && drawn.contains("web-2 "), "{drawn}");
}

#[test]
fn a_rollout_is_shown_as_a_bar_for_each_wave_to_who_drives_it_and_to_who_watches() {
    let world = world();
    world.edit("the next\n");
    world.in_fleet(&["--remote", "next"]).works();
    for name in ["web-1", "web-2"] {
        Absent::following(name, "prod").reports(&world);
    }
    let bounds = ["--waves", "1,100%", "--soak", "1s", "--timeout", "3s"];
    let begin = ["rollout", "start", "--to", "next", "--hosts", "all"];
    let mut driving = at_a_terminal(&world, &[&begin[..], &bounds].concat());
    driving.shows("0/1    1 told");
    driving.shows("wave 2     [");
    let mut watching = at_a_terminal(&world, &["rollout", "watch"]);
    for (terminal, who) in [(&mut driving, "driver"), (&mut watching, "watcher")] {
        assert_eq!(terminal.wait().code(), Some(7), "{who}: {}", terminal.screen());
        terminal.shows("is halted: web-1: not there after 3 s");
        let screen = terminal.screen();
        for words in
            ["wave 1     [==============================]    1/1    1 failed", "wave 2     [", "0/1    1 waiting"]
        {
            assert!(screen.contains(words), "{who}: no `{words}` in {screen}");
        }
        assert!(!screen.contains("wave 1/2: web-1"), "lines are for pipes: {screen}");
    }
}
