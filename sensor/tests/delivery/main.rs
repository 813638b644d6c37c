//! Outputs at work, from a journal in memory to what is really there at the other end.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::time::Instant;

use sensor::{
    config,
    delivery::{Delivery, Outlet},
    host::Host,
};
use tests::{DEADLINE, patience};

mod file;
mod memory;
mod syslog;

use memory::Memory;

/// An output of these keys that brings what is in the journal.
pub fn begin(keys: &str, journal: &Memory) -> Delivery {
    let host = Host::real().unwrap();
    let config: config::Output = toml::from_str(&format!("name = \"far\"\n{keys}")).unwrap();
    let outlet = Outlet::new(&config, &host).unwrap();
    Delivery::begin(&host, vec![(outlet, Box::new(journal.clone()))]).unwrap()
}

/// Why nothing goes, once that is so.
pub fn trouble(delivery: &Delivery) -> String {
    until("trouble", || delivery.tidings().0.remove(0).1.trouble)
}

/// Waits for a state.
pub fn until<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience(DEADLINE);
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(Instant::now() < end, "it never came to that: {what}");
        std::thread::yield_now();
    }
}
