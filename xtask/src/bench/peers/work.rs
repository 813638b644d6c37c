//! The work that is done beside each system, how long it takes, and what there is to be told of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::super::lab::Lab;
use super::super::{failed, pin};
use crate::command;
use crate::command::start_error;
use crate::error::{Error, Result};
use crate::place::place;

/// What a work is about: by that, rules are chosen, and who is run beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Processes,
    Files,
    Sockets,
    Traffic,
    /// Nothing to be told: everything is watched.
    Whole,
}

impl Group {
    /// The parts of the rules.
    pub(crate) const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Processes => &["process"],
            Self::Files => &["files"],
            Self::Sockets => &["sockets"],
            Self::Traffic | Self::Whole => &["process", "files", "sockets"],
        }
    }
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Exec,
    Exit,
    Fork,
    Unlink,
    Connect,
    Accept,
    /// Bytes; the others are counted.
    Sent,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Fork => "fork",
            Self::Unlink => "unlink",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Sent => "bytes",
        }
    }
}

/// Who runs where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Other,
    Same,
    Unpinned,
}

impl Setting {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Other => "on the other CPU",
            Self::Same => "on the same CPU",
            Self::Unpinned => "not pinned",
        }
    }

    /// The CPUs of the work and of the system; nothing where there is no other.
    pub(crate) fn cpus(self, cpus: &[usize]) -> Option<(Option<usize>, Option<usize>)> {
        let first = cpus.first().copied();
        match self {
            Self::Other => cpus.get(1).map(|second| (first, Some(*second))),
            Self::Same => Some((first, first)),
            Self::Unpinned => Some((None, None)),
        }
    }
}

/// How a work is done.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By `work.c`, with this word and this program or folder.
    Program(&'static str, &'static str),
    /// `make -j2` of a small project.
    Make,
    /// By doing nothing, as many milliseconds.
    Rest,
}

/// One sort of work.
#[derive(Debug)]
pub(crate) struct Work {
    /// The name of its plot.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What one is.
    pub(crate) unit: &'static str,
    pub(crate) group: Group,
    pub(crate) settings: &'static [Setting],
    /// How much of the time it gets, in minutes of twenty.
    pub(crate) share: f64,
    count: u64,
    way: Way,
    /// What there is to be told for each: the kind, how the path of the program ends, how many of each.
    tells: &'static [(Kind, &'static str, u64)],
    /// What the sensor may cost, as a ratio, by setting.
    pub(crate) bars: &'static [(Setting, f64)],
    /// Whether peers record the same facts, so that the sensor has to be better.
    pub(crate) same_facts: bool,
}

use Setting::{Other, Same, Unpinned};

/// All of it.
pub(crate) const WORKS: &[Work] = &[
    Work {
        name: "exec-tiny",
        title: "exec storm, programs without a library",
        unit: "process",
        group: Group::Processes,
        settings: &[Other, Same, Unpinned],
        share: 5.5,
        count: 5000,
        way: Way::Program("spawn", "peer-tiny"),
        tells: &[(Kind::Exec, "/peer-tiny", 1), (Kind::Exit, "/peer-tiny", 1)],
        bars: &[(Other, 1.06), (Same, 1.05), (Unpinned, 1.08)],
        same_facts: true,
    },
    Work {
        name: "exec-dynamic",
        title: "exec storm, programs with the C library",
        unit: "process",
        group: Group::Processes,
        settings: &[Other, Unpinned],
        share: 3.0,
        count: 2000,
        way: Way::Program("spawn", "peer-dynamic"),
        tells: &[(Kind::Exec, "/peer-dynamic", 1), (Kind::Exit, "/peer-dynamic", 1)],
        bars: &[],
        same_facts: true,
    },
    Work {
        name: "fork",
        title: "processes that end at once",
        unit: "process",
        group: Group::Processes,
        settings: &[Other, Unpinned],
        share: 3.0,
        count: 5000,
        way: Way::Program("fork", ""),
        tells: &[(Kind::Fork, "/peer-work", 1), (Kind::Exit, "/peer-work", 1)],
        bars: &[],
        same_facts: true,
    },
    Work {
        name: "make",
        title: "`make -j2` of a C project of 40 files",
        unit: "build",
        group: Group::Processes,
        settings: &[Unpinned],
        share: 3.0,
        count: 1,
        way: Way::Make,
        tells: &[(Kind::Exec, "/cc1", SOURCES)],
        bars: &[(Unpinned, 1.01)],
        same_facts: true,
    },
    Work {
        name: "files",
        title: "files made and removed",
        unit: "file",
        group: Group::Files,
        settings: &[Other, Unpinned],
        share: 1.5,
        count: 10_000,
        way: Way::Program("files", "peer-files"),
        tells: &[(Kind::Unlink, "/peer-work", 1)],
        bars: &[],
        same_facts: false,
    },
    Work {
        name: "connections",
        title: "TCP connections over loopback, taken and closed",
        unit: "connection",
        group: Group::Sockets,
        settings: &[Other, Unpinned],
        share: 1.5,
        count: 10_000,
        way: Way::Program("connect", ""),
        tells: &[(Kind::Connect, "/peer-work", 1), (Kind::Accept, "/peer-work", 1)],
        bars: &[],
        same_facts: true,
    },
    Work {
        name: "udp",
        title: "UDP over loopback, 64 bytes each",
        unit: "datagram",
        group: Group::Traffic,
        settings: &[Other],
        share: 1.5,
        count: 320_000,
        way: Way::Program("udp", ""),
        tells: &[(Kind::Sent, "/peer-work", 64 + 28)],
        bars: &[],
        same_facts: false,
    },
    Work {
        name: "tcp",
        title: "TCP over loopback, one connection, 128 KiB each",
        unit: "block",
        group: Group::Traffic,
        settings: &[Unpinned],
        share: 1.5,
        count: 16_000,
        way: Way::Program("tcp", ""),
        tells: &[(Kind::Sent, "/peer-work", 128 * 1024)],
        bars: &[],
        same_facts: false,
    },
    Work {
        name: "null",
        title: "a system call that does nothing",
        unit: "call",
        group: Group::Whole,
        settings: &[Other],
        share: 1.0,
        count: 5_000_000,
        way: Way::Program("null", ""),
        tells: &[],
        bars: &[(Other, 1.10)],
        same_facts: false,
    },
    Work {
        name: "idle",
        title: "nothing happens",
        unit: "second",
        group: Group::Whole,
        settings: &[Unpinned],
        share: 1.5,
        count: 10,
        way: Way::Rest,
        tells: &[],
        bars: &[],
        same_facts: false,
    },
];

/// What a work came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// For each, in microseconds.
    pub(crate) time: f64,
    /// CPU time of those who worked.
    pub(crate) cpu: Duration,
}

impl Work {
    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing is done, so that there is no time to compare.
    pub(crate) const fn is_rest(&self) -> bool {
        matches!(self.way, Way::Rest)
    }

    /// What there is to be told of all of it.
    pub(crate) fn told(&self) -> impl Iterator<Item = (Kind, &'static str, u64)> {
        self.tells.iter().map(|(kind, path, each)| (*kind, *path, each * self.count))
    }

    /// Does it once.
    pub(crate) fn run(&self, bench: &Bench, cpu: Option<usize>) -> Result<Done> {
        let before = of_children()?;
        let time = match self.way {
            Way::Program(word, what) => bench.work(word, self.count, what, cpu)?,
            Way::Make => bench.make()?,
            Way::Rest => {
                thread::sleep(Duration::from_secs(self.count));
                Duration::from_secs(self.count)
            }
        };
        Ok(Done { time: time.as_secs_f64() * 1e6 / self.count as f64, cpu: of_children()? - before })
    }
}

/// CPU time of the children that were waited for.
fn of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(failed("ask for CPU time"))?;
    let sum = usage.user_time() + usage.system_time();
    Ok(Duration::from_secs(sum.tv_sec().unsigned_abs()) + Duration::from_micros(sum.tv_usec().unsigned_abs()))
}

const WORK: &str = include_str!("work.c");
/// Files of the project that is made.
const SOURCES: u64 = 40;

/// The programs and folders that works need.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: PathBuf,
}

impl Bench {
    /// Makes them.
    pub(crate) fn make_ready(lab: &Lab) -> Result<Self> {
        let bench = Self { folder: lab.empty("peers")? };
        lab.program("peers/peer-tiny", &["-DEXIT"])?;
        bench.compile("peer-work", WORK)?;
        bench.compile("peer-dynamic", "int main(void) { return 0; }\n")?;
        for folder in ["peer-files", "project"].map(|name| bench.path(name)) {
            fs::create_dir(&folder).map_err(Error::file("make", &folder))?;
        }
        for number in 0..SOURCES {
            place(&bench.path(&format!("project/part{number}.c")), source(number).as_bytes())?;
        }
        place(&bench.path("project/main.c"), main_source().as_bytes())?;
        place(&bench.path("project/Makefile"), MAKEFILE.as_bytes())?;
        Ok(bench)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn compile(&self, name: &str, text: &str) -> Result<()> {
        let (source, program) = (self.path(&format!("{name}.c")), self.path(name));
        place(&source, text.as_bytes())?;
        command::run(Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(&source))
    }

    /// Runs `work.c`; how long it says that it took.
    fn work(&self, word: &str, count: u64, what: &str, cpu: Option<usize>) -> Result<Duration> {
        let mut work = Command::new(self.path("peer-work"));
        work.arg(word).arg(count.to_string()).arg(self.path(what));
        let said = pin::on(cpu, || command::read(&mut work))?;
        let nanoseconds = said.trim().parse().map_err(|_| Error::Check(format!("the work said: {said}")))?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Starts a program often, with this argument.
    pub(crate) fn spawn_with(&self, count: u64, argument: &str) -> Result<()> {
        let mut work = Command::new(self.path("peer-work"));
        work.arg("spawn").arg(count.to_string()).arg(self.path("peer-tiny")).arg(argument);
        command::read(&mut work).map(drop)
    }

    fn make(&self) -> Result<Duration> {
        let mut make = Command::new("make");
        make.args(["-s", "-B", "-j2", "-C"]).arg(self.path("project"));
        make.stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        let status = make.status().map_err(start_error(&make))?;
        if status.success() {
            return Ok(began.elapsed());
        }
        Err(Error::Check(format!("make ended with {status}")))
    }
}

const MAKEFILE: &str = "objects := $(patsubst %.c,%.o,$(wildcard part*.c))\n\
    all: $(objects)\n\tcc -O1 -o all main.c $(objects)\n\
    %.o: %.c\n\tcc -O1 -c -o $@ $<\n";

/// Enough for a compiler to think about.
fn source(number: u64) -> String {
    let function = |part: u64| {
        format!(
            "static long step{part}(long seed)\n{{\n\tchar text[64];\n\tfor (int at = 0; at < {part} + 3; at++)\n\
             \t\tseed = seed * 31 + at;\n\tsnprintf(text, sizeof(text), \"%ld\", seed);\n\treturn atol(text);\n}}\n"
        )
    };
    let functions: String = (0..12).map(function).collect();
    let calls: Vec<String> = (0..12).map(|part| format!("step{part}(seed)")).collect();
    format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n{functions}\
         long part{number}(long seed)\n{{\n\treturn {};\n}}\n",
        calls.join(" + ")
    )
}

fn main_source() -> String {
    let declared: String = (0..SOURCES).map(|number| format!("long part{number}(long);\n")).collect();
    let calls: Vec<String> = (0..SOURCES).map(|number| format!("part{number}(1)")).collect();
    format!("{declared}int main(void)\n{{\n\treturn ({}) & 1;\n}}\n", calls.join(" + "))
}
