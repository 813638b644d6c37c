//! The systems that are compared: how each is started, how one knows that it is ready, and what it says of each kind.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::work::{Group, Kind};

/// One system, as its users run it.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// What brings it; the sensor is built here.
    pub(crate) package: Option<&'static str>,
    pub(crate) program: &'static str,
    pub(crate) options: &'static [&'static str],
    /// Which file of rules is made for it, by how the names of their parts end.
    pub(crate) rules: Option<&'static str>,
    pub(crate) ready: Ready,
    pub(crate) end: Signal,
    /// What it sees. Beside other work it isn't run.
    pub(crate) groups: &'static [Group],
    /// What a line has that tells of one event: `{path}` is the end of the program's path, `{comm}` its name.
    pub(crate) lines: &'static [(Kind, &'static [&'static str])],
    /// How it is told on the page what is run.
    pub(crate) how: &'static str,
}

/// How one knows that it records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// It has written this line, or one that begins so.
    Says(&'static str),
    /// The kernel's audit system writes to it; the rules are loaded after that.
    Audits,
    /// It has begun to listen for what the kernel tells of processes (`netlink`), by /proc/net/netlink.
    Listens,
    /// It says nothing: after a second it still runs.
    Lives,
}

use Group::{Files, Processes, Sockets, Traffic, Whole};

const ALL: &[Group] = &[Processes, Files, Sockets, Traffic, Whole];

/// The one that all others are compared with.
pub(crate) const SENSOR: &str = "sensor";

/// All of them, in the order of the tables.
pub(crate) const SYSTEMS: &[System] = &[
    System {
        name: SENSOR,
        package: None,
        program: "",
        options: &["run"],
        rules: None,
        ready: Ready::Says("sensor: ready"),
        end: Signal::SIGTERM,
        groups: ALL,
        lines: &[
            (Kind::Exec, &["\"action\":\"exec\"", "{path}\""]),
            (Kind::Exit, &["\"action\":\"exit\"", "{path}\""]),
            (Kind::Fork, &["\"action\":\"fork\"", "{path}\""]),
            (Kind::Connect, &["\"action\":\"socket_connect\"", "{path}\""]),
            (Kind::Accept, &["\"action\":\"socket_accept\"", "{path}\""]),
            (Kind::Sent, &["\"action\":\"", "{path}\"", "\"tx_bytes\":"]),
        ],
        how: "default settings: everything that it records, with hashes of what is executed; JSON into a file",
    },
    System {
        name: "auditd",
        package: Some("auditd"),
        program: "auditd",
        options: &["-n"],
        rules: Some("rules"),
        ready: Ready::Audits,
        end: Signal::SIGTERM,
        groups: ALL,
        lines: &[
            (Kind::Exec, &["type=SYSCALL", "{path}\"", "key=\"exec\""]),
            (Kind::Exit, &["type=SYSCALL", "{path}\"", "key=\"exit\""]),
            (Kind::Fork, &["type=SYSCALL", "{path}\"", "key=\"fork\""]),
            (Kind::Unlink, &["type=SYSCALL", "{path}\"", "key=\"unlink\""]),
            (Kind::Connect, &["type=SYSCALL", "{path}\"", "key=\"connect\""]),
            (Kind::Accept, &["type=SYSCALL", "{path}\"", "key=\"accept\""]),
        ],
        how: "Debian's configuration and the rules of `*.rules` for the work at hand; its log on the disk",
    },
    System {
        name: "bpftrace",
        package: Some("bpftrace"),
        program: "bpftrace",
        options: &[],
        rules: Some("bt"),
        ready: Ready::Says("ready"),
        end: Signal::SIGINT,
        groups: ALL,
        lines: &[
            (Kind::Exec, &["args ", "{path}"]),
            (Kind::Exit, &["exit ", " {comm}"]),
            (Kind::Fork, &["fork ", " {comm}"]),
            (Kind::Unlink, &["unlink ", " {comm}"]),
            (Kind::Connect, &["connect ", " {comm}"]),
            (Kind::Accept, &["accept ", " {comm}"]),
        ],
        how: "the script of `*.bt` for the work at hand; text into a file, buffers as they are by default",
    },
    System {
        name: "forkstat",
        package: Some("forkstat"),
        program: "forkstat",
        options: &[],
        rules: None,
        ready: Ready::Listens,
        end: Signal::SIGINT,
        groups: &[Processes, Whole],
        lines: &[
            (Kind::Exec, &[" exec ", "{comm}"]),
            (Kind::Exit, &[" exit ", "{comm}"]),
            (Kind::Fork, &[" fork ", " child ", "{comm}"]),
        ],
        how: "without options, into a file; it asks /proc for names and arguments, which may be gone by then",
    },
    System {
        name: "extrace",
        package: Some("extrace"),
        program: "extrace",
        options: &[],
        rules: None,
        ready: Ready::Listens,
        // At SIGINT it waits for one event more.
        end: Signal::SIGTERM,
        groups: &[Processes, Whole],
        lines: &[(Kind::Exec, &["{comm}"])],
        how: "without options, into a file; it tells executions alone, and asks /proc for the arguments",
    },
    System {
        name: "fatrace",
        package: Some("fatrace"),
        program: "fatrace",
        options: &["-f", "D", "-t"],
        rules: None,
        ready: Ready::Lives,
        end: Signal::SIGTERM,
        groups: &[Files, Whole],
        lines: &[(Kind::Unlink, &["{comm}(", ": D "])],
        how: "removals alone, into a file; it tells the folder and not the name, and the kernel merges what is alike",
    },
    System {
        name: "nethogs",
        package: Some("nethogs"),
        program: "nethogs",
        options: &["-t", "-C", "-v", "2", "-a", "lo"],
        rules: None,
        ready: Ready::Says("Refreshing:"),
        end: Signal::SIGINT,
        groups: &[Traffic, Whole],
        lines: &[(Kind::Sent, &["{comm}/"])],
        how: "TCP and UDP of the loopback interface, totals each second into a file",
    },
    System {
        name: "execsnoop",
        package: Some("bpfcc-tools"),
        program: "execsnoop-bpfcc",
        options: &[],
        rules: None,
        ready: Ready::Says("PCOMM"),
        end: Signal::SIGINT,
        groups: &[Processes, Whole],
        lines: &[(Kind::Exec, &["{path}"])],
        how: "of bpfcc-tools; executions alone",
    },
    System {
        name: "sysdig",
        package: Some("sysdig"),
        program: "sysdig",
        options: &[
            "-p",
            "%evt.type %proc.pid %proc.exepath %proc.args",
            "evt.dir=< and evt.type in (execve,procexit,clone)",
        ],
        rules: None,
        ready: Ready::Lives,
        end: Signal::SIGINT,
        groups: &[Processes, Whole],
        lines: &[
            (Kind::Exec, &["execve ", "{path}"]),
            (Kind::Exit, &["procexit ", "{path}"]),
            (Kind::Fork, &["clone ", "{path}"]),
        ],
        how: "executions, births and ends, into a file",
    },
];

/// The rules and scripts, by name. They are files of their own, so that a reader can judge them.
const RULES: &[(&str, &str)] = &[
    ("begin.rules", include_str!("begin.rules")),
    ("process.rules", include_str!("process.rules")),
    ("files.rules", include_str!("files.rules")),
    ("sockets.rules", include_str!("sockets.rules")),
    ("end.rules", include_str!("end.rules")),
    ("auditd.conf", include_str!("auditd.conf")),
    ("process.bt", include_str!("process.bt")),
    ("files.bt", include_str!("files.bt")),
    ("sockets.bt", include_str!("sockets.bt")),
    ("ready.bt", include_str!("ready.bt")),
];

/// One of them.
pub(crate) fn rules(name: &str) -> &'static str {
    RULES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
}

impl System {
    /// Whether it sees anything of this work.
    pub(crate) fn sees(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }

    /// What a line of it has that tells of this, done by a program whose path ends so.
    pub(crate) fn marks(&self, kind: Kind, path: &str) -> Option<Vec<String>> {
        let (_, marks) = self.lines.iter().find(|(known, _)| *known == kind)?;
        let comm = path.trim_start_matches('/');
        Some(marks.iter().map(|mark| mark.replace("{path}", path).replace("{comm}", comm)).collect())
    }

    /// Its rules for this work, as one text.
    pub(crate) fn rules_for(&self, group: Group) -> Option<String> {
        let end = self.rules?;
        let parts: Vec<String> = group.parts().iter().map(|part| format!("{part}.{end}")).collect();
        let around: (&str, &str) = if end == "bt" { ("", "ready.bt") } else { ("begin.rules", "") };
        let names = std::iter::once(around.0).chain(parts.iter().map(String::as_str)).chain([around.1]);
        Some(names.map(rules).collect::<Vec<_>>().join("\n"))
    }
}

/// Where a system puts what it makes.
pub(crate) struct Places {
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) rules: PathBuf,
}

impl Places {
    pub(crate) fn of(system: &System, folder: &Path) -> Self {
        let path = |end: &str| folder.join(format!("{}.{end}", system.name));
        Self { output: path("out"), errors: path("err"), rules: path(system.rules.unwrap_or("rules")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_rules_is_there() {
        for group in ALL {
            for system in SYSTEMS.iter().filter(|system| system.rules.is_some()) {
                let parts = group.parts().iter().map(|part| format!("{part}.{}", system.rules.unwrap()));
                assert!(parts.map(|part| rules(&part)).all(|text| !text.is_empty()), "{}", system.name);
                assert!(system.rules_for(*group).unwrap().len() > 100);
            }
        }
    }

    #[test]
    fn marks_name_the_program() {
        let sensor = &SYSTEMS[0];
        assert_eq!(sensor.marks(Kind::Exec, "/a").unwrap(), ["\"action\":\"exec\"", "/a\""]);
        assert_eq!(sensor.marks(Kind::Unlink, "/a"), None);
        assert_eq!(SYSTEMS[2].marks(Kind::Exit, "/a").unwrap(), ["exit ", " a"]);
    }
}
