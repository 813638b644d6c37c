//! The field names that the contract knows, and what a value of each looks like. Nothing else may stand in an event.

use serde_json::Value;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A text that says something.
    Text,
    /// A text which may be empty.
    Any,
    /// A 64-bit identifier: digits in a string, so that no reader rounds it.
    Id,
    /// RFC 3339, UTC, nanoseconds.
    Time,
    /// A number that isn't negative.
    Number,
    /// true or false.
    Truth,
    /// An array of texts.
    Texts,
}
use Shape::{Any, Id, Number, Text, Texts, Time, Truth};

/// On every event.
pub const COMMON: &[&str] = &[
    "@timestamp",
    "ecs.version",
    "event.kind",
    "event.category",
    "event.type",
    "event.action",
    "event.sequence",
    "event.id",
    "host.name",
    "host.id",
    "host.boot.id",
    "sensor.version",
];

/// All names. In arrays of objects `[]` stands between the array and the names in it.
pub const KNOWN: &[(&str, Shape)] = &[
    ("@timestamp", Time),
    ("container.id", Text),
    ("destination.bytes", Number),
    ("destination.ip", Text),
    ("destination.packets", Number),
    ("destination.port", Number),
    ("ecs.version", Text),
    ("error.code", Text),
    ("event.action", Text),
    ("event.category", Texts),
    ("event.id", Text),
    ("event.kind", Text),
    ("event.outcome", Text),
    ("event.reason", Text),
    ("event.sequence", Number),
    ("event.severity", Number),
    ("event.type", Texts),
    ("file.device", Id),
    ("file.hash.sha256", Text),
    ("file.inode", Id),
    ("file.mtime", Time),
    ("file.name", Text),
    ("file.path", Text),
    ("file.size", Number),
    ("host.boot.id", Text),
    ("host.id", Text),
    ("host.name", Text),
    ("network.direction", Text),
    ("network.iana_number", Text),
    ("network.transport", Text),
    ("network.type", Text),
    ("process.args", Texts),
    ("process.args_count", Number),
    ("process.command_line", Text),
    ("process.end", Time),
    ("process.entity_id", Text),
    ("process.executable", Text),
    ("process.exit_code", Number),
    ("process.group.id", Text),
    ("process.hash.sha256", Text),
    ("process.interactive", Truth),
    ("process.name", Any),
    ("process.parent.args", Texts),
    ("process.parent.entity_id", Text),
    ("process.parent.executable", Text),
    ("process.parent.name", Any),
    ("process.parent.pid", Number),
    ("process.parent.start", Time),
    ("process.pid", Number),
    ("process.previous.executable", Text),
    ("process.real_group.id", Text),
    ("process.real_user.id", Text),
    ("process.real_user.name", Text),
    ("process.saved_user.id", Text),
    ("process.session_leader.pid", Number),
    ("process.start", Time),
    ("process.thread.capabilities.effective", Texts),
    ("process.thread.capabilities.permitted", Texts),
    ("process.thread.id", Number),
    ("process.tty.char_device.major", Number),
    ("process.tty.char_device.minor", Number),
    ("process.user.id", Text),
    ("process.user.name", Text),
    ("process.working_directory", Text),
    ("sensor.args_bytes", Number),
    ("sensor.args_truncated", Truth),
    ("sensor.capabilities.gained", Texts),
    ("sensor.cgroup.id", Id),
    ("sensor.cgroup.path", Text),
    ("sensor.contain.count", Number),
    ("sensor.contain.id", Text),
    ("sensor.contain.means", Text),
    ("sensor.contain.method", Text),
    ("sensor.contain.result", Text),
    ("sensor.contain.starters", Texts),
    ("sensor.contain.target", Text),
    ("sensor.core_dumped", Truth),
    ("sensor.coverage[].action", Text),
    ("sensor.coverage[].effect", Text),
    ("sensor.coverage[].hook", Text),
    ("sensor.coverage[].missing", Text),
    ("sensor.coverage[].reason", Text),
    ("sensor.coverage[].remedy", Text),
    ("sensor.coverage[].state", Text),
    ("sensor.evidence.missing", Text),
    ("sensor.evidence.path", Text),
    ("sensor.evidence.sha256", Text),
    ("sensor.evidence.size", Number),
    ("sensor.exe.device", Id),
    ("sensor.exe.inode", Id),
    ("sensor.exe.nlink", Number),
    ("sensor.exe.state", Text),
    ("sensor.exe.verdict", Text),
    ("sensor.file.changed", Truth),
    ("sensor.file.role", Text),
    ("sensor.file.state", Text),
    ("process.env_vars", Texts),
    ("sensor.ancestors[].args", Texts),
    ("sensor.ancestors[].entity_id", Text),
    ("sensor.ancestors[].executable", Text),
    ("sensor.ancestors[].pid", Number),
    ("sensor.capabilities.bounding", Texts),
    ("sensor.mappings[].path", Text),
    ("sensor.mappings[].sha256", Text),
    ("sensor.mappings[].state", Text),
    ("sensor.open_files[].descriptor", Number),
    ("sensor.open_files[].rx_bytes", Number),
    ("sensor.open_files[].target", Text),
    ("sensor.open_files[].tx_bytes", Number),
    ("sensor.rule.allow", Texts),
    ("sensor.rule.id", Text),
    ("sensor.rule.kept", Texts),
    ("sensor.rule.persist", Truth),
    ("sensor.rule.state", Text),
    ("sensor.rule.until", Time),
    ("sensor.rule.way", Text),
    ("sensor.seccomp.filters", Number),
    ("sensor.seccomp.mode", Text),
    ("sensor.findings", Texts),
    ("sensor.reputation.answers[].age_s", Number),
    ("sensor.reputation.answers[].detail", Text),
    ("sensor.reputation.answers[].engines", Number),
    ("sensor.reputation.answers[].malicious", Number),
    ("sensor.reputation.answers[].source", Text),
    ("sensor.reputation.answers[].verdict", Text),
    ("sensor.reputation.verdict", Text),
    ("sensor.matches", Texts),
    ("package.name", Text),
    ("package.type", Text),
    ("sensor.exposure", Text),
    ("sensor.history.before", Time),
    ("sensor.history.line", Number),
    ("sensor.history.recorded", Truth),
    ("sensor.history.source", Text),
    ("sensor.login.name", Text),
    ("sensor.login.session", Text),
    ("sensor.login.uid", Text),
    ("sensor.lost[].action", Text),
    ("sensor.lost[].count", Number),
    ("sensor.lost[].reason", Text),
    ("sensor.lost[].stage", Text),
    ("sensor.method", Text),
    ("sensor.namespace.cgroup", Id),
    ("sensor.namespace.ipc", Id),
    ("sensor.namespace.mnt", Id),
    ("sensor.namespace.net", Id),
    ("sensor.namespace.pid", Id),
    ("sensor.namespace.user", Id),
    ("sensor.namespace.uts", Id),
    ("sensor.no_new_privs", Truth),
    ("sensor.reach", Text),
    ("sensor.reachable_by", Texts),
    ("sensor.reachable_by_count", Number),
    ("sensor.reason", Text),
    ("sensor.firewall", Text),
    ("sensor.descriptor.kind", Text),
    ("sensor.descriptor.marks", Texts),
    ("sensor.descriptor.mode", Text),
    ("sensor.descriptor.number", Number),
    ("sensor.held_since", Time),
    ("sensor.owners[].descriptor", Number),
    ("sensor.owners[].entity_id", Text),
    ("sensor.owners[].executable", Text),
    ("sensor.owners[].name", Any),
    ("sensor.owners[].pid", Number),
    ("sensor.owners[].verdict", Text),
    ("sensor.peers[].descriptor", Number),
    ("sensor.peers[].executable", Text),
    ("sensor.peers[].name", Any),
    ("sensor.peers[].pid", Number),
    ("sensor.runners[].args", Texts),
    ("sensor.runners[].entity_id", Text),
    ("sensor.runners[].executable", Text),
    ("sensor.runners[].pid", Number),
    ("sensor.script.path", Text),
    ("sensor.processes", Number),
    ("sensor.self", Truth),
    ("sensor.session.command", Texts),
    ("sensor.session.command_pid", Number),
    ("sensor.session.id", Text),
    ("sensor.session.idle_s", Number),
    ("sensor.session.kind", Text),
    ("sensor.session.since", Time),
    ("sensor.session.sources", Texts),
    ("sensor.session.state", Text),
    ("sensor.signal", Number),
    ("sensor.signal_name", Text),
    ("sensor.socket.cookie", Id),
    ("sensor.socket.filter", Text),
    ("sensor.socket.interface", Number),
    ("sensor.socket.mptcp", Truth),
    ("sensor.socket.name", Text),
    ("sensor.socket.netns", Id),
    ("sensor.socket.preexisting", Truth),
    ("sensor.socket.sharing", Number),
    ("sensor.socket.state", Text),
    ("sensor.targets[].entity_id", Text),
    ("sensor.targets[].executable", Text),
    ("sensor.targets[].pid", Number),
    ("sensor.targets[].result", Text),
    ("sensor.tty", Text),
    ("sensor.interval_ms", Number),
    ("sensor.usage.connections", Number),
    ("sensor.usage.cpu_ns", Number),
    ("sensor.usage.rss_bytes", Number),
    ("sensor.usage.disk.cancelled_write_bytes", Number),
    ("sensor.usage.disk.read_bytes", Number),
    ("sensor.usage.disk.write_bytes", Number),
    ("sensor.usage.file.read_bytes", Number),
    ("sensor.usage.file.read_calls", Number),
    ("sensor.usage.file.write_bytes", Number),
    ("sensor.usage.file.write_calls", Number),
    ("sensor.usage.max_rss_bytes", Number),
    ("sensor.usage.net.rx_bytes", Number),
    ("sensor.usage.net.rx_packets", Number),
    ("sensor.usage.net.tx_bytes", Number),
    ("sensor.usage.net.tx_packets", Number),
    ("sensor.usage.scope", Text),
    ("sensor.version", Text),
    ("sensor.wildcard_also_ipv4", Truth),
    ("server.ip", Text),
    ("server.port", Number),
    ("source.address", Text),
    ("source.bytes", Number),
    ("source.ip", Text),
    ("source.packets", Number),
    ("source.port", Number),
    ("user.effective.name", Text),
    ("user.id", Text),
    ("user.name", Text),
];

/// Names of which only the beginning is fixed.
pub const FAMILIES: &[&str] = &["sensor.raw."];

/// The values of `sensor.exe.state`.
pub const STATES: &[&str] = &["present", "deleted", "memfd", "replaced", "unreachable"];

/// What is wrong with a leaf of an event, if anything is.
#[must_use]
pub fn wrong(name: &str, value: &Value) -> Option<String> {
    if FAMILIES.iter().any(|family| name.starts_with(family)) {
        return None;
    }
    let Some((_, shape)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name}: no such field (value {value})"));
    };
    let text = value.as_str();
    let right = match shape {
        Text => text.is_some_and(|text| !text.is_empty()),
        Any => text.is_some(),
        Id => text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())),
        Time => text.is_some_and(is_time),
        Number => value.is_u64(),
        Truth => value.is_boolean(),
        Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
    };
    (!right).then(|| format!("{name}: {value} isn't of shape {shape:?}"))
}

/// `2026-11-25T04:52:59.123456789Z`.
#[must_use]
pub fn is_time(text: &str) -> bool {
    const LIKE: &[u8] = b"0000-00-00T00:00:00.000000000Z";
    text.len() == LIKE.len()
        && text.bytes().zip(LIKE).all(
            |(byte, like)| {
                if *like == b'0' { byte.is_ascii_digit() } else { byte == *like }
            },
        )
}

#[cfg(test)]
mod tests {
    use super::{COMMON, KNOWN, is_time, wrong};
    use serde_json::json;

    #[test]
    fn common_fields_are_known() {
        for name in COMMON {
            assert!(KNOWN.iter().any(|(known, _)| known == name), "{name}");
        }
    }

    #[test]
    fn shapes_are_told_apart() {
        assert!(is_time("2026-11-25T04:52:59.123456789Z"));
        assert!(!is_time("2026-11-25T04:52:59.123456Z"));
        assert!(!is_time("2026-11-25T04:52:59.123456789+00:00"));
        assert_eq!(wrong("file.inode", &json!("12")), None);
        assert!(wrong("file.inode", &json!(12)).is_some());
        assert!(wrong("process.pid", &json!("12")).is_some());
        assert!(wrong("process.pip", &json!(12)).is_some());
        assert_eq!(wrong("sensor.raw.process.args", &json!(["/w=="])), None);
    }
}
