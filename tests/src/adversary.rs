//! Processes that fight against their end, in a cgroup and under a user of their own, so that nothing of them outlives its test.

use crate::place::Cgroup;
use crate::program::{Running, adversary};
use crate::{DEADLINE, patience};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// How many seconds adversaries live, then they end by themselves: longer than any fight.
#[must_use]
pub fn seconds() -> String {
    patience(4 * DEADLINE).as_secs().to_string()
}

/// Some of them.
#[derive(Debug)]
pub struct Adversary {
    /// Their user, whom nobody else is.
    pub uid: u32,
    /// The first of them.
    pub running: Running,
    cgroup: Option<Cgroup>,
}

impl Adversary {
    /// Those that do what these words say (`programs/adversary.c`), as a new user.
    #[must_use]
    pub fn of(words: &[&str]) -> Self {
        Self::with(new_uid(), words, true)
    }

    /// The same as root, who only does it for that user.
    #[must_use]
    pub fn of_root(words: &[&str]) -> Self {
        Self::with(new_uid(), words, false)
    }

    /// As this user.
    #[must_use]
    pub fn with(uid: u32, words: &[&str], becomes: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("adversary-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let cgroup = Cgroup::make(&name);
        // The shell goes into the cgroup before it becomes the program: nobody is ever outside.
        let enter = "[ -z \"$1\" ] || echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"";
        let folder = cgroup.as_ref().map_or_else(String::new, |cgroup| cgroup.path().display().to_string());
        let user = if becomes { uid.to_string() } else { "-".to_owned() };
        let running = Running::start(
            Command::new("/bin/sh")
                .args(["-c", enter, "sh", &folder])
                .arg(adversary())
                .args([&seconds(), &user])
                .args(words),
        );
        running.until("ready");
        Self { uid, running, cgroup }
    }

    /// Those of the user who live, as /proc tells: by real or effective id, of any thread.
    #[must_use]
    pub fn living(&self) -> BTreeSet<u32> {
        living(self.uid)
    }

    /// Those who are seen in many looks one after the other: a chain is in most of them.
    #[must_use]
    pub fn survivors(&self) -> BTreeSet<u32> {
        (0..8).flat_map(|_| self.living()).collect()
    }
}

impl Drop for Adversary {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.cgroup {
            // Not before Linux 5.14; then each.
            let _ = fs::write(cgroup.path().join("cgroup.kill"), "1");
        }
        let end = Instant::now() + patience(DEADLINE);
        while Instant::now() < end {
            let left = self.living();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        eprintln!("processes of user {} stay", self.uid);
        self.living().into_iter().for_each(show);
    }
}

/// What the kernel says of one that can't be ended.
fn show(pid: u32) {
    for file in ["status", "wchan", "stack", "cgroup"] {
        let text =
            fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| error.to_string());
        eprintln!("/proc/{pid}/{file}:\n{text}");
    }
}

/// A user id that nobody has.
#[must_use]
pub fn new_uid() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    100_000 + (std::process::id() % 10_000) * 100 + COUNT.fetch_add(1, Ordering::Relaxed) % 100
}

/// Processes of a user that live.
#[must_use]
pub fn living(uid: u32) -> BTreeSet<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| has_thread_of(*pid, uid)).collect()
}

fn has_thread_of(pid: u32, uid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let mut statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    statuses.any(|status| {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let ended = matches!(field("State:").trim().chars().next(), Some('Z' | 'X'));
        let mut ids = field("Uid:").split_ascii_whitespace().take(2).filter_map(|id| id.parse::<u32>().ok());
        !ended && ids.any(|id| id == uid)
    })
}
