//! `sensor`: a Linux host sensor. What it means and where it goes; `sensor-ebpf` is what is seen.
//!
//! A room names only rooms below it; `docs/ARCHITECTURE.md` draws them.
#![warn(clippy::print_stderr)]

/// Says a line on standard error, with the sensor's name before it. That nobody reads it any more is no reason to end, as
/// `eprintln!` does then.
#[macro_export]
macro_rules! say {
    ($($word:tt)*) => {{
        let line = format!("sensor: {}\n", format_args!($($word)*));
        let _: std::io::Result<()> = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}

pub mod account;
pub mod action;
pub mod background;
pub mod cli;
pub mod config;
pub mod conntrack;
pub mod contain;
pub mod count;
pub mod delivery;
pub mod enrich;
pub mod event;
pub mod evidence;
pub mod field;
pub mod firewall;
pub mod format;
pub mod histories;
pub mod host;
pub mod http;
pub mod journal;
pub mod kernel;
pub mod logins;
pub mod look;
pub mod net;
pub mod netfilter;
pub mod netlink;
pub mod network;
pub mod output;
pub mod package;
pub mod pipeline;
pub mod process;
pub mod procfs;
pub mod record;
pub mod redact;
pub mod reputation;
pub mod requests;
pub mod rtnetlink;
pub mod runs;
pub mod shelf;
pub mod sockdiag;
pub mod sockets;
pub mod tls;
pub mod trusted;
pub mod untrusted;
pub mod verdict;
