//! Who lives at this moment: by the kernel's own list, which takes microseconds and from which nothing can hide; else
//! by /proc, in which short lives are easily missed.

use std::collections::HashMap;

use crate::{
    event::{Key, Running},
    kernel::{Gap, Kernel},
    look::{self, Row},
    procfs::{
        Reader,
        seen::{Executable, Seen},
    },
};

/// Lists who lives, again and again.
pub struct Sweeper {
    kernel: Result<Kernel, Gap>,
    /// Reads /proc.
    pub reader: Reader,
}

impl Sweeper {
    /// By the program that lists, or why there is none.
    #[must_use]
    pub fn new(kernel: Result<Kernel, Gap>, reader: Reader) -> Self {
        Self { kernel, reader }
    }

    /// The program that lists; else why there is none.
    ///
    /// # Errors
    /// Why.
    pub fn kernel(&mut self) -> Result<&mut Kernel, &Gap> {
        self.kernel.as_mut().map_err(|gap| &*gap)
    }

    /// Everybody who lives, parents before their children.
    pub fn rows(&mut self) -> Vec<Row> {
        if let Ok(kernel) = &mut self.kernel {
            match look::sweep(kernel) {
                // Some kernels call no program for the first process.
                Ok(rows) if rows.first().is_some_and(|row| row.key.pid != 1) => {
                    let mut all = self.of(&[1]);
                    all.extend(rows);
                    return all;
                }
                Ok(rows) => return rows,
                Err(error) => self.kernel = Err(error.gap()),
            }
        }
        let pids = self.reader.listed().unwrap_or_default();
        self.of(&pids)
    }

    /// As /proc tells of them. What each runs is only known of those of whom it may be asked.
    fn of(&mut self, pids: &[u32]) -> Vec<Row> {
        let mut all: Vec<Seen> = pids.iter().filter_map(|pid| self.reader.seen(*pid)).collect();
        all.retain(|seen| !seen.zombie || self.reader.has_threads(seen.pid));
        all.sort_by_key(|seen| (seen.start, seen.pid));
        let starts: HashMap<u32, u64> = all.iter().map(|seen| (seen.pid, seen.start)).collect();
        let row = |seen: &Seen| {
            let running = match self.reader.running(seen.pid) {
                Executable::File(running) => running,
                Executable::None | Executable::Unread => Running::default(),
            };
            Row {
                key: Key { pid: seen.pid, start: seen.start },
                actor: self.reader.actor(seen, |pid| starts.get(&pid).copied()),
                running,
            }
        };
        all.iter().map(row).collect()
    }
}
