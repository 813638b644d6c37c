//! `exec`: an image is committed.

use std::sync::Arc;

use sensor_common::wire::{self, MAX_ARGS};

use super::{Action, Location, Running, Tail};
use crate::{field::Field, record::Text};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "exec",
    kind: "event",
    category: &["process"],
    types: &["start"],
    sentence: "A process executes a new image; of a script, process.executable is the interpreter.",
    hooks: "BTF tracepoint sched_process_exec",
    fields: &[Field::ProcessPreviousExecutable, Field::SensorScriptPath, Field::SensorCapabilitiesGained],
    process: true,
};

/// What is executed and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec {
    /// The file.
    pub running: Running,
    /// Where it is.
    pub executable: Location,
    /// Where the process works.
    pub working_directory: Location,
    /// The script that the image interprets, as it was named.
    pub script: Option<Text>,
    /// The cgroup's path in its hierarchy.
    pub cgroup: Text,
    /// The arguments; the last may be cut.
    pub args: Arc<[Text]>,
    /// Bytes of all arguments, each with its NUL.
    pub args_bytes: u64,
    /// How many there are, also those that are not here.
    pub args_count: u64,
    /// The arguments could not be read at that moment.
    pub args_unread: bool,
}

impl Exec {
    /// Whether the kernel held more arguments than are here.
    #[must_use]
    pub fn args_truncated(&self) -> bool {
        self.args_unread || self.args_bytes > MAX_ARGS as u64
    }
}

pub(super) fn decode(body: &wire::exec::Exec, tail: &Tail<'_>, _: u16) -> Exec {
    let args = arguments(tail, body);
    let script = body.flags & wire::exec::Exec::SCRIPT != 0;
    Exec {
        running: body.running,
        executable: tail.location(&body.executable),
        working_directory: tail.location(&body.working_directory),
        script: if script { tail.text(body.filename) } else { None },
        cgroup: Text::from(tail.joined(body.cgroup)),
        args_count: u64::from(body.args_count).max(args.len() as u64),
        args,
        args_bytes: body.args_bytes,
        args_unread: body.flags & wire::exec::Exec::ARGS_UNREAD != 0,
    }
}

/// All arguments in one shared piece of memory.
fn arguments(tail: &Tail<'_>, body: &wire::exec::Exec) -> Arc<[Text]> {
    let all = bytes::Bytes::copy_from_slice(tail.bytes(body.args));
    let mut args = Vec::new();
    let mut start = 0;
    while start < all.len() {
        let len = all.iter().skip(start).position(|byte| *byte == 0).unwrap_or(all.len() - start);
        args.push(Text::from(all.slice(start..start + len)));
        start += len + 1;
    }
    args.into()
}

#[cfg(test)]
mod tests {
    use sensor_common::wire::{EXEC, Path, Span, TEXT};

    use super::*;
    use crate::event::{Fact, decode as decode_record, tests::wire_record};

    fn exec(body: wire::exec::Exec, text: &[u8]) -> Exec {
        match decode_record(&wire_record(EXEC, &body, text)).unwrap().fact {
            Fact::Exec(exec) => exec,
            other => panic!("{other:?}"),
        }
    }

    fn span(at: usize, len: usize) -> Span {
        Span { offset: u16::try_from(TEXT + at).unwrap(), len: u16::try_from(len).unwrap() }
    }

    #[test]
    fn joins_names_and_splits_arguments() {
        let text = b"sh\0bin\0usr\0-c\0\0a b\0";
        let body = wire::exec::Exec {
            executable: Path { names: span(0, 11), flags: 0 },
            args: span(11, 8),
            args_bytes: 8,
            ..Default::default()
        };
        let exec = exec(body, text);
        assert_eq!(exec.executable.path.as_bytes(), b"/usr/bin/sh");
        let args: Vec<_> = exec.args.iter().map(Text::as_bytes).collect();
        assert_eq!(args, [&b"-c"[..], b"", b"a b"]);
        assert!(!exec.args_truncated());
        assert_eq!(exec.cgroup.as_bytes(), b"/");
    }

    #[test]
    fn what_has_no_directory_has_a_name() {
        let body = wire::exec::Exec {
            executable: Path { names: span(0, 8), flags: Path::NAMELESS },
            ..Default::default()
        };
        let exec = exec(body, b"memfd:x\0");
        assert_eq!(exec.executable.path.as_bytes(), b"memfd:x");
        assert!(exec.executable.nameless);
    }

    #[test]
    fn marks_cut_arguments() {
        let body = wire::exec::Exec { args_bytes: MAX_ARGS as u64 + 1, ..Default::default() };
        assert!(exec(body, &[]).args_truncated());
        let body = wire::exec::Exec { flags: wire::exec::Exec::ARGS_UNREAD, ..Default::default() };
        assert!(exec(body, &[]).args_truncated());
    }
}
