//! The tables of what is so now, and their columns: the one table of both.

use crate::{
    field::Field,
    format,
    journal::Cell,
    record::{Record, Value},
};

/// A table of what is so now.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What a row is, and which verb lists the same.
    pub(super) sentence: &'static str,
    columns: &'static [(&'static str, Field)],
}

/// The last column of each: all that is known, as that verb writes it.
pub(super) const ALL: &str = "record";

const EVENTS: &str = "events: what happened, as the journal has it
    position    rises by one with each event
    time        nanoseconds since 1970; iso(time) for people
    id          event.id
    run         what the ids of one run have in common
    sequence    event.sequence
    action      event.action
    severity    event.severity
    entity      process.entity_id
    user        user.name, else user.id
    login       sensor.login.name, else sensor.login.uid
    executable  process.executable
    remote      the other host: destination.ip, or source.ip of what came in
    line        the whole event (JSON): line ->> '$.process.args[0]'
";

pub(super) const TABLES: [Table; 5] = [
    Table {
        name: "processes",
        sentence: "what runs, as `sensor ps --kernel` lists it",
        columns: &[
            ("pid", Field::ProcessPid),
            ("entity", Field::ProcessEntityId),
            ("parent", Field::ProcessParentPid),
            ("parent_entity", Field::ProcessParentEntityId),
            ("name", Field::ProcessName),
            ("executable", Field::ProcessExecutable),
            ("args", Field::ProcessArgs),
            ("directory", Field::ProcessWorkingDirectory),
            ("user", Field::UserName),
            ("uid", Field::UserId),
            ("login", Field::SensorLoginName),
            ("login_uid", Field::SensorLoginUid),
            ("started", Field::ProcessStart),
            ("container", Field::ContainerId),
            ("verdict", Field::SensorExeVerdict),
            ("device", Field::SensorExeDevice),
            ("inode", Field::SensorExeInode),
            ("package", Field::PackageName),
            ("cpu_ns", Field::SensorUsageCpuNs),
            ("rss_bytes", Field::SensorUsageRssBytes),
            ("severity", Field::EventSeverity),
            ("findings", Field::SensorFindings),
        ],
    },
    Table {
        name: "listeners",
        sentence: "what listens, as `sensor ports` lists it",
        columns: &[
            ("transport", Field::NetworkTransport),
            ("type", Field::NetworkType),
            ("ip", Field::ServerIp),
            ("port", Field::ServerPort),
            ("name", Field::SensorSocketName),
            ("reach", Field::SensorReach),
            ("firewall", Field::SensorFirewall),
            ("netns", Field::SensorSocketNetns),
            ("cookie", Field::SensorSocketCookie),
            ("inode", Field::FileInode),
            ("pid", Field::ProcessPid),
            ("entity", Field::ProcessEntityId),
            ("executable", Field::ProcessExecutable),
            ("user", Field::UserName),
            ("uid", Field::UserId),
            ("container", Field::ContainerId),
            ("since", Field::SensorHeldSince),
            ("owners", Field::SensorOwners),
            ("severity", Field::EventSeverity),
            ("findings", Field::SensorFindings),
        ],
    },
    Table {
        name: "sockets",
        sentence: "every socket of every network namespace, the first of those who hold it beside it",
        columns: &[
            ("transport", Field::NetworkTransport),
            ("type", Field::NetworkType),
            ("state", Field::SensorSocketState),
            ("local_ip", Field::SourceIp),
            ("local_port", Field::SourcePort),
            ("remote_ip", Field::DestinationIp),
            ("remote_port", Field::DestinationPort),
            ("server_ip", Field::ServerIp),
            ("server_port", Field::ServerPort),
            ("name", Field::SensorSocketName),
            ("netns", Field::SensorSocketNetns),
            ("cookie", Field::SensorSocketCookie),
            ("inode", Field::FileInode),
            ("pid", Field::ProcessPid),
            ("entity", Field::ProcessEntityId),
            ("executable", Field::ProcessExecutable),
            ("user", Field::UserName),
            ("uid", Field::UserId),
            ("container", Field::ContainerId),
        ],
    },
    Table {
        name: "files",
        sentence: "what all processes have open, as `sensor files` lists it",
        columns: &[
            ("pid", Field::ProcessPid),
            ("entity", Field::ProcessEntityId),
            ("executable", Field::ProcessExecutable),
            ("user", Field::UserName),
            ("uid", Field::UserId),
            ("descriptor", Field::SensorDescriptorNumber),
            ("kind", Field::SensorDescriptorKind),
            ("mode", Field::SensorDescriptorMode),
            ("path", Field::FilePath),
            ("name", Field::FileName),
            ("device", Field::FileDevice),
            ("inode", Field::FileInode),
            ("size", Field::FileSize),
            ("marks", Field::SensorDescriptorMarks),
            ("peers", Field::SensorPeers),
        ],
    },
    Table {
        name: "users",
        sentence: "who is on the host, as `sensor who` lists it",
        columns: &[
            ("user", Field::UserName),
            ("uid", Field::UserId),
            ("login", Field::SensorLoginName),
            ("login_uid", Field::SensorLoginUid),
            ("session", Field::SensorSessionId),
            ("kind", Field::SensorSessionKind),
            ("tty", Field::SensorTty),
            ("remote", Field::SourceIp),
            ("since", Field::SensorSessionSince),
            ("idle_s", Field::SensorSessionIdleS),
            ("processes", Field::SensorProcesses),
            ("command", Field::SensorSessionCommand),
            ("cpu_ns", Field::SensorUsageCpuNs),
            ("rss_bytes", Field::SensorUsageRssBytes),
            ("rx_bytes", Field::SensorUsageNetRxBytes),
            ("tx_bytes", Field::SensorUsageNetTxBytes),
            ("sources", Field::SensorSessionSources),
            ("severity", Field::EventSeverity),
            ("findings", Field::SensorFindings),
        ],
    },
];

impl Table {
    /// The names of its columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|(name, _)| *name).chain([ALL])
    }

    /// A record as a row of it; `whole`: also with all that is known.
    pub(super) fn row(&self, record: &Record, whole: bool) -> Vec<Cell> {
        let mut all = Vec::new();
        if let Some(format) = format::named("ecs").filter(|_| whole) {
            format.write(record, &mut all);
        }
        let all = match whole {
            true => Cell::Text(String::from_utf8_lossy(all.trim_ascii_end()).into_owned()),
            false => Cell::Nothing,
        };
        self.columns.iter().map(|(_, field)| cell(*field, record)).chain([all]).collect()
    }
}

/// What a record says of a field: numbers and texts as such, moments as nanoseconds since 1970, lists as JSON.
fn cell(field: Field, record: &Record) -> Cell {
    let Some(value) = record.get(field) else { return Cell::Nothing };
    let text = |bytes: &[u8]| Cell::Text(String::from_utf8_lossy(bytes).into_owned());
    match value {
        Value::U64(number) => {
            i64::try_from(*number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Whole)
        }
        Value::I64(number) => Cell::Whole(*number),
        Value::Bool(is) => Cell::Whole(i64::from(*is)),
        Value::Id(number) => Cell::Text(number.to_string()),
        Value::Time(time) => Cell::Whole(time.0),
        Value::Text(held) => text(held.as_bytes()),
        Value::Word(word) => Cell::Text((*word).to_owned()),
        Value::Texts(_) | Value::Words(_) | Value::Flags(_) | Value::Records(_) => {
            text(&format::json_of(field, value))
        }
    }
}

/// What `--tables` shows.
pub(super) fn text() -> String {
    let mut text = EVENTS.to_owned();
    for table in &TABLES {
        text.push_str(&format!("\n{}: {}\n", table.name, table.sentence));
        for (name, field) in table.columns {
            text.push_str(&format!("    {name:<13} {}\n", field.name()));
        }
        text.push_str(&format!(
            "    {ALL:<13} all that is known (JSON), by names of ECS: {ALL} ->> '$.process.args[0]'\n"
        ));
    }
    text.push_str(
        "\nMoments are nanoseconds since 1970: iso(started) shows one, now() is this one. Lists are JSON. An entity is the same\n\
         in all tables, also in those of another run.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Text, Time};

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let mut record = Record::new();
        record.set(Field::ProcessPid, 7_u32);
        record.set(Field::ProcessArgs, vec![Text::copy_from(b"a\x1b\xff"), Text::from("b".to_owned())]);
        record.set(Field::ProcessStart, Time(5));
        record.set(Field::SensorExeInode, Value::Id(u64::MAX));
        for table in &TABLES {
            assert_eq!(table.row(&record, false).len(), table.names().count());
        }
        let row = TABLES[0].row(&record, true);
        let at = |name: &str| row[TABLES[0].names().position(|column| column == name).unwrap()].clone();
        assert_eq!(at("pid"), Cell::Whole(7));
        assert_eq!(at("args"), Cell::Text("[\"a\\u001b\u{fffd}\",\"b\"]".to_owned()));
        assert_eq!((at("started"), at("user")), (Cell::Whole(5), Cell::Nothing));
        assert_eq!(at("inode"), Cell::Text(u64::MAX.to_string()));
        assert!(matches!(at("record"), Cell::Text(all) if all.starts_with('{') && all.ends_with('}')));
    }

    #[test]
    fn the_page_has_all_tables() {
        assert!(
            include_str!("../../../../docs/query.md").contains(&text()),
            "docs/query.md: put `sensor query --tables` there"
        );
    }

    #[test]
    fn names_are_plain_and_told_apart() {
        for table in &TABLES {
            let names: Vec<&str> = table.names().collect();
            let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(names.iter().all(|name| plain(name)) && plain(table.name));
            let mut once = names.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), names.len());
        }
    }
}
