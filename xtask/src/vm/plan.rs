//! What is tried on which kernel: tables to edit.

use super::kernels::NEWEST;
use super::results::WHOLE;

/// The kernels, by the beginning of their releases: the oldest of Debian that the sensor is for,
/// each that Debian maintains, and the newest.
pub(super) const KERNELS: &[&str] = &["5.10", "6.1", "6.12", "6.18", NEWEST];

/// Those that every `cargo xtask test` boots.
pub(super) const FAST_KERNELS: &[&str] = &["5.10", "6.1", NEWEST];

/// Programs of tests that aren't taken along, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("corpus", "it asks no kernel, and reads the repository"),
    ("golden", "its answers are of folders that stand for a host, as they look from this one"),
    ("tests", "the helpers of the others"),
    ("xtask", "it builds"),
    ("sensor_common", "it asks no kernel"),
    ("delivery", "it asks no kernel"),
    ("protocols", "it asks no kernel"),
    ("servers", "it asks no kernel, and the servers are here"),
];

/// Programs of tests that may take so many times as long as others: each test of it has the machine for itself.
const LONG: &[(&str, u64)] = &[("evasion_floods", 4)];

/// Of the sensor's own unit tests only those that ask the kernel.
const UNIT_TESTS: (&str, &[&str]) = ("sensor", &["kernel::", "rtnetlink::"]);

/// What a kernel can do wrong and no other, in little time.
const FAST: &[Choice] = &[
    (
        "exe_deleted",
        &[
            "by_its_own_forked_child",
            "by_lying_paths",
            "by_one_that_ends_at_once",
            "started_before_the_sensor",
        ],
    ),
    ("exe_memfd", &["memfd"]),
    ("exec", &[]),
    ("exit", &[]),
    ("hostile", &["names"]),
    ("mptcp", &["a_connection_from_bind_to_close", "a_silent_accept"]),
    ("network", &["datagrams_are_exact_while_it_lives"]),
    ("places", &["no_btf", "no_cgroups"]),
    ("sctp", &["a_connection_from_bind_to_close", "a_refused_connect"]),
    ("stream", &[]),
    ("sockets", &["a_connection_from_bind_to_close", "failed_connects_say_why"]),
    ("usage", &["the_threads_of_a_process", "who_does_nothing_is_not_told"]),
    ("verifier", &[]),
];

/// A file of tests, and which of them; all when there is none.
pub(super) type Choice = (&'static str, &'static [&'static str]);

/// A program of tests to run, and the words by which it knows which of them; all when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) program: String,
    pub(super) words: Vec<String>,
}

impl Run {
    /// As the machine calls it when it begins.
    pub(super) fn title(&self) -> String {
        let words: Vec<&str> = [&self.program].into_iter().chain(&self.words).map(String::as_str).collect();
        words.join(" ")
    }
}

/// A way to boot a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// What it is called, when it isn't only called by its kernel.
    pub(super) name: &'static str,
    /// The beginning of the kernel's release.
    pub(super) kernel: &'static str,
    /// More words of the kernel's command line.
    pub(super) append: &'static str,
    pub(super) processors: u32,
    /// The only version of cgroups that is mounted.
    pub(super) cgroups: u8,
    /// What is tried; everything when there is nothing.
    pub(super) tests: &'static [Choice],
}

/// A kernel as it comes.
pub(super) const PLAIN: Machine =
    Machine { name: "", kernel: NEWEST, append: "", processors: 2, cgroups: 2, tests: &[] };

/// One kernel in other circumstances.
pub(super) const VARIANTS: &[Machine] = &[
    Machine {
        name: "lsm-bpf",
        kernel: "6.12",
        append: "lsm=lockdown,capability,landlock,yama,apparmor,bpf",
        ..PLAIN
    },
    Machine { name: "integrity", kernel: "6.12", append: "lockdown=integrity", ..PLAIN },
    Machine {
        name: "confidentiality",
        kernel: "6.12",
        append: "lockdown=confidentiality",
        tests: &[("places", &["lockdown_is_named"])],
        ..PLAIN
    },
    Machine { name: "cgroup-v1", kernel: "6.12", cgroups: 1, ..PLAIN },
    Machine { name: "no-btf", kernel: "6.12", tests: &[("places", &["no_btf"])], ..PLAIN },
    Machine { name: "one-processor", kernel: "6.12", processors: 1, ..PLAIN },
    // Only Debian's kernel for any machine has these calls, and off.
    Machine {
        name: "x32",
        kernel: "6.1-amd64",
        append: "syscall.x32=y",
        tests: &[("evasion", &["by_the_numbers_of_x32"])],
        ..PLAIN
    },
];

/// Whether all kinds of tests are tried, or the fast ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Fast,
}

impl Extent {
    /// As the page calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whole => "all",
            Self::Fast => "fast",
        }
    }
}

/// Whether machines have this program of tests.
pub(super) fn is_taken(program: &str) -> bool {
    !LEFT_OUT.iter().any(|(name, _)| *name == program)
}

/// How many times as long as others a program may take.
pub(super) fn length(program: &str) -> u64 {
    LONG.iter().find(|(name, _)| *name == program).map_or(1, |(_, times)| *times)
}

/// What a machine runs.
pub(super) fn runs(machine: &Machine, extent: Extent, programs: &[String], filter: Option<&str>) -> Vec<Run> {
    let chosen = match (extent, machine.tests) {
        (Extent::Fast, []) => FAST,
        (_, tests) => tests,
    };
    let mut runs = Vec::new();
    for program in programs.iter().filter(|program| is_taken(program)) {
        let words = match chosen.iter().find(|(file, _)| file == program) {
            Some((_, words)) => *words,
            None if chosen.is_empty() && program == UNIT_TESTS.0 => UNIT_TESTS.1,
            None if chosen.is_empty() => &[],
            None => continue,
        };
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if let Some(filter) = filter {
            let (file, test) = filter.split_once("::").map_or((filter, ""), |(file, test)| (file, test));
            if file == program {
                words.extend((!test.is_empty()).then(|| test.to_owned()));
            } else if programs.iter().any(|program| file == program) {
                continue;
            } else {
                words = vec![filter.to_owned()];
            }
        }
        runs.push(Run { program: program.clone(), words });
    }
    // So that a machine that is stopped early has tried the others.
    runs.sort_by_key(|run| length(&run.program));
    runs
}

/// These tests and no others, in the order of their programs; all of a program that wasn't over, as `all` has it.
pub(super) fn exactly(tests: &[String], all: Vec<Run>) -> Vec<Run> {
    let wanted = |mut run: Run| {
        let own = tests.iter().filter_map(|test| test.strip_prefix(&*run.program)?.strip_prefix("::"));
        let own: Vec<String> = own.map(str::to_owned).collect();
        if !own.iter().any(|test| test == WHOLE) {
            run.words = ["--exact".to_owned()].into_iter().chain(own.iter().cloned()).collect();
        }
        (!own.is_empty()).then_some(run)
    };
    all.into_iter().filter_map(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Vec<String> {
        ["corpus", "evasion_floods", "exec", "sensor", "places"].map(str::to_owned).to_vec()
    }

    #[test]
    fn everything_is_tried_but_what_is_left_out() {
        let runs = runs(&PLAIN, Extent::Whole, &programs(), None);
        let titles: Vec<_> = runs.iter().map(Run::title).collect();
        assert_eq!(titles, ["exec", "sensor kernel:: rtnetlink::", "places", "evasion_floods"]);
    }

    #[test]
    fn variants_may_try_less() {
        let named = |name| VARIANTS.iter().find(|machine| machine.name == name).unwrap();
        let runs = runs(named("no-btf"), Extent::Whole, &programs(), None);
        assert_eq!(runs.iter().map(Run::title).collect::<Vec<_>>(), ["places no_btf"]);
    }

    #[test]
    fn tests_are_chosen_by_file_or_name() {
        let all = programs();
        let chosen = |filter| -> Vec<String> {
            runs(&PLAIN, Extent::Whole, &all, Some(filter)).iter().map(Run::title).collect()
        };
        assert_eq!(chosen("exec"), ["exec"]);
        assert_eq!(chosen("exec::args"), ["exec args"]);
        assert_eq!(chosen("odd").len(), 4);
    }

    #[test]
    fn what_failed_is_asked_for_by_name() {
        let failed = ["exec::args", "sensor::*", "places::no_btf", "exec::deep::names"].map(str::to_owned);
        let all = runs(&PLAIN, Extent::Whole, &programs(), None);
        let titles: Vec<_> = exactly(&failed, all).iter().map(Run::title).collect();
        assert_eq!(
            titles,
            ["exec --exact args deep::names", "sensor kernel:: rtnetlink::", "places --exact no_btf"]
        );
    }
}
