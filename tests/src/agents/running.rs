//! The program `fleet-of-agents` at work, and what it is told: one order a line on its stdin, one answer a line on its stdout.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::settled::Settled;

/// What the program is told. The end of its stdin has all agents end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Something else happens from now on: the answer are the figures of what happened so far.
    Phase(String),
    /// The answer comes when every agent is done with the release of this serial.
    Await(u64),
}

/// What the program answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// So many agents have begun, all at once.
    Begun(usize),
    /// The figures of a phase that is over.
    Figures(Box<Figures>),
    /// Every agent is done with a release.
    Settled(Settled),
}

/// Agents at work in a program of their own, killed when dropped.
#[derive(Debug)]
pub struct Agents {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Agents {
    /// Starts the program, and waits until its agents have begun. `log` takes what it says on stderr.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the program can be started");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it has a stdout"));
        let mut agents = Self { child, orders, answers };
        match agents.answer() {
            Said::Begun(_) => agents,
            other => panic!("it begins with {other:?}"),
        }
    }

    /// Something else happens from now on. Gives the figures of what happened so far.
    pub fn phase(&mut self, name: &str) -> Figures {
        match self.ask(&Order::Phase(name.to_owned())) {
            Said::Figures(figures) => *figures,
            other => panic!("instead of figures it says {other:?}"),
        }
    }

    /// Waits until every agent is done with the release of this serial.
    pub fn settle(&mut self, serial: u64) -> Settled {
        match self.ask(&Order::Await(serial)) {
            Said::Settled(settled) => settled,
            other => panic!("instead of how far it is it says {other:?}"),
        }
    }

    /// Has all agents end, and waits for that. Gives the figures of the last phase.
    pub fn end(mut self) -> (Figures, ExitStatus) {
        self.orders = None;
        match self.answer() {
            Said::Figures(figures) => (*figures, self.child.wait().expect("it can be waited for")),
            other => panic!("it ends with {other:?}"),
        }
    }

    fn ask(&mut self, order: &Order) -> Said {
        let orders = self.orders.as_mut().expect("it was not told to end");
        writeln!(orders, "{}", serde_json::to_string(order).expect("JSON")).expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> Said {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it speaks");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("it says `{line}`: {error}; see its log"))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
