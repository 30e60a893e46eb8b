//! What operators' machines remember of a fleet: only what was signed.

use std::fs;

use npc_tests::absent::{Absent, put};
use npc_tests::world::{Kind, World};

/// All that is remembered.
fn remembered(world: &World) -> Vec<u8> {
    let files = fs::read_dir(world.path("home/.cache/npc/documents")).expect("there is a cache");
    files.flat_map(|file| fs::read(file.expect("listed").path()).expect("read")).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn whatever_lies_in_the_place_of_a_document_without_being_signed_is_not_written_down() {
    let world = World::new(&Kind::Served);
    world.publish();
    Absent::following("web-1", "prod").reports(&world);
    for folder in ["reports", "assignments"] {
        put(&world, &format!("{folder}/web-2.json"), b"\x1b[2J\x07 gotcha");
        put(&world, &format!("{folder}/web-3.json"), br#"{"payloadType":"gotcha","payload":"","signatures":[]}"#);
    }
    for _ in 0..2 {
        let ended = world.in_fleet(&["status"]);
        assert_eq!(ended.code, Some(7));
        assert!(ended.data.contains("web-1") && ended.data.contains("web-3"), "{ended:?}");
        let bytes = remembered(&world);
        assert!(contains(&bytes, b"reports/web-1.json"), "what was signed is remembered");
        for part in [&b"\x1b"[..], b"gotcha", b"web-2", b"web-3"] {
            assert!(!contains(&bytes, part), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
