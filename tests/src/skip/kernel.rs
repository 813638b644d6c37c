//! What some kernels haven't got, and which tests need it: one table. A row excuses a test only where the sensor's own
//! `coverage` says that the hook isn't served, so a hook that is lost by a mistake of ours still fails its tests
//! wherever the kernel has it.

use crate::sensor::{command, hooks};
use crate::{Event, lock};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::OnceLock;

/// A hook that not every kernel can have, and the tests that need it.
struct Need {
    /// As `coverage` names it.
    hook: &'static str,
    /// What `coverage` says where a kernel lacks it: any other refusal is a mistake of ours.
    refusal: &'static str,
    /// Why a kernel may lack it.
    reason: &'static str,
    /// File and name of a test, or a file's beginning with `*`.
    tests: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        hook: STATES,
        refusal: "unknown func bpf_get_socket_cookie",
        reason: "typed programs have the cookie of a socket from Linux 5.12 on",
        tests: &[
            "sockets::*",
            "socket_storm::*",
            "exposure::*",
            "connect_failed::*",
            "network::*",
            "mptcp::*",
            "sctp::*",
            "evasion::net::*",
            "evasion::arguments::an_address_that_changes_under_way_to_connect",
            "evasion_floods::a_connection_that_waits_while_datagrams_come_and_go",
            "evasion_floods::connections_that_nobody_takes_without_room",
            "top::bytes_are_in_the_rows_of_those_who_moved_them",
            "top::rows_are_what_the_interface_counts",
            "top::short_lives_have_rows",
        ],
    },
    Need {
        hook: "tp_btf/tcp_destroy_sock",
        refusal: "unknown func bpf_sk_storage_get",
        reason: "typed programs have what is kept beside a socket from Linux 5.11 on",
        tests: &["net_bytes::*"],
    },
    Need {
        hook: "cgroup_retval",
        refusal: "this kernel has no bpf_cg_run_ctx.retval",
        reason: "the kernel has what programs of cgroups answered from Linux 5.18 on",
        tests: &[],
    },
    Need {
        hook: "iter/task_file",
        refusal: OF_FILES,
        reason: "programs have the socket of a file from Linux 5.11 on",
        tests: &["top::a_shared_socket_is_its_oldest_holders"],
    },
    Need {
        hook: "iter/task_file connect",
        refusal: OF_FILES,
        reason: "programs have the socket of a file from Linux 5.11 on",
        tests: &["evasion_floods::connects_under_way_without_room"],
    },
];

/// What sees the states of TCP sockets.
const STATES: &str = "tp_btf/inet_sock_set_state";
/// `bpf_sock_from_file`, by its number, as such a kernel has no name for it.
const OF_FILES: &str = "invalid func unknown#162";

/// Whether a kernel that says this of a hook may lack it.
#[must_use]
pub fn may_lack(hook: &str, said: &str) -> bool {
    NEEDS.iter().any(|need| need.hook == hook && said.contains(need.refusal))
}

/// What is said where a kernel lacks something.
pub fn refusals() -> impl Iterator<Item = &'static str> {
    NEEDS.iter().map(|need| need.refusal)
}

/// Whether connections of TCP are seen on this kernel: for tests that are about more than those.
#[must_use]
pub fn sees_connections() -> bool {
    NEEDS.iter().filter(|need| need.hook == STATES).all(|need| wants(need).is_none())
}

/// Why this kernel can't do what a test needs, if so.
pub(super) fn lacks(test: &str) -> Option<&'static str> {
    wants(NEEDS.iter().find(|need| need.tests.iter().any(|pattern| fits(pattern, test)))?)
}

/// Why this kernel hasn't got it, if so.
fn wants(need: &Need) -> Option<&'static str> {
    let (_, said) = unserved().iter().find(|(hook, _)| hook == need.hook)?;
    assert!(
        said.contains(need.refusal),
        "{} isn't served, and not for want of it in the kernel: {said}",
        need.hook
    );
    Some(need.reason)
}

fn fits(pattern: &str, test: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == test, |start| test.starts_with(start))
}

/// The hooks that the sensor can't have on this kernel, and why, as it says itself.
fn unserved() -> &'static [(String, String)] {
    static HOOKS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    HOOKS.get_or_init(|| {
        let _lock = lock::together();
        let mut child =
            command().arg("run").args(hooks()).stdout(Stdio::piped()).spawn().expect("the sensor starts");
        let mut line = Vec::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_until(b'\n', &mut line)
            .expect("a line");
        let _ = child.kill();
        let _ = child.wait();
        let coverage = Event::parse(line.trim_ascii_end()).unwrap_or_else(|why| panic!("no coverage: {why}"));
        let text = |row: &serde_json::Value, name: &str| crate::event::as_text(&row[name]);
        let rows = coverage.list("sensor.coverage").iter().filter(|row| row["state"] == "unseen");
        rows.map(|row| (text(row, "hook"), text(row, "reason"))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::{NEEDS, fits};

    #[test]
    fn rows_are_whole() {
        for need in NEEDS {
            assert!(!need.reason.is_empty() && !need.refusal.is_empty(), "{}", need.hook);
            assert!(need.tests.iter().all(|test| test.contains("::")), "{}", need.hook);
        }
        assert!(fits("sockets::*", "sockets::x") && fits("a::b", "a::b"));
        assert!(!fits("a::b", "a::bc") && !fits("sockets::*", "socket_storm::x"));
    }
}
