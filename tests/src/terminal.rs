//! A program at a terminal, as a person would use it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::eventually;

/// How large the terminal is.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };

/// A program at a terminal, killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program at a terminal of its own.
    pub fn start(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it can be used");
        let theirs = ioctl_tiocgptpeer(&ours, flags).expect("its other end");
        tcsetwinsize(&theirs, SIZE).expect("it has a size");
        let end = || Stdio::from(theirs.try_clone().expect("another handle"));
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("the program can be started");
        let keyboard = File::from(ours);
        let mut shown = keyboard.try_clone().expect("another handle");
        let screen = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let screen = Arc::clone(&screen);
            move || {
                let mut part = [0; 4096];
                // Once nobody holds the other end any more, reading fails.
                while let Ok(length @ 1..) = shown.read(&mut part) {
                    screen.lock().expect("whole").extend_from_slice(&part[..length]);
                }
            }
        });
        Self { child, keyboard, screen }
    }

    /// Everything that was shown so far, with what steers the terminal.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("whole")).into_owned()
    }

    /// Waits until this is shown.
    pub fn shows(&self, words: &str) {
        eventually(&format!("`{words}` is shown"), || self.screen().contains(words).then_some(()));
    }

    /// Types this.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("somebody reads");
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().expect("it can be waited for"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
