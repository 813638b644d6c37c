//! How far something long is: one line on a terminal that changes, elsewhere a line a minute.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::say;

/// How often it is told where that can't be taken back.
const SELDOM: Duration = Duration::from_mins(1);

/// It takes its line away when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    told: Instant,
}

impl Progress {
    pub(crate) fn begin() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), told: Instant::now() }
    }

    /// Says where it is.
    pub(crate) fn tell(&mut self, text: &str) {
        if self.terminal {
            // Nobody is told that nobody can be told.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        } else if self.told.elapsed() >= SELDOM {
            say(text);
            self.told = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
