//! The process that ends a rule in time, in a session of its own, so that it outlives the operator's. It is no more than
//! the one who clears up: the kernel has let the rule go by then, also where this process was killed.

use std::{
    env,
    io::{self, Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::unistd::setsid;

use super::{
    Ledger, lasts,
    rule::{Id, Rule},
};
use crate::{host::Host, procfs::Reader};

/// What it says when it has gone its own way.
const READY: &[u8] = b"ready\n";
/// How often it looks whether it is still wanted: a rule may be taken back or confirmed before.
const STEP: Duration = Duration::from_secs(1);

/// Starts the guard of a rule that is on record, and waits until nothing that ends the caller's session reaches it.
/// Gives its pid, and when that began.
///
/// # Errors
/// When it doesn't start.
pub fn start(id: &Id, ledger: &Ledger, reader: &Reader) -> io::Result<(u32, u64)> {
    let mut child = Command::new(env::current_exe()?)
        .args(["port", "guard", id.as_str()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(ledger.told()?)
        .spawn()?;
    let mut said = [0; READY.len()];
    let heard = child.stdout.take().map(|mut stdout| stdout.read_exact(&mut said));
    let started = reader.seen(child.id()).filter(|_| matches!(heard, Some(Ok(()))) && said == READY);
    started.map(|seen| (seen.pid, seen.start)).ok_or_else(|| io::Error::other("it ended at once"))
}

/// Whether the guard of a rule lives.
#[must_use]
pub fn lives(rule: &Rule, reader: &Reader) -> bool {
    let there = |(pid, start)| reader.seen(pid).is_some_and(|seen| seen.start == start && !seen.zombie);
    rule.guard.is_some_and(there)
}

/// What the guard does first: it leaves the session of who started it, and says so.
///
/// # Errors
/// When it can't.
pub fn leave() -> io::Result<()> {
    setsid()?;
    io::stdout().write_all(READY)?;
    io::stdout().flush()
}

/// Waits for the end of a rule: false when there is none any more.
#[must_use]
pub fn wait(id: &Id, ledger: &Ledger, host: &Host) -> bool {
    loop {
        match ledger.get(id) {
            Ok(Some(rule)) => match lasts(&rule, host) {
                None => return false,
                Some(left) if left.is_zero() => return true,
                Some(left) => thread::sleep(left.min(STEP)),
            },
            Ok(None) => return false,
            // It may be written anew just now.
            Err(_) => thread::sleep(STEP),
        }
    }
}
