//! The fuzzer's program: libFuzzer with one target, which the environment names.

#![no_main]

use std::sync::LazyLock;

use npc_fuzz::{TARGET, Target};

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(TARGET).unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("{TARGET} is `{name}`, which is no target"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (CHOSEN.read)(bytes);
});
