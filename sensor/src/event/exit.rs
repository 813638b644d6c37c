//! `exit`: the whole process ends.

use sensor_common::wire::{self, exit::Io};

use super::{Action, Running, Tail, with_used};
use crate::{field::Field, record::Record};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "exit",
    kind: "event",
    category: &["process"],
    types: &["end"],
    sentence: "A process ends, by whatever way, with all its threads; the totals are those of its life. Network bytes that its sockets move after that are told by a later `usage`.",
    hooks: "BTF tracepoint sched_process_exit, of the last thread",
    fields: with_used!(
        [ProcessEnd, ProcessExitCode, SensorSignal, SensorSignalName, SensorCoreDumped],
        [SensorUsageMaxRssBytes]
    ),
    process: true,
};

/// How it ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its image at the end, where the kernel still held it; else inode 0.
    pub running: Running,
    /// How.
    pub status: Status,
    /// Its I/O; without that of threads that ended before, if there are any.
    pub io: Io,
    /// Threads of it ended before.
    pub threads: bool,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Largest resident size, pages.
    pub max_rss_pages: u64,
}

/// What `wait(2)` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with a code.
    Code(u8),
    /// By a signal, and whether a core was dumped.
    Signal(u8, bool),
}

pub(super) fn decode(body: &wire::exit::Exit, _: &Tail<'_>, flags: u16) -> Exit {
    let [low, code, ..] = body.status.to_le_bytes();
    Exit {
        running: body.running,
        status: if low & 0x7f == 0 {
            Status::Code(code)
        } else {
            Status::Signal(low & 0x7f, low & 0x80 != 0)
        },
        io: body.io,
        threads: flags & wire::exit::Exit::THREADS != 0,
        cpu_ns: body.cpu,
        max_rss_pages: body.max_rss,
    }
}

impl Exit {
    /// Sets what this event has beside the process and what it used.
    pub fn set(
        &self,
        record: &mut Record,
        page_bytes: u64,
        signal_name: impl FnOnce(u8) -> Option<&'static str>,
    ) {
        match self.status {
            Status::Code(code) => record.set(Field::ProcessExitCode, code),
            Status::Signal(signal, core) => {
                record.set(Field::SensorSignal, signal);
                if let Some(name) = signal_name(signal) {
                    record.set(Field::SensorSignalName, name);
                }
                record.set(Field::SensorCoreDumped, core);
            }
        }
        record.set(Field::SensorUsageMaxRssBytes, self.max_rss_pages.saturating_mul(page_bytes));
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::wire::EXIT;

    use super::*;
    use crate::event::{Fact, decode as decode_record, tests::wire_record};

    #[test]
    fn tells_codes_from_signals() {
        for (status, expected) in
            [(3 << 8, Status::Code(3)), (9, Status::Signal(9, false)), (0x8b, Status::Signal(11, true))]
        {
            let body = wire::exit::Exit { status, ..Default::default() };
            match decode_record(&wire_record(EXIT, &body, &[])).unwrap().fact {
                Fact::Exit(exit) => assert_eq!(exit.status, expected),
                other => panic!("{other:?}"),
            }
        }
    }
}
