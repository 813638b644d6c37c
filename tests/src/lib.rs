//! Helpers of the promise tests: they start the real sensor and real programs, and wait for states with deadlines.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

pub mod adversary;
pub mod answer;
pub mod base64;
pub mod boot;
pub mod broker;
pub mod budget;
pub mod certificate;
pub mod ecs;
pub mod event;
pub mod fields;
pub mod find;
pub mod journal;
pub mod lock;
pub mod netns;
pub mod place;
pub mod program;
pub mod proxy;
pub mod rsyslog;
pub mod sensor;
pub mod server;
pub mod skip;
pub mod sshd;
pub mod terminal;
pub mod tree;
pub mod unshown;
pub mod verifier;

pub use answer::Answer;
pub use event::Event;
pub use find::Find;
pub use place::Folder;
pub use program::Running;
pub use sensor::{End, Sensor};
pub use unshown::Unshown;

use std::sync::OnceLock;
use std::time::Duration;

/// How long a state may take before a test fails: generous, since two cores run several tests at once.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// A deadline as this machine needs it: where everything is emulated, `SENSOR_TESTS_PATIENCE` says how many times longer
/// everything takes. The one place that looks at it; what is checked stays the same.
#[must_use]
pub fn patience(deadline: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let said = || std::env::var("SENSOR_TESTS_PATIENCE").ok();
    deadline * *FACTOR.get_or_init(|| said().map_or(1, |factor| factor.parse().expect("a whole number")))
}

/// Whether every instruction is emulated here: a flood of a tenth of a million processes takes many minutes there, and
/// nothing is known by it that fewer don't show.
#[must_use]
pub fn emulated() -> bool {
    patience(DEADLINE) > DEADLINE
}

/// Whether this kernel falls when it goes through what lies beside sockets, so that it isn't asked to: since it has that function
/// (Linux 7.0).
///
/// # Panics
/// Where the kernel's types can't be read.
#[must_use]
pub fn walk_falls() -> bool {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's types");
    let function = b"\0bpf_selem_unlink_nofail\0";
    btf.windows(function.len()).any(|part| part == function)
}

/// Waits until something is so.
///
/// # Panics
/// When it never is.
pub fn until(what: &str, is: impl FnMut() -> bool) {
    assert!(comes(is), "it never came to that: {what}");
}

/// Waits until something is so; whether it came to that.
pub fn comes(mut is: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + 4 * patience(DEADLINE);
    while !is() {
        if std::time::Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Words of a command line, from anything that is a name: `words!["unlink", &path, "wait"]`.
#[macro_export]
macro_rules! words {
    ($($word:expr),* $(,)?) => {
        vec![$(std::ffi::OsString::from(std::convert::AsRef::<std::ffi::OsStr>::as_ref(&$word))),*]
    };
}
