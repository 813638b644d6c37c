//! Why the kernel refused something, in what a person can use: its own error, the verifier's last words, and
//! what of this host is in the way.

use std::{error::Error, io};

use aya::{maps::MapError, programs::ProgramError};
use nix::errno::Errno;

use super::{Gap, call, plan::Attach};

/// Most of the verifier's lines that are shown, and of the characters of each.
const LINES_MOST: usize = 2;
const LINE_MOST: usize = 160;

/// A capability, by its number and name (`include/uapi/linux/capability.h`).
pub(super) type Capability = (u32, &'static str);

/// Those that the sensor's calls ask for; root has them all unless they were taken away. `CAP_SYS_ADMIN` stands
/// for those that are younger than it.
pub(super) const NET_ADMIN: Capability = (12, "CAP_NET_ADMIN");
pub(super) const SYS_ADMIN: Capability = (21, "CAP_SYS_ADMIN");
pub(super) const PERFMON: Capability = (38, "CAP_PERFMON");
pub(super) const BPF: Capability = (39, "CAP_BPF");

impl Attach {
    /// The capabilities without which such a program isn't taken.
    pub(super) fn needs(self) -> &'static [Capability] {
        match self {
            Self::Sock(_) | Self::SockAddr(_) | Self::Packets(_) => &[BPF, NET_ADMIN],
            Self::Typed(_)
            | Self::Raw(_)
            | Self::Syscall(_)
            | Self::Function(_)
            | Self::Tasks
            | Self::Files
            | Self::Sockets => &[BPF, PERFMON],
        }
    }
}

/// Why something was refused that needs these capabilities.
pub(super) fn explain(error: &(dyn Error + 'static), needs: &[Capability]) -> Gap {
    let (errno, verifier) = (errno(error), verifier(error));
    let (missing, remedy) = match errno {
        // Locked down, the kernel has no helpers that read its memory.
        _ if !verifier.is_empty() => locked_down().unwrap_or_else(|| {
            let remedy = "a newer kernel may take it; report this line and what `uname -r` says";
            (String::new(), remedy.to_owned())
        }),
        Some(errno) => obstacle(errno, needs),
        None => (String::new(), "report this line and what `uname -r` says".to_owned()),
    };
    Gap { reason: said(error, errno, &verifier), missing, remedy, ..Gap::default() }
}

/// What the kernel said.
fn said(error: &(dyn Error + 'static), errno: Option<Errno>, verifier: &[String]) -> String {
    let call = causes(error).find_map(call_of);
    let mut said = match (call, errno) {
        (Some(call), Some(errno)) => format!("{call}: {errno:?} ({})", errno.desc()),
        (None, Some(errno)) => format!("{errno:?} ({})", errno.desc()),
        (_, None) => chain(error),
    };
    if !verifier.is_empty() {
        said.push_str("; the verifier: ");
        said.push_str(&verifier.join(" / "));
    }
    said
}

/// An error and what it came from.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let source: fn(&&'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> =
        |error| (*error).source();
    std::iter::successors(Some(error), source)
}

/// The call that failed, where the error knows.
fn call_of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    match error.downcast_ref() {
        Some(ProgramError::LoadError { .. }) => Some("BPF_PROG_LOAD"),
        Some(ProgramError::SyscallError(error)) => Some(error.call),
        _ => match error.downcast_ref()? {
            MapError::CreateError { .. } => Some("BPF_MAP_CREATE"),
            MapError::SyscallError(error) => Some(error.call),
            _ => None,
        },
    }
}

/// The kernel's error, where there is one.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let of = |error: &(dyn Error + 'static)| match error.downcast_ref::<io::Error>() {
        Some(error) => error.raw_os_error().map(Errno::from_raw),
        None => error.downcast_ref::<Errno>().copied(),
    };
    causes(error).find_map(of)
}

/// The last lines of the verifier that say something: its statistics don't, nor do states of registers.
fn verifier(error: &(dyn Error + 'static)) -> Vec<String> {
    let of = |error: &(dyn Error + 'static)| match error.downcast_ref()? {
        ProgramError::LoadError { verifier_log, .. } => Some(format!("{verifier_log}")),
        _ => None,
    };
    let log = causes(error).find_map(of).unwrap_or_default();
    last_words(&log)
}

fn last_words(log: &str) -> Vec<String> {
    const SAYS_NOTHING: [&str; 5] =
        ["processed ", "verification time", "stack depth", "max_states", "insns_processed"];
    let says = |line: &&str| !line.is_empty() && !SAYS_NOTHING.iter().any(|word| line.starts_with(word));
    let mut words: Vec<String> = log
        .lines()
        .rev()
        .map(str::trim)
        .filter(says)
        .take(LINES_MOST)
        .map(|line| line.chars().filter(|c| !c.is_control()).take(LINE_MOST).collect())
        .collect();
    words.reverse();
    words
}

/// What is in the way, and what to do about it.
fn obstacle(errno: Errno, needs: &[Capability]) -> (String, String) {
    let missing = |missing: &str, remedy: &str| (missing.to_owned(), remedy.to_owned());
    match errno {
        Errno::EPERM | Errno::EACCES => denied(needs),
        Errno::ENOSYS if call::is_filtered() => filtered(),
        Errno::ENOSYS => missing("the system call", "a newer kernel, or one built with it"),
        Errno::EMFILE => missing("RLIMIT_NOFILE", "raise the limit of open files (ulimit -n)"),
        Errno::ENFILE => missing("fs.file-max", "raise it (sysctl fs.file-max)"),
        Errno::ENOMEM => missing("memory", "free memory, or raise the limit of the sensor's cgroup"),
        Errno::ENOSPC => missing("space", "look for limits of the sensor's cgroup and user"),
        Errno::EINVAL | Errno::EOPNOTSUPP | Errno::E2BIG => {
            missing("", "a newer kernel: this one doesn't know such a thing")
        }
        _ => missing("", "report this line and what `uname -r` says"),
    }
}

/// Who may forbid it: a capability that was taken away, lockdown, a seccomp filter; else it isn't known.
fn denied(needs: &[Capability]) -> (String, String) {
    let held = call::capabilities().unwrap_or(u64::MAX);
    let has = |(bit, _): &Capability| held & 1 << *bit != 0;
    // Before the younger ones were split off from it, and still, it holds them all but those of the network.
    let covered = |need: &Capability| has(need) || *need != NET_ADMIN && has(&SYS_ADMIN);
    if let Some((_, name)) = needs.iter().find(|need| !covered(need)) {
        let remedy =
            format!("give the sensor {name} (systemd: CapabilityBoundingSet=; containers: --cap-add)");
        return ((*name).to_owned(), remedy);
    }
    locked_down().unwrap_or_else(|| match call::is_filtered() {
        true => filtered(),
        false => (
            String::new(),
            "a security module or the kernel's build forbids it: see the kernel's log (dmesg)".to_owned(),
        ),
    })
}

/// The stronger sort of lockdown forbids programs to read the kernel's memory; the weaker one forbids nothing of
/// what the sensor does (`security/security.c`).
fn locked_down() -> Option<(String, String)> {
    let lockdown = call::lockdown().filter(|sort| sort == "confidentiality")?;
    let remedy = format!(
        "boot with lockdown=integrity, or without lockdown: {lockdown} forbids to read the kernel's memory"
    );
    Some(("lockdown".to_owned(), remedy))
}

fn filtered() -> (String, String) {
    let remedy =
        "allow it in the seccomp filter that the sensor was started under (systemd: SystemCallFilter=)";
    ("seccomp".to_owned(), remedy.to_owned())
}

/// An error with all its causes, as one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let texts = causes(error).map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_cut_to_its_last_words() {
        let log = "0: R1=ctx() R10=fp0\n; let x = 1;\nfunc#0 @0\nR1 type=scalar expected=fp\x1b[2J\n\
                   processed 12 insns (limit 1000000) max_states_per_insn 0\nverification time 3 usec\n\n";
        assert_eq!(last_words(log), ["func#0 @0", "R1 type=scalar expected=fp[2J"]);
        assert_eq!(last_words(&"x".repeat(9999)), ["x".repeat(LINE_MOST)]);
        assert!(last_words("processed 1 insns").is_empty());
    }

    #[test]
    fn the_kernels_error_has_its_name() {
        let error = io::Error::from_raw_os_error(Errno::EMFILE as i32);
        let gap = explain(&error, &[]);
        assert_eq!(gap.reason, "EMFILE (Too many open files)");
        assert_eq!(gap.missing, "RLIMIT_NOFILE");
        assert_eq!(explain(&Errno::ENOMEM, &[]).missing, "memory");
        assert_eq!(explain(&io::Error::other("odd"), &[]).reason, "odd");
    }

    #[test]
    fn a_capability_that_nobody_has_is_missing() {
        assert_eq!(denied(&[(63, "CAP_NONE")]).0, if root() { "" } else { "CAP_NONE" });
        assert_eq!(denied(&[NET_ADMIN]).0, if root() { "" } else { "CAP_NET_ADMIN" });
    }

    fn root() -> bool {
        call::capabilities().unwrap() & 1 << SYS_ADMIN.0 != 0
    }
}
