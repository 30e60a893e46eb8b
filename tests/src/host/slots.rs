//! How many tests may have hosts at a time, over all test processes.

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// One for each test at work: directories of the base that are locked, so that no other file is left behind.
const SLOTS: [&str; 2] = ["usr", "var"];

thread_local! {
    static HELD: RefCell<Weak<File>> = const { RefCell::new(Weak::new()) };
}

/// Waits for a slot. All hosts of one thread, so of one test, share theirs: two tests with two hosts each never wait for each
/// other.
pub(super) fn take(base: &Path) -> Rc<File> {
    if let Some(held) = HELD.with_borrow(Weak::upgrade) {
        return held;
    }
    loop {
        for slot in SLOTS {
            let directory = File::open(base.join(slot)).expect("the base has it");
            if directory.try_lock().is_ok() {
                let held = Rc::new(directory);
                HELD.set(Rc::downgrade(&held));
                return held;
            }
        }
        // However long the tests before take: their own patience is limited.
        std::thread::sleep(Duration::from_millis(50));
    }
}
