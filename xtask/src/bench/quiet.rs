//! Whether others keep the machine busy. A pair that they disturbed tells nothing.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

use super::failed;
use crate::error::{Error, Result};
use crate::say;

/// CPU time of others, as a part of one CPU, from which on the machine is not quiet.
const BUSY: f64 = 0.05;
/// The same within a pair, where the kernel's own threads work for the sensor and its end too.
const DISTURBED: f64 = 0.15;
/// How long one look is.
const LOOK: Duration = Duration::from_millis(300);

/// Waits for a quiet machine, as long as the patience lasts.
#[derive(Debug)]
pub(crate) struct Quiet {
    patience: Duration,
}

impl Quiet {
    pub(crate) const fn with_patience(seconds: u64) -> Self {
        Self { patience: Duration::from_secs(seconds) }
    }

    /// Waits until others do next to nothing. Goes on when the patience is at its end.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let look = Look::now()?;
            thread::sleep(LOOK);
            if look.others()? <= BUSY || began.elapsed() >= self.patience {
                break;
            }
            if !told {
                say("waiting: others keep the machine busy");
                told = true;
            }
        }
        if told {
            self.patience = self.patience.saturating_sub(began.elapsed());
        }
        Ok(())
    }
}

/// A moment, and the CPU time until then.
#[derive(Debug)]
pub(crate) struct Look {
    at: Instant,
    all: Duration,
    own: Duration,
}

impl Look {
    pub(crate) fn now() -> Result<Self> {
        Ok(Self { at: Instant::now(), all: all()?, own: own()? })
    }

    /// What others used since, as a part of one CPU; what the host took away counts too.
    fn others(&self) -> Result<f64> {
        let now = Self::now()?;
        let others = (now.all - self.all).as_secs_f64() - (now.own - self.own).as_secs_f64();
        Ok(others / (now.at - self.at).as_secs_f64())
    }

    /// Whether others used so much since that a figure is worth nothing.
    pub(crate) fn disturbed(&self) -> Result<bool> {
        self.disturbed_beside(Duration::ZERO)
    }

    /// The same where it is known that the kernel worked as long for what is measured.
    pub(crate) fn disturbed_beside(&self, kernel: Duration) -> Result<bool> {
        let known = kernel.as_secs_f64() / self.at.elapsed().as_secs_f64();
        self.others().map(|others| others - known > DISTURBED)
    }
}

/// CPU time of this process and of the children that it has waited for.
fn own() -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).map_err(failed("ask for own CPU time"))?;
        sum += duration(usage.user_time()) + duration(usage.system_time());
    }
    Ok(sum)
}

fn duration(time: TimeVal) -> Duration {
    let (seconds, micros) = (time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// CPU time of everyone.
fn all() -> Result<Duration> {
    let path = Path::new("/proc/stat");
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let ticks = busy(&text).ok_or_else(|| Error::Check("/proc/stat is not what proc(5) says".to_owned()))?;
    ticks_to_time(ticks)
}

/// The busy ticks of all CPUs: user, nice, system, irq, softirq, steal.
fn busy(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].iter().map(|at| ticks.get(*at).copied()).sum()
}

/// Makes a time of what /proc counts.
pub(crate) fn ticks_to_time(ticks: u64) -> Result<Duration> {
    let a_second = sysconf(SysconfVar::CLK_TCK).map_err(failed("ask for the clock's ticks"))?;
    let a_second = a_second.and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(100);
    Ok(Duration::from_secs(ticks) / a_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle() {
        assert_eq!(busy("cpu  1 2 4 100 100 8 16 32 0 0\ncpu0 1"), Some(63));
        assert_eq!(busy("cpu  1 2"), None);
        assert_eq!(busy(""), None);
    }
}
